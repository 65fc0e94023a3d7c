/* The synchronisation types: sync.c's machines behind threading's methods.
 *
 * Lock and RLock are complete; Event, Semaphore, Condition and Barrier are bases that runtime/sync.py derives threading's
 * classes from.  No method gives up the GIL unless it has to sleep.  Signal handlers run while a thread sleeps. */
#include "python_types.h"

#include "sync.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>

static unsigned long my_ident(void)
{
    return (unsigned long)pthread_self();
}

/* ---- arguments --------------------------------------------------------------------------------------------------------- */

#if PY_VERSION_HEX >= 0x030d0000
PyAPI_FUNC(int) _PyTime_FromSecondsObject(PyTime_t *ns, PyObject *seconds, int round); /* internal/pycore_time.h */
#endif

/* Seconds to nanoseconds as the interpreter does it: which types it takes, how it rounds, what it raises. */
static int nanoseconds(PyObject *seconds, int64_t *ns)
{
    return _PyTime_FromSecondsObject(ns, seconds, 3 /* _PyTime_ROUND_TIMEOUT */);
}

static int64_t after(int64_t ns)
{
    if (ns <= 0)
        return 0;
    int64_t now = park_now();
    return ns < PARK_FOREVER - now ? now + ns : PARK_FOREVER; /* TIMEOUT_MAX is 292 years */
}

int python_deadline(PyObject *timeout, int64_t *deadline)
{
    int64_t ns;

    *deadline = PARK_FOREVER;
    if (timeout == Py_None)
        return 0;
    if (nanoseconds(timeout, &ns) < 0)
        return -1;
    *deadline = after(ns);
    return 0;
}

/* As threading.Condition.wait looks at its timeout, and all that is made from it: what isn't above 0, NaN too, is now. */
static int wait_deadline(PyObject *timeout, int64_t *deadline)
{
    int positive;

    if (timeout == Py_None || PyFloat_CheckExact(timeout))
        positive = timeout == Py_None || PyFloat_AS_DOUBLE(timeout) > 0;
    else {
        PyObject *zero = PyLong_FromLong(0);
        positive = zero ? PyObject_RichCompareBool(timeout, zero, Py_GT) : -1;
        Py_XDECREF(zero);
    }
    *deadline = 0;
    return positive > 0 ? python_deadline(timeout, deadline) : positive;
}

/* How many: what a long can't hold counts as LONG_MAX, as does infinity. */
static int how_many(PyObject *number, long *n)
{
    int overflow = 0;

    if (PyFloat_Check(number) && PyFloat_AS_DOUBLE(number) == floor(PyFloat_AS_DOUBLE(number))) {
        double value = PyFloat_AS_DOUBLE(number);
        *n = value >= 0x1p63 ? LONG_MAX : value < -0x1p63 ? LONG_MIN : (long)value;
        return 0;
    }
    *n = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow)
        *n = overflow > 0 ? LONG_MAX : LONG_MIN;
    return *n == -1 && PyErr_Occurred() ? -1 : 0;
}

/* What a method has returned doesn't matter, only that it has. */
static PyObject *none_of(PyObject *result)
{
    if (!result)
        return NULL;
    Py_DECREF(result);
    Py_RETURN_NONE;
}

/* Whether the object's class has a method of its own in place of the base's. */
static int overrides(PyObject *op, PyTypeObject *base, const char *name)
{
    PyObject *own = PyObject_GetAttrString((PyObject *)Py_TYPE(op), name);
    PyObject *ours = own ? PyObject_GetAttrString((PyObject *)base, name) : NULL;
    int result = ours ? own != ours : -1;

    Py_XDECREF(own);
    Py_XDECREF(ours);
    return result;
}

/* (blocking=True, timeout=-1) as Lock.acquire takes them: Modules/_threadmodule.c, lock_acquire_parse_args. */
static int acquire_arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline)
{
    PyObject *given[2] = {NULL, NULL};
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;

    if (count + keywords > 2) {
        PyErr_Format(PyExc_TypeError, "acquire() takes at most 2 arguments (%zd given)", count + keywords);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        given[i] = args[i];
    for (Py_ssize_t i = 0; i < keywords; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int at = PyUnicode_CompareWithASCIIString(name, "blocking") == 0  ? 0
                 : PyUnicode_CompareWithASCIIString(name, "timeout") == 0 ? 1
                                                                          : -1;
        if (at < 0 || given[at]) {
            PyErr_Format(PyExc_TypeError, at < 0 ? "'%U' is an invalid keyword argument for acquire()"
                                                 : "argument for acquire() given by name ('%U') and position", name);
            return -1;
        }
        given[at] = args[count + i];
    }
    int blocking = given[0] ? PyObject_IsTrue(given[0]) : 1;
    const int64_t none = -1000000000;
    int64_t timeout = none;
    if (blocking < 0 || (given[1] && nanoseconds(given[1], &timeout) < 0))
        return -1;
    if (!blocking && timeout != none) {
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
        return -1;
    }
    if (timeout < 0 && timeout != none) {
        PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
        return -1;
    }
    *deadline = !blocking ? 0 : timeout == none ? PARK_FOREVER : after(timeout);
    return 0;
}

/* ---- Lock --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    struct sync_lock lock;
    PyObject *weak;
} LockObject;

/* As take() for one who holds a queue's baton: handlers run without it, for they may sleep in the same queue. */
static int take_with_baton(struct sync_lock *lock, int64_t deadline, struct sync_queue *queue, int *baton)
{
    int64_t since = 0;

    if (sync_lock_try(lock))
        return 1;
    if (deadline == 0)
        return !sync_lock_held(lock) && sync_lock_try(lock);
    for (;;) {
        int result;
        Py_BEGIN_ALLOW_THREADS
        result = sync_lock_wait(lock, deadline, &since);
        Py_END_ALLOW_THREADS
        if (result != EINTR)
            return result == 0;
        if (queue && *baton) {
            sync_queue_pass_baton(queue);
            *baton = 0;
        }
        if (Py_MakePendingCalls() < 0) /* signal handlers, and what Py_AddPendingCall has left, as in stock */
            return -1;
    }
}

/* 1 taken, 0 not by the deadline, -1 a signal handler has raised. */
static int take(struct sync_lock *lock, int64_t deadline)
{
    return take_with_baton(lock, deadline, NULL, NULL);
}

static PyObject *lock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int64_t deadline = PARK_FOREVER;

    if ((count || names) && acquire_arguments(args, count, names, &deadline) < 0)
        return NULL;
    int taken = take(&((LockObject *)op)->lock, deadline);
    return taken < 0 ? NULL : PyBool_FromLong(taken);
}

