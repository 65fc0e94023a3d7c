/* Loops of asyncio in explored threads.  Every loop, also one of another package as uvloop, tells asyncio by _set_running_loop() that it
 * begins and that it has ended.  asyncio's own have their handles called here, in the order that the plan says
 * (lwp/explore/tasks/loops.py).
 *
 * A handle is a task's if its callback is one of the task's methods, which is how a task goes on.  All other handles are the thread's: they
 * are called in the loop's order, and only their order among the tasks' is chosen.  So is the cancel() of a task that has ended, because such
 * a task never goes on (run_coroutine_threadsafe() adds one when its task ends cancelled).
 *
 * THE ORDER.  A loop promises to call handles as they were added, and programs rely on it.  What comes from the world, a file that is ready
 * or a timer, could have come earlier or later.  So each ready handle has a CAUSE, and may be called before one that is ahead of it
 * only if the two have different causes, and
 *   - both come from the world: the events could have come the other way round; or
 *   - the one that is ahead is an EVENT's own handle: the event could have come later.  When it comes earlier is chosen by the clock.
 * What was added by a turn, or by another thread, is IN_LINE: the plan chooses when that thread goes on.  So is a Unix socket whose peer is
 * in this process: its data is there as soon as it is written.  What the handle of an event has added comes FROM_EVENT, with the same
 * cause; what that adds too, until it is a task's turn. */
#include "python/explore/parts.h"

#include "python/args.h"
#include "python/explore/point.h"
#include "python/room.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static PyObject *note_loop, *asyncio_module, *cancellation;
static PyTypeObject *task_type;

/* ---- handles ----------------------------------------------------------------------------------------------------- */

/* What the method is bound to: a new reference, or NULL. */
static PyObject *bound_to(PyObject *callback)
{
    if (PyMethod_Check(callback))
        return Py_NewRef(PyMethod_GET_SELF(callback));
    if (PyFunction_Check(callback))
        return NULL;
    PyObject *self = get_attribute(callback, NAME("__self__"));
    if (!self)
        PyErr_Clear();
    return self;
}

/* A new reference; NULL: it is no task's. */
static PyObject *task_of(PyObject *handle)
{
    PyObject *callback = get_attribute(handle, NAME("_callback")), *self = callback ? bound_to(callback) : NULL;

    Py_XDECREF(callback);
    PyErr_Clear();
    if (self && !PyObject_TypeCheck(self, task_type))
        Py_CLEAR(self);
    return self;
}

/* As what explore_task_begins() and explore_canceller() return: NULL with an exception. */
static struct explored *unless_too_many(struct explored *made)
{
    if (!made) {
        explore_fail(EXPLORE_TOO_MANY);
        point_cancel();
    }
    return made;
}

static long number_of(const struct explored *task)
{
    return explore_run.number * EXPLORE_THREADS + task->index;
}

static struct explored *new_task(struct explored *loop, PyObject *task)
{
    struct explored *made = unless_too_many(explore_task_begins(loop));
    PyObject *number = made ? PyLong_FromLong(number_of(made)) : NULL;

    if (!number || PyObject_SetAttr(task, NAME("_explore_index"), number) < 0)
        made = NULL;
    Py_XDECREF(number);
    return made;
}

/* The task's place in the run: an attribute of it, because a task may be gone while the run goes on. */
static struct explored *known_task(PyObject *task)
{
    PyObject *number = get_attribute(task, NAME("_explore_index"));
    long index = number ? PyLong_AsLong(number) - explore_run.number * EXPLORE_THREADS : -1;

    Py_XDECREF(number);
    PyErr_Clear();
    return index >= 0 && index < explore_run.count ? &explore_run.threads[index] : NULL;
}

/* NULL with an exception. */
static struct explored *owner_of(struct explored *loop, PyObject *handle)
{
    PyObject *task = task_of(handle);

