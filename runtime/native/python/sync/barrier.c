/* Barrier.
 *
 * REJECTED.  A class in Python on a Condition: a fork may find the Condition's lock held by a thread that the child doesn't have.  6 of 2,330
 * children hung in abort() so, and none of 4,000 with this one, whose queue forgets such threads.  threading's algorithm, on our Condition,
 * is slower besides: 33 µs for four threads, 14 here, 42 for threading itself (lwp bench barrier, CPython 3.13). */
#include "python/args.h"
#include "python/sync/common.h"
#include "python/sync/waiters.h"
#include "python/room.h"
#include "python/threads/sleep.h"

#include <limits.h>

/*   FILLING   threads come and sleep; the last one changes the state
 *   ACTING    all have come, the last one runs the action; a thread that comes now sleeps at the entrance
 *   RESETTING reset() with threads inside: they leave with BrokenBarrierError, then it fills again
 *   BROKEN    until reset()
 *
 *   FILLING -> ACTING -> FILLING      FILLING, ACTING, BROKEN -> RESETTING -> FILLING      any -> BROKEN
 *
 * Threads that are let go belong to a generation that is over, so the next generation may fill before they have left. */
enum barrier_state { FILLING, ACTING, RESETTING, BROKEN };

typedef struct {
    PyObject_HEAD
    struct sync_queue inside;   /* its lock guards state, generation and count */
    struct sync_queue entrance;
    enum barrier_state state;
    unsigned long generation;   /* how often the barrier has let all go */
    long count;                 /* threads of this generation inside, also those that leave broken */
    atomic_long parties;        /* threads that it takes */
    _Atomic(PyObject *) action, timeout, broken_error;
    PyObject *former;           /* of these, what __init__(), called again, has replaced: a list, or NULL */
} BarrierObject;

PyTypeObject *barrier_type;

/* Whether __init__() was called. */
static int is_begun(BarrierObject *self)
{
    return atomic_load_explicit(&self->broken_error, memory_order_acquire) != NULL;
}

/* broken_error last: a thread that sees it sees the rest.  -1 with an exception. */
static int barrier_fill(BarrierObject *self, long parties, PyObject *action, PyObject *timeout, PyObject *broken_error)
{
    PyObject *op = (PyObject *)self;

    atomic_store(&self->parties, parties);
    return replace_reference(op, &self->action, action, &self->former) < 0
                   || replace_reference(op, &self->timeout, timeout, &self->former) < 0
                   || replace_reference(op, &self->broken_error, broken_error, &self->former) < 0
               ? -1
               : 0;
}

