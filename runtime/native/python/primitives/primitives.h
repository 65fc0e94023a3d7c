/* What the files of the synchronisation types share. */
#ifndef RUNTIME_PYTHON_SYNC_H
#define RUNTIME_PYTHON_SYNC_H

#include "python/observe/trace.h"
#include "python/types.h"

#include "sync/queue.h"

#include <pthread.h>

#define FAST(function) (PyCFunction)(void (*)(void)) function

/* python/observe/waits.c: what the calling thread waits for. */
struct wait {
    _Atomic(PyObject *) object; /* NULL: it doesn't sleep.  Written last, for the end of a wait comes without the GIL */
    struct sync_place *place;   /* in the object's queue, or NULL */
    int64_t since, deadline;
};
extern __thread struct wait my_wait;
extern ptrdiff_t wait_offset; /* of my_wait from the thread's ident: the same in all threads */

/* pthread_self(), but for the call. */
static inline unsigned long my_ident(void)
{
    return (unsigned long)&my_wait - (unsigned long)wait_offset;
}

/* ---- arguments, and other small things: python/primitives/primitives.c ------------------------------------------- */

/* As threading.Condition.wait looks at its timeout, and all that is made from it: what isn't above 0, NaN too, is now. */
int wait_deadline(PyObject *timeout, int64_t *deadline);

/* How many: what a long can't hold counts as LONG_MAX, as does infinity. */
int how_many(PyObject *number, long *n);

/* As PyObject_GetAttrString, but by an interned name: each other string object takes a place in the interpreter's method cache. */
PyObject *get_attribute(PyObject *op, const char *name);

/* Calls a method, with an argument unless that is NULL. */
PyObject *call_method(PyObject *op, const char *name, PyObject *argument);

/* What a method has returned doesn't matter, only that it has. */
PyObject *none_of(PyObject *result);

/* Whether the object's class has a method of its own in place of the base's. */
int overrides(PyObject *op, PyTypeObject *base, const char *name);

/* (blocking=True, timeout=-1) as Lock.acquire takes them: Modules/_threadmodule.c, lock_acquire_parse_args. */
int acquire_arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline);

void simple_dealloc(PyObject *op);
PyObject *new_primitive(PyTypeObject *type);
PyObject *any_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* The same for what threading has as a class made of its locks: another object if those are somebody else's by now. */
PyObject *unless_replaced_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* ---- waking, and being woken: python/wake.c ---------------------------------------------------------------------- */

/* For sync_wake. */
void python_wake(atomic_int *word, int dozing);

/* For an object whose class keeps in Python what ours keeps in C: the method or property of stock's class, its `_stock`. */
PyObject *stock_method(PyObject *op, const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *stock_property(PyObject *op, const char *name);

/* Whether the calling thread is to doze before it sleeps, so that its waker may defer the wake-up. */
int sleeper_dozes(int64_t deadline);
void sleeper_dozed_in_vain(void);

/* ---- sleeping in a queue: python/primitives/primitives.c --------------------------------------------------------- */

enum outcome {
    LEFT,            /* the time was up */
    ENTITLED,        /* granted */
    RAISED,          /* a signal handler raised; not granted */
    RAISED_ENTITLED, /* a signal handler raised, but the grant had come: the caller must give it to another */
};

/* Sleeps in a queue of op's until granted, the deadline, or an exception.  *baton: to be passed on once this thread has what it
 * needs to run.  A lock to be given up for the time is released when the GIL is. */
enum outcome sleep_in(PyObject *op, struct sync_queue *queue, struct sync_place *place, struct sync_lock *give_up, int64_t deadline,
                      int *baton);

/* ---- Lock and RLock: python/primitives/lock.c -------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    struct sync_lock lock;
    atomic_ulong owner; /* ident, 0: nobody, or somebody who has just taken it.  Of a Lock only for who wants to know */
    PyObject *weak;
} LockObject;

typedef struct {
    LockObject base;     /* only the owner writes its own ident there, so whoever reads it is the owner */
    unsigned long depth; /* written by the owner only */
} RLockObject;

static inline int rlock_is_mine(RLockObject *self)
{
    return atomic_load_explicit(&self->base.owner, memory_order_relaxed) == my_ident();
}

/* Before it is released: the owner of a lock that is held is never one who has held it before. */
static inline void lock_disown(LockObject *self)
{
    atomic_store_explicit(&self->owner, 0, memory_order_relaxed);
}

/* 1 taken, 0 not by the deadline, -1 a signal handler has raised. */
int lock_take(LockObject *self, int64_t deadline);

/* As lock_take() for one who has slept in a queue with the lock's name on it, and perhaps holds the queue's baton: handlers run
 * without that, for they may sleep in the same queue.  interrupted: they are due already. */
int lock_take_back(LockObject *self, struct sync_queue *queue, int *baton, int interrupted);

/* When a handler has raised in a wait for an RLock to be taken back: takes it all the same, and keeps the exception.  As in stock
 * whoever gave up an RLock to wait has it again whatever comes, so that the end of his `with` doesn't raise too; there handlers
 * run only then.  A Lock's wait ends at once, there too. */
void rlock_take_raising(RLockObject *self, unsigned long depth);

PyObject *lock_enter(PyObject *op, PyObject *unused);
PyObject *lock_release(PyObject *op, PyObject *unused);
PyObject *rlock_enter(PyObject *op, PyObject *unused);
PyObject *rlock_release(PyObject *op, PyObject *unused);
void rlock_disown(RLockObject *self); /* about to be released */
PyObject *allocate_lock(PyObject *module, PyObject *unused);

/* ---- `with`: python/primitives/with.c ---------------------------------------------------------------------------- */

/* Gives the type's __enter__ and __exit__, which must not look at what they are given, a quick way to be called. */
int python_quick_with(PyTypeObject *type, PyCFunction enter, PyCFunction leave);

/* ---- the types --------------------------------------------------------------------------------------------------- */

extern PyType_Spec lock_spec, rlock_spec, event_spec, semaphore_spec, condition_spec, barrier_spec;
extern PyTypeObject *lock_type, *rlock_type, *semaphore_type, *condition_type; /* once python_add_sync() has made them */

#endif
