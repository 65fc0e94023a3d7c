#include "python/sync/future.h"

#include "kernel/base/fork.h"
#include "python/args.h"
#include "python/sync/common.h"
#include "python/room.h"
#include "python/sync/serial.h"
#include "python/waits/waitable.h"

#include <limits.h>

PyTypeObject *future_type;

static enum future_state state_of(FutureObject *self)
{
    return (enum future_state)atomic_load_explicit(&self->state, memory_order_acquire);
}

static int is_over(FutureObject *self)
{
    return state_of(self) >= FUTURE_CANCELLED;
}

/* Called with the queue's lock, which it releases.  Sleepers go on if the future is over. */
static void change_state(FutureObject *self, enum future_state state)
{
    atomic_store_explicit(&self->runner, state == FUTURE_RUNNING ? my_serial() : 0, memory_order_relaxed);
    atomic_store_explicit(&self->state, (int)state, memory_order_release); /* result and exception are there */
    if (is_over(self))
        sync_queue_grant(&self->sleepers, LONG_MAX);
    sync_queue_unlock_and_wake(&self->sleepers);
}

/* ---- its end ----------------------------------------------------------------------------------------------------- */

static PyObject *future_begin(PyObject *op, PyObject *Py_UNUSED(unused))
{
    FutureObject *self = (FutureObject *)op;

    sync_queue_lock(&self->sleepers);
    int may = !self->condition && state_of(self) == FUTURE_PENDING;
    if (may)
        change_state(self, FUTURE_RUNNING);
    else
        sync_queue_unlock(&self->sleepers);
    return PyBool_FromLong(may);
}

static PyObject *finish_future(FutureObject *self, enum future_state state, PyObject *result, PyObject *exception)
{
    sync_queue_lock(&self->sleepers);
    if (self->condition || is_over(self)) {
        sync_queue_unlock(&self->sleepers);
        Py_RETURN_NONE;
    }
    PyObject *former_result = self->result, *former_exception = self->exception;
    self->result = Py_NewRef(result);
    self->exception = Py_NewRef(exception);
    int calls = self->callbacks != NULL; /* no callback can be added from here on */
    change_state(self, state);
    Py_XDECREF(former_result);
    Py_XDECREF(former_exception);
    return PyBool_FromLong(calls);
}

static PyObject *future_finish(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    if (count == 2)
        return finish_future((FutureObject *)op, FUTURE_FINISHED, args[0], args[1]);
    return PyErr_Format(PyExc_TypeError, "_finish() takes 2 arguments");
}

static PyObject *future_finish_cancelled(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return finish_future((FutureObject *)op, FUTURE_NOTIFIED, Py_None, Py_None);
}

int future_end_with(FutureObject *future, PyObject *error)
{
    sync_queue_lock(&future->sleepers);
    if (is_over(future)) {
        sync_queue_unlock(&future->sleepers);
        return 0;
    }
    PyObject *exception = future->exception;
    future->exception = Py_NewRef(error);
    change_state(future, FUTURE_FINISHED);
    Py_XDECREF(exception);
    return 1;
}

static PyObject *future_add_callback(PyObject *op, PyObject *function)
{
    FutureObject *self = (FutureObject *)op;
    PyObject *list = self->callbacks ? NULL : PyList_New(0); /* not with the lock: it may collect garbage, which runs Python */
    int result = 0;

    if (!self->callbacks && !list)
        return NULL;
    sync_queue_lock(&self->sleepers);
    int may = !self->condition && !is_over(self);
    if (may && !self->callbacks) {
        self->callbacks = list;
        list = NULL;
    }
    if (may)
        result = PyList_Append(self->callbacks, function);
    sync_queue_unlock(&self->sleepers);
    Py_XDECREF(list);
    return result < 0 ? NULL : PyBool_FromLong(may);
}

int future_is_lost(FutureObject *future)
{
    return !is_over(future) && future->forks != fork_generation;
}

/* ---- waiting for it ---------------------------------------------------------------------------------------------- */

static PyObject *future_wait(PyObject *op, PyObject *timeout)
{
    FutureObject *self = (FutureObject *)op;
    struct sync_place place;
    int64_t deadline;

    if (is_over(self))
        Py_RETURN_TRUE;
    if (args_own_deadline(timeout, &deadline) < 0)
        return NULL;
    sync_queue_lock(&self->sleepers);
    int over = is_over(self);
    if (over || deadline == 0 || future_is_lost(self)) {
        sync_queue_unlock(&self->sleepers);
        if (over || deadline == 0)
            return PyBool_FromLong(over);
        return PyErr_Format(PyExc_RuntimeError, "the thread that would end this call is in the process that has forked");
    }
    sync_queue_enter(&self->sleepers, &place, NULL);
    sync_queue_unlock(&self->sleepers);
    enum outcome outcome = python_sleep_in_queue(op, &self->sleepers, &place, NULL, deadline, NULL);
    return outcome == RAISED || outcome == RAISED_ENTITLED ? NULL : PyBool_FromLong(outcome == ENTITLED);
}

/* ---- among several things ---------------------------------------------------------------------------------------- */

static int look_at_future(const struct thing *thing)
{
    return is_over((FutureObject *)thing->object);
}

static int enter_future(struct thing *thing, struct sync_any *any)
{
    FutureObject *self = (FutureObject *)thing->object;

    sync_queue_lock(&self->sleepers);
    int enters = !is_over(self);
    if (enters)
        sync_queue_enter_any(&self->sleepers, &thing->place, any);
    sync_queue_unlock(&self->sleepers);
    return enters;
}

