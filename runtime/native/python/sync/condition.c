/* Condition: a queue, and a lock that is given up while one sleeps in it. */
#include "kernel/base/events.h"
#include "python/args.h"
#include "python/waits/cancel.h"
#include "python/sync/common.h"
#include "python/sync/waiters.h"
#include "python/sync/lock.h"
#include "python/room.h"
#include "python/threads/sleep.h"

#include <limits.h>

typedef struct {
    PyObject_HEAD
    struct sync_queue own_queue;
    PyObject *original;       /* of which it is a copy, so that it uses the queue of that; or NULL */
    _Atomic(PyObject *) lock; /* the runtime's, or any object with acquire and release; NULL: __init__() was not called */
    PyObject *former_locks;   /* which __init__(), called again, has replaced: a list, or NULL */
} ConditionObject;

enum lock_kind { OTHER, LOCK, RLOCK };

PyTypeObject *condition_type;

/* Borrowed.  A call asks once and goes on with what it got, because __init__() may replace the lock meanwhile. */
static PyObject *lock_of(PyObject *op)
{
    PyObject *lock = atomic_load_explicit(&((ConditionObject *)op)->lock, memory_order_acquire);
    return lock ? lock : Py_None;
}

static struct sync_queue *queue_of(PyObject *op)
{
    PyObject *original = ((ConditionObject *)op)->original;
    return &((ConditionObject *)(original ? original : op))->own_queue;
}

static enum lock_kind kind_of(PyObject *lock)
{
    return Py_IS_TYPE(lock, rlock_type) ? RLOCK : Py_IS_TYPE(lock, lock_type) ? LOCK : OTHER;
}

static PyObject *condition_begin(PyObject *op, PyObject *lock)
{
    ConditionObject *self = (ConditionObject *)op;

    PyObject *needed[] = {NAME("acquire"), NAME("release")};
    for (int i = 0; kind_of(lock) == OTHER && i < 2; i++) {
        PyObject *method = get_attribute(lock, needed[i]);
        if (!method)
            return NULL;
        Py_DECREF(method);
    }
    return replace_reference(op, &self->lock, lock, &self->former_locks) < 0 ? NULL : Py_NewRef(Py_None);
}

/* A copy shares the lock and the waiters, as a copy of threading's does. */
static PyObject *condition_copy(PyObject *op, PyObject *args)
{
    ConditionObject *self = (ConditionObject *)op, *original;

    if (!PyArg_ParseTuple(args, "O!:_copy", condition_type, &original))
        return NULL;
    if (atomic_load(&self->lock))
        return PyErr_Format(PyExc_TypeError, "a Condition that has been in use can't become a copy");
    self->original = Py_NewRef(original->original ? original->original : (PyObject *)original);
    return condition_begin(op, lock_of((PyObject *)original));
}

PyObject *condition_lock(PyObject *op)
{
    PyObject *lock = lock_of(op);
    return kind_of(lock) != OTHER ? lock : NULL;
}

/* Whether the caller owns the lock: 1, 0, or -1 with an exception.  For a lock that isn't the runtime's, `_is_owned` decides. */
static int is_owned(PyObject *op, PyObject *lock)
{
    enum lock_kind kind = kind_of(lock);

    if (kind == LOCK)
        return sync_lock_held(&((LockObject *)lock)->lock); /* any thread may release a Lock, so it only must be held */
    if (kind == RLOCK)
        return rlock_is_mine((RLockObject *)lock);
    PyObject *answer = call_method(op, NAME("_is_owned"), NULL);
    int result = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return result;
}

/* 0, or -1 with an exception: the caller doesn't own the lock, or that can't be told. */
static int must_own(PyObject *op, PyObject *lock, const char *to_do)
{
    int mine = is_owned(op, lock);

    if (mine == 0)
        PyErr_Format(PyExc_RuntimeError, "cannot %s on un-acquired lock", to_do);
    return mine > 0 ? 0 : -1;
}

/* The lock that a waiter gives up.  It takes the same one back, even if __init__() has given the Condition another meanwhile. */
struct given_up {
    enum lock_kind kind;
    PyObject *lock;
    struct sync_lock *ours; /* LOCK, RLOCK: released just before the GIL, for the sleep */
    unsigned long depth;    /* RLOCK */
    PyObject *state;        /* OTHER: what _release_save has returned */
};

static struct given_up what_to_give_up(PyObject *lock)
{
    struct given_up what = {.kind = kind_of(lock), .lock = Py_NewRef(lock)};

