/* Semaphore: a count, and the queue of threads that sleep until it is above 0. */
#include "python/args.h"
#include "python/sync/common.h"
#include "python/sync/waiters.h"
#include "python/room.h"
#include "python/threads/sleep.h"
#include "python/waits/waitable.h"

#include <errno.h>
#include <limits.h>

typedef struct {
    PyObject_HEAD
    struct sync_queue queue;
    atomic_long value;
    atomic_long bound; /* BoundedSemaphore: the value at the start; otherwise LONG_MAX */
    atomic_int bounded;
} SemaphoreObject;

PyTypeObject *semaphore_type;

/* The value is the semaphore's count, or ASK: a thread may sleep, so a release must look at the queue.  A count is changed by
 * compare-and-swap without the queue's lock; ASK is set and replaced with it.  A thread sets ASK before it sleeps, so a release that
 * finds a count knows that no thread sleeps.  When the last waiter has left, the value stays ASK, and the next release replaces it.
 * LONG_MAX: a count without end. */
enum { ASK = -1 };

/* Takes one, if the value is a count above 0. *value is what was seen last. */
static int semaphore_try(SemaphoreObject *self, long *value)
{
    *value = atomic_load_explicit(&self->value, memory_order_relaxed);
    do {
        if (*value <= 0)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&self->value, value, *value - (*value != LONG_MAX), memory_order_acquire,
                                                    memory_order_relaxed));
    return 1;
}

long semaphore_count(PyObject *op)
{
    long value = atomic_load_explicit(&((SemaphoreObject *)op)->value, memory_order_relaxed);

    return value == ASK ? 0 : value;
}

/* Adds n.  0, or ERANGE: that would be more than the bound. */
static int semaphore_give(SemaphoreObject *self, long n)
{
    long value = atomic_load_explicit(&self->value, memory_order_relaxed);

    long bound = atomic_load_explicit(&self->bound, memory_order_relaxed);

    for (;;) {
        if (bound != LONG_MAX && n > bound - (value == ASK ? 0 : value))
            return ERANGE;
        if (value != ASK) {
            long sum = n < LONG_MAX - value ? value + n : LONG_MAX;
            if (atomic_compare_exchange_weak_explicit(&self->value, &value, sum, memory_order_release, memory_order_relaxed))
                return 0;
            continue;
        }
        sync_queue_lock(&self->queue);
        if ((value = atomic_load_explicit(&self->value, memory_order_relaxed)) == ASK)
            break;
        sync_queue_unlock(&self->queue); /* another release has replaced ASK meanwhile: begin again */
    }
    /* The grant comes before the count is written.  A child forked in between has a waiter that goes on waiting (its own thread, if it
     * forked in a signal handler).  If it found a count there, its releases would wake no thread.  (os.fork(), which has the GIL, can't
     * come in between.) */
    long granted = sync_queue_grant(&self->queue, n);
    if (self->queue.waiting == 0)
        atomic_store_explicit(&self->value, n == LONG_MAX ? n : n - granted, memory_order_release);
    sync_queue_unlock_and_wake(&self->queue);
    return 0;
}

/* With the queue's lock.  0: ASK is set, and the caller may enter the queue; 1: there is one to take. */
static int semaphore_ask(SemaphoreObject *self)
{
    long value = atomic_load_explicit(&self->value, memory_order_relaxed);

    while (value != ASK)
        if (value > 0)
            return 1;
        else if (atomic_compare_exchange_weak_explicit(&self->value, &value, ASK, memory_order_relaxed, memory_order_relaxed))
            break;
    return 0;
}