static PyObject *lock_enter(PyObject *op, PyObject *unused)
{
    (void)unused;
    return take(&((LockObject *)op)->lock, PARK_FOREVER) < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *lock_release(PyObject *op, PyObject *unused)
{
    (void)unused;
    if (sync_lock_release(&((LockObject *)op)->lock) != 0) {
        PyErr_SetString(PyExc_RuntimeError, "release unlocked lock");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *lock_exit(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return lock_release(op, NULL);
}

static PyObject *lock_locked(PyObject *op, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(sync_lock_held(&((LockObject *)op)->lock));
}

static PyObject *lock_at_fork_reinit(PyObject *op, PyObject *unused)
{
    (void)unused;
    atomic_store(&((LockObject *)op)->lock.word, SYNC_FREE);
    Py_RETURN_NONE;
}

static PyObject *lock_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<%s %s object at %p>", sync_lock_held(&((LockObject *)op)->lock) ? "locked" : "unlocked",
                                Py_TYPE(op)->tp_name, op);
}

#if PY_VERSION_HEX >= 0x030d0000
static PyObject *lock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) || (kwargs && PyDict_GET_SIZE(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "lock() takes no arguments");
        return NULL;
    }
    return type->tp_alloc(type, 0);
}
#endif

static void simple_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    type->tp_free(op);
    Py_DECREF(type);
}

static void lock_dealloc(PyObject *op)
{
    if (((LockObject *)op)->weak)
        PyObject_ClearWeakRefs(op);
    simple_dealloc(op);
}

PyDoc_STRVAR(acquire_doc,
"acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
"Takes the lock; True when it was taken.  With blocking=False, or when timeout (seconds, -1: no limit) has passed: False.\n"
"As threading.Lock.acquire.");
PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\nFrees the lock; any thread may do so.  RuntimeError: nobody holds it.");
PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nWhether somebody holds the lock.");

#define FAST(function) (PyCFunction)(void (*)(void))function
static PyMethodDef lock_methods[] = {
    {"acquire", FAST(lock_acquire), METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"acquire_lock", FAST(lock_acquire), METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", lock_release, METH_NOARGS, release_doc},
    {"release_lock", lock_release, METH_NOARGS, release_doc},
    {"locked", lock_locked, METH_NOARGS, locked_doc},
    {"locked_lock", lock_locked, METH_NOARGS, locked_doc},
    {"__enter__", lock_enter, METH_NOARGS, NULL},
    {"__exit__", FAST(lock_exit), METH_FASTCALL, NULL},
    {"_at_fork_reinit", lock_at_fork_reinit, METH_NOARGS, NULL},
    {0},
};

static PyMemberDef lock_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(LockObject, weak), READONLY, NULL},
    {0},
};

PyDoc_STRVAR(lock_doc, "A lock of one futex word; threading.Lock.");
static PyType_Slot lock_slots[] = {
    {Py_tp_doc, (void *)lock_doc},
#if PY_VERSION_HEX >= 0x030d0000
    {Py_tp_new, lock_new},
#endif
    {Py_tp_dealloc, lock_dealloc},
    {Py_tp_repr, lock_repr},
    {Py_tp_methods, lock_methods},
    {Py_tp_members, lock_members},
    {0, NULL},
};

/* ---- RLock -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    struct sync_lock lock;
    atomic_ulong owner;   /* ident, 0: nobody.  Only the owner writes its own ident here, so whoever reads it is the owner */
    unsigned long depth;  /* written by the owner only */
    PyObject *weak;
} RLockObject;

static int rlock_is_mine(RLockObject *self)
{
    return atomic_load_explicit(&self->owner, memory_order_relaxed) == my_ident();
}

static int rlock_take(RLockObject *self, int64_t deadline)
{
    if (rlock_is_mine(self)) {
        if (self->depth == ULONG_MAX) {
            PyErr_SetString(PyExc_OverflowError, "Internal lock count overflowed");
            return -1;
        }
        self->depth++;
        return 1;
    }
    int taken = take(&self->lock, deadline);
    if (taken == 1) {
        atomic_store_explicit(&self->owner, my_ident(), memory_order_relaxed);
        self->depth = 1;
    }
    return taken;
}

static void rlock_give_up(RLockObject *self)
{
    self->depth = 0;
    atomic_store_explicit(&self->owner, 0, memory_order_relaxed);
    sync_lock_release(&self->lock);
}

static PyObject *not_mine(void)
{
    PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
    return NULL;
}

static PyObject *rlock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int64_t deadline = PARK_FOREVER;

    if ((count || names) && acquire_arguments(args, count, names, &deadline) < 0)
        return NULL;
    int taken = rlock_take((RLockObject *)op, deadline);
    return taken < 0 ? NULL : PyBool_FromLong(taken);
}

