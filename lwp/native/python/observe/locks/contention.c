/* How long threads wait for what, and hold it, for lwp/observe/locks.py: the counting as a whole, and the events that it hears.
 *
 * waiting.c knows what each thread waits for, methods.c what calls of methods show, delays.c has the rows. */
#include "kernel/base/events.h"
#include "python/observe/locks/delays.h"
#include "python/reading/held.h"
#include "python/reading/sites.h"
#include "python/observe/locks/methods.h"
#include "python/observe/locks/stacks.h"
#include "python/observe/locks/told.h"
#include "python/observe/locks/waiting.h"
#include "python/room.h"
#include "python/sync/serial.h"
#include "python/threads/gil_crowd.h"
#include "python/observe/locks/gil_waits.h"
#include "python/threads/sleep.h"

static int64_t ended; /* while nothing counts */
static _Atomic int64_t until; /* it ends by itself then, because the process that has asked for it may be gone; 0: it goes on */

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* It gets its row now: sites.c forgets where it was made once another primitive falls into its place there. */
static void note_made(PyObject *object)
{
    struct quiet quiet = sites_quiet();

    if (waiting_counts) {
        delays_object_ended(object);
        delays_of_object(object);
    }
    sites_go_on(&quiet);
}

static void note_item(PyObject *queue, const void *item, int comes)
{
    struct quiet quiet = sites_quiet();
    struct delays *row = waiting_counts ? delays_of_items(queue) : NULL;

    if (row && !row->arrivals)
        delays_came_before(row, 0); /* those that were there have other addresses */
    if (row)
        (comes ? delays_arrives : delays_leaves)(row, item, park_now());
    sites_go_on(&quiet);
}

/* A queue or future in Python notifies whenever it changes, and a thread looks at it before it waits: so only the program's own calls
 * count. */
static void note_unheard(PyObject *condition)
{
    struct quiet quiet = sites_quiet();
    uint32_t site = waiting_counts ? site_innermost() : 0;
    struct delays *row = site ? delays_of_object(condition) : NULL;

    if (row) {
        row->unheard.count++;
        row->unheard.site = site;
    }
    sites_go_on(&quiet);
}

static void stop_counting(void)
{
    events_end(EVENTS_CONTENTION);
    gil_waits_end();
    methods_end();
    ended = park_now();
    atomic_store(&waiting_counts, 0);
}

static void end_counting(void)
{
    if (!held_is_read(HELD_BY_WAITS))
        return;
    stop_counting();
    held_end(HELD_BY_WAITS);
}

static atomic_int late; /* the time is over */

static int end_now(void *Py_UNUSED(unused))
{
    if (atomic_exchange(&late, 0))
        end_counting();
    return 0;
}

/* The main thread ends it: what was held may end with that, whose callbacks must not run just after a sleep. */
static void end_if_late(void)
{
    int64_t limit = atomic_load_explicit(&until, memory_order_relaxed);

    if (!limit || waiting_wanted_gil() <= limit || !atomic_compare_exchange_strong(&until, &limit, 0))
        return;
    atomic_store(&late, 1);
    Py_AddPendingCall(end_now, NULL); /* if there is no room for it, the next beginning ends it */
}

