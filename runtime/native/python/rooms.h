/* What each file adds to the module. */
#ifndef RUNTIME_PYTHON_ROOMS_H
#define RUNTIME_PYTHON_ROOMS_H

#include "python/python.h"

/* Its types and functions.  0, or -1 with an exception.  module.c calls them in this order. */
int python_add_cancel(PyObject *module);
int python_add_group(PyObject *module);
int python_add_common(PyObject *module);
int python_add_lock(PyObject *module);
int python_add_rlock(PyObject *module);
int python_add_event(PyObject *module);
int python_add_semaphore(PyObject *module);
int python_add_condition(PyObject *module);
int python_add_barrier(PyObject *module);
int python_add_future(PyObject *module);
int python_add_work_queue(PyObject *module);
int python_add_scheduler(PyObject *module);
int python_add_foreign(PyObject *module);
int python_add_boot(PyObject *module);
int python_add_lwp(PyObject *module);
int python_add_helpers(PyObject *module);
int python_add_files(PyObject *module);
int python_add_thread(PyObject *module);
int python_add_counts(PyObject *module);
int python_add_placement(PyObject *module);
int python_add_await(PyObject *module);
int python_add_waits(PyObject *module);
int python_add_held(PyObject *module);
int python_add_points(PyObject *module);
int python_add_numbers(PyObject *module);

/* Functions only. */
extern PyMethodDef asked_functions[], chaos_functions[], chaos_point_functions[], code_functions[], contention_functions[],
    explore_functions[], lock_order_functions[], loop_functions[], pipe_functions[], site_functions[], socket_functions[],
    sqlite_functions[], stand_in_functions[], thing_functions[], tls_functions[], trace_functions[], wait_functions[],
    watch_functions[];

/* In a forked child: no lock leads to what counts waits any more, and no helper is left. */
void contention_after_fork(void);
void helpers_after_fork(void);

/* A call of python_sleep (python/threads/sleep.h): sleeps until the deadline, an int64_t.  0, or EINTR. */
int python_sleep_until(void *deadline);

/* green_wait_fd() without the GIL: 0, an errno, or -1 with an exception. */
int python_wait_fd(int fd, unsigned events, const unsigned *closings, int64_t deadline, unsigned *found);

/* Whether the caller is on a scheduler, so that it must leave its LWP to others instead of blocking.  Every such call asks: a loop around
 * calls that are ready at once would starve the others, so they have their turn here (green_turn_is_over()). */
int python_may_block(void);

/* Whether the first byte of a read from a file on a disk is in memory.  WAITS: it isn't, or the read copies so much that it takes long.
 * UNKNOWN: the file system can't say, or the file is not on a disk. */
enum first_byte { FIRST_BYTE_READY, FIRST_BYTE_WAITS, FIRST_BYTE_UNKNOWN };
enum first_byte files_first_byte(int fd, off_t offset, Py_ssize_t length);
enum { SMALL = 64 << 10 }; /* bytes: a call for no more than these keeps the GIL, because it only copies them */
enum { FILES_LARGE = 1 << 20 }; /* bytes: to copy these from the page cache takes several times as long as a helper costs */

#endif