static PyObject *rlock_enter(PyObject *op, PyObject *unused)
{
    (void)unused;
    return rlock_take((RLockObject *)op, PARK_FOREVER) < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *rlock_release(PyObject *op, PyObject *unused)
{
    RLockObject *self = (RLockObject *)op;

    (void)unused;
    if (!rlock_is_mine(self))
        return not_mine();
    if (self->depth == 1)
        rlock_give_up(self);
    else
        self->depth--;
    Py_RETURN_NONE;
}

static PyObject *rlock_exit(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    return rlock_release(op, NULL);
}

static PyObject *rlock_locked(PyObject *op, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(sync_lock_held(&((RLockObject *)op)->lock));
}

static PyObject *rlock_is_owned(PyObject *op, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(rlock_is_mine((RLockObject *)op));
}

static PyObject *rlock_recursion_count(PyObject *op, PyObject *unused)
{
    RLockObject *self = (RLockObject *)op;
    (void)unused;
    return PyLong_FromUnsignedLong(rlock_is_mine(self) ? self->depth : 0);
}

/* What Condition.wait uses: give it up wholly, take it back as deep as it was. */
static PyObject *rlock_release_save(PyObject *op, PyObject *unused)
{
    RLockObject *self = (RLockObject *)op;

    (void)unused;
    if (!rlock_is_mine(self))
        return not_mine();
    PyObject *state = Py_BuildValue("kk", self->depth, my_ident());
    if (state)
        rlock_give_up(self);
    return state;
}

static PyObject *rlock_acquire_restore(PyObject *op, PyObject *state)
{
    RLockObject *self = (RLockObject *)op;
    unsigned long depth, owner;

    if (!PyArg_ParseTuple(state, "(kk):_acquire_restore", &depth, &owner))
        return NULL;
    int taken = take(&self->lock, PARK_FOREVER);
    if (taken < 0)
        return NULL;
    atomic_store_explicit(&self->owner, owner, memory_order_relaxed);
    self->depth = depth;
    Py_RETURN_NONE;
}

static PyObject *rlock_at_fork_reinit(PyObject *op, PyObject *unused)
{
    RLockObject *self = (RLockObject *)op;

    (void)unused;
    self->depth = 0;
    atomic_store(&self->owner, 0);
    atomic_store(&self->lock.word, SYNC_FREE);
    Py_RETURN_NONE;
}

static PyObject *rlock_repr(PyObject *op)
{
    RLockObject *self = (RLockObject *)op;
    unsigned long owner = atomic_load(&self->owner);

    return PyUnicode_FromFormat("<%s %s object owner=%lu count=%lu at %p>", owner ? "locked" : "unlocked",
                                Py_TYPE(op)->tp_name, owner, self->depth, op);
}

static PyObject *any_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    return type->tp_alloc(type, 0);
}

static void rlock_dealloc(PyObject *op)
{
    if (((RLockObject *)op)->weak)
        PyObject_ClearWeakRefs(op);
    simple_dealloc(op);
}

static PyMethodDef rlock_methods[] = {
    {"acquire", FAST(rlock_acquire), METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", rlock_release, METH_NOARGS, release_doc},
    {"locked", rlock_locked, METH_NOARGS, locked_doc},
    {"__enter__", rlock_enter, METH_NOARGS, NULL},
    {"__exit__", FAST(rlock_exit), METH_FASTCALL, NULL},
    {"_is_owned", rlock_is_owned, METH_NOARGS, NULL},
    {"_recursion_count", rlock_recursion_count, METH_NOARGS, NULL},
    {"_release_save", rlock_release_save, METH_NOARGS, NULL},
    {"_acquire_restore", rlock_acquire_restore, METH_VARARGS, NULL},
    {"_at_fork_reinit", rlock_at_fork_reinit, METH_NOARGS, NULL},
    {0},
};

static PyMemberDef rlock_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(RLockObject, weak), READONLY, NULL},
    {0},
};

PyDoc_STRVAR(rlock_doc, "A lock that its owner may take again; threading.RLock.");
static PyType_Slot rlock_slots[] = {
    {Py_tp_doc, (void *)rlock_doc},   {Py_tp_new, any_new},           {Py_tp_dealloc, rlock_dealloc}, {Py_tp_repr, rlock_repr},
    {Py_tp_methods, rlock_methods},   {Py_tp_members, rlock_members}, {0, NULL},
};

/* ---- sleeping in a queue -------------------------------------------------------------------------------------------------- */

enum outcome {
    LEFT,            /* the time was up */
    ENTITLED,        /* granted */
    RAISED,          /* a signal handler raised; not granted */
    RAISED_ENTITLED, /* a signal handler raised, but the grant had come: the caller must give it to another */
};

struct sleeper {
    struct sync_queue *queue;
    struct sync_place *place;
};

static void never_woke(void *arg)
{
    struct sleeper *sleeper = arg;
    int baton;

    sync_queue_leave(sleeper->queue, sleeper->place, &baton);
    if (baton)
        sync_queue_pass_baton(sleeper->queue);
}

/* Once the interpreter is being finalized, taking the GIL ends a daemon thread by pthread_exit.  Then its place must not stay
 * behind in the queue of an object that lives on. */
static int sleep_without_gil(struct sync_queue *queue, struct sync_place *place, int64_t deadline)
{
    struct sleeper sleeper = {queue, place};
    int result;

    pthread_cleanup_push(never_woke, &sleeper);
    Py_BEGIN_ALLOW_THREADS
    result = sync_queue_wait(place, deadline);
    Py_END_ALLOW_THREADS
    pthread_cleanup_pop(0);
    return result;
}

/* Sleeps until granted, the deadline, or an exception.  *baton: to be passed on once this thread has what it needs to run. */
static enum outcome sleep_in(struct sync_queue *queue, struct sync_place *place, int64_t deadline, int *baton)
{
    *baton = 1;
    for (;;) {
        int result = sleep_without_gil(queue, place, deadline);
        if (result == 0)
            return ENTITLED;
        int raised = result == EINTR && Py_MakePendingCalls() < 0;
        if (result == EINTR && !raised)
            continue;
        int entitled = sync_queue_leave(queue, place, baton);
        return raised ? (entitled ? RAISED_ENTITLED : RAISED) : entitled ? ENTITLED : LEFT;
    }
}

/* ---- Event ---------------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    struct sync_queue queue;
    atomic_int flag;
} EventObject;

static PyObject *event_is_set(PyObject *op, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(atomic_load_explicit(&((EventObject *)op)->flag, memory_order_acquire));
}

static PyObject *event_set(PyObject *op, PyObject *unused)
{
    EventObject *self = (EventObject *)op;

    (void)unused;
    /* Set already: whoever sleeps came before that and is entitled. */
    if (!atomic_load_explicit(&self->flag, memory_order_acquire)) {
        sync_queue_lock(&self->queue);
        atomic_store_explicit(&self->flag, 1, memory_order_release);
        sync_queue_grant_unlock(&self->queue, LONG_MAX);
    }
    Py_RETURN_NONE;
}

static PyObject *event_clear(PyObject *op, PyObject *unused)
{
    (void)unused;
    atomic_store_explicit(&((EventObject *)op)->flag, 0, memory_order_release);
    Py_RETURN_NONE;
}

