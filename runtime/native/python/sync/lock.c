/* Lock: a complete type in C, over a lock of one word (kernel/lock/lock.h).  An operation that needn't sleep makes no system call. */
#include "python/sync/lock_parts.h"

#include "python/args.h"
#include "python/waits/cancel.h"
#include "python/sync/common.h"
#include "python/sync/with.h"
#include "python/room.h"
#include "python/threads/spin.h"
#include "python/threads/wake.h"

#include <errno.h>

PyTypeObject *lock_type;
void (*lock_taken)(LockObject *self);

struct lock_wait {
    LockObject *self;
    int64_t deadline, *since;
    int dozes;
};

/* Without the GIL, so it is wait_for_lock() that notes the owner. */
static int try_if_free(void *lock)
{
    return atomic_load_explicit(&((struct sync_lock *)lock)->word, memory_order_relaxed) == SYNC_FREE && sync_lock_try(lock);
}

static int wait_for_lock(void *arg)
{
    struct lock_wait *wait = arg;
    struct sync_lock *lock = &wait->self->lock;
    int looked = !WITHOUT_GIL && spin_may() && spin_for(try_if_free, lock, 1);
    int result = looked ? 0 : sync_lock_wait(lock, wait->deadline, wait->since, wait->dozes);

    if (result == 0) { /* in this order, with release: a thread that sees the owner sees the end of its wait too (observe/waits.c) */
        python_wait_ends();
        atomic_store_explicit(&wait->self->owner, my_serial(), memory_order_release);
        my_wait.locks++;
    }
    return result;
}

/* Sleeps once for the lock.  0: taken; or ETIMEDOUT or EINTR. */
static int lock_sleep_once(LockObject *self, int64_t deadline, int64_t *since)
{
    struct lock_wait wait = {self, deadline, since, waker_dozes(deadline)};
    int result = python_sleep(&(struct python_sleep){wait_for_lock, &wait, (PyObject *)self, NULL, *since, deadline, NULL});

    if (result == 0 && lock_taken)
        lock_taken(self);
    if (result != EAGAIN)
        return result;
    waker_dozed_in_vain();
    return EINTR;
}

static int take_if_free(void *self)
{
    return lock_take_if_free(self);
}

int lock_sleep(LockObject *self, int64_t deadline, struct sync_queue *queue, int *baton, int interrupted)
{
    if (WITHOUT_GIL && !interrupted && spin_may() && spin_for(take_if_free, self, 1))
        return 1;
    int64_t since = park_now();

    for (;; interrupted = 0) {
        int result = interrupted ? EINTR : lock_sleep_once(self, deadline, &since);
        if (result != EINTR)
            return result == 0;
        if (queue && *baton) {
            sync_queue_pass_baton(queue);
            *baton = 0;
        }
        if (python_interrupted(NULL, (PyObject *)self) < 0)
            return -1;
    }
}

int lock_take_back(LockObject *self, struct sync_queue *queue, int *baton, int interrupted)
{
    return sync_lock_try(&self->lock) ? lock_own(self) : lock_sleep(self, PARK_FOREVER, queue, baton, interrupted);
}

void lock_take_raising(LockObject *self)
{
    PyObject *raised = PyErr_GetRaisedException();
    int64_t since = park_now();

    cancel_hold(); /* or each sleep would end at once */
    if (sync_lock_try(&self->lock))
        lock_own(self);
    else
        while (lock_sleep_once(self, PARK_FOREVER, &since) != 0)
            ;
    cancel_let();
    PyErr_SetRaisedException(raised);
}

PyObject *lock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int64_t deadline = PARK_FOREVER;

    if ((count || names) && args_acquire(args, count, names, &deadline) < 0)
        return NULL;
    int taken = lock_take((LockObject *)op, deadline);
    return taken < 0 ? NULL : Py_NewRef(taken ? Py_True : Py_False);
}

PyObject *lock_enter(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return lock_take((LockObject *)op, PARK_FOREVER) < 0 ? NULL : Py_NewRef(Py_True);
}

PyObject *lock_release(PyObject *op, PyObject *Py_UNUSED(unused))
{
    LockObject *self = (LockObject *)op;

    lock_disown(self);
    if (sync_lock_release(&self->lock) != 0) {
        my_wait.locks++;
        return PyErr_Format(PyExc_RuntimeError, "release unlocked lock");
    }
    Py_RETURN_NONE;
}

