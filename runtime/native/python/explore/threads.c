/* The start, the end and the join of threads, and time, in explored threads. */
#include "python/explore/threads.h"

#include "kernel/lwp/lwp.h"
#include "python/args.h"
#include "python/threads/boot.h"
#include "python/explore/code.h"
#include "python/explore/point.h"
#include "python/groups/cancel.h"
#include "python/threads/lwp.h"
#include "python/green/scheduler.h"
#include "green/thread.h"

#include <errno.h>

/* ---- start, begin and end ---------------------------------------------------------------------------------------- */

PyObject *threads_scheduler;

/* A thread that starts another in an explored thread starts it there; one that is not explored goes on as it would. */
static int put_on_scheduler(PyObject *thread)
{
    PyObject *given = get_attribute(thread, NAME("_lwp_scheduler"));
    int result = !given ? -1 : given != Py_None ? 0 : PyObject_SetAttr(thread, NAME("_lwp_scheduler"), threads_scheduler);

    Py_XDECREF(given);
    return result;
}

static PyObject *start_thread(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    if (point(me, &(struct explore_op){EXPLORE_START, NULL, NULL, PARK_FOREVER}) < 0)
        return NULL;
    int is_thread = swap->kind == EXPLORE_START && count == 3; /* thread_start(thread, ...), not LWP._begin_green() */
    if (is_thread && put_on_scheduler(args[0]) < 0)
        return NULL;
    if (explore_run.count < EXPLORE_THREADS && !explore_is_unwinding())
        return swap_stock(swap, self, args, count, names);
    explore_fail(EXPLORE_TOO_MANY);
    point_cancel();
    return NULL;
}

static int may_call(void)
{
    if (explore_me() && explore_is_unwinding())
        return 0;
    code_thread_begins();
    return 1;
}

static void has_called(void)
{
    struct explored *me = explore_me();

    if (me && point(me, &(struct explore_op){EXPLORE_END, me, NULL, PARK_FOREVER}) < 0)
        PyErr_Clear();
}

/* ---- join -------------------------------------------------------------------------------------------------------- */

static int has_ended(const struct explored *thread)
{
    return ((const struct explored *)thread->op.object)->state == EXPLORED_ENDED;
}

/* Who that thread is in this run; NULL: it isn't explored. */
static struct explored *explored_of(PyObject *lwp)
{
    struct green *green = lwp && PyObject_TypeCheck(lwp, lwp_type) ? green_of_lwp(((LwpObject *)lwp)->lwp) : NULL;
    /* One of a run before may have had the same place. */
    return green && green->explored && green->explored->green == green ? green->explored : NULL;
}

static PyObject *join_explored(struct swap *swap, struct explored *me, PyObject *self, struct explored *other, PyObject *timeout,
                               PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int64_t deadline = PARK_FOREVER;

    if (!other || other == me || (timeout && args_deadline(timeout, &deadline) < 0)) {
        PyErr_Clear();
        return swap_stock(swap, self, args, count, names);
    }
    int result = point(me, &(struct explore_op){EXPLORE_JOIN, other, has_ended, deadline});
    return result < 0 ? NULL : result == ETIMEDOUT ? Py_NewRef(Py_False) : swap_stock(swap, self, args, count, names);
}

static PyObject *join_thread(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *names)
{
    PyObject *lwp = count == 2 ? get_attribute(args[0], NAME("_lwp")) : NULL;

    if (!lwp)
        PyErr_Clear();
    PyObject *result = join_explored(swap, me, self, explored_of(lwp), count == 2 ? args[1] : NULL, args, count, names);
    Py_XDECREF(lwp);
    return result;
}

static PyObject *join_lwp(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    PyObject *timeout = count == 1 || (names && PyTuple_GET_SIZE(names) == 1) ? args[0] : NULL;

    return join_explored(swap, me, self, explored_of(self), timeout, args, count, names);
}

static PyObject *is_alive(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    PyObject *lwp = get_attribute(args[0], NAME("_lwp"));
    struct explored *other = explored_of(lwp);

    if (!lwp)
        PyErr_Clear();
    Py_XDECREF(lwp);
    if (other && point(me, &(struct explore_op){EXPLORE_READ, other, NULL, PARK_FOREVER}) < 0)
        return NULL;
    PyObject *alive = swap_stock(swap, self, args, count, names);
    me->yields = alive == Py_True;
    return alive;
}

/* A pool keeps its threads in a set, whose order must be the same in each run: not that of their addresses. */
static PyObject *make_thread(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                             PyObject *names)
{
    PyObject *none = swap_stock(swap, self, args, count, names), *hash = none ? PyLong_FromLong(++explore_run.made) : NULL;

    if (!hash || PyObject_SetAttr(args[0], NAME("_explore_hash"), hash) < 0)
        Py_CLEAR(none);
    Py_XDECREF(hash);
    return none;
}