static PyObject *event_wait(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    EventObject *self = (EventObject *)op;
    struct sync_place place;
    int64_t deadline = PARK_FOREVER;
    int baton;

    if (count + (names ? PyTuple_GET_SIZE(names) : 0) > 1
        || (names && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0)) {
        PyErr_SetString(PyExc_TypeError, "wait() takes one argument, timeout");
        return NULL;
    }
    if (atomic_load_explicit(&self->flag, memory_order_acquire))
        Py_RETURN_TRUE;
    if ((count || names) && wait_deadline(args[0], &deadline) < 0)
        return NULL;
    sync_queue_lock(&self->queue);
    if (atomic_load(&self->flag) || deadline == 0) { /* set() has granted under the lock: not to those who come later */
        sync_queue_unlock(&self->queue);
        return event_is_set(op, NULL);
    }
    sync_queue_enter(&self->queue, &place);
    sync_queue_unlock(&self->queue);
    enum outcome outcome = sleep_in(&self->queue, &place, deadline, &baton);
    if (baton)
        sync_queue_pass_baton(&self->queue);
    if (outcome == RAISED || outcome == RAISED_ENTITLED)
        return NULL;
    return PyBool_FromLong(outcome == ENTITLED);
}

static PyObject *event_at_fork_reinit(PyObject *op, PyObject *unused)
{
    (void)op;
    (void)unused;
    Py_RETURN_NONE; /* the flag crosses the fork, and the queue forgets lost sleepers by itself */
}

PyDoc_STRVAR(wait_doc,
"wait($self, /, timeout=None)\n--\n\n"
"Sleeps until the flag is set, or for timeout seconds; whether it was set.  As threading.Event.wait.");

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS, "is_set($self, /)\n--\n\nWhether the flag is set."},
    {"set", event_set, METH_NOARGS, "set($self, /)\n--\n\nSets the flag and lets all sleepers go, one after the other."},
    {"clear", event_clear, METH_NOARGS, "clear($self, /)\n--\n\nClears the flag."},
    {"wait", FAST(event_wait), METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"_at_fork_reinit", event_at_fork_reinit, METH_NOARGS, NULL},
    {0},
};

static PyType_Slot event_slots[] = {
    {Py_tp_new, any_new}, {Py_tp_dealloc, simple_dealloc}, {Py_tp_methods, event_methods}, {0, NULL},
};

/* ---- Semaphore ------------------------------------------------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    struct sync_queue queue;
    long value; /* under the queue's lock; above 0 only when nobody waits: a release grants to sleepers first.  LONG_MAX: no end */
    long bound; /* BoundedSemaphore: value at the start, else LONG_MAX */
    int own_release; /* of a derived class: the end of a `with` has to call it */
} SemaphoreObject;

static PyTypeObject *semaphore_type;

static void semaphore_give_unlock(SemaphoreObject *self, long n)
{
    long waiting = self->queue.waiting;

    long more = n > waiting ? n - waiting : 0;
    self->value = more < LONG_MAX - self->value ? self->value + more : LONG_MAX;
    sync_queue_grant_unlock(&self->queue, n);
}

/* As take().  timeout: looked at only when there is none to be had, as in stock; NULL: don't wait. */
static int semaphore_take(SemaphoreObject *self, PyObject *timeout)
{
    struct sync_place place;
    int64_t deadline;
    int baton, decided = !timeout;

    for (;;) {
        sync_queue_lock(&self->queue);
        if (self->value > 0) {
            self->value -= self->value != LONG_MAX;
            sync_queue_unlock(&self->queue);
            return 1;
        }
        if (decided)
            break;
        sync_queue_unlock(&self->queue); /* a timeout may be an object that runs Python */
        if (wait_deadline(timeout, &deadline) < 0)
            return -1;
        decided = 1;
    }
    if (!timeout || deadline == 0) {
        sync_queue_unlock(&self->queue);
        return 0;
    }
    sync_queue_enter(&self->queue, &place);
    sync_queue_unlock(&self->queue);
    enum outcome outcome = sleep_in(&self->queue, &place, deadline, &baton);
    if (baton)
        sync_queue_pass_baton(&self->queue);
    if (outcome == RAISED_ENTITLED) {
        sync_queue_lock(&self->queue);
        semaphore_give_unlock(self, 1);
    }
    return outcome == ENTITLED ? 1 : outcome == LEFT ? 0 : -1;
}

static PyObject *semaphore_acquire(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *blocking = Py_True, *timeout = Py_None;
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;

    if (count + keywords > 2) {
        PyErr_Format(PyExc_TypeError, "acquire() takes from 1 to 3 positional arguments but %zd were given", 1 + count + keywords);
        return NULL;
    }
    if (count > 0)
        blocking = args[0];
    if (count > 1)
        timeout = args[1];
    for (Py_ssize_t i = 0; i < keywords; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (PyUnicode_CompareWithASCIIString(name, "blocking") == 0 && count < 1)
            blocking = args[count + i];
        else if (PyUnicode_CompareWithASCIIString(name, "timeout") == 0 && count < 2)
            timeout = args[count + i];
        else {
            PyErr_Format(PyExc_TypeError, "acquire() got an unexpected keyword argument '%U'", name);
            return NULL;
        }
    }
    int block = PyObject_IsTrue(blocking);
    if (block < 0)
        return NULL;
    if (!block && timeout != Py_None) {
        PyErr_SetString(PyExc_ValueError, "can't specify timeout for non-blocking acquire");
        return NULL;
    }
    int taken = semaphore_take((SemaphoreObject *)op, block ? timeout : NULL);
    return taken < 0 ? NULL : PyBool_FromLong(taken);
}

static PyObject *semaphore_release(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    SemaphoreObject *self = (SemaphoreObject *)op;
    long n = 1;

    if (count + (names ? PyTuple_GET_SIZE(names) : 0) > 1
        || (names && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "n") != 0)) {
        PyErr_SetString(PyExc_TypeError, "release() takes one argument, n");
        return NULL;
    }
    if ((count || names) && how_many(args[0], &n) < 0)
        return NULL;
    if (n < 1) {
        PyErr_SetString(PyExc_ValueError, "n must be one or more");
        return NULL;
    }
    sync_queue_lock(&self->queue);
    if (self->bound != LONG_MAX && n > self->bound - self->value) {
        sync_queue_unlock(&self->queue);
        PyErr_SetString(PyExc_ValueError, "Semaphore released too many times");
        return NULL;
    }
    semaphore_give_unlock(self, n);
    Py_RETURN_NONE;
}

