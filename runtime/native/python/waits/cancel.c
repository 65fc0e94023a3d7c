#include "python/waits/cancel.h"

#include "kernel/arch/arch.h"
#include "kernel/base/events.h"
#include "python/args.h"
#include "python/room.h"

#include <unistd.h>

typedef struct {
    PyObject_HEAD
    struct park_cancel cancel;
    atomic_uintptr_t thread; /* its thread pointer, since it is attached: for the trace, which shows who is cancelled */
} CancelObject;

PyTypeObject *cancel_type;
static PyObject *raise_cancelled; /* runtime/groups/ gives it: called with the object, it raises if a cancellation is due */
static __thread CancelObject *mine; /* with a reference */
static __thread int held;

struct park_cancel *cancel_mine(void)
{
    return mine && !held ? &mine->cancel : NULL;
}

void cancel_hold(void)
{
    held++;
}

void cancel_let(void)
{
    held--;
}

int cancel_is_due(void)
{
    struct park_cancel *cancel = cancel_mine();

    return cancel && (atomic_load(&cancel->word) || (cancel->deadline != PARK_FOREVER && park_now() >= cancel->deadline));
}

int cancel_raise(void)
{
    if (!cancel_is_due())
        return 0;
    PyObject *none = PyObject_CallOneArg(raise_cancelled, (PyObject *)mine);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* The lone thread of the child is in no group. */
static void cancel_after_fork(void)
{
    mine = NULL; /* its reference is lost, as the groups' threads are */
}

/* ---- the type ---------------------------------------------------------------------------------------------------- */

static PyObject *cancel_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    CancelObject *self = (CancelObject *)type->tp_alloc(type, 0);

    if (self)
        cancel_init(&self->cancel);
    return (PyObject *)self;
}

static void cancel_dealloc(PyObject *op)
{
    int fd = atomic_load(&((CancelObject *)op)->cancel.fd);

    if (fd >= 0)
        close(fd);
    simple_dealloc(op);
}

static PyObject *cancel_attach(PyObject *op, PyObject *Py_UNUSED(unused))
{
    CancelObject *self = (CancelObject *)op, *before = mine;

    atomic_store_explicit(&self->thread, (uintptr_t)arch_thread_pointer(), memory_order_relaxed);
    mine = (CancelObject *)Py_NewRef(op);
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

static PyObject *cancel_detach(PyObject *op, PyObject *Py_UNUSED(unused))
{
    if ((PyObject *)mine == op) {
        mine = NULL;
        Py_DECREF(op);
    }
    Py_RETURN_NONE;
}

/* The thread may end meanwhile: what is written is in the object, and a green thread can't end while its scheduler's lock is held. */
static PyObject *cancel_interrupt(PyObject *op, PyObject *why)
{
    uintptr_t thread = atomic_load_explicit(&((CancelObject *)op)->thread, memory_order_relaxed);

    if (thread != (uintptr_t)arch_thread_pointer())
        EVENT(EVENT_CANCELS, thread, PyUnicode_Check(why) ? why : NULL);
    park_interrupt(&((CancelObject *)op)->cancel);
    Py_RETURN_NONE;
}

static PyObject *cancel_clear(PyObject *op, PyObject *Py_UNUSED(unused))
{
    /* An exchange, so that it sees what a canceller wrote before it set the word: Record.update() reads that next. */
    atomic_exchange(&((CancelObject *)op)->cancel.word, 0);
    Py_RETURN_NONE;
}

static PyObject *set_deadline(PyObject *op, PyObject *nanoseconds)
{
    long long deadline = nanoseconds == Py_None ? PARK_FOREVER : PyLong_AsLongLong(nanoseconds);

    if (deadline == -1 && PyErr_Occurred())
        return NULL;
    ((CancelObject *)op)->cancel.deadline = deadline;
    Py_RETURN_NONE;
}

static PyMethodDef cancel_methods[] = {
    {"_attach", cancel_attach, METH_NOARGS, "By the thread itself: from now on it may be interrupted."},
    {"_detach", cancel_detach, METH_NOARGS, "By the thread itself."},
    {"_interrupt", cancel_interrupt, METH_O, "Ends the thread's sleep, or its next one; a text says why."},
    {"_clear", cancel_clear, METH_NOARGS, "By the thread itself: nothing is to be raised."},
    {"_set_deadline", set_deadline, METH_O, "By the thread itself: when its sleeps end by themselves, in ns; None: never."},
    {0},
};

TYPE_SPEC(cancel, "runtime.native.CancelBase", CancelObject, Py_TPFLAGS_BASETYPE, {Py_tp_new, cancel_new},
          {Py_tp_dealloc, cancel_dealloc}, {Py_tp_methods, cancel_methods});

RETURNS(get_mine, Py_NewRef(mine ? (PyObject *)mine : Py_None))

static PyObject *set_raise(PyObject *Py_UNUSED(module), PyObject *function)
{
    Py_XSETREF(raise_cancelled, Py_NewRef(function));
    Py_RETURN_NONE;
}

static PyObject *call_held(PyObject *Py_UNUSED(module), PyObject *call)
{
    cancel_hold();
    PyObject *result = PyObject_CallNoArgs(call);
    cancel_let();
    return result;
}

static PyObject *cancel_checkpoint(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return cancel_raise() < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *trace_group(PyObject *Py_UNUSED(module), PyObject *label)
{
    if (PyUnicode_Check(label))
        EVENT(EVENT_GROUP, label, 0);
    Py_RETURN_NONE;
}

static PyObject *trace_cancelled(PyObject *Py_UNUSED(module), PyObject *why)
{
    if (PyUnicode_Check(why))
        EVENT(EVENT_CANCELLED, why, 0);
    Py_RETURN_NONE;
}

/* By kind: runtime/groups/members.py. */
static atomic_long counts[4];

static PyObject *count_one(PyObject *Py_UNUSED(module), PyObject *kind)
{
    size_t at = PyLong_AsSize_t(kind);

    if (at < sizeof counts / sizeof *counts)
        atomic_fetch_add_explicit(&counts[at], 1, memory_order_relaxed);
    else if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "no kind of count");
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

RETURNS(read_counts, Py_BuildValue("(llll)", counts[0], counts[1], counts[2], counts[3]))
RETURNS(time_now, PyLong_FromLongLong(park_now()))

static PyMethodDef functions[] = {
    {"cancel_mine", get_mine, METH_NOARGS, "The calling thread's CancelBase, or None: it is in no group."},
    {"cancel_set_raise", set_raise, METH_O, NULL},
    {"cancel_hold", call_held, METH_O, "Calls it; a cancellation that comes meanwhile waits for the thread's next point."},
    {"cancel_now", time_now, METH_NOARGS, "The time on the clock of the thread's deadlines, in ns."},
    {"groups_count", count_one, METH_O, "Counts one more of this kind, an index into groups_counts()."},
    {"groups_counts", read_counts, METH_NOARGS, "How often each kind was counted, a tuple."},
    {"trace_group", trace_group, METH_O, "For the trace: the calling thread is in a group of that name from now on."},
    {"trace_cancelled", trace_cancelled, METH_O, "For the trace: Cancelled is about to be raised in the calling thread."},
    {"checkpoint", cancel_checkpoint, METH_NOARGS,
     "checkpoint($module, /)\n--\n\n"
     "Raises Cancelled if the calling thread is cancelled; for loops that wait for nothing."},
    {0},
};

const struct entries entries_cancel = {
    .spec = &cancel_spec,
    .type = &cancel_type,
    .functions = functions,
    .after_fork = cancel_after_fork,
};