static int leave_future(struct thing *thing)
{
    return thing_leave_queue(thing, &((FutureObject *)thing->object)->sleepers);
}

const struct waitable future_waitable = {.look = look_at_future, .enter = enter_future, .leave = leave_future};

/* ---- what concurrent.futures reads and writes -------------------------------------------------------------------- */

static PyObject *state_name(enum future_state state)
{
    switch (state) {
    case FUTURE_PENDING:
        return NAME("PENDING");
    case FUTURE_RUNNING:
        return NAME("RUNNING");
    case FUTURE_CANCELLED:
        return NAME("CANCELLED");
    case FUTURE_NOTIFIED:
        return NAME("CANCELLED_AND_NOTIFIED");
    case FUTURE_FINISHED:
        return NAME("FINISHED");
    }
    return NULL;
}

GETTER(future_get_state, Py_XNewRef(state_name(state_of((FutureObject *)op))))

static int future_set_state(PyObject *op, PyObject *name, void *Py_UNUSED(unused))
{
    FutureObject *self = (FutureObject *)op;

    for (enum future_state state = FUTURE_PENDING; name && state <= FUTURE_FINISHED; state++) {
        PyObject *known = state_name(state);
        int same = known ? PyObject_RichCompareBool(name, known, Py_EQ) : -1;
        if (same < 0)
            return -1;
        if (!same)
            continue;
        sync_queue_lock(&self->sleepers);
        change_state(self, state);
        return 0;
    }
    return refuse(PyExc_ValueError, "no state of a future");
}

/* What stands at `at`; if nothing does, `made`.  It decides with the lock, so that all threads get the same. */
static PyObject *get_or_keep(FutureObject *self, PyObject **at, PyObject *made)
{
    if (!made)
        return NULL;
    sync_queue_lock(&self->sleepers);
    if (!*at)
        *at = Py_NewRef(made);
    PyObject *kept = Py_NewRef(*at);
    sync_queue_unlock(&self->sleepers);
    Py_DECREF(made);
    return kept;
}

static PyObject *future_get_condition(PyObject *op, void *Py_UNUSED(unused))
{
    FutureObject *self = (FutureObject *)op;

    return self->condition ? Py_NewRef(self->condition)
                           : get_or_keep(self, &self->condition, call_method(op, NAME("_make_condition"), NULL));
}

static PyObject *future_get_list(PyObject *op, void *offset)
{
    PyObject **at = (PyObject **)((char *)op + (size_t)offset);

    return *at ? Py_NewRef(*at) : get_or_keep((FutureObject *)op, at, PyList_New(0));
}

static PyObject *future_take_call(PyObject *op, PyObject *Py_UNUSED(unused))
{
    FutureObject *self = (FutureObject *)op;
    PyObject *call = self->call;

    self->call = NULL;
    return call ? call : Py_NewRef(Py_None);
}

/* ---- the type ---------------------------------------------------------------------------------------------------- */

static PyObject *future_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FutureObject *self = (FutureObject *)new_primitive(type);

    if (self)
        self->forks = fork_generation;
    return (PyObject *)self;
}

static int future_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    FutureObject *self = (FutureObject *)op;

    if (kwargs && PyDict_GET_SIZE(kwargs))
        return refuse(PyExc_TypeError, "Future() takes no keyword arguments");
    Py_XSETREF(self->call, PyTuple_GET_SIZE(args) ? Py_NewRef(args) : NULL);
    return 0;
}

REFERENCES(future, FutureObject, condition, exception)

static PyMethodDef future_methods[] = {
    {"_begin", future_begin, METH_NOARGS, "From pending to running.  False: it isn't pending, or a thread may have to be told."},
    POSITIONAL(
        "_finish", future_finish,
        "With a result and an exception or None.  Whether there are callbacks; None: it is over, or a thread may have to be told."),
    {"_finish_cancelled", future_finish_cancelled, METH_NOARGS, "The same for one that was cancelled."},
    {"_add_callback", future_add_callback, METH_O, "False: it is over, or there is a condition."},
    {"_wait", future_wait, METH_O, "Sleeps until it is over, at most for a timeout.  Whether it is."},
    {"_take_call", future_take_call, METH_NOARGS, "The arguments that it was made with, once."},
    {0},
};

static PyMemberDef future_members[] = {
    {"_result", T_OBJECT, offsetof(FutureObject, result), 0, NULL},
    {"_exception", T_OBJECT, offsetof(FutureObject, exception), 0, NULL},
    {0},
};

static PyGetSetDef future_attributes[] = {
    {"_state", future_get_state, future_set_state, NULL, NULL},
    {"_condition", future_get_condition, NULL, NULL, NULL},
    {"_waiters", future_get_list, NULL, NULL, (void *)offsetof(FutureObject, waiters)},
    {"_done_callbacks", future_get_list, NULL, NULL, (void *)offsetof(FutureObject, callbacks)},
    {0},
};

TYPE_SPEC(future, "runtime.native.FutureBase", FutureObject, Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, {Py_tp_new, future_new},
          {Py_tp_init, future_init}, REFERENCE_SLOTS(future), {Py_tp_methods, future_methods}, {Py_tp_members, future_members},
          {Py_tp_getset, future_attributes});

const struct entries entries_future = {.spec = &future_spec, .type = &future_type};
