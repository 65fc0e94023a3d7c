/* Events, futures, semaphores, conditions, barriers, C queues, and several things at once, in explored threads. */
#include "python/explore/waiters.h"

#include "python/args.h"
#include "python/explore/locks.h"
#include "python/explore/point.h"
#include "python/pool/future.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"

#include <errno.h>

/* ---- any operation ----------------------------------------------------------------------------------------------- */

static PyObject *do_at_point(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *names)
{
    return point_at(me, swap->kind, self, NULL, PARK_FOREVER) < 0 ? NULL : swap_stock(swap, self, args, count, names);
}

/* One that asks: an answer of `no` says that the caller will ask again. */
static PyObject *ask_at_point(struct swap *swap, struct explored *me, PyObject *self, PyObject *no)
{
    PyObject *answer = do_at_point(swap, me, self, NULL, 0, NULL);

    me->yields = answer == no;
    return answer;
}

static PyObject *ask_false(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *names)
{
    return ask_at_point(swap, me, self, Py_False);
}

static PyObject *ask_true(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    return ask_at_point(swap, me, self, Py_True);
}

/* (blocking, timeout) as Semaphore.acquire() and SimpleQueue.get() take them; -1: not so. */
static int parse_wait(const char *first, PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline)
{
    PyObject *blocking = count > 0 ? args[0] : Py_True, *timeout = count > 1 ? args[1] : Py_None;

    *deadline = PARK_FOREVER;
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), first) == 0)
            blocking = args[count + i];
        else if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), "timeout") == 0)
            timeout = args[count + i];
        else
            return -1;
    }
    int blocks = PyObject_IsTrue(blocking);
    if (blocks == 0)
        *deadline = 0;
    int result = blocks < 0 ? -1 : !blocks || timeout == Py_None ? 0 : args_wait_deadline(timeout, deadline);
    if (result < 0)
        PyErr_Clear();
    return result;
}

/* ---- semaphores -------------------------------------------------------------------------------------------------- */

static int has_count(const struct explored *thread)
{
    return semaphore_count((PyObject *)thread->op.object) > 0;
}

static PyObject *acquire_semaphore(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                                   PyObject *names)
{
    int64_t deadline;

    if (semaphore_count(self) < 0 || parse_wait("blocking", args, count, names, &deadline) < 0)
        return swap_stock(swap, self, args, count, names);
    int tries = deadline == 0, result = point_at(me, tries ? EXPLORE_TRY : EXPLORE_ACQUIRE, self, tries ? NULL : has_count, deadline);
    if (result < 0)
        return NULL;
    if (result == ETIMEDOUT)
        Py_RETURN_FALSE;
    PyObject *taken = swap->flags & METH_NOARGS ? swap_stock(swap, self, NULL, 0, NULL) : swap_try(swap, self);
    me->yields = taken == Py_False;
    return taken;
}

SWAP(semaphore_acquire, "acquire", acquire_semaphore, EXPLORE_ACQUIRE);
SWAP(semaphore_release, "release", do_at_point, EXPLORE_RELEASE);
SWAP(semaphore_enter, "__enter__", acquire_semaphore, EXPLORE_ACQUIRE);
SWAP(semaphore_exit, "__exit__", do_at_point, EXPLORE_RELEASE);
static struct swap *const semaphore_methods[] = {&semaphore_acquire, &semaphore_release, &semaphore_enter, &semaphore_exit, NULL};

/* ---- events, futures, barriers, conditions ----------------------------------------------------------------------- */

/* What is slept for is the object itself, which needs nothing once it has woken the thread, or what `awake` asks about another. */
static PyObject *wait_at_point(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                               PyObject *names, explore_can *awake, PyObject *awake_for)
{
    if (point_at(me, EXPLORE_WAIT, self, NULL, PARK_FOREVER) < 0)
        return NULL;
    me->awake = awake;
    me->awake_for = awake_for;
    PyObject *result = swap_stock(swap, self, args, count, names);
    me->awake = NULL;
    me->awake_for = NULL;
    me->yields = result == Py_False;
    return result;
}

static PyObject *wait_for_itself(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                                 PyObject *names)
{
    return wait_at_point(swap, me, self, args, count, names, NULL, self);
}

/* Once notified, a waiter needs the lock: that is when it can go on. */
static PyObject *wait_for_condition(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                                    PyObject *names)
{
    PyObject *lock = condition_lock(self);

    return wait_at_point(swap, me, self, args, count, names, lock ? locks_can_take : NULL, lock);
}

SWAP(event_is_set, "is_set", ask_false, EXPLORE_READ);
SWAP(event_set, "set", do_at_point, EXPLORE_SIGNAL);
SWAP(event_clear, "clear", do_at_point, EXPLORE_SIGNAL);
SWAP(event_wait, "wait", wait_for_itself, EXPLORE_WAIT);
static struct swap *const event_methods[] = {&event_is_set, &event_set, &event_clear, &event_wait, NULL};