static PyObject *semaphore_enter(PyObject *op, PyObject *unused)
{
    (void)unused;
    return semaphore_take((SemaphoreObject *)op, Py_None) < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *semaphore_exit(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    (void)args;
    (void)count;
    if (!((SemaphoreObject *)op)->own_release)
        return semaphore_release(op, NULL, 0, NULL);
    return none_of(PyObject_CallMethod(op, "release", NULL));
}

static PyObject *semaphore_begin(PyObject *op, PyObject *args)
{
    SemaphoreObject *self = (SemaphoreObject *)op;
    PyObject *number;
    long value;
    int bounded;

    if (!PyArg_ParseTuple(args, "Op:_begin", &number, &bounded) || how_many(number, &value) < 0)
        return NULL;
    if (value < 0) {
        PyErr_SetString(PyExc_ValueError, "semaphore initial value must be >= 0");
        return NULL;
    }
    if ((self->own_release = overrides(op, semaphore_type, "release")) < 0)
        return NULL;
    self->value = value;
    self->bound = bounded ? value : LONG_MAX;
    Py_RETURN_NONE;
}

static PyObject *semaphore_value(PyObject *op, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((SemaphoreObject *)op)->value);
}

static PyMethodDef semaphore_methods[] = {
    {"acquire", FAST(semaphore_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, /, blocking=True, timeout=None)\n--\n\n"
     "Takes one; sleeps while there is none, at most timeout seconds.  Whether one was taken.  As threading.Semaphore."},
    {"release", FAST(semaphore_release), METH_FASTCALL | METH_KEYWORDS,
     "release($self, /, n=1)\n--\n\nGives n back, to those who have waited longest first.  As threading.Semaphore."},
    {"__enter__", semaphore_enter, METH_NOARGS, NULL},
    {"__exit__", FAST(semaphore_exit), METH_FASTCALL, NULL},
    {"_begin", semaphore_begin, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef semaphore_attributes[] = {
    {"_value", semaphore_value, NULL, "How many are to be had.", NULL},
    {0},
};

static PyType_Slot semaphore_slots[] = {
    {Py_tp_new, any_new}, {Py_tp_dealloc, simple_dealloc}, {Py_tp_methods, semaphore_methods},
    {Py_tp_getset, semaphore_attributes}, {0, NULL},
};

/* ---- Condition ------------------------------------------------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    struct sync_queue queue;
    PyObject *lock; /* ours, or anything with acquire and release */
    enum lock_kind { OTHER, LOCK, RLOCK } kind;
    int own_notify; /* of a derived class: notify_all() has to call it */
} ConditionObject;

static PyTypeObject *lock_type, *rlock_type, *condition_type;

static PyObject *condition_begin(PyObject *op, PyObject *lock)
{
    ConditionObject *self = (ConditionObject *)op;

    enum lock_kind kind = Py_IS_TYPE(lock, lock_type) ? LOCK : Py_IS_TYPE(lock, rlock_type) ? RLOCK : OTHER;
    static const char *const needed[] = {"acquire", "release"};
    for (int i = 0; kind == OTHER && i < 2; i++) {
        PyObject *method = PyObject_GetAttrString(lock, needed[i]);
        if (!method)
            return NULL;
        Py_DECREF(method);
    }
    if ((self->own_notify = overrides(op, condition_type, "notify")) < 0)
        return NULL;
    self->kind = kind;
    Py_XSETREF(self->lock, Py_NewRef(lock));
    Py_RETURN_NONE;
}

static int no_lock(ConditionObject *self)
{
    if (self->lock)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "Condition.__init__() not called");
    return -1;
}

/* 1, 0, or -1 with an exception.  A subclass may bring its own; so may a lock that isn't ours. */
static int owned(PyObject *op)
{
    ConditionObject *self = (ConditionObject *)op;

    if (no_lock(self) < 0)
        return -1;
    if (self->kind == LOCK)
        return sync_lock_held(&((LockObject *)self->lock)->lock); /* a Lock has no owner: held is all that can be asked */
    if (self->kind == RLOCK)
        return rlock_is_mine((RLockObject *)self->lock);
    PyObject *answer = PyObject_CallMethod(op, "_is_owned", NULL);
    int result = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return result;
}

/* What a sleeper has given up: the very lock, whatever __init__() makes of the Condition meanwhile. */
struct given_up {
    enum lock_kind kind;
    PyObject *lock;
    unsigned long depth; /* RLOCK */
    PyObject *state;     /* OTHER: what _release_save has returned */
};

static int give_up(PyObject *op, struct given_up *what)
{
    ConditionObject *self = (ConditionObject *)op;

    *what = (struct given_up){.kind = self->kind, .lock = Py_NewRef(self->lock)};
    if (what->kind == LOCK)
        sync_lock_release(&((LockObject *)what->lock)->lock);
    else if (what->kind == RLOCK) {
        what->depth = ((RLockObject *)what->lock)->depth;
        rlock_give_up((RLockObject *)what->lock);
    } else if (!(what->state = PyObject_CallMethod(op, "_release_save", NULL))) {
        Py_DECREF(what->lock);
        return -1;
    }
    return 0;
}

/* 1 or -1 with an exception.  The baton is passed when the lock is had: the next is woken when it can have the lock soon, not
 * to queue for it. */
static int take_back(PyObject *op, struct given_up *what, int baton)
{
    struct sync_queue *queue = &((ConditionObject *)op)->queue;
    int taken;

    if (what->kind == OTHER) {
        if (baton) /* any Python may run, and sleep here itself */
            sync_queue_pass_baton(queue);
        PyObject *none = PyObject_CallMethod(op, "_acquire_restore", "(O)", what->state);
        taken = none ? 1 : -1;
        Py_XDECREF(none);
        Py_DECREF(what->state);
    } else {
        RLockObject *rlock = (RLockObject *)what->lock;
        struct sync_lock *lock = what->kind == LOCK ? &((LockObject *)what->lock)->lock : &rlock->lock;
        taken = take_with_baton(lock, PARK_FOREVER, queue, &baton);
        if (taken == 1 && what->kind == RLOCK) {
            atomic_store_explicit(&rlock->owner, my_ident(), memory_order_relaxed);
            rlock->depth = what->depth;
        }
        if (baton)
            sync_queue_pass_baton(queue);
    }
    Py_DECREF(what->lock);
    return taken;
}