static PyObject *lock_exit(PyObject *op, PyObject *const *Py_UNUSED(args), Py_ssize_t count)
{
    return exit_takes(count) ? lock_release(op, NULL) : NULL;
}

PyObject *lock_locked(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(sync_lock_held(&((LockObject *)op)->lock));
}

PyObject *lock_at_fork_reinit(PyObject *op, PyObject *Py_UNUSED(unused))
{
    atomic_store_explicit(&((LockObject *)op)->owner, 0, memory_order_relaxed); /* no thread that could have released it has it */
    sync_lock_reset(&((LockObject *)op)->lock);
    Py_RETURN_NONE;
}

static PyObject *lock_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<%s %s object at %p>", sync_lock_held(&((LockObject *)op)->lock) ? "locked" : "unlocked",
                                Py_TYPE(op)->tp_name, op);
}

static PyObject *lock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (has_arguments(args, kwargs))
        return PyErr_Format(PyExc_TypeError, "lock() takes no arguments");
    return new_primitive(type);
}

void lock_dealloc(PyObject *op)
{
    if (((LockObject *)op)->weak)
        PyObject_ClearWeakRefs(op);
    simple_dealloc(op);
}

PyDoc_STRVAR(acquire_doc,
"acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
"Takes the lock; True when it was taken.  With blocking=False, or when timeout (seconds, -1: no limit) has passed: False.\n"
"As threading.Lock.acquire.\n\n"
"ValueError: a timeout without blocking, or a negative one that is not -1.\n"
"OverflowError: a timeout above threading.TIMEOUT_MAX.");
PyDoc_STRVAR(acquire_lock_doc, "acquire_lock($self, /, blocking=True, timeout=-1)\n--\n\nacquire() by its old name.");
PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\nFrees the lock; any thread may do so.  RuntimeError: no thread holds it.");
PyDoc_STRVAR(release_lock_doc, "release_lock($self, /)\n--\n\nrelease() by its old name.");
PyDoc_STRVAR(locked_lock_doc, "locked_lock($self, /)\n--\n\nlocked() by its old name.");

static PyMethodDef lock_methods[] = {
    KEYWORDS("acquire", lock_acquire, acquire_doc),
    KEYWORDS("acquire_lock", lock_acquire, acquire_lock_doc),
    {"release", lock_release, METH_NOARGS, release_doc},
    {"release_lock", lock_release, METH_NOARGS, release_lock_doc},
    {"locked", lock_locked, METH_NOARGS, locked_doc},
    {"locked_lock", lock_locked, METH_NOARGS, locked_lock_doc},
    ENTER(lock_acquire, lock_enter),
    POSITIONAL("__exit__", lock_exit, NULL),
    {"_at_fork_reinit", lock_at_fork_reinit, METH_NOARGS, NULL},
    {0},
};

PyMemberDef lock_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(LockObject, weak), READONLY, NULL},
    {0},
};

PyDoc_STRVAR(lock_doc, COMPAT_LOCK_SIGNATURE "A lock of one futex word; threading.Lock.  `with lock:` takes it and frees it.");
/* threading.Lock, unless LOCK_IS_TYPE. */
RETURNS(allocate_lock, new_primitive(lock_type))

/* `_thread.lock` is the name that libraries and reprs know.  The last slot is 0 where threading.Lock is a function, and then ends the
 * table. */
TYPE_SPEC(lock, "_thread.lock", LockObject, Py_TPFLAGS_IMMUTABLETYPE | (LOCK_IS_TYPE ? 0 : Py_TPFLAGS_DISALLOW_INSTANTIATION),
          {Py_tp_doc, (void *)lock_doc}, {Py_tp_dealloc, lock_dealloc}, {Py_tp_repr, lock_repr}, {Py_tp_methods, lock_methods},
          {Py_tp_members, lock_members}, {LOCK_IS_TYPE ? Py_tp_new : 0, lock_new});

static PyMethodDef functions[] = {
    {"allocate_lock", allocate_lock, METH_NOARGS, "allocate_lock($module, /)\n--\n\nA new lock; _thread.allocate_lock."},
    {0},
};

static int add_lock(PyObject *Py_UNUSED(module))
{
    return python_quick_with(lock_type, lock_enter, lock_release);
}

const struct entries entries_lock = {.spec = &lock_spec, .type = &lock_type, .add = add_lock, .functions = functions};