/* 1 taken, 0 not in time, -1 with an exception.  timeout: read only if the count is 0, as in threading's; NULL: doesn't wait. */
static int semaphore_take(SemaphoreObject *self, PyObject *timeout)
{
    struct sync_place place;
    int64_t deadline;
    long value;

    if (semaphore_try(self, &value))
        return 1;
    if (!timeout)
        return 0;
    if (args_wait_deadline(timeout, &deadline) < 0) /* without the queue's lock, because its conversion may run Python */
        return -1;
    sync_queue_lock(&self->queue);
    do {
        if (semaphore_try(self, &value) || deadline == 0) {
            sync_queue_unlock(&self->queue);
            return value > 0;
        }
    } while (value != ASK
             && !atomic_compare_exchange_weak_explicit(&self->value, &value, ASK, memory_order_relaxed, memory_order_relaxed));
    sync_queue_enter(&self->queue, &place, NULL);
    sync_queue_unlock(&self->queue);
    enum outcome outcome = python_sleep_in_queue((PyObject *)self, &self->queue, &place, NULL, deadline, NULL);
    if (outcome == RAISED_ENTITLED)
        semaphore_give(self, 1);
    return outcome == ENTITLED ? 1 : outcome == LEFT ? 0 : -1;
}

/* ---- among several things ---------------------------------------------------------------------------------------- */

static int look_at_semaphore(const struct thing *thing)
{
    return semaphore_count(thing->object) > 0;
}

static int take_semaphore(struct thing *thing)
{
    long value;

    return semaphore_try((SemaphoreObject *)thing->object, &value);
}

static void give_semaphore_back(struct thing *thing)
{
    semaphore_give((SemaphoreObject *)thing->object, 1);
}

static int enter_semaphore(struct thing *thing, struct sync_any *any)
{
    SemaphoreObject *self = (SemaphoreObject *)thing->object;

    sync_queue_lock(&self->queue);
    int enters = !semaphore_ask(self);
    if (enters)
        sync_queue_enter_any(&self->queue, &thing->place, any);
    sync_queue_unlock(&self->queue);
    return enters;
}

static int leave_semaphore(struct thing *thing)
{
    return thing_leave_queue(thing, &((SemaphoreObject *)thing->object)->queue);
}

const struct waitable semaphore_waitable = {
    .look = look_at_semaphore,
    .take = take_semaphore,
    .give_back = give_semaphore_back,
    .enter = enter_semaphore,
    .leave = leave_semaphore,
};

/* ---- its methods ------------------------------------------------------------------------------------------------- */

static PyObject *semaphore_acquire(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *given[2] = {Py_True, Py_None};

    if ((count || names) && args_two("blocking", args, count, names, given) < 0)
        return NULL;
    int block = PyObject_IsTrue(given[0]);
    if (block < 0)
        return NULL;
    if (!block && given[1] != Py_None)
        return PyErr_Format(PyExc_ValueError, "can't specify timeout for non-blocking acquire");
    int taken = semaphore_take((SemaphoreObject *)op, block ? given[1] : NULL);
    return taken < 0 ? NULL : PyBool_FromLong(taken);
}

static PyObject *semaphore_release(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *given;
    long n = 1;

    if (args_one("release", "n", args, count, names, &given) < 0 || (given && args_count(given, &n) < 0))
        return NULL;
    if (n < 1)
        return PyErr_Format(PyExc_ValueError, "n must be one or more");
    if (semaphore_give((SemaphoreObject *)op, n) != 0)
        return PyErr_Format(PyExc_ValueError, "Semaphore released too many times");
    Py_RETURN_NONE;
}

static PyObject *semaphore_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return semaphore_take((SemaphoreObject *)op, Py_None) < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *semaphore_exit(PyObject *op, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(count), PyObject *Py_UNUSED(names))
{
    return semaphore_release(op, NULL, 0, NULL);
}

static PyObject *semaphore_begin(PyObject *op, PyObject *args)
{
    SemaphoreObject *self = (SemaphoreObject *)op;
    PyObject *number;
    long value;
    int bounded;

    if (!PyArg_ParseTuple(args, "Op:_begin", &number, &bounded) || args_count(number, &value) < 0)
        return NULL;
    if (value < 0)
        return PyErr_Format(PyExc_ValueError, "semaphore initial value must be >= 0");
    atomic_store(&self->value, value);
    self->bound = bounded ? value : LONG_MAX;
    self->bounded = bounded;
    Py_RETURN_NONE;
}