static void hear_event(enum event event, uint64_t a, uint64_t b)
{
    (void)my_serial(); /* by which it is known if it keeps the GIL */
    switch (event) {
    case EVENT_MADE:
        note_made((PyObject *)(uintptr_t)a);
        break;
    case EVENT_PYTHON:
        waiting_new_thread();
        break;
    case EVENT_BLOCKED:
        waiting_falls_asleep((PyObject *)(uintptr_t)a);
        break;
    case EVENT_WANTS_GIL:
        waiting_wants_gil((int)a);
        break;
    case EVENT_HAS_GIL:
        waiting_is_awake();
        end_if_late();
        break;
    case EVENT_QUEUED:
    case EVENT_UNQUEUED:
        note_item((PyObject *)(uintptr_t)a, (const void *)(uintptr_t)b, event == EVENT_QUEUED);
        break;
    case EVENT_UNHEARD:
        note_unheard((PyObject *)(uintptr_t)a);
        break;
    case EVENT_LEAVES_GIL:
        held_forget_me();
        break;
    default:
        break;
    }
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

/* What was counted is given back.  waited_for: a new time begins, and this is `before`; NULL: none does. */
static void exchange_counts(PyObject *waited_for)
{
    struct quiet quiet = sites_quiet();
    struct delays *rows = delays_take();
    struct stack *stacks = stacks_take();
    PyObject *former = waiting_begin_anew(waited_for);

    sites_go_on(&quiet);
    delays_free(rows);
    stacks_free(stacks);
    Py_XDECREF(former);
}

static PyObject *begin_counting(PyObject *module, PyObject *args)
{
    PyObject *queue, *waited_for, *queues;
    double lasts;

    if (!PyArg_ParseTuple(args, "O!O!O!d:contention_begin", &PyType_Type, &queue, &PyDict_Type, &waited_for, &PyList_Type, &queues,
                          &lasts))
        return NULL;
    int64_t limit = atomic_load(&until);
    if (limit && park_now() > limit)
        atomic_store(&late, 1);
    end_now(NULL); /* the main thread, which would do so, may sleep for long */
    if (held_begin(HELD_BY_WAITS, &methods_reader) < 0)
        return NULL;
    exchange_counts(waited_for);
    if (methods_begin((PyTypeObject *)queue) < 0) {
        end_counting();
        return NULL;
    }
    methods_note_takers(queues);
    if (!WITHOUT_GIL && gil_crowd_begins() == 0)
        gil_waits_begin();
    atomic_store(&until, lasts > 0 ? waiting_begun + (int64_t)(lasts * PARK_SECOND) : 0);
    events_begin(EVENTS_CONTENTION, hear_event);
    Py_RETURN_NONE;
}

static PyObject *end_asked(PyObject *module, PyObject *unused)
{
    end_counting();
    Py_RETURN_NONE;
}

static PyObject *forget_counts(PyObject *module, PyObject *unused)
{
    if (!held_is_read(HELD_BY_WAITS))
        exchange_counts(NULL);
    Py_RETURN_NONE;
}

static void contention_after_fork(void)
{
    if (!waiting_counts)
        return;
    stop_counting();
    held_forget_reader(HELD_BY_WAITS);
}

/* ---- what was found ---------------------------------------------------------------------------------------------- */

static PyObject *read_counts(PyObject *module, PyObject *unused)
{
    PyObject *gil = told_gil();
    struct quiet quiet = sites_quiet();
    PyObject *rows = told_rows(), *stacks = told_stacks();
    int counts = atomic_load(&waiting_counts);
    int64_t ns = (counts ? park_now() : ended) - waiting_begun;
    uint64_t crowded = delays_crowded, lost = stacks_lost, cut = stacks_cut;
    sites_go_on(&quiet);
    if (rows && stacks && gil)
        return Py_BuildValue("(iLNNN(KKK))", counts, (long long)ns, rows, stacks, gil, (unsigned long long)crowded,
                             (unsigned long long)lost, (unsigned long long)cut);
    Py_XDECREF(rows);
    Py_XDECREF(stacks);
    Py_XDECREF(gil);
    return PyErr_Occurred() ? NULL : PyErr_NoMemory();
}

static PyMethodDef functions[] = {
    {"contention_begin", begin_counting, METH_VARARGS,
     "contention_begin(queue, waits, queues, seconds): counts from now on what threads wait for and hold, also CPython's locks and queues\n"
     "of this type.  waits: ident -> what the thread waits for.  queues: of each thread that sleeps in get() its queue.\n"
     "It ends after so many seconds at the latest; 0: it goes on.\n"
     "RuntimeError: it is being counted already."},
    {"contention_end", end_asked, METH_NOARGS, "Ends that; what was counted stays until the next beginning."},
    {"contention_forget", forget_counts, METH_NOARGS, "Gives back what was counted, unless that goes on."},
    {"contention_read", read_counts, METH_NOARGS, "What was counted, as lwp/observe/locks.py reads it."},
    {0},
};

const struct entries entries_contention = {.functions = functions, .after_fork = contention_after_fork};