SWAP(future_begin, "_begin", do_at_point, EXPLORE_SIGNAL);
SWAP(future_finish, "_finish", do_at_point, EXPLORE_SIGNAL);
SWAP(future_finish_cancelled, "_finish_cancelled", do_at_point, EXPLORE_SIGNAL);
SWAP(future_wait, "_wait", wait_for_itself, EXPLORE_WAIT);
SWAP(future_await, "_await", wait_for_itself, EXPLORE_WAIT);
static struct swap *const future_methods[]
    = {&future_begin, &future_finish, &future_finish_cancelled, &future_wait, &future_await, NULL};

SWAP(barrier_wait, "wait", wait_for_itself, EXPLORE_WAIT);
SWAP(barrier_reset, "reset", do_at_point, EXPLORE_SIGNAL);
SWAP(barrier_abort, "abort", do_at_point, EXPLORE_SIGNAL);
static struct swap *const barrier_methods[] = {&barrier_wait, &barrier_reset, &barrier_abort, NULL};

SWAP(condition_wait, "wait", wait_for_condition, EXPLORE_WAIT);
SWAP(condition_notify, "notify", do_at_point, EXPLORE_SIGNAL);
SWAP(condition_notify_all, "notify_all", do_at_point, EXPLORE_SIGNAL);
static struct swap *const condition_methods[] = {&condition_wait, &condition_notify, &condition_notify_all, NULL};

/* ---- runtime.wait() ---------------------------------------------------------------------------------------------- */

/* Of several things: so it is not said to what the step is done, and it matters to all. */
static PyObject *wait_for_several(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    if (point(me, &(struct explore_op){EXPLORE_WAIT, NULL, NULL, PARK_FOREVER}) < 0)
        return NULL;
    PyObject *ready = swap_stock(swap, self, args, count, names);
    me->yields = ready && PyList_GET_SIZE(ready) == 0;
    return ready;
}

SWAP(wait_several, "wait_things", wait_for_several, EXPLORE_WAIT);
static struct swap *const functions[] = {&wait_several, NULL};

/* ---- queue.SimpleQueue, in C ------------------------------------------------------------------------------------- */

static int has_item(const struct explored *thread)
{
    return !thread->refused;
}

static struct swap queue_empty;

/* What each of its getters may expect, once it has changed. */
static void tell_getters(PyObject *queue)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyObject *answer = swap_stock(&queue_empty, queue, NULL, 0, NULL);
    for (int i = 0; i < explore_run.count; i++)
        if (explore_run.threads[i].op.object == queue)
            explore_run.threads[i].refused = answer == Py_True;
    Py_XDECREF(answer);
    PyErr_Restore(type, value, traceback);
}

static PyObject *get_item(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    int64_t deadline;

    if (parse_wait("block", args, count, names, &deadline) < 0)
        return swap_stock(swap, self, args, count, names);
    PyObject *empty = swap_stock(&queue_empty, self, NULL, 0, NULL);
    me->refused = empty == Py_True;
    Py_XDECREF(empty);
    if (point_at(me, deadline == 0 ? EXPLORE_TRY : EXPLORE_ACQUIRE, self, deadline == 0 ? NULL : has_item, deadline) < 0)
        return NULL;
    PyObject *item = swap_try(swap, self);
    tell_getters(self);
    return item;
}

static PyObject *get_item_nowait(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                                 PyObject *names)
{
    PyObject *item = do_at_point(swap, me, self, args, count, names);

    me->yields = !item;
    tell_getters(self);
    return item;
}

static PyObject *put_item(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    PyObject *result = do_at_point(swap, me, self, args, count, names);

    tell_getters(self);
    return result;
}

SWAP(queue_get, "get", get_item, EXPLORE_ACQUIRE);
SWAP(queue_get_nowait, "get_nowait", get_item_nowait, EXPLORE_TRY);
SWAP(queue_put, "put", put_item, EXPLORE_SIGNAL);
SWAP(queue_put_nowait, "put_nowait", put_item, EXPLORE_SIGNAL);
SWAP(queue_empty, "empty", ask_true, EXPLORE_READ);
SWAP(queue_qsize, "qsize", do_at_point, EXPLORE_READ);
static struct swap *const queue_methods[]
    = {&queue_get, &queue_get_nowait, &queue_put, &queue_put_nowait, &queue_empty, &queue_qsize, NULL};

/* ---- all --------------------------------------------------------------------------------------------------------- */

int waiters_swap_in(PyObject *module, PyTypeObject *simple_queue)
{
    return swap_in(semaphore_methods, (PyObject *)semaphore_type) < 0 || swap_in(event_methods, (PyObject *)event_type) < 0
                   || swap_in(future_methods, (PyObject *)future_type) < 0 || swap_in(barrier_methods, (PyObject *)barrier_type) < 0
                   || swap_in(condition_methods, (PyObject *)condition_type) < 0 || swap_in(queue_methods, (PyObject *)simple_queue) < 0
                   || swap_in(functions, module) < 0
               ? -1
               : 0;
}

void waiters_swap_out(void)
{
    swap_out(semaphore_methods);
    swap_out(event_methods);
    swap_out(future_methods);
    swap_out(barrier_methods);
    swap_out(condition_methods);
    swap_out(queue_methods);
    swap_out(functions);
}
