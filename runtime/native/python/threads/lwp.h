/* The type LWP: a handle. */
#ifndef RUNTIME_PYTHON_LWP_H
#define RUNTIME_PYTHON_LWP_H

#include "python/python.h"

#include <stdatomic.h>

struct lwp;

typedef struct {
    PyObject_HEAD
    struct lwp *lwp;
    atomic_int claimed;  /* a start is under way, or has been */
    atomic_int detached;
    struct end_fd *end_fd; /* fileno() */
} LwpObject;

API extern PyTypeObject *lwp_type;

/* A handle for an LWP; takes over the caller's reference to it.  NULL with an exception. */
LwpObject *lwp_object(PyTypeObject *type, struct lwp *lwp);

/* An LWP that is not started; stack_size 0: without a stack, for a process on a copy of memory.  NULL with an OSError. */
API LwpObject *lwp_make(PyTypeObject *type, size_t stack_size);

/* Whether its thread has ended, or will run no Python any more: once the interpreter is being finalized, a thread that takes the GIL
 * ends there, and one that sleeps stays asleep.  To 3.12 threading sees such daemon threads as ended too, because finalization deletes
 * their states, which releases _tstate_lock (Python/pystate.c, _PyThreadState_DeleteExcept); from 3.13 on its join() waits on, though
 * nothing could end the wait. */
int lwp_is_over(LwpObject *self);

/* Waits for its end: True, False when the timeout (None: none) has passed, NULL with an exception. */
PyObject *lwp_wait(LwpObject *self, PyObject *timeout);

/* Its ident while it lives in our memory; otherwise 0. */
API unsigned long lwp_ident_alive(LwpObject *self);

#endif
