/* What threads do with locks, semaphores and CPython's SimpleQueue, as calls of their methods show it. */
#include "python/observe/locks/methods.h"

#include "python/observe/locks/delays.h"
#include "python/observe/locks/stacks.h"
#include "python/observe/locks/waiting.h"
#include "python/reading/sites.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"
#include "python/threads/sleep.h"

/* ---- locks ------------------------------------------------------------------------------------------------------- */

static void count_taking(PyObject *object)
{
    if (!waiting_counts)
        return;
    waiting_be_current(0);
    struct delays *row = delays_of_object(object);
    if (row)
        waiting_count_taking(row);
}

static void note_taken(const struct holder *holder, PyObject *lock, uint32_t site, int surely)
{
    count_taking(lock);
}

static void note_released(const struct held *former)
{
    struct delays *row = waiting_counts && former->since ? delays_of_object(former->lock) : NULL;

    if (!row)
        return;
    int64_t ns = park_now() - former->since;
    delays_held(row, ns, former->site);
    stacks_count(STACK_HOLDS, row, ns);
}

/* A call that waits for an object of CPython's, which tells no event. */
static PyObject *wait_noted(const struct swap_call *call, int64_t deadline)
{
    struct quiet quiet = sites_quiet();
    int64_t since = park_now();

    if (waiting_counts) {
        waiting_be_current(0);
        waiting_begin(call->self);
    }
    sites_go_on(&quiet);
    python_wait_begins(call->self, NULL, since, deadline);
    PyObject *result = swap_stock(call);
    python_wait_ends();
    quiet = sites_quiet();
    waiting_end_call(since);
    sites_go_on(&quiet);
    return result;
}

static PyObject *take_stock(const struct swap_call *call, struct swap *try, int64_t deadline)
{
    PyObject *taken = deadline ? swap_try(try, call->self) : swap_stock(call);

    if (!deadline || taken != Py_False)
        return taken;
    Py_DECREF(taken);
    return wait_noted(call, deadline);
}

const struct held_reader methods_reader = {
    .wants_time = 1,
    .taken = note_taken,
    .released = note_released,
    .take_stock = take_stock,
};

/* ---- semaphores and queues --------------------------------------------------------------------------------------- */

static PyObject *count_taken(const struct swap_call *call)
{
    PyObject *result = swap_stock(call);

    if (result != Py_True)
        return result;
    struct quiet quiet = sites_quiet();
    count_taking(call->self);
    sites_go_on(&quiet);
    return result;
}

static PyTypeObject *queue_type;

/* The row of a SimpleQueue's items.  away: an item that the thread has taken just now, and that is still to be noted.
 *
 * An item that a thread takes without a note leaves the row once the queue itself has fewer items.  CPython 3.13 hands an item over to a
 * thread that waits, so there may be one more for each of these. */
static struct delays *items_of(PyObject *queue, uint64_t away)
{
    struct delays *row = delays_of_items(queue), *waiters = delays_of_object(queue);

    if (!row || !waiters)
        return NULL;
    PyObject *size = PyObject_CallMethod((PyObject *)queue_type, "qsize", "O", queue);
    uint64_t items = (size ? PyLong_AsSize_t(size) : 0) + away;
    Py_XDECREF(size);
    PyErr_Clear();
    if (!row->arrivals)
        delays_came_before(row, items);
    else
        delays_left_unseen(row, items + waiters->waits.now);
    return row;
}

static PyObject *put_noted(const struct swap_call *call)
{
    struct quiet quiet = sites_quiet();
    struct delays *row = NULL;

    if (waiting_counts) {
        waiting_be_current(0);
        if ((row = items_of(call->self, 0)))
            delays_arrives(row, NULL, park_now());
    }
    sites_go_on(&quiet);
    return swap_stock(call);
}

static PyObject *note_left(PyObject *queue, PyObject *item)
{
    struct quiet quiet = sites_quiet();
    struct delays *row = item && waiting_counts ? items_of(queue, 1) : NULL;

    if (row)
        delays_leaves(row, NULL, park_now());
    sites_go_on(&quiet);
    return item;
}

/* Those are the queues in whose get() threads sleep, each as often as threads do. */
void methods_note_takers(PyObject *queues)
{
    struct quiet quiet = sites_quiet();

    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(queues); i++) {
        struct delays *row = Py_IS_TYPE(PyList_GET_ITEM(queues, i), queue_type) ? items_of(PyList_GET_ITEM(queues, i), 0) : NULL;
        if (row)
            delays_taken_unseen(row);
    }
    sites_go_on(&quiet);
}

static PyObject *get_now_noted(const struct swap_call *call)
{
    return note_left(call->self, swap_stock(call));
}

/* Whether `block`, the first argument, is False. */
static int only_looks(const struct swap_call *call)
{
    if (call->count > 0)
        return call->args[0] == Py_False;
    for (Py_ssize_t i = 0; call->names && i < PyTuple_GET_SIZE(call->names); i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(call->names, i), "block") == 0)
            return call->args[i] == Py_False;
    return 0;
}

static PyObject *get_noted(const struct swap_call *call)
{
    struct quiet quiet = sites_quiet();
    struct delays *row = waiting_counts ? items_of(call->self, 0) : NULL;
    int is_empty = row && row->arrivals && !row->waits.now;

    sites_go_on(&quiet);
    return note_left(call->self, is_empty && !only_looks(call) ? wait_noted(call, PARK_FOREVER) : swap_stock(call));
}

#define SEMAPHORE_METHODS(ROW, of)                             \
    ROW(of##_acquire, "acquire", count_taken, EXPLORE_ACQUIRE) \
    ROW(of##_enter, "__enter__", count_taken, EXPLORE_ACQUIRE)
#define QUEUE_METHODS(ROW, of)                                  \
    ROW(of##_put, "put", put_noted, EXPLORE_RELEASE)            \
    ROW(of##_put_now, "put_nowait", put_noted, EXPLORE_RELEASE) \
    ROW(of##_get, "get", get_noted, EXPLORE_ACQUIRE)            \
    ROW(of##_get_now, "get_nowait", get_now_noted, EXPLORE_ACQUIRE)
SWAPS(SEMAPHORE_METHODS, semaphore);
SWAPS(QUEUE_METHODS, queue);
enum { TABLES = 2 };
static const struct swap_table tables[TABLES] = {
    {.type = &semaphore_type, .methods = semaphore_methods},
    {.type = &queue_type, .methods = queue_methods},
};

int methods_begin(PyTypeObject *simple_queue)
{
    queue_type = simple_queue;
    return swap_in(tables, TABLES, 1);
}

void methods_end(void)
{
    swap_out(tables, TABLES);
}
