/* WorkQueue: the calls that wait for a thread of a pool, in the order of their coming, and the queue of its workers that sleep.
 *
 * THE DESIGN.  A put() wakes a worker if one sleeps and none is on its way.  The woken worker takes a call, and wakes the next worker
 * if there are more calls; it does so before it makes its call, which may block.  So a burst of calls costs its thread one wake-up, and
 * a few workers make all of many short calls.  A worker that has made a call takes the next one without a sleep.
 *
 * REJECTED.  A permit for each call, as a semaphore gives: each woken worker then has to run, also when another worker has made all
 * calls meanwhile.  The same queue in Python, on a Condition: with and without, in turns, a submit and its result took 0.57 and 0.38 of
 * threading's time (lwp bench pool-call, CPython 3.13).
 *
 * THE PROTOCOL.  Under the queue's lock: a worker finds no call, and enters the queue of sleepers; a put() adds one, and looks for
 * sleepers.  So the worker finds the call, or the put() the worker.  `waking` counts a worker that is entitled and has not run yet.  It
 * will look at the calls, so until then no other worker need be woken. */
#include "kernel/base/events.h"
#include "kernel/base/fork.h"
#include "python/args.h"
#include "python/waits/cancel.h"
#include "python/sync/future.h"
#include "python/sync/common.h"
#include "python/room.h"
#include "python/threads/sleep.h"

#include <limits.h>

typedef struct {
    PyObject_HEAD
    struct sync_queue sleepers; /* its lock guards what follows */
    int forks;                  /* the fork_generation that it belongs to */
    FutureObject *head, *tail;
    long count;
    long free;       /* workers that make no call; one counts as soon as it is in work() */
    int waking;
    PyObject *closed; /* what put() raises: a tuple of an exception's class and text; NULL: it is open */
} WorkQueueObject;

/* With the lock: the first call, or NULL. */
static FutureObject *first_call(WorkQueueObject *self)
{
    FutureObject *future = self->head;

    if (!future)
        return NULL;
    if (!(self->head = future->next))
        self->tail = NULL;
    future->next = NULL;
    future->queued = 0;
    self->count--;
    EVENT(EVENT_UNQUEUED, self, future);
    return future;
}

/* A forked child has no worker, and the calls are its parent's. */
static void queue_lock(WorkQueueObject *self)
{
    sync_queue_lock(&self->sleepers);
    if (self->forks == fork_generation)
        return;
    self->forks = fork_generation;
    self->free = self->waking = 0;
    while (self->head)
        first_call(self); /* the reference is leaked, because dropping it may run code that needs this lock */
    self->tail = NULL;
    self->count = 0; /* where there is no GIL, the fork may have cut a put() short */
}

/* With the lock, which is released. */
static void wake_one_unlock(WorkQueueObject *self)
{
    if (self->count && !self->waking && sync_queue_grant(&self->sleepers, 1))
        self->waking = 1;
    sync_queue_unlock_and_wake(&self->sleepers);
}

static PyObject *raise_closed(PyObject *closed)
{
    PyErr_SetObject(PyTuple_GET_ITEM(closed, 0), PyTuple_GET_ITEM(closed, 1));
    Py_DECREF(closed);
    return NULL;
}

static PyObject *queue_put(PyObject *op, PyObject *item)
{
    WorkQueueObject *self = (WorkQueueObject *)op;
    FutureObject *future = (FutureObject *)item;

    if (!PyObject_TypeCheck(item, future_type))
        return PyErr_Format(PyExc_TypeError, "a Future, not %s", Py_TYPE(item)->tp_name);
    queue_lock(self);
    if (self->closed || future->queued) {
        PyObject *closed = Py_XNewRef(self->closed);
        sync_queue_unlock(&self->sleepers);
        if (closed)
            return raise_closed(closed);
        return PyErr_Format(PyExc_RuntimeError, "it is in a queue already");
    }
    Py_INCREF(item);
    future->queued = 1;
    *(self->tail ? &self->tail->next : &self->head) = future;
    self->tail = future;
    int lacks = ++self->count > self->free;
    EVENT(EVENT_QUEUED, self, future);
    wake_one_unlock(self);
    return PyBool_FromLong(lacks);
}

/* ---- workers ----------------------------------------------------------------------------------------------------- */

/* Sleeps until woken; without the lock.  -1 with an exception.  A worker between two calls is in no group: nobody cancels it. */
static int sleep_in(WorkQueueObject *self, struct sync_place *place)
{
    cancel_hold();
    enum outcome outcome = python_sleep_in_queue((PyObject *)self, &self->sleepers, place, NULL, PARK_FOREVER, NULL);
    cancel_let();
    queue_lock(self);
    if (outcome != RAISED) /* after RAISED others may be on their way, but this worker is not */
        self->waking = 0;
    if (outcome == ENTITLED)
        return 0;
    self->free--;
    wake_one_unlock(self);
    return -1;
}