    if (what.kind != OTHER)
        what.ours = &((LockObject *)what.lock)->lock;
    return what;
}

static int give_up(PyObject *op, struct given_up *what)
{
    if (what->kind == LOCK)
        lock_disown((LockObject *)what->lock);
    else if (what->kind == RLOCK) {
        what->depth = rlock_depth((RLockObject *)what->lock);
        rlock_disown((RLockObject *)what->lock);
    } else if (what->kind == OTHER && !(what->state = call_method(op, NAME("_release_save"), NULL))) {
        Py_DECREF(what->lock);
        return -1;
    }
    return 0;
}

/* 1, or -1 with an exception: a Lock is not taken then, an RLock is.  The baton is passed once the lock is taken.  Then the next
 * waiter, which needs the lock too, is woken when the lock is about to be released; woken before, it would only sleep for the lock. */
static int take_back(PyObject *op, struct given_up *what, int baton, int interrupted)
{
    struct sync_queue *queue = queue_of(op);
    int taken;

    if (what->kind == OTHER) {
        if (baton) /* first, because `_acquire_restore` may run any Python code, which may itself wait for this condition */
            sync_queue_pass_baton(queue);
        PyObject *none = call_method(op, NAME("_acquire_restore"), what->state);
        taken = none ? 1 : -1;
        Py_XDECREF(none);
        Py_DECREF(what->state);
    } else {
        taken = lock_take_back((LockObject *)what->lock, queue, &baton, interrupted);
        if (taken == 1 && what->kind == RLOCK)
            rlock_set_depth((RLockObject *)what->lock, what->depth);
        else if (what->kind == RLOCK)
            rlock_take_raising((RLockObject *)what->lock, what->depth);
        if (baton)
            sync_queue_pass_baton(queue);
    }
    Py_DECREF(what->lock);
    return taken;
}

static PyObject *condition_wait(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct sync_queue *queue = queue_of(op);
    struct sync_place place;
    PyObject *raised = NULL, *given;
    int64_t deadline = PARK_FOREVER;
    int baton;
    PyObject *lock = lock_of(op);

    if (args_one("wait", "timeout", args, count, names, &given) < 0 || must_own(op, lock, "wait") < 0
        || (given && args_wait_deadline(given, &deadline) < 0))
        return NULL;
    /* Enter the queue before the lock is given up: a thread that then takes the lock and notifies must find this thread there. */
    struct given_up what = what_to_give_up(lock);
    sync_queue_lock(queue);
    sync_queue_enter(queue, &place, what.ours);
    sync_queue_unlock(queue);
    if (give_up(op, &what) < 0) {
        sync_queue_leave(queue, &place, &baton);
        if (baton)
            sync_queue_pass_baton(queue);
        return NULL;
    }
    Py_INCREF(op);
    enum outcome outcome = python_sleep_in_queue(op, queue, &place, what.ours, deadline, &baton);
    if (outcome == RAISED || outcome == RAISED_ENTITLED)
        raised = PyErr_GetRaisedException();
    cancel_hold(); /* the lock is taken back as after any exception, and a cancellation that comes now waits for the next point */
    int taken = take_back(op, &what, baton, place.interrupted);
    cancel_let();
    if (outcome == RAISED_ENTITLED || (outcome == ENTITLED && taken < 0)) { /* pass the notification on, or it would be lost */
        sync_queue_lock(queue);
        sync_queue_grant_unlock(queue, 1);
    }
    Py_DECREF(op);
    if (taken < 0) {
        Py_XDECREF(raised);
        return NULL;
    }
    if (!raised)
        return PyBool_FromLong(outcome == ENTITLED);
    PyErr_SetRaisedException(raised);
    return NULL;
}

static PyObject *notify_waiters(PyObject *op, long n)
{
    struct sync_queue *queue = queue_of(op);

    if (must_own(op, lock_of(op), "notify") < 0)
        return NULL;
    if (n > 0) {
        sync_queue_lock(queue);
        long granted = sync_queue_grant(queue, n);
        sync_queue_unlock_and_wake(queue);
        if (!granted)
            EVENT(EVENT_UNHEARD, op, 0);
    }
    Py_RETURN_NONE;
}

static PyObject *condition_notify(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *given;
    long n = 1;

    if (args_one("notify", "n", args, count, names, &given) < 0 || (given && args_count(given, &n) < 0))
        return NULL;
    return notify_waiters(op, n);
}

static PyObject *condition_notify_all(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return notify_waiters(op, LONG_MAX);
}