    if (!task)
        return loop;
    struct explored *known = known_task(task);
    if (!known && (known = new_task(loop, task)) && point_tell(known, EXPLORE_BEGIN, task) < 0)
        known = NULL;
    Py_DECREF(task);
    return known && known->state == EXPLORED_ENDED ? loop : known;
}

static int is_cancelled(PyObject *handle)
{
    PyObject *answer = get_attribute(handle, NAME("_cancelled"));

    Py_XDECREF(answer);
    PyErr_Clear();
    return answer == Py_True;
}

/* ---- the loop's order -------------------------------------------------------------------------------------------- */

/* A cause is a number, four times, and one of these. */
enum { IN_LINE, FROM_EVENT, EVENT, KINDS = 4 };

static long new_cause(int kind)
{
    static long last;

    return ++last * KINDS + kind;
}

static long cause_at(PyObject *causes, Py_ssize_t at)
{
    return at < PyList_GET_SIZE(causes) ? PyLong_AsLong(PyList_GET_ITEM(causes, at)) : IN_LINE;
}

/* The first `count` handles that have none are given this cause; events one each.  -1 with an exception. */
static int give_causes(PyObject *causes, Py_ssize_t count, long cause)
{
    while (PyList_GET_SIZE(causes) < count) {
        PyObject *number = PyLong_FromLong(cause % KINDS == EVENT ? new_cause(EVENT) : cause);
        int failed = !number || PyList_Append(causes, number) < 0;
        Py_XDECREF(number);
        if (failed)
            return -1;
    }
    return 0;
}

/* What the handle adds has this cause. */
static long cause_of_added(long cause, int by_task)
{
    return by_task || cause % KINDS == IN_LINE ? new_cause(IN_LINE) : cause / KINDS * KINDS + FROM_EVENT;
}

static int turn_at(PyObject *causes, Py_ssize_t at)
{
    long cause = cause_at(causes, at);
    int turn = EXPLORE_HAS_TURN;

    while (at-- > 0 && turn != EXPLORE_IS_BEHIND) {
        long ahead = cause_at(causes, at);
        int one = cause % KINDS, other = ahead % KINDS;
        if (cause / KINDS == ahead / KINDS)
            turn = EXPLORE_IS_BEHIND;
        else if (other != EVENT && (one == IN_LINE || other == IN_LINE))
            turn = explore_strikes(EXPLORE_EARLY) ? EXPLORE_MAY_BE_EARLY : EXPLORE_IS_BEHIND;
    }
    return turn;
}

/* ---- cancellers -------------------------------------------------------------------------------------------------- */

/* A task waits.  -1 with an exception. */
static int note_canceller(struct explored *task, PyObject *object)
{
    if (!explore_strikes(EXPLORE_CANCELS) || task->cancellers[0])
        return 0;
    PyObject *answer = PyObject_CallMethodOneArg(cancellation, NAME("may_cancel"), object);
    int failed = !answer || (answer == Py_True && !unless_too_many(explore_canceller(task, 0)));
    Py_XDECREF(answer);
    return failed ? -1 : 0;
}

/* Sets which can go on as far as it is not their task that decides: a task may be cancelled at any time, a timeout fires while it runs. -1
 * with an exception. */
static int look_at_cancellers(struct explored *loop)
{
    if (!explore_strikes(EXPLORE_CANCELS) || explore_is_unwinding())
        return 0;
    for (int i = 0; i < explore_run.count; i++) {
        struct explored *any = &explore_run.threads[i];
        if (any->loop == loop && explore_is_canceller(any))
            any->ready = !any->by_timeout;
    }
    PyObject *tasks = PyObject_CallMethodNoArgs(cancellation, NAME("tasks_with_timeouts"));
    int failed = !tasks;
    for (Py_ssize_t at = 0; tasks && at < PyList_GET_SIZE(tasks); at++) {
        struct explored *task = known_task(PyList_GET_ITEM(tasks, at));
        struct explored *canceller = task ? unless_too_many(explore_canceller(task, 1)) : NULL;
        if (canceller)
            canceller->ready = 1;
        failed |= task && !canceller;
    }
    Py_XDECREF(tasks);
    return failed ? -1 : 0;
}

