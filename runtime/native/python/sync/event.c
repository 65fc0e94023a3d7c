/* Event: a flag, and the queue of threads that sleep until it is set. */
#include "python/args.h"
#include "python/sync/common.h"
#include "python/sync/waiters.h"
#include "python/room.h"
#include "python/threads/sleep.h"
#include "python/waits/waitable.h"

#include <limits.h>

typedef struct {
    PyObject_HEAD
    struct sync_queue queue;
    atomic_int flag;
} EventObject;

PyTypeObject *event_type;

static int event_flag(PyObject *op)
{
    return atomic_load_explicit(&((EventObject *)op)->flag, memory_order_acquire);
}

RETURNS(event_is_set, PyBool_FromLong(event_flag(op)))

/* Without a GIL set() and clear() take the lock whatever the flag is, as stock's do.  One thread clears and then looks for work,
 * another adds work and then sets: one of the two must see what the other has done.  Without the lock the set could read the flag from
 * before the clear, and the look could find no work, because processors may put a load before an earlier store.  With a GIL, passing it
 * on orders them. */
enum { ALWAYS_LOCKS = WITHOUT_GIL };

static PyObject *event_set(PyObject *op, PyObject *Py_UNUSED(unused))
{
    EventObject *self = (EventObject *)op;

    if (ALWAYS_LOCKS || !event_flag(op)) { /* if it is set already, set() has entitled all that sleep */
        sync_queue_lock(&self->queue);
        atomic_store_explicit(&self->flag, 1, memory_order_release);
        sync_queue_grant_unlock(&self->queue, LONG_MAX);
    }
    Py_RETURN_NONE;
}

static PyObject *event_clear(PyObject *op, PyObject *Py_UNUSED(unused))
{
    EventObject *self = (EventObject *)op;

    if (ALWAYS_LOCKS)
        sync_queue_lock(&self->queue);
    atomic_store_explicit(&self->flag, 0, memory_order_release);
    if (ALWAYS_LOCKS)
        sync_queue_unlock(&self->queue);
    Py_RETURN_NONE;
}

static PyObject *sleep_until_set(PyObject *op, PyObject *timeout)
{
    EventObject *self = (EventObject *)op;
    struct sync_place place;
    int64_t deadline = PARK_FOREVER;

    if (timeout && args_wait_deadline(timeout, &deadline) < 0)
        return NULL;
    sync_queue_lock(&self->queue);
    /* set() may have come in between.  It grants under this lock, to the threads in the queue; a thread that entered now would sleep
     * on. */
    if (atomic_load(&self->flag) || deadline == 0) {
        sync_queue_unlock(&self->queue);
        return event_is_set(op, NULL);
    }
    sync_queue_enter(&self->queue, &place, NULL);
    sync_queue_unlock(&self->queue);
    enum outcome outcome = python_sleep_in_queue(op, &self->queue, &place, NULL, deadline, NULL);
    if (outcome == RAISED || outcome == RAISED_ENTITLED)
        return NULL;
    return PyBool_FromLong(outcome == ENTITLED);
}

static PyObject *event_wait(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *given;

    if (args_one("wait", "timeout", args, count, names, &given) < 0)
        return NULL;
    return event_flag(op) ? Py_NewRef(Py_True) : sleep_until_set(op, given);
}

/* ---- among several things ---------------------------------------------------------------------------------------- */

static int look_at_event(const struct thing *thing)
{
    return event_flag(thing->object);
}

static int enter_event(struct thing *thing, struct sync_any *any)
{
    EventObject *self = (EventObject *)thing->object;

    sync_queue_lock(&self->queue);
    int enters = !atomic_load(&self->flag);
    if (enters)
        sync_queue_enter_any(&self->queue, &thing->place, any);
    sync_queue_unlock(&self->queue);
    return enters;
}

static int leave_event(struct thing *thing)
{
    return thing_leave_queue(thing, &((EventObject *)thing->object)->queue);
}

const struct waitable event_waitable = {.look = look_at_event, .enter = enter_event, .leave = leave_event};

/* ---- the rest of its methods ------------------------------------------------------------------------------------- */

static PyObject *event_at_fork_reinit(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_NONE; /* the child keeps the flag, and the queue forgets the lost threads by itself */
}

static PyObject *event_copy(PyObject *op, PyObject *args)
{
    PyObject *original;

    if (!PyArg_ParseTuple(args, "O!:_copy", event_type, &original))
        return NULL;
    atomic_store(&((EventObject *)op)->flag, event_flag(original));
    Py_RETURN_NONE;
}

GETTER(event_get_flag, PyBool_FromLong(event_flag(op)))

static int event_set_flag(PyObject *op, PyObject *value, void *Py_UNUSED(unused))
{
    int flag = value ? PyObject_IsTrue(value) : (no_attribute(op, "_flag"), -1);

    if (flag >= 0) /* neither call fails */
        Py_DECREF(flag ? event_set(op, NULL) : event_clear(op, NULL));
    return flag < 0 ? -1 : 0;
}

PyDoc_STRVAR(wait_doc,
"wait($self, /, timeout=None)\n--\n\n"
"Sleeps until the flag is set, or for timeout seconds (None: no limit); whether it was set.  As threading.Event.wait.\n\n"
"OverflowError: a timeout above threading.TIMEOUT_MAX.");

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS, "is_set($self, /)\n--\n\nWhether the flag is set."},
    {"set", event_set, METH_NOARGS, "set($self, /)\n--\n\nSets the flag and wakes all waiters, one after the other."},
    {"clear", event_clear, METH_NOARGS, "clear($self, /)\n--\n\nClears the flag."},
    KEYWORDS("wait", event_wait, wait_doc),
    {"_at_fork_reinit", event_at_fork_reinit, METH_NOARGS, NULL},
    {"_copy", event_copy, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef event_attributes[] = {
    {"_cond", no_attribute, takes_no_attribute, NULL, "_cond"},
    {"_flag", event_get_flag, event_set_flag, "Whether it is set.", NULL},
    {0},
};

static int event_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) || (kwargs && PyDict_GET_SIZE(kwargs)))
        return refuse(PyExc_TypeError, "Event() takes no arguments");
    atomic_store_explicit(&((EventObject *)op)->flag, 0, memory_order_release);
    if (Py_TYPE(op)->tp_base == event_type)
        return 0;
    PyObject *none = call_method(op, NAME("_init_in_python"), NULL); /* Event.__init__(self) in a derived class */
    Py_XDECREF(none);
    return none ? 0 : -1;
}

PyDoc_STRVAR(event_doc, "EventBase()\n--\n\nThe flag of an Event, and the queue of its waiters.");
TYPE_SPEC(event, "runtime.native.EventBase", EventObject, Py_TPFLAGS_BASETYPE, {Py_tp_doc, (void *)event_doc},
          {Py_tp_new, unless_replaced_new}, {Py_tp_init, event_init}, {Py_tp_dealloc, simple_dealloc}, {Py_tp_methods, event_methods},
          {Py_tp_getset, event_attributes});

const struct entries entries_event = {.spec = &event_spec, .type = &event_type, .derivable = 1};