static PyObject *condition_enter(PyObject *op, PyObject *unused)
{
    PyObject *lock = lock_of(op);
    enum lock_kind kind = kind_of(lock);

    return kind == LOCK    ? lock_enter(lock, unused)
           : kind == RLOCK ? rlock_enter(lock, unused)
                           : call_method(lock, NAME("__enter__"), NULL);
}

static PyObject *condition_exit(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *lock = lock_of(op), *exit;
    enum lock_kind kind = kind_of(lock);

    if (kind != OTHER)
        return kind == LOCK ? lock_release(lock, NULL) : rlock_release(lock, NULL);
    if (!(exit = get_attribute(lock, NAME("__exit__"))))
        return NULL;
    PyObject *result = PyObject_Vectorcall(exit, args, (size_t)count, names);
    Py_DECREF(exit);
    return result;
}

GETTER(condition_get_lock, Py_NewRef(lock_of(op)))

static PyObject *condition_get_waiters(PyObject *op, void *Py_UNUSED(unused))
{
    struct sync_queue *queue = queue_of(op);

    sync_queue_lock(queue);
    long waiting = queue->waiting;
    sync_queue_unlock(queue);
    return PyObject_CallFunction((PyObject *)&PyRange_Type, "l", waiting);
}

/* acquire, release and locked are methods and not getters: so an attribute of that name that a program gives an object comes first, as
 * with threading's. */
static PyObject *of_lock(PyObject *op, PyObject *name, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *method = get_attribute(lock_of(op), name);
    PyObject *result = method ? PyObject_Vectorcall(method, args, (size_t)count, names) : NULL;

    Py_XDECREF(method);
    return result;
}

static PyObject *condition_acquire(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *lock = lock_of(op);
    enum lock_kind kind = kind_of(lock);

    if (kind == OTHER)
        return of_lock(op, NAME("acquire"), args, count, names);
    return (kind == LOCK ? lock_acquire : rlock_acquire)(lock, args, count, names);
}

static PyObject *condition_release(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *lock = lock_of(op);
    enum lock_kind kind = kind_of(lock);

    if (kind == OTHER || count || names)
        return of_lock(op, NAME("release"), args, count, names);
    return (kind == LOCK ? lock_release : rlock_release)(lock, NULL);
}

static PyObject *condition_locked(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return of_lock(op, NAME("locked"), args, count, names);
}

REFERENCES(condition, ConditionObject, original, former_locks)

static PyMethodDef condition_methods[] = {
    KEYWORDS("wait", condition_wait,
             "wait($self, /, timeout=None)\n--\n\n"
             "Gives the lock up, sleeps until notified or for timeout seconds (None: no limit), takes the lock back; whether it was\n"
             "notified.  As threading.Condition.wait.  RuntimeError: the lock isn't held."),
    KEYWORDS(
        "notify", condition_notify,
        "notify($self, /, n=1)\n--\n\n"
        "Lets the n threads that have waited longest go on, as soon as they can take the lock.  RuntimeError: the lock isn't held."),
    {"notify_all", condition_notify_all, METH_NOARGS,
     "notify_all($self, /)\n--\n\nLets all waiters go on, one after the other.  RuntimeError: the lock isn't held."},
    KEYWORDS("acquire", condition_acquire, "The lock's acquire."),
    KEYWORDS("release", condition_release, "The lock's release."),
    {"__enter__", condition_enter, METH_NOARGS, NULL},
    KEYWORDS("__exit__", condition_exit, NULL),
    {"_begin", condition_begin, METH_O, NULL},
    {"_copy", condition_copy, METH_VARARGS, NULL},
    KEYWORDS(CONDITION_HAS_LOCKED ? "locked" : NULL, condition_locked, "The lock's locked."), /* NULL ends the table */
    {0},
};

static PyGetSetDef condition_attributes[] = {
    {"_lock", condition_get_lock, takes_no_attribute, "The lock.", "_lock"},
    {"_waiters", condition_get_waiters, takes_no_attribute, "A range with as many items as threads wait and are not notified.",
     "_waiters"},
    {0},
};

TYPE_SPEC(condition, "runtime.native.ConditionBase", ConditionObject, Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
          {Py_tp_new, unless_replaced_new}, REFERENCE_SLOTS(condition), {Py_tp_methods, condition_methods},
          {Py_tp_getset, condition_attributes});

const struct entries entries_condition = {.spec = &condition_spec, .type = &condition_type, .derivable = 1};