/* The next call: 1; 0: the queue is closed, and there is none; -1 with an exception. */
static int next_call(WorkQueueObject *self, FutureObject **future)
{
    struct sync_place place;

    queue_lock(self);
    self->free++;
    while (!(*future = first_call(self))) {
        if (self->closed) {
            sync_queue_unlock(&self->sleepers);
            return 0;
        }
        sync_queue_enter(&self->sleepers, &place, NULL);
        sync_queue_unlock(&self->sleepers);
        if (sleep_in(self, &place) < 0)
            return -1;
    }
    self->free--;
    wake_one_unlock(self);
    return 1;
}

/* Code around the call, or at its end, has raised, perhaps for want of memory.  The future ends with that, if it hasn't ended. */
static void end_with_error(FutureObject *future)
{
    PyObject *error = PyErr_GetRaisedException();
    int ended = future_end_with(future, error);
    PyObject *none = PyObject_CallMethod((PyObject *)future, "_fail", "Oi", error, ended);
    if (!none)
        PyErr_WriteUnraisable((PyObject *)future);
    Py_XDECREF(none);
    Py_XDECREF(error);
}

static PyObject *queue_work(PyObject *op, PyObject *run)
{
    WorkQueueObject *self = (WorkQueueObject *)op;
    FutureObject *future;
    int taken, forks = fork_generation;

    while ((taken = next_call(self, &future)) > 0) {
        PyObject *none = PyObject_CallOneArg(run, (PyObject *)future);
        if (!none)
            end_with_error(future);
        Py_XDECREF(none);
        Py_DECREF(future);
        if (forks != fork_generation) /* the call has forked: in the child its end is the thread's */
            break;
    }
    return taken < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- its end ----------------------------------------------------------------------------------------------------- */

static PyObject *queue_close(PyObject *op, PyObject *why)
{
    WorkQueueObject *self = (WorkQueueObject *)op;

    if (!PyTuple_Check(why) || PyTuple_GET_SIZE(why) != 2)
        return PyErr_Format(PyExc_TypeError, "(class, text)");
    queue_lock(self);
    if (!self->closed)
        self->closed = Py_NewRef(why);
    sync_queue_grant(&self->sleepers, LONG_MAX);
    sync_queue_unlock_and_wake(&self->sleepers);
    Py_RETURN_NONE;
}

static PyObject *queue_pop(PyObject *op, PyObject *Py_UNUSED(unused))
{
    WorkQueueObject *self = (WorkQueueObject *)op;

    queue_lock(self);
    FutureObject *future = first_call(self);
    sync_queue_unlock(&self->sleepers);
    return future ? (PyObject *)future : Py_NewRef(Py_None);
}

static PyObject *queue_remove(PyObject *op, PyObject *item)
{
    WorkQueueObject *self = (WorkQueueObject *)op;
    FutureObject *before = NULL, *future;

    queue_lock(self);
    for (future = self->head; future && (PyObject *)future != item; future = future->next)
        before = future;
    if (future) {
        *(before ? &before->next : &self->head) = future->next;
        if (self->tail == future)
            self->tail = before;
        future->next = NULL;
        future->queued = 0;
        self->count--;
    }
    sync_queue_unlock(&self->sleepers);
    Py_XDECREF(future);
    return PyBool_FromLong(future != NULL);
}

RETURNS(queue_size, PyLong_FromLong(((WorkQueueObject *)op)->count))

/* ---- the type ---------------------------------------------------------------------------------------------------- */

static int queue_traverse(PyObject *op, visitproc visit, void *arg)
{
    WorkQueueObject *self = (WorkQueueObject *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->closed);
    for (FutureObject *future = self->head; future; future = future->next)
        Py_VISIT(future);
    return 0;
}

static int queue_clear(PyObject *op)
{
    WorkQueueObject *self = (WorkQueueObject *)op;
    FutureObject *future;

    Py_CLEAR(self->closed);
    while ((future = first_call(self)))
        Py_DECREF(future);
    return 0;
}

static void queue_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    queue_clear(op);
    simple_dealloc(op);
}

static PyObject *queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    WorkQueueObject *self = (WorkQueueObject *)any_new(type, args, kwargs);

    if (self)
        self->forks = fork_generation;
    return (PyObject *)self;
}

static PyMethodDef queue_methods[] = {
    {"put", queue_put, METH_O, "Adds a call.  Whether it lacks a worker.  If the queue is closed, what close() was given is raised."},
    {"work", queue_work, METH_O, "Calls function(future) for each call, until the queue is closed and empty."},
    {"close", queue_close, METH_O, "(class, text): what put() raises from now on.  Workers end when no call is left."},
    {"pop", queue_pop, METH_NOARGS, "Takes the first call out, or None."},
    {"remove", queue_remove, METH_O, "Takes a call out.  Whether it was there."},
    {"qsize", queue_size, METH_NOARGS, "How many calls there are."},
    {0},
};

static PyMemberDef queue_members[] = {
    {"closed", T_OBJECT, offsetof(WorkQueueObject, closed), READONLY, NULL},
    {0},
};

TYPE_SPEC(queue, "runtime.native.WorkQueue", WorkQueueObject, Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, {Py_tp_new, queue_new},
          {Py_tp_dealloc, queue_dealloc}, {Py_tp_traverse, queue_traverse}, {Py_tp_clear, queue_clear}, {Py_tp_methods, queue_methods},
          {Py_tp_members, queue_members});

const struct entries entries_work_queue = {.spec = &queue_spec};