static PyObject *condition_wait(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    ConditionObject *self = (ConditionObject *)op;
    struct sync_place place;
    struct given_up what;
    PyObject *type, *value, *traceback;
    int64_t deadline = PARK_FOREVER;
    int baton;

    if (count + (names ? PyTuple_GET_SIZE(names) : 0) > 1
        || (names && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0)) {
        PyErr_SetString(PyExc_TypeError, "wait() takes one argument, timeout");
        return NULL;
    }
    int mine = owned(op);
    if (mine <= 0) {
        if (mine == 0)
            PyErr_SetString(PyExc_RuntimeError, "cannot wait on un-acquired lock");
        return NULL;
    }
    if ((count || names) && wait_deadline(args[0], &deadline) < 0)
        return NULL;
    /* In the queue before the lock is given up: whoever takes the lock after us and notifies finds us there. */
    sync_queue_lock(&self->queue);
    sync_queue_enter(&self->queue, &place);
    sync_queue_unlock(&self->queue);
    if (give_up(op, &what) < 0) {
        sync_queue_leave(&self->queue, &place, &baton);
        if (baton)
            sync_queue_pass_baton(&self->queue);
        return NULL;
    }
    Py_INCREF(op);
    enum outcome outcome = sleep_in(&self->queue, &place, deadline, &baton);
    int raised = outcome == RAISED || outcome == RAISED_ENTITLED;
    if (raised)
        PyErr_Fetch(&type, &value, &traceback);
    int taken = take_back(op, &what, baton);
    if (outcome == RAISED_ENTITLED || (outcome == ENTITLED && taken < 0)) { /* the notification isn't lost with us */
        sync_queue_lock(&self->queue);
        sync_queue_grant_unlock(&self->queue, 1);
    }
    if (raised && taken == 1)
        PyErr_Restore(type, value, traceback);
    else if (raised) {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
    }
    Py_DECREF(op);
    return raised || taken < 0 ? NULL : PyBool_FromLong(outcome == ENTITLED);
}

static PyObject *notify(PyObject *op, long n)
{
    ConditionObject *self = (ConditionObject *)op;
    int mine = owned(op);

    if (mine <= 0) {
        if (mine == 0)
            PyErr_SetString(PyExc_RuntimeError, "cannot notify on un-acquired lock");
        return NULL;
    }
    if (n > 0) {
        sync_queue_lock(&self->queue);
        sync_queue_grant_unlock(&self->queue, n);
    }
    Py_RETURN_NONE;
}

static PyObject *condition_notify(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    long n = 1;

    if (count + (names ? PyTuple_GET_SIZE(names) : 0) > 1
        || (names && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "n") != 0)) {
        PyErr_SetString(PyExc_TypeError, "notify() takes one argument, n");
        return NULL;
    }
    if ((count || names) && how_many(args[0], &n) < 0)
        return NULL;
    return notify(op, n);
}

static PyObject *condition_notify_all(PyObject *op, PyObject *unused)
{
    (void)unused;
    if (((ConditionObject *)op)->own_notify)
        return none_of(PyObject_CallMethod(op, "notify", "l", ((ConditionObject *)op)->queue.waiting));
    return notify(op, LONG_MAX);
}

static PyObject *condition_enter(PyObject *op, PyObject *unused)
{
    ConditionObject *self = (ConditionObject *)op;

    if (no_lock(self) < 0)
        return NULL;
    PyObject *lock = Py_NewRef(self->lock);
    PyObject *result = self->kind == LOCK    ? lock_enter(lock, unused)
                       : self->kind == RLOCK ? rlock_enter(lock, unused)
                                             : PyObject_CallMethod(lock, "__enter__", NULL);
    Py_DECREF(lock);
    return result;
}

static PyObject *condition_exit(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    ConditionObject *self = (ConditionObject *)op;

    if (no_lock(self) < 0)
        return NULL;
    if (self->kind == LOCK)
        return lock_release(self->lock, NULL);
    if (self->kind == RLOCK)
        return rlock_release(self->lock, NULL);
    PyObject *exit = PyObject_GetAttrString(self->lock, "__exit__"), *result = NULL;
    if (exit) {
        result = PyObject_Vectorcall(exit, args, (size_t)count, NULL);
        Py_DECREF(exit);
    }
    return result;
}

static PyObject *condition_lock(PyObject *op, void *unused)
{
    (void)unused;
    ConditionObject *self = (ConditionObject *)op;
    return no_lock(self) < 0 ? NULL : Py_NewRef(self->lock);
}

static PyObject *condition_of_lock(PyObject *op, void *name)
{
    ConditionObject *self = (ConditionObject *)op;
    return no_lock(self) < 0 ? NULL : PyObject_GetAttrString(self->lock, name);
}

static PyObject *condition_waiting(PyObject *op, void *unused)
{
    ConditionObject *self = (ConditionObject *)op;

    (void)unused;
    sync_queue_lock(&self->queue);
    long waiting = self->queue.waiting;
    sync_queue_unlock(&self->queue);
    return PyLong_FromLong(waiting);
}

static int condition_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((ConditionObject *)op)->lock);
    return 0;
}

static int condition_clear(PyObject *op)
{
    Py_CLEAR(((ConditionObject *)op)->lock);
    return 0;
}

static void condition_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    condition_clear(op);
    simple_dealloc(op);
}

static PyMethodDef condition_methods[] = {
    {"wait", FAST(condition_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait($self, /, timeout=None)\n--\n\n"
     "Gives the lock up, sleeps until notified or for timeout seconds, takes the lock back; whether it was notified.\n"
     "RuntimeError: the lock isn't held.  As threading.Condition.wait."},
    {"notify", FAST(condition_notify), METH_FASTCALL | METH_KEYWORDS,
     "notify($self, /, n=1)\n--\n\n"
     "Lets the n that have waited longest go on, as soon as they can have the lock.  RuntimeError: the lock isn't held."},
    {"notify_all", condition_notify_all, METH_NOARGS,
     "notify_all($self, /)\n--\n\nLets all sleepers go on, one after the other.  RuntimeError: the lock isn't held."},
    {"__enter__", condition_enter, METH_NOARGS, NULL},
    {"__exit__", FAST(condition_exit), METH_FASTCALL, NULL},
    {"_begin", condition_begin, METH_O, NULL},
    {0},
};

static PyGetSetDef condition_attributes[] = {
    {"_lock", condition_lock, NULL, "The lock.", NULL},
    {"acquire", condition_of_lock, NULL, "The lock's acquire.", "acquire"},
    {"release", condition_of_lock, NULL, "The lock's release.", "release"},
    {"_waiting", condition_waiting, NULL, "How many wait and are not notified.", NULL},
    {0},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_new, any_new},
    {Py_tp_dealloc, condition_dealloc},
    {Py_tp_traverse, condition_traverse},
    {Py_tp_clear, condition_clear},
    {Py_tp_methods, condition_methods},
    {Py_tp_getset, condition_attributes},
    {0, NULL},
};

