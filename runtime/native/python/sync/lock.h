/* Lock and RLock, for Condition, which gives them up and takes them back, and for waits(), which reports their holder. */
#ifndef RUNTIME_PRIMITIVES_LOCK_H
#define RUNTIME_PRIMITIVES_LOCK_H

#include "python/sync/serial.h"
#include "kernel/lock/lock.h"

typedef struct {
    PyObject_HEAD
    struct sync_lock lock;
    atomic_ulong owner; /* serial number of the holder; 0: the lock is free, or has just been taken.  A Lock has it for waits() only */
    PyObject *weak;
} LockObject;

typedef struct {
    LockObject base; /* a thread writes its number to `owner` only while it owns the lock, so one that reads its own owns it */
    atomic_ulong depth; /* written by the owner only: by rlock_set_depth() */
} RLockObject;

API extern PyTypeObject *lock_type, *rlock_type; /* once module.c has had lock.c and rlock.c add them */
API extern PyTypeObject *stock_lock_type, *stock_rlock_type; /* CPython's */

static inline int lock_is_ours(PyObject *object)
{
    return Py_IS_TYPE(object, lock_type) || PyObject_TypeCheck(object, rlock_type);
}

static inline PyObject *lock_object(struct sync_lock *lock)
{
    return (PyObject *)((char *)lock - offsetof(LockObject, lock));
}

static inline int rlock_is_mine(RLockObject *self)
{
    return atomic_load_explicit(&self->base.owner, memory_order_relaxed) == my_serial();
}

static inline unsigned long rlock_depth(RLockObject *self)
{
    return atomic_load_explicit(&self->depth, memory_order_relaxed);
}

static inline void rlock_set_depth(RLockObject *self, unsigned long depth)
{
    atomic_store_explicit(&self->depth, depth, memory_order_relaxed);
}

/* Called before the release.  After it a lock that another thread holds could show its former owner, or lose its new one. */
static inline void lock_disown(LockObject *self)
{
    atomic_store_explicit(&self->owner, 0, memory_order_relaxed);
    my_wait.locks--;
}
API void rlock_disown(RLockObject *self);

/* A function of a higher floor: notes where the calling thread takes the lock, which it has.  With the GIL.  NULL: nobody wants to know. */
API extern void (*lock_taken)(LockObject *self);

/* Takes the lock for a thread that entered a queue with `lock` set to it.  1: taken; -1: a signal handler has raised.  *baton is passed
 * before handlers run, because they may sleep in the same queue.  interrupted: handlers are due already. */
int lock_take_back(LockObject *self, struct sync_queue *queue, int *baton, int interrupted);

/* Takes an RLock back after a signal handler raised, and keeps the exception.  Condition.wait() reacquires an RLock even then, or the
 * enclosing `with` would raise again.  CPython does so too, where handlers run only afterwards.  (A Lock's wait ends at once, there and
 * here.) */
void rlock_take_raising(RLockObject *self, unsigned long depth);

PyObject *lock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *lock_enter(PyObject *op, PyObject *unused);
PyObject *lock_release(PyObject *op, PyObject *unused);
PyObject *rlock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *rlock_enter(PyObject *op, PyObject *unused);
PyObject *rlock_release(PyObject *op, PyObject *unused);

#endif