static PyObject *barrier_begin(PyObject *op, PyObject *args)
{
    BarrierObject *self = (BarrierObject *)op;
    PyObject *action, *timeout, *error;
    long parties;

    if (!PyArg_ParseTuple(args, "lOOO:_begin", &parties, &action, &timeout, &error))
        return NULL;
    return barrier_fill(self, parties, action, timeout, error) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *barrier_copy(PyObject *op, PyObject *args)
{
    BarrierObject *self = (BarrierObject *)op, *original;

    if (!PyArg_ParseTuple(args, "O!:_copy", barrier_type, &original))
        return NULL;
    sync_queue_lock(&original->inside);
    self->state = original->state;
    self->count = original->count;
    sync_queue_unlock(&original->inside);
    if (is_begun(original) && barrier_fill(self, original->parties, original->action, original->timeout, original->broken_error) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *barrier_is_broken(BarrierObject *self)
{
    PyErr_SetNone(self->broken_error);
    return NULL;
}

static void barrier_open_entrance(BarrierObject *self)
{
    sync_queue_lock(&self->entrance);
    sync_queue_grant_unlock(&self->entrance, LONG_MAX);
}

/* Called with the state locked; unlocks it.  All threads inside are let go, to see the new state. */
static void barrier_change_unlock(BarrierObject *self, enum barrier_state state)
{
    self->state = state;
    sync_queue_grant_unlock(&self->inside, LONG_MAX);
    if (state != RESETTING)
        barrier_open_entrance(self);
}

static void barrier_leave(BarrierObject *self, unsigned long generation)
{
    sync_queue_lock(&self->inside);
    int open = generation == self->generation && --self->count == 0 && self->state == RESETTING;
    if (open)
        self->state = FILLING;
    sync_queue_unlock(&self->inside);
    if (open)
        barrier_open_entrance(self);
}

/* Goes in.  Returns the index of arrival, or -1 with an exception.  *last: it completes the parties, and must act. */
static long barrier_enter(BarrierObject *self, unsigned long *generation, int *last)
{
    struct sync_place place;

    for (;;) {
        sync_queue_lock(&self->inside);
        if (self->state == FILLING) {
            long index = self->count++;
            *generation = self->generation;
            if ((*last = self->count == self->parties))
                self->state = ACTING;
            sync_queue_unlock(&self->inside);
            return index;
        }
        if (self->state == BROKEN) {
            sync_queue_unlock(&self->inside);
            barrier_is_broken(self);
            return -1;
        }
        /* Enter that queue while the state is locked, or the entrance could open in between, and this thread would sleep on.
         * Lock order: inside, entrance. */
        sync_queue_lock(&self->entrance);
        sync_queue_enter(&self->entrance, &place, NULL);
        sync_queue_unlock(&self->entrance);
        sync_queue_unlock(&self->inside);
        enum outcome outcome = python_sleep_in_queue((PyObject *)self, &self->entrance, &place, NULL, PARK_FOREVER, NULL);
        if (outcome == RAISED || outcome == RAISED_ENTITLED)
            return -1;
    }
}

/* By the last thread to come: runs the action and lets all go.  0, or -1 with an exception. */
static int barrier_act(BarrierObject *self)
{
    PyObject *action = self->action;
    PyObject *result = action != Py_None ? PyObject_CallNoArgs(action) : Py_NewRef(Py_None);

    sync_queue_lock(&self->inside);
    int aborted = self->state != ACTING; /* by abort() or reset(), in the action or in another thread */
    int whole = result && !aborted;
    if (whole) {
        self->generation++;
        self->count = 0;
    }
    barrier_change_unlock(self, whole ? FILLING : result ? self->state : BROKEN);
    if (result && aborted)
        barrier_is_broken(self);
    Py_XDECREF(result);
    return whole ? 0 : -1;
}

/* Sleeps until let go.  0, or -1 with an exception. */
static int barrier_sleep(BarrierObject *self, unsigned long generation, PyObject *timeout)
{
    struct sync_place place;
    int64_t deadline;

    if (args_wait_deadline(timeout, &deadline) < 0)
        return -1;
    for (;;) {
        sync_queue_lock(&self->inside);
        int over = self->generation != generation;
        if (over || self->state == BROKEN || self->state == RESETTING) {
            sync_queue_unlock(&self->inside);
            return over ? 0 : (barrier_is_broken(self), -1);
        }
        sync_queue_enter(&self->inside, &place, NULL);
        sync_queue_unlock(&self->inside);
        enum outcome outcome = python_sleep_in_queue((PyObject *)self, &self->inside, &place, NULL, deadline, NULL);
        if (outcome == RAISED || outcome == RAISED_ENTITLED)
            return -1; /* the others go on waiting, for one thread more, as in threading's */
        if (outcome == ENTITLED)
            continue;
        sync_queue_lock(&self->inside);
        if (self->generation == generation && self->state == FILLING) { /* not all came in time, so the barrier breaks for all */
            barrier_change_unlock(self, BROKEN);
            barrier_is_broken(self);
            return -1;
        }
        sync_queue_unlock(&self->inside);
        deadline = PARK_FOREVER; /* all have come in time, so the action's time doesn't count */
    }
}

static PyObject *barrier_wait(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    BarrierObject *self = (BarrierObject *)op;
    PyObject *timeout, *given;

    if (!is_begun(self))
        return no_attribute(op, "_cond");
    if (args_one("wait", "timeout", args, count, names, &given) < 0)
        return NULL;
    timeout = given && given != Py_None ? given : self->timeout;
    unsigned long generation;
    int last, failed = -1;
    long index = barrier_enter(self, &generation, &last);
    if (index >= 0) {
        failed = last ? barrier_act(self) : barrier_sleep(self, generation, timeout);
        if (failed)
            barrier_leave(self, generation);
    }
    return failed < 0 ? NULL : PyLong_FromLong(index);
}

static PyObject *barrier_reset(PyObject *op, PyObject *Py_UNUSED(unused))
{
    BarrierObject *self = (BarrierObject *)op;

    sync_queue_lock(&self->inside);
    barrier_change_unlock(self, self->count ? RESETTING : FILLING);
    Py_RETURN_NONE;
}

static PyObject *barrier_abort(PyObject *op, PyObject *Py_UNUSED(unused))
{
    BarrierObject *self = (BarrierObject *)op;

    sync_queue_lock(&self->inside);
    barrier_change_unlock(self, BROKEN);
    Py_RETURN_NONE;
}

GETTER(barrier_parties, PyLong_FromLong(((BarrierObject *)op)->parties))

static PyObject *barrier_waiting(PyObject *op, void *Py_UNUSED(unused))
{
    BarrierObject *self = (BarrierObject *)op;
    sync_queue_lock(&self->inside);
    long waiting = self->state == FILLING || self->state == ACTING ? self->count : 0;
    sync_queue_unlock(&self->inside);
    return PyLong_FromLong(waiting);
}

static PyObject *barrier_broken(PyObject *op, void *Py_UNUSED(unused))
{
    BarrierObject *self = (BarrierObject *)op;

    sync_queue_lock(&self->inside);
    int broken = self->state == BROKEN;
    sync_queue_unlock(&self->inside);
    return PyBool_FromLong(broken);
}

REFERENCES(barrier, BarrierObject, action, former)

static PyMethodDef barrier_methods[] = {
    KEYWORDS("wait", barrier_wait,
             "wait($self, /, timeout=None)\n--\n\n"
             "Sleeps until all parties have come, or for timeout seconds (None: as the Barrier was made with); an index from 0 to\n"
             "parties-1, another for each.  As threading.Barrier.wait.\n\n"
             "BrokenBarrierError: the time was up for one of them, the action raised, or it was aborted or reset."),
    {"reset", barrier_reset, METH_NOARGS, "reset($self, /)\n--\n\nMakes it as new; threads that wait in it get BrokenBarrierError."},
    {"abort", barrier_abort, METH_NOARGS,
     "abort($self, /)\n--\n\nBreaks it: threads that wait in it, or come later, get BrokenBarrierError."},
    {"_begin", barrier_begin, METH_VARARGS, NULL},
    {"_copy", barrier_copy, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef barrier_attributes[] = {
    {"parties", barrier_parties, NULL, "How many threads it takes.", NULL},
    {"n_waiting", barrier_waiting, NULL, "How many threads wait in it.", NULL},
    {"broken", barrier_broken, NULL, "Whether it is broken.", NULL},
    {"_cond", no_attribute, takes_no_attribute, NULL, "_cond"},
    {"_action", no_attribute, takes_no_attribute, NULL, "_action"},
    {"_timeout", no_attribute, takes_no_attribute, NULL, "_timeout"},
    {"_parties", no_attribute, takes_no_attribute, NULL, "_parties"},
    {"_state", no_attribute, takes_no_attribute, NULL, "_state"},
    {"_count", no_attribute, takes_no_attribute, NULL, "_count"},
    {0},
};

TYPE_SPEC(barrier, "runtime.native.BarrierBase", BarrierObject, Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
          {Py_tp_new, unless_replaced_new}, REFERENCE_SLOTS(barrier), {Py_tp_methods, barrier_methods},
          {Py_tp_getset, barrier_attributes});

const struct entries entries_barrier = {.spec = &barrier_spec, .type = &barrier_type, .derivable = 1};