/* The canceller that goes on cancels its task. */
static int cancel_task(struct explored *loop)
{
    const struct explored *me = explore_me();

    explore_run.cancelled = me->by_timeout ? EXPLORE_CANCELLED_BY_TIMEOUT : EXPLORE_CANCELLED;
    PyObject *none = PyObject_CallMethod(cancellation, "cancel", "li", number_of(me->op.object), me->by_timeout);
    explore_turn_ends(loop, 1);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

/* A task is noted where it begins to wait, because a report of a deadlock tells that too.  The thread's own handle is noted here, once. */
static int tell_of_handle(struct explored *loop, PyObject *handle)
{
    int told = loop->told ? 0 : point_tell(loop, EXPLORE_TURN, handle);

    loop->told = 1;
    return told;
}

/* Sets which of the thread and its tasks have a handle. Returns which has the first one; -1 with an exception. */
static int look_at_handles(struct explored *loop, PyObject *ready, PyObject *causes)
{
    PyObject *own = NULL;
    int front = -1;

    if (explore_is_unwinding())
        return loop->index;
    for (int i = 0; i < explore_run.count; i++)
        if (explore_run.threads[i].loop == loop)
            explore_run.threads[i].ready = EXPLORE_NO_TURN;
    for (Py_ssize_t at = 0; at < PyObject_Size(ready); at++) {
        PyObject *handle = PySequence_GetItem(ready, at);
        struct explored *owner = handle ? owner_of(loop, handle) : NULL;
        if (owner == loop && !own)
            own = Py_NewRef(handle);
        Py_XDECREF(handle);
        if (!owner) {
            front = -1;
            break;
        }
        if (!owner->ready)
            owner->ready = turn_at(causes, at);
        front = front < 0 ? owner->index : front;
    }
    if (tell_of_handle(loop, own) < 0)
        front = -1;
    Py_XDECREF(own);
    return front;
}

/* 0: some of them goes on, which explore_me() says; ETIMEDOUT: it is time for a timer; -1 with an exception. */
static int come_to_turn(struct explored *loop, const struct explore_op *op, int front)
{
    explore_turn_comes(loop, front);
    if (explore_arrive(loop, op)) {
        PyThreadState *tstate = PyEval_SaveThread();
        explore_leave();
        PyEval_RestoreThread(tstate);
    }
    int result = explore_me()->result;
    loop->told &= explore_me() != loop;
    if (result == ECANCELED)
        point_cancel();
    return result == ECANCELED ? -1 : result;
}

/* Takes its first handle out: a new reference.  A run that is unwound takes any.  NULL, with an exception or without: it has none any
 * more, because another thread has cancelled the handle meanwhile. */
static PyObject *take_handle(struct explored *loop, const struct explored *me, PyObject *ready, PyObject *causes, long *cause)
{
    for (Py_ssize_t at = 0; at < PyObject_Size(ready); at++) {
        PyObject *handle = PySequence_GetItem(ready, at);
        const struct explored *owner = handle && !explore_is_unwinding() ? owner_of(loop, handle) : me;
        *cause = cause_at(causes, at);
        if (handle && owner == me && PyList_SetSlice(causes, at, at + 1, NULL) == 0 && PySequence_DelItem(ready, at) == 0)
            return handle;
        Py_XDECREF(handle);
        if (!handle || !owner || PyErr_Occurred())
            break;
    }
    explore_turn_ends(loop, 0);
    return NULL;
}

/* Behind a task's turn: 1: it is done; 0: it waits, which is noted; -1 with an exception. */
static int is_done(struct explored *me, PyObject *handle)
{
    PyObject *task = task_of(handle), *answer = task ? PyObject_CallMethodNoArgs(task, NAME("done")) : NULL;
    int done = answer ? answer != Py_False : -1;

    if (done == 0 && (note_canceller(me, task) < 0 || point_tell(me, EXPLORE_TURN, task) < 0))
        done = -1;
    Py_XDECREF(task);
    Py_XDECREF(answer);
    return done;
}

static int call_handle(struct explored *loop, PyObject *handle)
{
    struct explored *me = explore_me();

    me->ready = 0;
    PyObject *none = is_cancelled(handle) ? Py_NewRef(Py_None) : PyObject_CallMethodNoArgs(handle, NAME("_run"));
    int done = none && me != loop ? is_done(me, handle) : none ? 1 : -1;

    explore_turn_ends(loop, done != 0);
    Py_XDECREF(none);
    return done < 0 ? -1 : 0;
}

static int64_t deadline_of(PyObject *when)
{
    double seconds = when == Py_None ? -1 : PyFloat_AsDouble(when);

    return seconds < 0 || seconds > (double)(INT64_MAX / PARK_SECOND) ? PARK_FOREVER : (int64_t)(seconds * PARK_SECOND) + 1;
}

/* (a loop's ready handles, the causes of those that have one, how many there were before its files and timers had added theirs, how many to
 * call, when it is time for its first timer or None): how many are left to be called, because it is time for a timer. */
static PyObject *call_handles(PyObject *module, PyObject *args)
{
    PyObject *ready, *causes, *when;
    Py_ssize_t count, others;
    long cause;
    struct explored *loop = explore_me();

    if (!PyArg_ParseTuple(args, "OO!nnO:explore_turns", &ready, &PyList_Type, &causes, &others, &count, &when)
        || PyList_SetSlice(causes, PyObject_Size(ready), PY_SSIZE_T_MAX, NULL) < 0 /* a loop that is closed forgets its handles */
        || give_causes(causes, others, new_cause(IN_LINE)) < 0 || give_causes(causes, PyObject_Size(ready), new_cause(EVENT)) < 0)
        return NULL;
    const struct explore_op op = {EXPLORE_TURN, NULL, explore_is_unwinding() ? NULL : explore_has_turn, deadline_of(when)};
    loop->loop = loop;
    while (count > 0 && PyObject_Size(ready) > 0) {
        int front = look_at_handles(loop, ready, causes), failed = front < 0 || look_at_cancellers(loop) < 0;
        int result = failed ? -1 : come_to_turn(loop, &op, front);
        if (result >= 0
            && give_causes(causes, PyObject_Size(ready), new_cause(IN_LINE)) < 0) /* what other threads have added meanwhile */
            return NULL;
        if (result == ETIMEDOUT)
            break;
        if (result == 0 && explore_is_canceller(explore_me()))
            failed = cancel_task(loop) < 0;
        else {
            PyObject *handle = result < 0 ? NULL : take_handle(loop, explore_me(), ready, causes, &cause);
            int by_task = explore_me() != loop;
            failed = handle ? call_handle(loop, handle) < 0
                                  || give_causes(causes, PyObject_Size(ready), cause_of_added(cause, by_task)) < 0
                            : PyErr_Occurred() != NULL;
            Py_XDECREF(handle);
            count--;
        }
        if (failed)
            return NULL;
    }
    return PyLong_FromSsize_t(count);
}

/* (a loop's ready handles, when it is time for its first timer or None): waits until another thread wakes the loop, or until that time. */
static PyObject *wait_for_handles(PyObject *module, PyObject *args)
{
    PyObject *ready, *when;
    struct explored *loop = explore_me();

    if (!PyArg_ParseTuple(args, "OO:explore_idle", &ready, &when) || tell_of_handle(loop, NULL) < 0)
        return NULL;
    const struct explore_op op = {EXPLORE_TURN, NULL, explore_has_turn, deadline_of(when)};
    loop->loop = loop;
    loop->ready = 0;
    loop->awake_for = ready;
    int result = look_at_cancellers(loop) < 0 ? -1 : come_to_turn(loop, &op, loop->index);
    loop->awake_for = NULL;
    if (result == 0 && explore_is_canceller(explore_me()))
        result = cancel_task(loop);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

/* (a loop's ready handles): wakes the loop if it waits for a handle; returns whether it does.  Any thread may call this.  The loop may call
 * the handle before a thread that has added it adds another one. */
static PyObject *wake_loop(PyObject *module, PyObject *ready)
{
    const struct explore_op op = {EXPLORE_SIGNAL, NULL, NULL, PARK_FOREVER};
    struct explored *me = explore_me();
    int waits = 0;

    for (int i = 0; i < explore_run.count && !waits; i++) {
        struct explored *thread = &explore_run.threads[i];
        waits = thread->awake_for == ready && thread->loop == thread;
        if (waits)
            thread->ready = EXPLORE_HAS_TURN;
    }
    return me && !me->loop && point(me, &op) < 0 ? NULL : PyBool_FromLong(waits);
}

/* (a descriptor that is ready): whether it is a Unix socket whose peer is in this process. */
static PyObject *is_within(PyObject *module, PyObject *fd)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;

    int within = getsockopt((int)PyLong_AsLong(fd), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == getpid();
    explore_run.files |= !within;
    return PyBool_FromLong(within);
}

/* On the run's clock, in seconds. A loop looks at it twice for each handle, and these are no looks of the program's. */
static PyObject *loop_time(PyObject *module, PyObject *unused)
{
    return PyFloat_FromDouble((double)explore_run.now / PARK_SECOND);
}

/* By number in the run: the number of the thread that runs the task, or the canceller's task; -1: it is neither. */
static PyObject *list_tasks(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    for (int i = 0; i < explore_run.count; i++) {
        const struct explored *any = &explore_run.threads[i];
        append_to(&list, PyLong_FromLong(explore_is_task(any) ? any->loop->index : -1));
    }
    return list;
}

/* ---- that a loop runs -------------------------------------------------------------------------------------------- */

static PyObject *set_running_loop(const struct swap_call *call)
{
    PyObject *none = PyObject_CallOneArg(note_loop, call->args[0]);

    if (!none)
        return NULL;
    Py_DECREF(none);
    return swap_stock(call);
}

#define LOOP_FUNCTIONS(ROW, of) ROW(of##_set_running, "_set_running_loop", set_running_loop, EXPLORE_READ)
SWAPS(LOOP_FUNCTIONS, loop);

static const struct swap_table tables[] = {{.module = &asyncio_module, .methods = loop_methods}};
enum { TABLES = sizeof tables / sizeof *tables };

/* (the module _asyncio, the class Task, the module lwp.explore.tasks.cancellation, note): while this process explores, note(loop) is called
 * before a loop begins, and note(None) when it has ended. */
static PyObject *watch_loops(PyObject *module, PyObject *args)
{
    PyObject *note;

    if (!PyArg_ParseTuple(args, "OO!OO:explore_loops", &asyncio_module, &PyType_Type, &task_type, &cancellation, &note))
        return NULL;
    Py_XSETREF(note_loop, Py_NewRef(note));
    if (swap_in(tables, TABLES, 0) < 0)
        return NULL;
    Py_RETURN_NONE;
}

void loops_swap_out(void)
{
    swap_out(tables, TABLES);
    Py_CLEAR(note_loop);
}

static PyMethodDef functions[] = {
    {"explore_loops", watch_loops, METH_VARARGS, NULL},
    {"explore_turns", call_handles, METH_VARARGS, NULL},
    {"explore_idle", wait_for_handles, METH_VARARGS, NULL},
    {"explore_wake", wake_loop, METH_O, NULL},
    {"explore_within", is_within, METH_O, NULL},
    {"explore_loop_time", loop_time, METH_NOARGS, NULL},
    {"explore_tasks", list_tasks, METH_NOARGS, NULL},
    {0},
};

const struct entries entries_loops = {.functions = functions};
