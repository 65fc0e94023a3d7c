/* What Lock and RLock share besides lock.h: how the lock is taken, and how _thread's two types take their arguments. */
#ifndef RUNTIME_PRIMITIVES_LOCK_PARTS_H
#define RUNTIME_PRIMITIVES_LOCK_PARTS_H

#include "python/sync/lock.h"

/* Notes that the calling thread has just taken the lock.  1, for the caller to return. */
static inline int lock_own(LockObject *self)
{
    atomic_store_explicit(&self->owner, my_serial(), memory_order_relaxed);
    my_wait.locks++;
    if (__builtin_expect(lock_taken != NULL, 0))
        lock_taken(self);
    return 1;
}

/* Takes the lock if it is free, or if a fork has lost the thread that it was handed to.  1 taken, 0 not. */
static inline int lock_take_if_free(LockObject *self)
{
    return !sync_lock_held(&self->lock) && sync_lock_try(&self->lock) ? lock_own(self) : 0;
}

/* Sleeps for the lock: 1 taken, 0 not by the deadline, -1 a signal handler has raised.  queue, baton, interrupted: see lock_take_back(). */
int lock_sleep(LockObject *self, int64_t deadline, struct sync_queue *queue, int *baton, int interrupted);

/* 1 taken, 0 not by the deadline, -1 a signal handler has raised. */
static inline int lock_take(LockObject *self, int64_t deadline)
{
    struct sync_lock *lock = &self->lock;

    if (deadline == 0 && sync_lock_held(lock))
        return 0;
    if (sync_lock_try(lock))
        return lock_own(self);
    if (deadline == 0)
        return lock_take_if_free(self);
    return lock_sleep(self, deadline, NULL, NULL, 0);
}

/* Takes it after a signal handler raised, and keeps the exception. */
void lock_take_raising(LockObject *self);

/* An RLock's are a Lock's. */
PyObject *lock_locked(PyObject *op, PyObject *unused);
PyObject *lock_at_fork_reinit(PyObject *op, PyObject *unused);
void lock_dealloc(PyObject *op);
extern PyMemberDef lock_members[];

static inline int exit_takes(Py_ssize_t count)
{
    if (!LOCKS_ARE_STRICT || count == 3)
        return 1;
    PyErr_Format(PyExc_TypeError, "__exit__ expected 3 arguments, got %zd", count);
    return 0;
}

static inline int has_arguments(PyObject *args, PyObject *kwargs)
{
    return PyTuple_GET_SIZE(args) || (kwargs && PyDict_GET_SIZE(kwargs));
}

/* The row of a method table. */
#define ENTER(acquire, enter) \
    {"__enter__", LOCKS_ARE_STRICT ? enter : FAST(acquire), LOCKS_ARE_STRICT ? METH_NOARGS : METH_FASTCALL | METH_KEYWORDS, NULL}

PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nWhether a thread holds the lock.");

#endif
