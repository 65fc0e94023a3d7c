/* The start, the end and the join of threads, and time, in explored threads. */
#include "python/explore/parts.h"

#include "kernel/lwp/lwp.h"
#include "python/args.h"
#include "python/threads/boot.h"
#include "python/explore/point.h"
#include "python/room.h"
#include "python/waits/cancel.h"
#include "python/threads/lwp.h"
#include "python/green/scheduler.h"
#include "green/thread.h"

#include <datetime.h>
#include <errno.h>

/* ---- start, begin and end ---------------------------------------------------------------------------------------- */

PyObject *threads_scheduler;

/* An explored thread starts other threads on its scheduler; a thread that is not explored starts them as always. */
static int put_on_scheduler(PyObject *thread)
{
    PyObject *given = get_attribute(thread, NAME("_lwp_scheduler"));
    int result = !given ? -1 : given != Py_None ? 0 : PyObject_SetAttr(thread, NAME("_lwp_scheduler"), threads_scheduler);

    Py_XDECREF(given);
    return result;
}

static PyObject *start_thread(const struct swap_call *call)
{
    if (point(call->me, &(struct explore_op){EXPLORE_START, NULL, NULL, PARK_FOREVER}) < 0)
        return NULL;
    int is_thread = call->swap->kind == EXPLORE_START && call->count == 3; /* thread_start(thread, ...), not LWP._begin_green() */
    if (is_thread && put_on_scheduler(call->args[0]) < 0)
        return NULL;
    if (explore_run.count < EXPLORE_THREADS && !explore_is_unwinding())
        return swap_stock(call);
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

/* That thread in this run; NULL: it isn't explored. */
static struct explored *explored_of(PyObject *lwp)
{
    struct green *green = lwp && PyObject_TypeCheck(lwp, lwp_type) ? green_of_lwp(((LwpObject *)lwp)->lwp) : NULL;
    /* A thread of an earlier run may have had the same place. */
    return green && green->explored && green->explored->green == green ? explore_thread_of(green->explored) : NULL;
}

static PyObject *join_explored(const struct swap_call *call, struct explored *other, PyObject *timeout)
{
    int64_t deadline = PARK_FOREVER;

    if (!other || other == call->me || (timeout && args_deadline(timeout, &deadline) < 0)) {
        PyErr_Clear();
        return swap_stock(call);
    }
    int result = point(call->me, &(struct explore_op){EXPLORE_JOIN, other, has_ended, deadline});
    return result < 0 ? NULL : result == ETIMEDOUT ? Py_NewRef(Py_False) : swap_stock(call);
}

static PyObject *join_thread(const struct swap_call *call)
{
    PyObject *lwp = call->count == 2 ? get_attribute(call->args[0], NAME("_lwp")) : NULL;

    if (!lwp)
        PyErr_Clear();
    PyObject *result = join_explored(call, explored_of(lwp), call->count == 2 ? call->args[1] : NULL);
    Py_XDECREF(lwp);
    return result;
}

static PyObject *join_lwp(const struct swap_call *call)
{
    PyObject *timeout = call->count == 1 || (call->names && PyTuple_GET_SIZE(call->names) == 1) ? call->args[0] : NULL;

    return join_explored(call, explored_of(call->self), timeout);
}

static PyObject *is_alive(const struct swap_call *call)
{
    PyObject *lwp = get_attribute(call->args[0], NAME("_lwp"));
    struct explored *other = explored_of(lwp);

    if (!lwp)
        PyErr_Clear();
    Py_XDECREF(lwp);
    if (other && point(call->me, &(struct explore_op){EXPLORE_READ, other, NULL, PARK_FOREVER}) < 0)
        return NULL;
    PyObject *alive = swap_stock(call);
    call->me->yields = alive == Py_True;
    return alive;
}

/* ---- numbers: lwp/explore/run/numbers.py says why ------------------------------------------------------------- */

enum { THREADS, POOLS, FUTURES, COUNTS };
static const int counts_from[COUNTS] = {[THREADS] = 1, [POOLS] = 0, [FUTURES] = 1};
static atomic_int counts[COUNTS];

static PyObject *count_next(PyObject *which, PyObject *unused)
{
    return PyLong_FromLong(atomic_fetch_add(&counts[PyLong_AsLong(which)], 1));
}

static PyMethodDef count_def = {"count", count_next, METH_NOARGS, NULL};

/* (): functions that count threads, pools and futures, anew in each run. */
static PyObject *make_counters(PyObject *module, PyObject *unused)
{
    PyObject *counters = PyTuple_New(COUNTS);

    for (int i = 0; counters && i < COUNTS; i++) {
        PyObject *which = PyLong_FromLong(i), *counter = which ? PyCFunction_New(&count_def, which) : NULL;
        Py_XDECREF(which);
        if (counter)
            PyTuple_SET_ITEM(counters, i, counter);
        else
            Py_CLEAR(counters);
    }
    return counters;
}

void threads_run_begins(void)
{
    for (int i = 0; i < COUNTS; i++)
        atomic_store_explicit(&counts[i], counts_from[i], memory_order_relaxed);
}

/* The hash of a thread or a future that an explored thread has made is its number. */
static PyObject *hash_thing(PyObject *thing, PyObject *unused)
{
    PyObject *number = PyObject_GenericGetAttr(thing, NAME("_explore_hash"));

    if (number)
        return number;
    PyErr_Clear();
    return PyLong_FromSsize_t(PyBaseObject_Type.tp_hash(thing));
}

static PyMethodDef hash_def = {"__hash__", hash_thing, METH_NOARGS, NULL};
static PyMethodDef numbers[] = {{"explore_counters", make_counters, METH_NOARGS, NULL}, {0}};

static int add_numbers(PyObject *module)
{
    PyObject *hash = PyDescr_NewMethod(&PyBaseObject_Type, &hash_def);
    int result = hash ? PyModule_AddObjectRef(module, "explore_hash", hash) : -1;

    Py_XDECREF(hash);
    return result;
}

/* A pool keeps its threads in a set, whose order must be the same in each run, and so must not follow their addresses. */
static PyObject *make_thread(const struct swap_call *call)
{
    PyObject *none = swap_stock(call), *hash = none ? PyLong_FromLong(++explore_run.made) : NULL;

    if (!hash || PyObject_SetAttr(call->args[0], NAME("_explore_hash"), hash) < 0)
        Py_CLEAR(none);
    Py_XDECREF(hash);
    return none;
}

#define THREAD_FUNCTIONS(ROW, of)                                \
    ROW(of##_make, "thread_make", make_thread, EXPLORE_START)    \
    ROW(of##_start, "thread_start", start_thread, EXPLORE_START) \
    ROW(of##_join, "thread_join", join_thread, EXPLORE_JOIN)     \
    ROW(of##_is_alive, "thread_is_alive", is_alive, EXPLORE_READ)
SWAPS(THREAD_FUNCTIONS, thread);

#define LWP_METHODS(ROW, of)                                           \
    ROW(of##_begin_green, "_begin_green", start_thread, EXPLORE_START) \
    ROW(of##_join, "join", join_lwp, EXPLORE_JOIN)
SWAPS(LWP_METHODS, own_lwp);

/* ---- time ------------------------------------------------------------------------------------------------------ */

static int64_t to_wall_clock; /* from the run's clock */

/* What the program sees when it looks at a clock, whichever it is.  A look of a report's note is none of the program's. */
static int64_t now_at_look(void)
{
    int gives_way = !point_telling && explore_clock_looks(explore_me());

    if (gives_way && point(explore_me(), &(struct explore_op){EXPLORE_YIELD, NULL, NULL, PARK_FOREVER}) < 0) {
        PyErr_Clear(); /* the run is over: it is raised once the call has returned */
        PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), point_unwound);
    }
    return explore_run.now;
}

static int64_t wall_at_look(void)
{
    return now_at_look() + to_wall_clock;
}

static PyObject *tell_seconds(const struct swap_call *call)
{
    return PyFloat_FromDouble((double)now_at_look() / PARK_SECOND);
}

static PyObject *tell_nanoseconds(const struct swap_call *call)
{
    return PyLong_FromLongLong(now_at_look());
}

static PyObject *wall_seconds(const struct swap_call *call)
{
    return PyFloat_FromDouble((double)wall_at_look() / PARK_SECOND);
}

static PyObject *wall_nanoseconds(const struct swap_call *call)
{
    return PyLong_FromLongLong(wall_at_look());
}

/* 0: the clock is another one, of the processor's time. */
static int look_at_clock(const struct swap_call *call, int64_t *now)
{
    switch (call->count == 1 ? PyLong_AsLong(call->args[0]) : -1) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
        *now = wall_at_look();
        return 1;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME:
        *now = now_at_look();
        return 1;
    default:
        PyErr_Clear();
        return 0;
    }
}

static PyObject *clock_seconds(const struct swap_call *call)
{
    int64_t now;
    return look_at_clock(call, &now) ? PyFloat_FromDouble((double)now / PARK_SECOND) : swap_stock(call);
}

static PyObject *clock_nanoseconds(const struct swap_call *call)
{
    int64_t now;
    return look_at_clock(call, &now) ? PyLong_FromLongLong(now) : swap_stock(call);
}

/* localtime(seconds=None) and the like. */
static PyObject *split_now(const struct swap_call *call)
{
    if (call->count > 1 || (call->count && call->args[0] != Py_None))
        return swap_stock(call);
    struct swap_call bare = *call;
    bare.count = 0;
    return swap_stock_with(&bare, PyLong_FromLongLong(wall_at_look() / PARK_SECOND));
}

static PyObject *local_now(PyObject *time)
{
    return PyObject_CallMethod(time, "localtime", "L", (long long)(wall_at_look() / PARK_SECOND));
}

static PyObject *asctime_now(const struct swap_call *call)
{
    return call->count ? swap_stock(call) : swap_stock_with(call, local_now(call->self));
}

static PyObject *strftime_now(const struct swap_call *call)
{
    return call->count != 1 ? swap_stock(call) : swap_stock_with(call, local_now(call->self));
}

/* In microseconds, which a float of seconds holds until the year 2242. */
static double date_seconds(void)
{
    return (double)(wall_at_look() / 1000) / 1e6;
}

/* datetime.now(tz=None).  A class's own fromtimestamp() is passed by, as datetime.now() passes it by. */
static PyObject *tell_datetime(const struct swap_call *call)
{
    PyObject *zone;

    if (args_one("now", "tz", call->args, call->count, call->names, &zone) < 0)
        return NULL;
    PyObject *args = Py_BuildValue("dO", date_seconds(), zone ? zone : Py_None);
    PyObject *now = args ? PyDateTimeAPI->DateTime_FromTimestamp(call->self, args, NULL) : NULL;
    Py_XDECREF(args);
    return now;
}

/* datetime.utcnow() */
static PyObject *tell_utc(const struct swap_call *call)
{
    PyObject *real = swap_stock(call); /* from 3.12 on it warns that it is deprecated */

    if (!real)
        return NULL;
    Py_DECREF(real);
    int64_t now = wall_at_look();
    time_t seconds = now / PARK_SECOND;
    struct tm utc;
    gmtime_r(&seconds, &utc);
    return PyObject_CallFunction(call->self, "iiiiiiiO", 1900 + utc.tm_year, 1 + utc.tm_mon, utc.tm_mday, utc.tm_hour, utc.tm_min,
                                 utc.tm_sec, (int)(now % PARK_SECOND / 1000), Py_None);
}

/* date.today(), and datetime's. */
static PyObject *tell_today(const struct swap_call *call)
{
    return PyObject_CallMethod(call->self, "fromtimestamp", "d", date_seconds());
}

static PyObject *give_way(const struct swap_call *call)
{
    return point(call->me, &(struct explore_op){EXPLORE_YIELD, NULL, NULL, PARK_FOREVER, 0}) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *sleep_for(const struct swap_call *call)
{
    PyObject *seconds = call->args[0];
    int no_time
        = (PyFloat_CheckExact(seconds) && PyFloat_AS_DOUBLE(seconds) == 0) || (PyLong_CheckExact(seconds) && !PyObject_IsTrue(seconds));

    if (no_time)
        return give_way(call);
    if (point_tell(call->me, EXPLORE_SLEEP, NULL) < 0)
        return NULL;
    call->me->sleeps = 1;
    PyObject *none = scheduler_sleep(NULL, seconds);
    call->me->sleeps = 0;
    return none;
}

#define TIME_FUNCTIONS(ROW, of)                                                     \
    ROW(of##_sleep, "sleep", sleep_for, EXPLORE_SLEEP)                              \
    ROW(of##_monotonic, "monotonic", tell_seconds, EXPLORE_READ)                    \
    ROW(of##_monotonic_ns, "monotonic_ns", tell_nanoseconds, EXPLORE_READ)          \
    ROW(of##_perf_counter, "perf_counter", tell_seconds, EXPLORE_READ)              \
    ROW(of##_perf_counter_ns, "perf_counter_ns", tell_nanoseconds, EXPLORE_READ)    \
    ROW(of##_time, "time", wall_seconds, EXPLORE_READ)                              \
    ROW(of##_time_ns, "time_ns", wall_nanoseconds, EXPLORE_READ)                    \
    ROW(of##_clock_gettime, "clock_gettime", clock_seconds, EXPLORE_READ)           \
    ROW(of##_clock_gettime_ns, "clock_gettime_ns", clock_nanoseconds, EXPLORE_READ) \
    ROW(of##_localtime, "localtime", split_now, EXPLORE_READ)                       \
    ROW(of##_gmtime, "gmtime", split_now, EXPLORE_READ)                             \
    ROW(of##_ctime, "ctime", split_now, EXPLORE_READ)                               \
    ROW(of##_asctime, "asctime", asctime_now, EXPLORE_READ)                         \
    ROW(of##_strftime, "strftime", strftime_now, EXPLORE_READ)
SWAPS(TIME_FUNCTIONS, time);

#define DATETIME_METHODS(ROW, of)                     \
    ROW(of##_now, "now", tell_datetime, EXPLORE_READ) \
    ROW(of##_utcnow, "utcnow", tell_utc, EXPLORE_READ)
SWAPS(DATETIME_METHODS, datetime);

#define DATE_METHODS(ROW, of) ROW(of##_today, "today", tell_today, EXPLORE_READ)
SWAPS(DATE_METHODS, date);

/* It may end any operation of the other thread, so it matters to all. */
static PyObject *interrupt_thread(const struct swap_call *call)
{
    const struct explore_op op = {EXPLORE_SIGNAL, NULL, NULL, PARK_FOREVER};

    return point(call->me, &op) < 0 ? NULL : swap_stock(call);
}

#define CANCEL_METHODS(ROW, of) ROW(of##_interrupt, "_interrupt", interrupt_thread, EXPLORE_SIGNAL)
SWAPS(CANCEL_METHODS, cancel);

#define OWN_FUNCTIONS(ROW, of)                         \
    ROW(of##_sleep, "sleep", sleep_for, EXPLORE_SLEEP) \
    ROW(of##_yield, "yield_", give_way, EXPLORE_YIELD)
SWAPS(OWN_FUNCTIONS, own);

/* ---- all --------------------------------------------------------------------------------------------------------- */

static PyObject *time_module;
static PyTypeObject *date_type, *datetime_type;
static const struct swap_table tables[] = {
    {.module = &core_module, .methods = thread_methods}, {.module = &core_module, .methods = own_methods},
    {.type = &lwp_type, .methods = own_lwp_methods},     {.type = &cancel_type, .methods = cancel_methods},
    {.module = &time_module, .methods = time_methods},   {.type = &datetime_type, .methods = datetime_methods},
    {.type = &date_type, .methods = date_methods},
};
const struct part threads_part = PART(tables);

int threads_begin(PyObject *time)
{
    PyDateTime_IMPORT;
    if (!PyDateTimeAPI)
        return -1;
    date_type = PyDateTimeAPI->DateType;
    datetime_type = PyDateTimeAPI->DateTimeType;
    to_wall_clock = park_clock(CLOCK_REALTIME) - park_clock(CLOCK_MONOTONIC);
    boot_may_call = may_call;
    boot_has_called = has_called;
    time_module = time;
    return 0;
}

void threads_end(void)
{
    boot_may_call = NULL;
    boot_has_called = NULL;
}

const struct entries entries_explore_threads = {.add = add_numbers, .functions = numbers};