/* ---- Barrier -------------------------------------------------------------------------------------------------------------- */

/*   FILLING   threads come and sleep; the last one changes the state
 *   ACTING    all have come, the last one runs the action; who comes now waits at the entrance
 *   DRAINING  let go; who comes now waits at the entrance until all have left
 *   RESETTING reset() with threads inside: they leave with BrokenBarrierError, then it fills again
 *   BROKEN    until reset()
 *
 *   FILLING -> ACTING -> DRAINING -> FILLING      FILLING, BROKEN -> RESETTING -> FILLING      any -> BROKEN */
enum barrier_state { FILLING, ACTING, DRAINING, RESETTING, BROKEN };

typedef struct {
    PyObject_HEAD
    struct sync_queue inside;   /* its lock guards state and count */
    struct sync_queue entrance;
    enum barrier_state state;
    long count, parties;        /* inside, sleeping or leaving; how many it takes */
    PyObject *action, *timeout, *broken_error;
} BarrierObject;

static PyObject *barrier_begin(PyObject *op, PyObject *args)
{
    BarrierObject *self = (BarrierObject *)op;
    PyObject *action, *timeout, *error;

    if (!PyArg_ParseTuple(args, "lOOO:_begin", &self->parties, &action, &timeout, &error))
        return NULL;
    Py_XSETREF(self->action, Py_NewRef(action));
    Py_XSETREF(self->timeout, Py_NewRef(timeout));
    Py_XSETREF(self->broken_error, Py_NewRef(error));
    Py_RETURN_NONE;
}

static PyObject *barrier_is_broken(BarrierObject *self)
{
    PyErr_SetNone(self->broken_error ? self->broken_error : PyExc_RuntimeError);
    return NULL;
}

static void barrier_open_entrance(BarrierObject *self)
{
    sync_queue_lock(&self->entrance);
    sync_queue_grant_unlock(&self->entrance, LONG_MAX);
}

/* With the state locked: everybody inside is let go to see the new state.  Unlocks. */
static void barrier_change_unlock(BarrierObject *self, enum barrier_state state)
{
    self->state = state;
    sync_queue_grant_unlock(&self->inside, LONG_MAX);
    if (state == BROKEN)
        barrier_open_entrance(self);
}

static void barrier_leave(BarrierObject *self)
{
    sync_queue_lock(&self->inside);
    int open = --self->count == 0 && (self->state == DRAINING || self->state == RESETTING);
    if (open)
        self->state = FILLING;
    sync_queue_unlock(&self->inside);
    if (open)
        barrier_open_entrance(self);
}

/* Goes in: the index of arrival, -1 with an exception. */
static long barrier_enter(BarrierObject *self)
{
    struct sync_place place;
    int baton;

    for (;;) {
        sync_queue_lock(&self->inside);
        if (self->state == FILLING) {
            long index = self->count++;
            if (self->count == self->parties)
                self->state = ACTING;
            sync_queue_unlock(&self->inside);
            return index;
        }
        if (self->state == BROKEN) {
            sync_queue_unlock(&self->inside);
            barrier_is_broken(self);
            return -1;
        }
        /* Into the queue while the state is locked, so that the opening can't be missed.  Order: inside, entrance. */
        sync_queue_lock(&self->entrance);
        sync_queue_enter(&self->entrance, &place);
        sync_queue_unlock(&self->entrance);
        sync_queue_unlock(&self->inside);
        enum outcome outcome = sleep_in(&self->entrance, &place, PARK_FOREVER, &baton);
        if (baton)
            sync_queue_pass_baton(&self->entrance);
        if (outcome == RAISED || outcome == RAISED_ENTITLED)
            return -1;
    }
}

/* The last to come: runs the action and lets all go. 0, or -1 with an exception. */
static int barrier_act(BarrierObject *self)
{
    PyObject *action = Py_NewRef(self->action ? self->action : Py_None);
    PyObject *result = action != Py_None ? PyObject_CallNoArgs(action) : Py_NewRef(Py_None);

    Py_DECREF(action);
    sync_queue_lock(&self->inside);
    int aborted = self->state != ACTING; /* by abort() or reset() in the action or beside it */
    barrier_change_unlock(self, !result ? BROKEN : aborted ? self->state : DRAINING);
    if (result && aborted)
        barrier_is_broken(self);
    Py_XDECREF(result);
    return result && !aborted ? 0 : -1;
}

/* Sleeps until let go. 0, or -1 with an exception. */
static int barrier_sleep(BarrierObject *self, PyObject *timeout)
{
    struct sync_place place;
    int64_t deadline;
    int baton;

    if (wait_deadline(timeout, &deadline) < 0)
        return -1;
    for (;;) {
        sync_queue_lock(&self->inside);
        enum barrier_state state = self->state;
        if (state == DRAINING || state == BROKEN || state == RESETTING) {
            sync_queue_unlock(&self->inside);
            return state == DRAINING ? 0 : (barrier_is_broken(self), -1);
        }
        sync_queue_enter(&self->inside, &place);
        sync_queue_unlock(&self->inside);
        enum outcome outcome = sleep_in(&self->inside, &place, deadline, &baton);
        if (baton)
            sync_queue_pass_baton(&self->inside);
        if (outcome == RAISED || outcome == RAISED_ENTITLED)
            return -1; /* as in stock the others go on waiting, now for one more */
        if (outcome == ENTITLED)
            continue;
        sync_queue_lock(&self->inside);
        if (self->state == FILLING) { /* not complete in time: it breaks for all */
            barrier_change_unlock(self, BROKEN);
            barrier_is_broken(self);
            return -1;
        }
        sync_queue_unlock(&self->inside);
        deadline = PARK_FOREVER; /* complete: the action won't take for ever */
    }
}