static PyObject *semaphore_copy(PyObject *op, PyObject *args)
{
    SemaphoreObject *self = (SemaphoreObject *)op, *original;

    if (!PyArg_ParseTuple(args, "O!:_copy", semaphore_type, &original))
        return NULL;
    atomic_store(&self->value, semaphore_count((PyObject *)original));
    atomic_store(&self->bound, original->bound);
    atomic_store(&self->bounded, original->bounded);
    Py_RETURN_NONE;
}

GETTER(semaphore_get_value, PyLong_FromLong(semaphore_count(op)))

static int semaphore_set_value(PyObject *op, PyObject *number, void *Py_UNUSED(unused))
{
    SemaphoreObject *self = (SemaphoreObject *)op;
    long value;

    if (!number)
        no_attribute(op, "_value");
    if (!number || args_count(number, &value) < 0)
        return -1;
    if (value < 0)
        return refuse(PyExc_ValueError, "a semaphore's value must be >= 0");
    sync_queue_lock(&self->queue);
    value -= value ? sync_queue_grant(&self->queue, value) : 0;
    atomic_store(&self->value, self->queue.waiting ? ASK : value);
    sync_queue_unlock_and_wake(&self->queue);
    return 0;
}

static PyObject *semaphore_get_bound(PyObject *op, void *Py_UNUSED(unused))
{
    SemaphoreObject *self = (SemaphoreObject *)op;

    return self->bounded ? PyLong_FromLong(self->bound) : no_attribute(op, "_initial_value");
}

static int semaphore_set_bound(PyObject *op, PyObject *number, void *Py_UNUSED(unused))
{
    SemaphoreObject *self = (SemaphoreObject *)op;
    long bound;

    if (!self->bounded || !number)
        return takes_no_attribute(op, NULL, "_initial_value");
    if (args_count(number, &bound) < 0)
        return -1;
    self->bound = bound;
    return 0;
}

static PyMethodDef semaphore_methods[] = {
    KEYWORDS("acquire", semaphore_acquire,
             "acquire($self, /, blocking=True, timeout=None)\n--\n\n"
             "Takes one; sleeps while there is none, at most timeout seconds (None: no limit).  Whether one was taken.  With\n"
             "blocking=False it doesn't sleep.  As threading.Semaphore.acquire.\n\n"
             "ValueError: a timeout without blocking.  OverflowError: one above threading.TIMEOUT_MAX."),
    KEYWORDS("release", semaphore_release,
             "release($self, /, n=1)\n--\n\n"
             "Gives n back; the threads that have waited longest get them first.  As threading.Semaphore.release.\n\n"
             "ValueError: n is less than one; for a BoundedSemaphore, it would have more than at first."),
    {"__enter__", semaphore_enter, METH_NOARGS, NULL},
    KEYWORDS("__exit__", semaphore_exit, NULL),
    {"_begin", semaphore_begin, METH_VARARGS, NULL},
    {"_copy", semaphore_copy, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef semaphore_attributes[] = {
    {"_cond", no_attribute, takes_no_attribute, NULL, "_cond"},
    {"_value", semaphore_get_value, semaphore_set_value, "How many can be taken.", NULL},
    {"_initial_value", semaphore_get_bound, semaphore_set_bound, "A BoundedSemaphore's bound.", NULL},
    {0},
};

TYPE_SPEC(semaphore, "runtime.native.SemaphoreBase", SemaphoreObject, Py_TPFLAGS_BASETYPE, {Py_tp_new, unless_replaced_new},
          {Py_tp_dealloc, simple_dealloc}, {Py_tp_methods, semaphore_methods}, {Py_tp_getset, semaphore_attributes});

const struct entries entries_semaphore = {.spec = &semaphore_spec, .type = &semaphore_type, .derivable = 1};
