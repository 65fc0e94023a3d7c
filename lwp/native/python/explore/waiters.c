/* Events, futures, semaphores, conditions, barriers, C queues, and several things at once, in explored threads. */
#include "python/explore/parts.h"

#include "python/args.h"
#include "python/explore/point.h"
#include "python/sync/future.h"
#include "python/room.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"

#include <errno.h>

/* ---- any operation ----------------------------------------------------------------------------------------------- */

static PyObject *do_at_point(const struct swap_call *call)
{
    return point_at(call->me, call->swap->kind, call->self, NULL, PARK_FOREVER) < 0 ? NULL : swap_stock(call);
}

/* An operation that asks. If the answer is `no` the caller will ask again, so it gives its turn away. */
static PyObject *ask_at_point(const struct swap_call *call, PyObject *no)
{
    PyObject *answer = do_at_point(call);

    call->me->yields = answer == no;
    return answer;
}

static PyObject *ask_false(const struct swap_call *call)
{
    return ask_at_point(call, Py_False);
}

static PyObject *ask_true(const struct swap_call *call)
{
    return ask_at_point(call, Py_True);
}

/* Reads (blocking, timeout) as Semaphore.acquire() and SimpleQueue.get() take them; -1: they would refuse these. */
static int parse_wait(const char *first, const struct swap_call *call, int64_t *deadline)
{
    PyObject *given[2] = {Py_True, Py_None};
    int blocks = args_two(first, call->args, call->count, call->names, given) < 0 ? -1 : PyObject_IsTrue(given[0]);

    *deadline = blocks ? PARK_FOREVER : 0;
    int result = blocks < 0 ? -1 : !blocks || given[1] == Py_None ? 0 : args_wait_deadline(given[1], deadline);
    if (result < 0)
        PyErr_Clear();
    return result;
}

/* ---- semaphores -------------------------------------------------------------------------------------------------- */

static int has_count(const struct explored *thread)
{
    return semaphore_count((PyObject *)thread->op.object) > 0;
}

static PyObject *acquire_semaphore(const struct swap_call *call)
{
    int64_t deadline;

    if (parse_wait("blocking", call, &deadline) < 0)
        return swap_stock(call);
    int tries = deadline == 0;
    int result = point_at(call->me, tries ? EXPLORE_TRY : EXPLORE_ACQUIRE, call->self, tries ? NULL : has_count, deadline);
    if (result < 0)
        return NULL;
    if (result == ETIMEDOUT)
        Py_RETURN_FALSE;
    PyObject *taken = swap_try(call->swap, call->self);
    call->me->yields = taken == Py_False;
    return taken;
}

static PyObject *release_semaphore(const struct swap_call *call)
{
    return point_after(call->me, call->self, do_at_point(call));
}

#define SEMAPHORE_METHODS(ROW, of) SWAP_TAKING(ROW, of, acquire_semaphore, release_semaphore)
SWAPS(SEMAPHORE_METHODS, semaphore);

/* ---- events, futures, barriers, conditions ----------------------------------------------------------------------- */

/* The thread sleeps for the object. Once woken it can go on at once, or when `awake` says so of another object. */
static PyObject *wait_at_point(const struct swap_call *call, explore_can *awake, PyObject *awake_for)
{
    struct explored *me = call->me;

    if (point_at(me, EXPLORE_WAIT, call->self, NULL, PARK_FOREVER) < 0)
        return NULL;
    me->awake = awake;
    me->awake_for = awake_for;
    PyObject *result = swap_stock(call);
    me->awake = NULL;
    me->awake_for = NULL;
    me->yields = result == Py_False;
    return result;
}

static PyObject *wait_for_itself(const struct swap_call *call)
{
    return wait_at_point(call, NULL, call->self);
}

/* Once notified, a waiter needs the lock: that is when it can go on. */
static PyObject *wait_for_condition(const struct swap_call *call)
{
    PyObject *lock = condition_lock(call->self);

    if (!lock)
        return wait_at_point(call, NULL, NULL);
    explore_releases(call->me, lock);
    PyObject *result = wait_at_point(call, locks_can_take, lock);
    explore_takes(call->me, lock);
    return result;
}

