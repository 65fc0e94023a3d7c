/* RLock: a Lock that its owner may take again. */
#include "python/args.h"
#include "python/waits/cancel.h"
#include "python/sync/common.h"
#include "python/sync/lock_parts.h"
#include "python/sync/with.h"
#include "python/room.h"

#include <limits.h>

PyTypeObject *rlock_type;

static inline int rlock_take(RLockObject *self, int64_t deadline)
{
    if (rlock_is_mine(self)) {
        unsigned long depth = rlock_depth(self);
        if (depth == ULONG_MAX)
            return refuse(PyExc_OverflowError, "Internal lock count overflowed");
        rlock_set_depth(self, depth + 1);
        return 1;
    }
    int taken = lock_take(&self->base, deadline);
    if (taken == 1)
        rlock_set_depth(self, 1);
    return taken;
}

void rlock_disown(RLockObject *self)
{
    rlock_set_depth(self, 0);
    lock_disown(&self->base);
}

void rlock_take_raising(RLockObject *self, unsigned long depth)
{
    lock_take_raising(&self->base);
    rlock_set_depth(self, depth);
}

static void rlock_give_up(RLockObject *self)
{
    rlock_disown(self);
    sync_lock_release(&self->base.lock);
}

static PyObject *not_mine(void)
{
    return PyErr_Format(PyExc_RuntimeError, "cannot release un-acquired lock");
}

PyObject *rlock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int64_t deadline = PARK_FOREVER;

    if ((count || names) && args_acquire(args, count, names, &deadline) < 0)
        return NULL;
    int taken = rlock_take((RLockObject *)op, deadline);
    return taken < 0 ? NULL : Py_NewRef(taken ? Py_True : Py_False);
}

PyObject *rlock_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return rlock_take((RLockObject *)op, PARK_FOREVER) < 0 ? NULL : Py_NewRef(Py_True);
}

PyObject *rlock_release(PyObject *op, PyObject *Py_UNUSED(unused))
{
    RLockObject *self = (RLockObject *)op;

    if (!rlock_is_mine(self))
        return not_mine();
    if (rlock_depth(self) == 1)
        rlock_give_up(self);
    else
        rlock_set_depth(self, rlock_depth(self) - 1);
    Py_RETURN_NONE;
}

static PyObject *rlock_exit(PyObject *op, PyObject *const *Py_UNUSED(args), Py_ssize_t count)
{
    return exit_takes(count) ? rlock_release(op, NULL) : NULL;
}

RETURNS(rlock_is_owned, PyBool_FromLong(rlock_is_mine((RLockObject *)op)))

static PyObject *rlock_recursion_count(PyObject *op, PyObject *Py_UNUSED(unused))
{
    RLockObject *self = (RLockObject *)op;
    return PyLong_FromUnsignedLong(rlock_is_mine(self) ? rlock_depth(self) : 0);
}

/* These two are for threading's own Condition.wait(): the first frees the lock at any depth, the second takes it back with that depth. */
static PyObject *rlock_release_save(PyObject *op, PyObject *Py_UNUSED(unused))
{
    RLockObject *self = (RLockObject *)op;

    if (!rlock_is_mine(self))
        return not_mine();
    PyObject *state = Py_BuildValue("kk", rlock_depth(self), my_ident());
    if (state)
        rlock_give_up(self);
    return state;
}

static PyObject *rlock_acquire_restore(PyObject *op, PyObject *state)
{
    RLockObject *self = (RLockObject *)op;
    unsigned long depth, owner;

    if (!PyArg_ParseTuple(state, "(kk):_acquire_restore", &depth, &owner))
        return NULL;
    cancel_hold(); /* as in condition_wait() */
    int taken = lock_take(&self->base, PARK_FOREVER);
    cancel_let();
    if (taken < 0)
        rlock_take_raising(self, depth);
    rlock_set_depth(self, depth);
    return taken < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *rlock_at_fork_reinit(PyObject *op, PyObject *unused)
{
    rlock_set_depth((RLockObject *)op, 0);
    return lock_at_fork_reinit(op, unused);
}

static PyObject *rlock_repr(PyObject *op)
{
    RLockObject *self = (RLockObject *)op;
    unsigned long owner = atomic_load(&self->base.owner), ident = !owner ? 0 : owner == my_serial() ? my_ident() : serial_ident(owner);

    return PyUnicode_FromFormat("<%s %s object owner=%lu count=%lu at %p>", owner ? "locked" : "unlocked", Py_TYPE(op)->tp_name, ident,
                                rlock_depth(self), op);
}

/* Argument Clinic's check: arguments are for a derived class that has an __init__. */
static PyObject *rlock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (type->tp_init == PyBaseObject_Type.tp_init && has_arguments(args, kwargs))
        return PyErr_Format(PyExc_TypeError, "RLock() takes no arguments");
    return any_new(type, args, kwargs);
}

PyDoc_STRVAR(rlock_acquire_doc,
"acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
"Takes the lock, at once if the caller has it already; True when it was taken.  With blocking=False, or when timeout (seconds,\n"
"-1: no limit) has passed: False.  As threading.RLock.acquire.\n\n"
"ValueError: a timeout without blocking, or a negative one that is not -1.\n"
"OverflowError: a timeout above threading.TIMEOUT_MAX, or taken too often.");
PyDoc_STRVAR(rlock_release_doc,
"release($self, /)\n--\n\n"
"Undoes one acquire(); the last frees the lock.  RuntimeError: the caller doesn't hold it.");

static PyMethodDef rlock_methods[] = {
    KEYWORDS("acquire", rlock_acquire, rlock_acquire_doc),
    {"release", rlock_release, METH_NOARGS, rlock_release_doc},
    {"locked", lock_locked, METH_NOARGS, locked_doc},
    ENTER(rlock_acquire, rlock_enter),
    POSITIONAL("__exit__", rlock_exit, NULL),
    {"_is_owned", rlock_is_owned, METH_NOARGS, NULL},
    {"_recursion_count", rlock_recursion_count, METH_NOARGS, NULL},
    {"_release_save", rlock_release_save, METH_NOARGS, NULL},
    {"_acquire_restore", rlock_acquire_restore, METH_VARARGS, NULL},
    {"_at_fork_reinit", rlock_at_fork_reinit, METH_NOARGS, NULL},
    {0},
};

PyDoc_STRVAR(rlock_doc,
"RLock()\n--\n\n"
"A lock that its owner may take again; threading.RLock.  `with lock:` takes it and frees it.");
TYPE_SPEC(rlock, "_thread.RLock", RLockObject, Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_BASETYPE, {Py_tp_doc, (void *)rlock_doc},
          {Py_tp_new, LOCKS_ARE_STRICT ? rlock_new : any_new}, {Py_tp_dealloc, lock_dealloc}, {Py_tp_repr, rlock_repr},
          {Py_tp_methods, rlock_methods}, {Py_tp_members, lock_members});

static int add_rlock(PyObject *Py_UNUSED(module))
{
    return python_quick_with(rlock_type, rlock_enter, rlock_release);
}

const struct entries entries_rlock = {.spec = &rlock_spec, .type = &rlock_type, .add = add_rlock};
