/* For event loops: a thing is waited for without a thread that sleeps.
 *
 * A loop has a Bell, an eventfd that it polls.  bell.watch(thing) enters the thing's queue (sync/any.h); who grants it pushes the Awaited on
 * the bell's stack, and rings if that was empty: one write, and one turn of the loop, for all that have come meanwhile.  The granter holds
 * the lock of the thing's queue meanwhile, and has no GIL if it is a thread that ends.
 *
 * An Awaited holds a reference to itself as long as others may find it: until ring() has taken it off the stack, or cancel() out of the
 * queue.  Both leave the queue under its lock first, so the granter is done with it. */
#include "base/fork.h"
#include "python/rooms.h"
#include "python/waitable.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct awaited AwaitedObject;

typedef struct {
    PyObject_HEAD
    int fd;
    _Atomic(AwaitedObject *) rung; /* the latest first */
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
static PyObject *cancel_awaited(PyObject *op, PyObject *unused)
{
    AwaitedObject *self = (AwaitedObject *)op;
    int waits = self->state == AWAITED_WAITS, is_rung = waits && !sync_any_close(&self->any);

    (void)unused;
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

static PyObject *bell_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    BellObject *self = (BellObject *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self && (self->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static void bell_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    if (((BellObject *)op)->fd >= 0)
        close(((BellObject *)op)->fd);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *bell_fileno(PyObject *op, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(((BellObject *)op)->fd);
}

static AwaitedObject *new_awaited(BellObject *bell, PyObject *given)
{
    AwaitedObject *self = (AwaitedObject *)awaited_type->tp_alloc(awaited_type, 0);

    if (!self)
        return NULL;
    self->bell = (BellObject *)Py_NewRef(bell);
    self->given = Py_NewRef(given);
    self->any = (struct sync_any){.needed = 1, .forks = fork_generation, .wake = ring_bell, .at_once = 1, .fd = -1};
    return self;
}

/* An Awaited; None: it was ready, and if it can be taken it is. */
static PyObject *bell_watch(PyObject *op, PyObject *given)
{
    AwaitedObject *self = new_awaited((BellObject *)op, given);

    if (!self || wait_set_thing(&self->thing, self->given, 1) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    const struct waitable *kind = self->thing.kind;
    if (!kind->look) {
        Py_DECREF(self);
        return PyErr_Format(PyExc_TypeError, "the loop itself waits for files, as %R", given);
    }
    for (;;) {
        if (kind->look(&self->thing) && (!kind->take || kind->take(&self->thing))) {
            Py_DECREF(self);
            Py_RETURN_NONE;
        }
        Py_INCREF(self); /* before it can be found */
        if (kind->enter(&self->thing, &self->any))
            return (PyObject *)self;
        Py_DECREF(self);
        if (!kind->take && kind->finish) /* a thread that is about to end */
            kind->finish(&self->thing, &self->any);
    }
}

static PyObject *bell_ring(PyObject *op, PyObject *unused)
{
    BellObject *bell = (BellObject *)op;
    PyObject *list = PyList_New(0);
    AwaitedObject *latest, *first = NULL, *below;
    eventfd_t count;

    (void)unused;
    if (!list)
        return NULL;
    eventfd_read(bell->fd, &count);
    for (latest = atomic_exchange(&bell->rung, NULL); latest; latest = below) { /* in the order in which they came */
        below = latest->below;
        latest->below = first;
        first = latest;
    }
    for (; first; first = below) {
        below = first->below;
        int waits = first->state == AWAITED_WAITS;
        if (waits) {
            leave_thing(first);
            first->state = AWAITED_HAS_IT;
        }
        if (waits && list && PyList_Append(list, (PyObject *)first) < 0)
            Py_CLEAR(list);
        if (waits && !list)
            give_thing_back(first);
        Py_DECREF(first);
    }
    return list;
}

static PyMethodDef bell_methods[] = {
    {"fileno", bell_fileno, METH_NOARGS, "The descriptor that can be read when ring() has something to return."},
    {"watch", bell_watch, METH_O, "(thing): an Awaited, or None: it was ready, and is acquired if it can be."},
    {"ring", bell_ring, METH_NOARGS, "Those that have come since it was last called."},
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
