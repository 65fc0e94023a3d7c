/* For event loops: a thing is waited for without a thread that sleeps.
 *
 * A loop has a Bell, an eventfd that it polls.  bell.watch(thing) enters the thing's queue (waits/any.h); who grants it pushes the Awaited on
 * the bell's stack, and rings if that was empty: one write, and one turn of the loop, for all that have come meanwhile.  The granter holds
 * the lock of the thing's queue meanwhile, and has no GIL if it is a thread that ends.
 *
 * An Awaited holds a reference to itself as long as others may find it: until ring() has taken it off the stack, or cancel() out of the
 * queue.  Both leave the queue under its lock first, so the granter is done with it. */
#include "kernel/base/fork.h"
#include "python/rooms.h"
#include "python/waits/waitable.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct awaited AwaitedObject;

typedef struct {
    PyObject_HEAD
    int fd;
    _Atomic(AwaitedObject *) rung; /* the latest first */
    AwaitedObject *came;           /* taken from there, the earliest first */
} BellObject;

struct awaited {
    PyObject_HEAD
    struct sync_any any;
    struct thing thing;
    PyObject *given;
    BellObject *bell;
    AwaitedObject *below; /* on the stack */
    enum { AWAITED_WAITS, AWAITED_HAS_IT, AWAITED_OVER } state;
};

static PyTypeObject *awaited_type;

/* ---- Awaited ----------------------------------------------------------------------------------------------------- */

static void ring_bell(struct sync_any *any)
{
    AwaitedObject *self = (AwaitedObject *)((char *)any - offsetof(AwaitedObject, any));
    BellObject *bell = self->bell;
    int saved = errno;

    self->below = atomic_load(&bell->rung);
    while (!atomic_compare_exchange_weak(&bell->rung, &self->below, self))
        ;
    if (!self->below)
        eventfd_write(bell->fd, 1);
    errno = saved;
}

static void leave_thing(AwaitedObject *self)
{
    self->thing.ready = self->thing.kind->leave(&self->thing);
    if (self->thing.ready && self->thing.kind->finish)
        self->thing.kind->finish(&self->thing, &self->any);
}

static void give_thing_back(AwaitedObject *self)
{
    if (self->thing.ready && self->thing.kind->take)
        self->thing.kind->give_back(&self->thing);
    self->thing.ready = 0;
}

/* What was granted goes to another. */
static PyObject *cancel_awaited(PyObject *op, PyObject *Py_UNUSED(unused))
{
    AwaitedObject *self = (AwaitedObject *)op;
    int waits = self->state == AWAITED_WAITS, is_rung = waits && !sync_any_close(&self->any);

    if (waits)
        leave_thing(self);
    give_thing_back(self);
    self->state = AWAITED_OVER;
    if (waits && !is_rung)
        Py_DECREF(self);
    Py_RETURN_NONE;
}