#define EVENT_METHODS(ROW, of) SWAP_EVENT(ROW, of, ask_false, do_at_point, wait_for_itself)
SWAPS(EVENT_METHODS, event);

#define FUTURE_METHODS(ROW, of) SWAP_FUTURE(ROW, of, do_at_point, wait_for_itself)
SWAPS(FUTURE_METHODS, future);

#define BARRIER_METHODS(ROW, of) SWAP_BARRIER(ROW, of, do_at_point, wait_for_itself)
SWAPS(BARRIER_METHODS, barrier);

#define CONDITION_METHODS(ROW, of) SWAP_SIGNALS(ROW, of, do_at_point, wait_for_condition)
SWAPS(CONDITION_METHODS, condition);

/* ---- runtime.wait() ---------------------------------------------------------------------------------------------- */

/* The step waits for several things, so it names no object, and matters to all steps. */
static PyObject *wait_for_several(const struct swap_call *call)
{
    if (point(call->me, &(struct explore_op){EXPLORE_WAIT, NULL, NULL, PARK_FOREVER}) < 0)
        return NULL;
    PyObject *ready = swap_stock(call);
    call->me->yields = ready && PyList_GET_SIZE(ready) == 0;
    return ready;
}

#define WAIT_FUNCTIONS(ROW, of) ROW(of##_several, "wait_things", wait_for_several, EXPLORE_WAIT)
SWAPS(WAIT_FUNCTIONS, wait);

/* ---- queue.SimpleQueue, in C ------------------------------------------------------------------------------------- */

static int has_item(const struct explored *thread)
{
    return !thread->refused;
}

static struct swap queue_empty;

/* Tells each of the queue's getters what it may expect, once the queue has changed. */
static void tell_getters(PyObject *queue)
{
    PyObject *raised = PyErr_GetRaisedException(), *answer = swap_bare(&queue_empty, queue);

    for (int i = 0; i < explore_run.count; i++)
        if (explore_run.threads[i].op.object == queue)
            explore_run.threads[i].refused = answer == Py_True;
    Py_XDECREF(answer);
    PyErr_SetRaisedException(raised);
}

static PyObject *get_item(const struct swap_call *call)
{
    int64_t deadline;

    if (parse_wait("block", call, &deadline) < 0)
        return swap_stock(call);
    PyObject *empty = swap_bare(&queue_empty, call->self);
    call->me->refused = empty == Py_True;
    Py_XDECREF(empty);
    if (point_at(call->me, deadline == 0 ? EXPLORE_TRY : EXPLORE_ACQUIRE, call->self, deadline == 0 ? NULL : has_item, deadline) < 0)
        return NULL;
    PyObject *item = swap_try(call->swap, call->self);
    tell_getters(call->self);
    return item;
}

static PyObject *get_item_nowait(const struct swap_call *call)
{
    PyObject *item = do_at_point(call);

    call->me->yields = !item;
    tell_getters(call->self);
    return item;
}

static PyObject *put_item(const struct swap_call *call)
{
    PyObject *result = do_at_point(call);

    tell_getters(call->self);
    return result;
}

#define QUEUE_METHODS(ROW, of)                               \
    SWAP_ITEMS(ROW, of, get_item, get_item_nowait, put_item) \
    ROW(of##_empty, "empty", ask_true, EXPLORE_READ)         \
    ROW(of##_qsize, "qsize", do_at_point, EXPLORE_READ)
SWAPS(QUEUE_METHODS, queue);

/* ---- all --------------------------------------------------------------------------------------------------------- */

static PyTypeObject *simple_queue_type;
static const struct swap_table tables[] = {
    {.type = &semaphore_type, .methods = semaphore_methods}, {.type = &event_type, .methods = event_methods},
    {.type = &future_type, .methods = future_methods},       {.type = &barrier_type, .methods = barrier_methods},
    {.type = &condition_type, .methods = condition_methods}, {.type = &simple_queue_type, .methods = queue_methods},
    {.module = &core_module, .methods = wait_methods},
};
const struct part waiters_part = PART(tables);

void waiters_begin(PyTypeObject *simple_queue)
{
    simple_queue_type = simple_queue;
}
