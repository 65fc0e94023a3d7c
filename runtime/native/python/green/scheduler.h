/* Green threads for Python. */
#ifndef RUNTIME_PYTHON_SCHEDULER_H
#define RUNTIME_PYTHON_SCHEDULER_H

#include "python/python.h"

struct foreign_seen;
struct scheduler;
/* What python/green/foreign.c brings; NULL: it is not there, and green threads in C code of others keep their LWP for a time slice. */
struct foreign_room {
    void (*watch)(void); /* with the GIL: from now on such code leaves the LWP to other green threads (green/foreign.h) */
    int64_t (*since)(void *tp, struct foreign_seen *place); /* foreign_since() */
    PyObject *(*name)(const struct foreign_seen *place); /* "FUNCTION of LIBRARY", or the library alone: a new str */
};
API extern const struct foreign_room *foreign_room;

/* The scheduler behind a Python object; NULL with a TypeError. */
API struct scheduler *python_scheduler(PyObject *op);

/* A call of python_sleep (python/threads/sleep.h): sleeps until the deadline, an int64_t.  0, or EINTR. */
API int python_sleep_until(void *deadline);

/* green_wait_fd() without the GIL: 0, an errno, or -1 with an exception. */
int python_wait_fd(int fd, unsigned events, const unsigned *closings, int64_t deadline, unsigned *found);

/* Whether the caller is on a scheduler, so that it must leave its LWP to others instead of blocking.  Every such call asks: a loop around
 * calls that are ready at once would starve the others, so they have their turn here (green_turn_is_over()). */
int python_may_block(void);

/* sleep() of the module. */
API PyObject *scheduler_sleep(PyObject *module, PyObject *seconds);

/* Makes the carriers that a scheduler with LWPs of its own is missing: 0 or errno. */
int python_spawn_carriers(struct scheduler *scheduler);

#endif
