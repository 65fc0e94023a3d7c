/* What the files that include Python.h share. */
#ifndef RUNTIME_PYTHON_TYPES_H
#define RUNTIME_PYTHON_TYPES_H

#include <Python.h>

#include <stdint.h>
#include <structmember.h>

/* Seconds to a deadline on the monotonic clock (base/park.h); None waits for ever, 0 or less is now.  -1 with an exception set. */
int python_deadline(PyObject *timeout, int64_t *deadline);

/* ---- LWP: python/lwp.c ------------------------------------------------------------------------------------------- */

struct lwp;

typedef struct {
    PyObject_HEAD
    struct lwp *lwp;
    int detached;
} LwpObject;

extern PyTypeObject *lwp_type;

/* A handle: takes over a ref.  NULL with an exception. */
LwpObject *lwp_object(PyTypeObject *type, struct lwp *lwp);

/* An LWP that is not started; without a stack for a process on a copy of memory.  NULL with an OSError. */
LwpObject *lwp_make(PyTypeObject *type, size_t stack_size);

/* python/boot.c.  Starts it, for a function, or for a Thread: then args is NULL.  -1 with an exception, and nothing is left of
 * it. */
int lwp_begin(LwpObject *self, PyObject *function, PyObject *args, PyObject *kwargs, unsigned long flags, int exit_signal, int wait);

/* The same as a green thread. */
struct scheduler;
int lwp_begin_green(LwpObject *self, PyObject *function, PyObject *args, PyObject *kwargs, struct scheduler *scheduler);

/* The scheduler behind a Python object; NULL with a TypeError. */
struct scheduler *python_scheduler(PyObject *op);

/* Gives it the LWPs that it lacks: 0 or errno. */
int python_provide(struct scheduler *scheduler);

/* Waits for its end: True, False when the timeout (None: none) has passed, NULL with an exception. */
PyObject *lwp_wait(LwpObject *self, PyObject *timeout);

/* Bytes of stack that a thread gets if nobody asks for more. */
size_t default_stack_size(void);

/* python/boot.c: whether faulthandler is to report crashes. */
int python_faulthandler_on(void);

/* python/boot.c: 1 with that exception when the interpreter makes no more threads. */
int python_refused(const char *text);

/* python/boot.c: what is left of the thread of a process in our memory that is gone, if it could not see to it. */
void python_bury(struct lwp *lwp);
void python_boot_after_fork(void);

/* After a wait that returned EINTR: -1 with what a signal handler raised, or a pending call, or Deadlock, if that is why it
 * returned.  scheduler: what was awaited, or NULL.  object: what the wait was for, of which a Deadlock then speaks, or NULL. */
int python_interrupted(struct scheduler *scheduler, PyObject *object);

/* python/wake.c: give up the GIL for a sleep, and the lock unless that is NULL, and pay the wake-up that the thread has deferred:
 * in this order, for the woken thread may want both.  Take the GIL again. */
struct sync_lock;
PyThreadState *before_sleep(struct sync_lock *give_up);
void after_sleep(PyThreadState *tstate);
/* python/observe/gil.c: sys.getswitchinterval() in microseconds. */
unsigned long python_switch_interval(void);
/* For a thread that has given up the GIL and won't sleep. */
void python_pay_deferred(void);
void python_wake_after_fork(void);

/* python/observe/waits.c: that the calling thread is about to sleep, with the GIL; that it doesn't any more, with it or without.
 * object: what it sleeps for, to which it has a reference.  since, deadline: as in base/park.h. */
struct sync_place;
void wait_begins(PyObject *object, struct sync_place *place, int64_t since, int64_t deadline);
void wait_ends(void);

/* The ident of an LWP that lives in our memory, else 0. */
unsigned long lwp_ident_alive(LwpObject *self);

/* python/thread.c.  What the thread of a Thread runs: Py_True when its run() raised and the excepthook was called, NULL with an
 * exception from outside of it; and then. */
PyObject *thread_run(PyObject *thread);
void thread_leave(PyObject *thread);

/* Add what the other files have to the module. */
int python_add_lwp(PyObject *module);
int python_add_boot(PyObject *module);
int python_add_thread(PyObject *module);
int python_add_sync(PyObject *module);
int python_add_waits(PyObject *module);
int python_add_watch(PyObject *module);
int python_add_trace(PyObject *module);
int python_add_green(PyObject *module);

/* python/chunks.c: where the frames of our threads lie.  python_chunk_at() is for the calling thread's state, NULL: anywhere. */
void python_keep_chunks(void);
void python_chunk_at(void *place, PyThreadState *tstate);

/* python/gil_queue.c: takes the GIL, in a thread that begins and was announced before clone.  Announcing tells whether so many are
 * on the way that the start should wait until its thread has begun; it is revoked when there will be no thread. */
void python_enter(PyThreadState *tstate);
int python_entrance_announce(void);
void python_entrance_revoke(void);
void python_entrance_after_fork(void);

#endif