static void awaited_dealloc(PyObject *op)
{
    AwaitedObject *self = (AwaitedObject *)op;
    PyTypeObject *type = Py_TYPE(op);

    Py_XDECREF(self->thing.object);
    Py_XDECREF(self->given);
    Py_XDECREF(self->bell);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef awaited_methods[] = {
    {"cancel", cancel_awaited, METH_NOARGS, "It is waited for no more; what has been granted is given back."},
    {0},
};

static PyType_Slot awaited_slots[] = {
    {Py_tp_dealloc, awaited_dealloc},
    {Py_tp_methods, awaited_methods},
    {0, NULL},
};

static PyType_Spec awaited_spec = {
    .name = "runtime.native.Awaited",
    .basicsize = sizeof(AwaitedObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = awaited_slots,
};

/* ---- Bell -------------------------------------------------------------------------------------------------------- */

static PyObject *bell_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    BellObject *self = (BellObject *)type->tp_alloc(type, 0);

    if (self && (self->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static void close_bell(BellObject *bell)
{
    if (bell->fd >= 0)
        close(bell->fd);
    bell->fd = -1;
}

static void bell_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    close_bell((BellObject *)op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *bell_fileno(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromLong(((BellObject *)op)->fd);
}

static AwaitedObject *new_awaited(BellObject *bell, PyObject *given)
{
    AwaitedObject *self = (AwaitedObject *)awaited_type->tp_alloc(awaited_type, 0);

    if (!self)
        return NULL;
    self->bell = (BellObject *)Py_NewRef(bell);
    self->given = Py_NewRef(given);
    self->any = (struct sync_any){.open = 1, .forks = fork_generation, .wake = ring_bell, .at_once = 1, .fd = -1};
    return self;
}

/* 1: it waits in the thing's queue; 0: it was ready, and if it can be taken it is. */
static int enter_thing(AwaitedObject *self)
{
    const struct waitable *kind = self->thing.kind;

    for (;;) {
        if (kind->look(&self->thing) && (!kind->take || kind->take(&self->thing)))
            return 0;
        Py_INCREF(self); /* before it can be found */
        if (kind->enter(&self->thing, &self->any))
            return 1;
        Py_DECREF(self);
        if (!kind->take && kind->finish) /* a thread that is about to end */
            kind->finish(&self->thing, &self->any);
    }
}

/* (thing, pending, future): an Awaited, and pending[it] is the future; None: it was ready.  It is in `pending` before it can be granted:
 * an interrupt on the way back to Python leaves none that isn't found there. */
static PyObject *bell_watch(PyObject *op, PyObject *args)
{
    PyObject *given, *pending, *future;

    if (!PyArg_ParseTuple(args, "OO!O:watch", &given, &PyDict_Type, &pending, &future))
        return NULL;
    AwaitedObject *self = new_awaited((BellObject *)op, given);
    if (!self || wait_set_thing(&self->thing, self->given, 1) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    if (!self->thing.kind->look) {
        Py_DECREF(self);
        return PyErr_Format(PyExc_TypeError, "the loop itself waits for files, as %R", given);
    }
    if (PyDict_SetItem(pending, (PyObject *)self, future) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (enter_thing(self))
        return (PyObject *)self;
    int result = PyDict_DelItem(pending, (PyObject *)self);
    Py_DECREF(self);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static void take_rung(BellObject *bell)
{
    AwaitedObject *latest = atomic_exchange(&bell->rung, NULL), *below;

    for (; latest; latest = below) { /* the latest lies on top */
        below = latest->below;
        latest->below = bell->came;
        bell->came = latest;
    }
}

/* The next that has come.  NULL: there are no more; only then the descriptor is read, for a caller that is interrupted in between. */
static AwaitedObject *next_rung(BellObject *bell)
{
    eventfd_t count;

    if (!bell->came)
        take_rung(bell);
    if (!bell->came) {
        eventfd_read(bell->fd, &count);
        take_rung(bell);
    }
    AwaitedObject *next = bell->came;
    if (next)
        bell->came = next->below;
    return next;
}

/* An Awaited or None. */
static PyObject *bell_ring(PyObject *op, PyObject *Py_UNUSED(unused))
{
    AwaitedObject *next;

    while ((next = next_rung((BellObject *)op))) {
        if (next->state == AWAITED_WAITS) {
            leave_thing(next);
            next->state = AWAITED_HAS_IT;
            return (PyObject *)next; /* with the reference that it held to itself */
        }
        Py_DECREF(next);
    }
    Py_RETURN_NONE;
}

/* Each Awaited is over: so it is in no queue, and nobody rings.  A forked child doesn't read the descriptor, which is its parent's, too. */
static PyObject *bell_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    BellObject *bell = (BellObject *)op;
    AwaitedObject *next;

    take_rung(bell);
    while ((next = bell->came)) {
        bell->came = next->below;
        Py_DECREF(next);
    }
    close_bell(bell);
    Py_RETURN_NONE;
}

static PyMethodDef bell_methods[] = {
    {"fileno", bell_fileno, METH_NOARGS, "The descriptor that can be read when ring() has something to return."},
    {"watch", bell_watch, METH_VARARGS,
     "(thing, pending, future): an Awaited, whose future is in `pending`, or None: it was ready, and is acquired if it can be."},
    {"ring", bell_ring, METH_NOARGS, "The next Awaited that has come, or None."},
    {"close", bell_close, METH_NOARGS, "Closes the descriptor; all that were awaited are cancelled, or have been returned by ring()."},
    {0},
};

static PyType_Slot bell_slots[] = {
    {Py_tp_new, bell_new},
    {Py_tp_dealloc, bell_dealloc},
    {Py_tp_methods, bell_methods},
    {0, NULL},
};

static PyType_Spec bell_spec = {
    .name = "runtime.native.Bell",
    .basicsize = sizeof(BellObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = bell_slots,
};

int python_add_await(PyObject *module)
{
    PyTypeObject *bell = (PyTypeObject *)PyType_FromModuleAndSpec(module, &bell_spec, NULL);
    int result = bell ? PyModule_AddType(module, bell) : -1;

    Py_XDECREF(bell);
    awaited_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &awaited_spec, NULL);
    return result < 0 || !awaited_type ? -1 : PyModule_AddType(module, awaited_type);
}
