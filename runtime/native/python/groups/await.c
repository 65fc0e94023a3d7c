/* Lets an event loop wait for a thing without a thread that sleeps.
 *
 * A loop has a Bell, an eventfd that it polls.  Awaited(bell, thing).enter() enters the thing's queue (waits/any.h); who grants it pushes the
 * Awaited on the bell's stack, and rings if that was empty: one write, and one turn of the loop, for all that have come meanwhile.  The
 * granter holds the lock of the thing's queue meanwhile, and has no GIL if it is a thread that ends.
 *
 * Others find an Awaited in the queue and on the stack, which have no reference to it.  ring(), cancel() and the end of its last reference
 * leave the queue under its lock, so the granter is done with it, and take it off the stack.
 *
 * REJECTED.  A descriptor for each thing that is awaited, as a thread's fileno(): as many tasks may wait for one lock as a program has, which
 * are more than it may have descriptors, and each costs four system calls more. */
#include "kernel/base/fork.h"
#include "python/args.h"
#include "python/room.h"
#include "python/sync/common.h"
#include "python/waits/waitable.h"

#include <errno.h>
#include <sys/eventfd.h>

typedef struct awaited AwaitedObject;

typedef struct {
    PyObject_HEAD
    int fd;                        /* the eventfd: its owner closes it when no Awaited is in a queue */
    _Atomic(AwaitedObject *) rung; /* the latest first */
    AwaitedObject *came;           /* taken from there, the earliest first */
} BellObject;

struct awaited {
    PyObject_HEAD
    struct sync_any any;
    struct thing thing; /* entered: it is in the queue; ready: it was granted or taken, and is given back unless it is used */
    BellObject *bell;
    AwaitedObject *below; /* on the stack */
};

static PyTypeObject *bell_type;

/* ---- Awaited ----------------------------------------------------------------------------------------------------- */

static void ring_bell(struct sync_any *any)
{
    AwaitedObject *self = (AwaitedObject *)((char *)any - offsetof(AwaitedObject, any));
    AwaitedObject *below = atomic_load(&self->bell->rung);
    int saved = errno;

    do
        self->below = below; /* once it is on the stack the loop's thread may change that */
    while (!atomic_compare_exchange_weak(&self->bell->rung, &below, self));
    if (!below)
        eventfd_write(self->bell->fd, 1);
    errno = saved;
}

static PyObject *awaited_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *bell, *given;

    if (!PyArg_ParseTuple(args, "O!O:Awaited", bell_type, &bell, &given))
        return NULL;
    AwaitedObject *self = (AwaitedObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->bell = (BellObject *)Py_NewRef(bell);
    self->any = (struct sync_any){.open = 1, .forks = fork_generation, .wake = ring_bell, .at_once = 1, .fd = -1};
    int result = wait_set_thing(&self->thing, given, 1);
    if (result == 0 && self->thing.kind != &file_waitable)
        return (PyObject *)self;
    if (result == 0)
        PyErr_Format(PyExc_TypeError, "the loop itself waits for files, as %R", given);
    Py_DECREF(self);
    return NULL;
}

static PyObject *enter_thing(PyObject *op, PyObject *Py_UNUSED(unused))
{
    AwaitedObject *self = (AwaitedObject *)op;
    const struct waitable *kind = self->thing.kind;

    for (;;) {
        self->thing.ready = kind->look(&self->thing) && (!kind->take || kind->take(&self->thing));
        self->thing.entered = !self->thing.ready && kind->enter(&self->thing, &self->any);
        if (self->thing.ready || self->thing.entered)
            return PyBool_FromLong(self->thing.entered);
        if (!kind->take && kind->finish) /* a thread that is about to end */
            kind->finish(&self->thing, &self->any);
    }
}

static void leave_thing(AwaitedObject *self)
{
    self->thing.entered = 0;
    self->thing.ready = self->thing.kind->leave(&self->thing);
    if (self->thing.ready && self->thing.kind->finish)
        self->thing.kind->finish(&self->thing, &self->any);
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

static void take_off_stack(AwaitedObject *self)
{
    AwaitedObject **at = &self->bell->came;

    take_rung(self->bell);
    while (*at != self)
        at = &(*at)->below;
    *at = self->below;
}

static void give_up(AwaitedObject *self)
{
    if (self->thing.entered) {
        int is_granted = !sync_any_close(&self->any);
        leave_thing(self); /* first: the granter pushes it under the queue's lock */
        if (is_granted)
            take_off_stack(self);
    }
    if (self->thing.ready && self->thing.kind->take)
        self->thing.kind->give_back(&self->thing);
    self->thing.ready = 0;
}

static PyObject *cancel_awaited(PyObject *op, PyObject *Py_UNUSED(unused))
{
    give_up((AwaitedObject *)op);
    Py_RETURN_NONE;
}

static void awaited_dealloc(PyObject *op)
{
    AwaitedObject *self = (AwaitedObject *)op;

    if (self->thing.entered)
        give_up(self);
    Py_XDECREF(self->thing.object);
    Py_DECREF(self->bell);
    simple_dealloc(op);
}

static PyMethodDef awaited_methods[] = {
    {"enter", enter_thing, METH_NOARGS,
     "True: from now on the bell's ring() may return it.  False: it was ready, and is acquired if it can be."},
    {"cancel", cancel_awaited, METH_NOARGS, "It is waited for no more; what it was granted, or has acquired, goes to another."},
    {0},
};

static PyType_Slot awaited_slots[] = {
    {Py_tp_new, awaited_new},
    {Py_tp_dealloc, awaited_dealloc},
    {Py_tp_methods, awaited_methods},
    {0, NULL},
};

static PyType_Spec awaited_spec = {
    .name = "runtime.native.Awaited",
    .basicsize = sizeof(AwaitedObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = awaited_slots,
};

/* ---- Bell -------------------------------------------------------------------------------------------------------- */

static PyObject *bell_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    int fd;

    if (!PyArg_ParseTuple(args, "i:Bell", &fd))
        return NULL;
    BellObject *self = (BellObject *)type->tp_alloc(type, 0);
    if (self)
        self->fd = fd;
    return (PyObject *)self;
}

/* The next that has come.  NULL: there are no more.  Only then is the descriptor read, because the caller may be interrupted before. */
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
    AwaitedObject *next = next_rung((BellObject *)op);

    if (!next)
        Py_RETURN_NONE;
    leave_thing(next);
    return Py_NewRef(next);
}

static PyMethodDef bell_methods[] = {
    {"ring", bell_ring, METH_NOARGS, "The next Awaited that has come, or None."},
    {0},
};

static PyType_Slot bell_slots[] = {
    {Py_tp_new, bell_new},
    {Py_tp_dealloc, simple_dealloc},
    {Py_tp_methods, bell_methods},
    {0, NULL},
};

static PyType_Spec bell_spec = {
    .name = "runtime.native.Bell",
    .basicsize = sizeof(BellObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = bell_slots,
};

static int add_await(PyObject *module)
{
    return add_type(module, &awaited_spec) && (bell_type = add_type(module, &bell_spec)) ? 0 : -1;
}

const struct entries entries_await = {.add = add_await};