SWAP(thread_make, "thread_make", make_thread, EXPLORE_START);
SWAP(thread_start, "thread_start", start_thread, EXPLORE_START);
SWAP(thread_join, "thread_join", join_thread, EXPLORE_JOIN);
SWAP(thread_is_alive, "thread_is_alive", is_alive, EXPLORE_READ);
static struct swap *const functions[] = {&thread_make, &thread_start, &thread_join, &thread_is_alive, NULL};

SWAP(lwp_begin_green, "_begin_green", start_thread, EXPLORE_START);
SWAP(lwp_join_, "join", join_lwp, EXPLORE_JOIN);
static struct swap *const lwp_methods[] = {&lwp_begin_green, &lwp_join_, NULL};

/* ---- time ------------------------------------------------------------------------------------------------------ */

static int64_t to_wall_clock; /* from the run's clock */

static PyObject *tell_seconds(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    return PyFloat_FromDouble((double)explore_run.now / PARK_SECOND);
}

static PyObject *tell_nanoseconds(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    return PyLong_FromLongLong(explore_run.now);
}

static PyObject *wall_seconds(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    return PyFloat_FromDouble((double)(explore_run.now + to_wall_clock) / PARK_SECOND);
}

static PyObject *wall_nanoseconds(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    return PyLong_FromLongLong(explore_run.now + to_wall_clock);
}

static PyObject *give_way(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    return point(me, &(struct explore_op){EXPLORE_YIELD, NULL, NULL, PARK_FOREVER, 0}) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *sleep_for(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *names)
{
    int no_time
        = (PyFloat_CheckExact(args[0]) && PyFloat_AS_DOUBLE(args[0]) == 0) || (PyLong_CheckExact(args[0]) && !PyObject_IsTrue(args[0]));

    if (no_time)
        return give_way(swap, me, self, NULL, 0, NULL);
    return point_tell(me, EXPLORE_SLEEP, NULL) < 0 ? NULL : scheduler_sleep(NULL, args[0]);
}

SWAP(time_sleep, "sleep", sleep_for, EXPLORE_SLEEP);
SWAP(time_monotonic, "monotonic", tell_seconds, EXPLORE_READ);
SWAP(time_monotonic_ns, "monotonic_ns", tell_nanoseconds, EXPLORE_READ);
SWAP(time_perf_counter, "perf_counter", tell_seconds, EXPLORE_READ);
SWAP(time_perf_counter_ns, "perf_counter_ns", tell_nanoseconds, EXPLORE_READ);
SWAP(time_time, "time", wall_seconds, EXPLORE_READ);
SWAP(time_time_ns, "time_ns", wall_nanoseconds, EXPLORE_READ);
static struct swap *const time_functions[]
    = {&time_sleep, &time_monotonic, &time_monotonic_ns, &time_perf_counter, &time_perf_counter_ns, &time_time, &time_time_ns, NULL};

/* Any operation of the other thread may be the one that it ends. */
static PyObject *interrupt_thread(struct swap *swap, struct explored *me, PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    const struct explore_op op = {EXPLORE_SIGNAL, NULL, NULL, PARK_FOREVER};

    return point(me, &op) < 0 ? NULL : swap_stock(swap, self, args, count, names);
}

SWAP(cancel_interrupt, "_interrupt", interrupt_thread, EXPLORE_SIGNAL);
static struct swap *const cancel_methods[] = {&cancel_interrupt, NULL};

SWAP(own_sleep, "sleep", sleep_for, EXPLORE_SLEEP);
SWAP(own_yield, "yield_", give_way, EXPLORE_YIELD);
static struct swap *const own_functions[] = {&own_sleep, &own_yield, NULL};

/* ---- all --------------------------------------------------------------------------------------------------------- */

int threads_swap_in(PyObject *module, PyObject *time)
{
    to_wall_clock = park_clock(CLOCK_REALTIME) - park_clock(CLOCK_MONOTONIC);
    boot_may_call = may_call;
    boot_has_called = has_called;
    return swap_in(functions, module) < 0 || swap_in(own_functions, module) < 0 || swap_in(lwp_methods, (PyObject *)lwp_type) < 0
                   || swap_in(cancel_methods, (PyObject *)cancel_type) < 0 || swap_in(time_functions, time) < 0
               ? -1
               : 0;
}

void threads_swap_out(void)
{
    boot_may_call = NULL;
    boot_has_called = NULL;
    swap_out(functions);
    swap_out(own_functions);
    swap_out(lwp_methods);
    swap_out(cancel_methods);
    swap_out(time_functions);
}