static PyObject *barrier_wait(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    BarrierObject *self = (BarrierObject *)op;
    PyObject *timeout = self->timeout ? self->timeout : Py_None;

    if (count + (names ? PyTuple_GET_SIZE(names) : 0) > 1
        || (names && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0)) {
        PyErr_SetString(PyExc_TypeError, "wait() takes one argument, timeout");
        return NULL;
    }
    if ((count || names) && args[0] != Py_None)
        timeout = args[0];
    Py_INCREF(timeout);
    long index = barrier_enter(self);
    int failed = -1;
    if (index >= 0) {
        failed = index + 1 == self->parties ? barrier_act(self) : barrier_sleep(self, timeout);
        barrier_leave(self);
    }
    Py_DECREF(timeout);
    return failed < 0 ? NULL : PyLong_FromLong(index);
}

static PyObject *barrier_reset(PyObject *op, PyObject *unused)
{
    BarrierObject *self = (BarrierObject *)op;

    (void)unused;
    sync_queue_lock(&self->inside);
    if (self->count == 0)
        barrier_change_unlock(self, FILLING);
    else if (self->state == DRAINING)
        sync_queue_unlock(&self->inside); /* they leave, and it fills again */
    else
        barrier_change_unlock(self, RESETTING);
    Py_RETURN_NONE;
}

static PyObject *barrier_abort(PyObject *op, PyObject *unused)
{
    BarrierObject *self = (BarrierObject *)op;

    (void)unused;
    sync_queue_lock(&self->inside);
    barrier_change_unlock(self, BROKEN);
    Py_RETURN_NONE;
}

static PyObject *barrier_parties(PyObject *op, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((BarrierObject *)op)->parties);
}

static PyObject *barrier_waiting(PyObject *op, void *unused)
{
    BarrierObject *self = (BarrierObject *)op;
    (void)unused;
    return PyLong_FromLong(self->state == FILLING || self->state == ACTING ? self->count : 0);
}

static PyObject *barrier_broken(PyObject *op, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((BarrierObject *)op)->state == BROKEN);
}

static int barrier_traverse(PyObject *op, visitproc visit, void *arg)
{
    BarrierObject *self = (BarrierObject *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->action);
    Py_VISIT(self->timeout);
    Py_VISIT(self->broken_error);
    return 0;
}

static int barrier_clear(PyObject *op)
{
    BarrierObject *self = (BarrierObject *)op;

    Py_CLEAR(self->action);
    Py_CLEAR(self->timeout);
    Py_CLEAR(self->broken_error);
    return 0;
}

static void barrier_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    barrier_clear(op);
    simple_dealloc(op);
}

static PyMethodDef barrier_methods[] = {
    {"wait", FAST(barrier_wait), METH_FASTCALL | METH_KEYWORDS,
     "wait($self, /, timeout=None)\n--\n\n"
     "Sleeps until all parties have come; an index from 0 to parties-1, another for each.  BrokenBarrierError: the time was up\n"
     "for one of them, the action raised, or it was aborted or reset.  As threading.Barrier.wait."},
    {"reset", barrier_reset, METH_NOARGS, "reset($self, /)\n--\n\nMakes it as new; who sleeps in it gets BrokenBarrierError."},
    {"abort", barrier_abort, METH_NOARGS, "abort($self, /)\n--\n\nBreaks it: who sleeps in it or comes gets BrokenBarrierError."},
    {"_begin", barrier_begin, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef barrier_attributes[] = {
    {"parties", barrier_parties, NULL, "How many threads it takes.", NULL},
    {"n_waiting", barrier_waiting, NULL, "How many are in it and wait.", NULL},
    {"broken", barrier_broken, NULL, "Whether it is broken.", NULL},
    {0},
};

static PyType_Slot barrier_slots[] = {
    {Py_tp_new, any_new},
    {Py_tp_dealloc, barrier_dealloc},
    {Py_tp_traverse, barrier_traverse},
    {Py_tp_clear, barrier_clear},
    {Py_tp_methods, barrier_methods},
    {Py_tp_getset, barrier_attributes},
    {0, NULL},
};

/* ---- the module ----------------------------------------------------------------------------------------------------------- */

/* To 3.12 threading.Lock is a function and its type can't be called, from 3.13 on it is the type. */
static PyObject *allocate_lock(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return lock_type->tp_alloc(lock_type, 0);
}

static PyMethodDef functions[] = {
    {"allocate_lock", allocate_lock, METH_NOARGS, "allocate_lock($module, /)\n--\n\nA new lock; _thread.allocate_lock."},
    {0},
};

enum {
#if PY_VERSION_HEX < 0x030d0000
    FINAL = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
#else
    FINAL = Py_TPFLAGS_DEFAULT,
#endif
    BASE = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
};

static PyType_Spec specs[] = {
    {"_thread.lock", sizeof(LockObject), 0, FINAL, lock_slots}, /* the names that libraries and reprs know */
    {"_thread.RLock", sizeof(RLockObject), 0, BASE, rlock_slots},
    {"runtime.native.EventBase", sizeof(EventObject), 0, BASE, event_slots},
    {"runtime.native.SemaphoreBase", sizeof(SemaphoreObject), 0, BASE, semaphore_slots},
    {"runtime.native.ConditionBase", sizeof(ConditionObject), 0, BASE | Py_TPFLAGS_HAVE_GC, condition_slots},
    {"runtime.native.BarrierBase", sizeof(BarrierObject), 0, BASE | Py_TPFLAGS_HAVE_GC, barrier_slots},
};

int python_add_sync(PyObject *module)
{
    PyTypeObject *types[sizeof specs / sizeof *specs];

    if (sync_init() != 0)
        return -1;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        types[i] = (PyTypeObject *)PyType_FromModuleAndSpec(module, &specs[i], NULL);
        if (!types[i] || PyModule_AddType(module, types[i]) < 0) /* as lock, RLock, EventBase ... */
            return -1;
    }
    lock_type = types[0];
    rlock_type = types[1];
    semaphore_type = types[3];
    condition_type = types[4];
    return PyModule_AddFunctions(module, functions);
}
