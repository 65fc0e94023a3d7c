/* Points before each operation of a primitive, the runtime's and CPython's own; and at the start and the end of each thread.
 *
 * The same operations are points of the explorer (python/explore/). */
#include "python/chaos/chaos.h"

#include "python/reading/swap.h"
#include "python/sync/future.h"
#include "python/room.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"
#include "python/threads/boot.h"

static PyTypeObject *queue_type;

static PyObject *do_at_point(const struct swap_call *call)
{
    PyObject *object = PyModule_Check(call->self) && call->count ? call->args[0] : call->self;

    chaos_point(&(struct chaos_place){CHAOS_OPERATION, call->swap->name, object});
    return swap_stock(call);
}

#define LOCK_METHODS(ROW, of) SWAP_LOCK(ROW, of, do_at_point, do_at_point) SWAP_LOCKED(ROW, of, do_at_point)
#define RLOCK_METHODS(ROW, of) SWAP_RLOCK(ROW, of, do_at_point, do_at_point, do_at_point, do_at_point)
#define CONDITION_METHODS(ROW, of) SWAP_TAKING(ROW, of, do_at_point, do_at_point) SWAP_SIGNALS(ROW, of, do_at_point, do_at_point)
#define QUICK_METHODS(ROW, of) SWAP_WITH(ROW, of, do_at_point, do_at_point)
SWAP_LOCK_TABLES(lock_tables, LOCK_METHODS, RLOCK_METHODS, CONDITION_METHODS, QUICK_METHODS);

#define SEMAPHORE_METHODS(ROW, of) SWAP_TAKING(ROW, of, do_at_point, do_at_point)
#define EVENT_METHODS(ROW, of) SWAP_EVENT(ROW, of, do_at_point, do_at_point, do_at_point)
#define FUTURE_METHODS(ROW, of) SWAP_FUTURE(ROW, of, do_at_point, do_at_point)
#define BARRIER_METHODS(ROW, of) SWAP_BARRIER(ROW, of, do_at_point, do_at_point)
/* Not qsize() and empty(): a note of `--locks` asks them while it holds a lock that every note wants (python/observe/locks/contention.c). */
#define QUEUE_METHODS(ROW, of) SWAP_ITEMS(ROW, of, do_at_point, do_at_point, do_at_point)
#define FUNCTIONS(ROW, of)                                           \
    ROW(of##_start, "thread_start", do_at_point, EXPLORE_START)      \
    ROW(of##_join, "thread_join", do_at_point, EXPLORE_JOIN)         \
    ROW(of##_is_alive, "thread_is_alive", do_at_point, EXPLORE_READ) \
    ROW(of##_several, "wait_things", do_at_point, EXPLORE_WAIT)
SWAPS(SEMAPHORE_METHODS, semaphore);
SWAPS(EVENT_METHODS, event);
SWAPS(FUTURE_METHODS, future);
SWAPS(BARRIER_METHODS, barrier);
SWAPS(QUEUE_METHODS, queue);
SWAPS(FUNCTIONS, function);
static const struct swap_table tables[] = {
    {.type = &semaphore_type, .methods = semaphore_methods}, {.type = &event_type, .methods = event_methods},
    {.type = &future_type, .methods = future_methods},       {.type = &barrier_type, .methods = barrier_methods},
    {.type = &queue_type, .methods = queue_methods},         {.module = &core_module, .methods = function_methods},
};
enum { LOCK_TABLES = sizeof lock_tables / sizeof *lock_tables, TABLES = sizeof tables / sizeof *tables };

static int may_call(void)
{
    chaos_point(&(struct chaos_place){CHAOS_START});
    return 1;
}

static void has_called(void)
{
    chaos_point(&(struct chaos_place){CHAOS_END});
}

void chaos_operations_end(void)
{
    boot_may_call = NULL;
    boot_has_called = NULL;
    swap_out(tables, TABLES);
    swap_out(lock_tables, LOCK_TABLES);
}

int chaos_operations_begin(PyTypeObject *queue)
{
    queue_type = queue;
    if (swap_in(lock_tables, LOCK_TABLES, 1) < 0 || swap_in(tables, TABLES, 1) < 0) {
        chaos_operations_end();
        return -1;
    }
    boot_may_call = may_call;
    boot_has_called = has_called;
    return 0;
}
