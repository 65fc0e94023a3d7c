/* Event: a flag, and the queue of threads that sleep until it is set. */
#include "python/args.h"
#include "python/primitives/common.h"
#include "python/rooms.h"
#include "python/sleep.h"

#include <limits.h>

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
    PyObject *given;
    int64_t deadline = PARK_FOREVER;
    int baton;

    if (args_one("wait", "timeout", args, count, names, &given) < 0)
        return NULL;
    if (atomic_load_explicit(&self->flag, memory_order_acquire))
        Py_RETURN_TRUE;
    if (given && args_wait_deadline(given, &deadline) < 0)
        return NULL;
    sync_queue_lock(&self->queue);
    if (atomic_load(&self->flag) || deadline == 0) { /* set() has granted under the lock: not to those who come later */
        sync_queue_unlock(&self->queue);
        return event_is_set(op, NULL);
    }
    sync_queue_enter(&self->queue, &place, NULL);
    sync_queue_unlock(&self->queue);
    enum outcome outcome = python_sleep_in_queue(op, &self->queue, &place, NULL, deadline, &baton);
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
"Sleeps until the flag is set, or for timeout seconds (None: no limit); whether it was set.  As threading.Event.wait.\n\n"
"OverflowError: a timeout above threading.TIMEOUT_MAX.");

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS, "is_set($self, /)\n--\n\nWhether the flag is set."},
    {"set", event_set, METH_NOARGS, "set($self, /)\n--\n\nSets the flag and lets all sleepers go, one after the other."},
    {"clear", event_clear, METH_NOARGS, "clear($self, /)\n--\n\nClears the flag."},
    {"wait", FAST(event_wait), METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"_at_fork_reinit", event_at_fork_reinit, METH_NOARGS, NULL},
    {0},
};

static PyObject *event_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    /* As object() does it: arguments are for a derived class's __init__. */
    if ((PyTuple_GET_SIZE(args) || (kwargs && PyDict_GET_SIZE(kwargs))) && type->tp_init == PyBaseObject_Type.tp_init) {
        PyErr_SetString(PyExc_TypeError, "Event() takes no arguments");
        return NULL;
    }
    return unless_replaced_new(type, args, kwargs);
}

PyDoc_STRVAR(event_doc, "EventBase()\n--\n\nThe flag of an Event, and who sleeps for it.");
static PyType_Slot event_slots[] = {
    {Py_tp_doc, (void *)event_doc}, {Py_tp_new, event_new}, {Py_tp_dealloc, simple_dealloc}, {Py_tp_methods, event_methods}, {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "runtime.native.EventBase",
    .basicsize = sizeof(EventObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = event_slots,
};

int python_add_event(PyObject *module)
{
    return add_primitive(module, &event_spec) ? 0 : -1;
}
