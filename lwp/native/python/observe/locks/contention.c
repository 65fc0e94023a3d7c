/* How long threads wait for what, and hold it, for lwp/observe/locks.py: a reader of the events, and of what threads hold (held.h).
 *
 * A wait of the runtime is what lies between EVENT_BLOCKED and EVENT_WANTS_GIL; one for a lock of CPython's, or for its SimpleQueue, is a
 * call of its method, tried first without waiting.
 *
 * All of this happens between sites_quiet() and sites_go_on(), except where a thread touches nothing but its own `me`. */
#include "kernel/base/events.h"
#include "kernel/lwp/lwp.h"
#include "python/args.h"
#include "python/observe/locks/delays.h"
#include "python/reading/held.h"
#include "python/reading/sites.h"
#include "python/observe/locks/stacks.h"
#include "python/observe/locks/told.h"
#include "python/room.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"
#include "python/threads/gil_crowd.h"
#include "python/observe/locks/gil_waits.h"
#include "python/threads/lwp.h"
#include "python/threads/sleep.h"

#include <errno.h>

static atomic_int on, generation;
static int64_t begun, ended; /* ended: while it is not on */
static _Atomic int64_t until; /* it ends by itself then, because the process that has asked for it may be gone; 0: it goes on */
static PyObject *before; /* ident -> what the thread waits for, of threads that waited at the beginning */

static __thread struct {
    int generation; /* of an earlier one the rest means nothing */
    int result; /* of its sleep */
    struct delays *row; /* that it sleeps for; it has a reference to the object, so the row stays */
    int64_t wanted; /* the GIL, after the sleep */
    int64_t counted, ns; /* the beginning of a wait that has counted with so many, and may go on; or 0 */
    const struct delays *took; /* its last wait took this lock, which has counted; NULL: its call has told that too */
} me;

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static struct delays *row_of(PyObject *object)
{
    int is_primitive = !PyObject_TypeCheck(object, lwp_type) && !PyTuple_Check(object) && !PyCallable_Check(object);
    return is_primitive ? delays_of_object(object) : delays_of_site(object, site_current());
}

static void begin_wait(PyObject *object)
{
    me.took = NULL;
    if (!(me.row = row_of(object)))
        return;
    if (!me.row->waits.site)
        me.row->waits.site = site_current();
    if (++me.row->waits.now > me.row->waits.most)
        me.row->waits.most = me.row->waits.now;
}

/* sleeps: the thread is waking up, so what it waited for at the beginning is what it has waited for until now, unless its sleep had
 * ended by then.  Nobody has heard how, and it may go on: then it would count as one more. */
static void be_current(int sleeps)
{
    if (me.generation == generation)
        return;
    int64_t wanted = me.wanted;
    int result = me.result;
    memset(&me, 0, sizeof me);
    me.generation = generation;
    me.wanted = wanted; /* of this generation already */
    me.result = result;
    PyObject *ident = PyLong_FromUnsignedLong(my_ident()), *known = ident && before ? PyDict_GetItemWithError(before, ident) : NULL;
    if (known && sleeps && wanted >= begun)
        begin_wait(known);
    Py_XDECREF(ident);
    PyErr_Clear();
}

/* A new thread, whose ident may be that of one in `before` that has ended. */
static void be_new(void)
{
    memset(&me, 0, sizeof me);
    me.generation = generation;
}

/* ---- waits ------------------------------------------------------------------------------------------------------- */

static int64_t time_between(int64_t since, int64_t until)
{
    int64_t ns = until - (since > begun ? since : begun);
    return ns > 0 ? ns : 0;
}

static int is_taken(PyTypeObject *type)
{
    return type == lock_type || PyType_IsSubtype(type, rlock_type) || PyType_IsSubtype(type, semaphore_type);
}

/* The end of a wait counts as a taking, because a call that was under way at the beginning doesn't lead to note_taken(). */
static void count_taking(struct delays *row)
{
    if (me.took == row)
        me.took = NULL;
    else
        row->taken++;
}

/* It would find so before it slept again. */
static int is_granted_by_now(void)
{
    return my_wait.place && !my_wait.place->any && sync_place_granted(my_wait.place);
}

/* A wait that ends by EINTR or EAGAIN goes on, or raises, unless what it waits for was granted while it took the GIL.  It counts at once,
 * because its object may be gone after that; if it goes on, take_back() takes back what has counted. */
static void end_wait(void)
{
    struct delays *row = me.row;
    int64_t since = my_wait.since, ns = time_between(since, me.wanted);

    me.row = NULL;
    if (!row)
        return;
    row->waits.now--;
    delays_waited(row, ns);
    if ((me.result == EINTR || me.result == EAGAIN) && is_granted_by_now())
        me.result = 0;
    me.counted = me.result == EINTR || me.result == EAGAIN ? since : 0;
    me.ns = ns;
    if (me.counted)
        return;
    stacks_count(STACK_WAITS, row, ns);
    if (me.result != 0)
        return;
    if (is_taken(row->type)) {
        row->taken++;
        me.took = row;
    }
}

/* A wait that goes on has not ended, and such waits are counted by facts() in lwp/observe/locks.py. */
static void take_back(void)
{
    if (me.row && me.counted && me.counted == my_wait.since)
        delays_waited_not(me.row, me.ns);
    me.counted = 0;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void note_asleep(PyObject *object)
{
    struct quiet quiet = sites_quiet();

    if (on) {
        be_current(0);
        begin_wait(object);
        take_back();
    }
    sites_go_on(&quiet);
}

static void note_awake(void)
{
    if (me.generation == generation && !me.row)
        return;
    struct quiet quiet = sites_quiet();
    if (on) {
        be_current(1);
        end_wait();
    }
    sites_go_on(&quiet);
}

/* It gets its row now: sites.c forgets where it was made once another primitive falls into its place there. */
static void note_made(PyObject *object)
{
    struct quiet quiet = sites_quiet();

    if (on) {
        delays_object_ended(object);
        delays_of_object(object);
    }
    sites_go_on(&quiet);
}

static void note_item(PyObject *queue, const void *item, int comes)
{
    struct quiet quiet = sites_quiet();
    struct delays *row = on ? delays_of_items(queue) : NULL;

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
    uint32_t site = on ? site_innermost() : 0;
    struct delays *row = site ? delays_of_object(condition) : NULL;

    if (row) {
        row->unheard.count++;
        row->unheard.site = site;
    }
    sites_go_on(&quiet);
}

enum { TABLES = 2 };
static const struct swap_table tables[TABLES];

static void stop_counting(void)
{
    events_end(EVENTS_CONTENTION);
    gil_waits_end();
    swap_out(tables, TABLES);
    ended = park_now();
    atomic_store(&on, 0);
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

    if (!limit || me.wanted <= limit || !atomic_compare_exchange_strong(&until, &limit, 0))
        return;
    atomic_store(&late, 1);
    Py_AddPendingCall(end_now, NULL); /* if there is no room for it, the next beginning ends it */
}

static void hear_event(enum event event, uint64_t a, uint64_t b)
{
    switch (event) {
    case EVENT_MADE:
        note_made((PyObject *)(uintptr_t)a);
        break;
    case EVENT_PYTHON:
        be_new();
        break;
    case EVENT_BLOCKED:
        note_asleep((PyObject *)(uintptr_t)a);
        break;
    case EVENT_WANTS_GIL:
        me.result = (int)a;
        me.wanted = park_now();
        break;
    case EVENT_HAS_GIL:
        note_awake();
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

/* ---- locks ------------------------------------------------------------------------------------------------------- */

static void note_taken(const struct holder *holder, PyObject *lock, uint32_t site, int surely)
{
    be_current(0);
    struct delays *row = on ? delays_of_object(lock) : NULL;
    if (row)
        count_taking(row);
}

static void note_released(const struct held *former)
{
    struct delays *row = on && former->since ? delays_of_object(former->lock) : NULL;

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

    if (on) {
        be_current(0);
        begin_wait(call->self);
    }
    sites_go_on(&quiet);
    python_wait_begins(call->self, NULL, since, deadline);
    PyObject *result = swap_stock(call);
    python_wait_ends();
    quiet = sites_quiet();
    struct delays *row = on && me.generation == generation ? me.row : NULL;
    if (row) {
        int64_t ns = time_between(since, park_now());
        row->waits.now--;
        delays_waited(row, ns);
        stacks_count(STACK_WAITS, row, ns);
    }
    me.row = NULL;
    sites_go_on(&quiet);
    return result;
}

static PyObject *take_stock(const struct swap_call *call, struct swap *try)
{
    int64_t deadline = PARK_FOREVER;

    if ((call->count || call->names) && args_acquire(call->args, call->count, call->names, &deadline) < 0) {
        PyErr_Clear();
        deadline = 0;
    }
    if (deadline == 0) /* it only tries, or will raise */
        return swap_stock(call);
    PyObject *taken = swap_try(try, call->self);
    if (taken != Py_False)
        return taken;
    Py_DECREF(taken);
    return wait_noted(call, deadline);
}

static const struct held_reader reader = {
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
    if (on)
        be_current(0);
    struct delays *row = on ? delays_of_object(call->self) : NULL;
    if (row)
        count_taking(row);
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

    if (on) {
        be_current(0);
        if ((row = items_of(call->self, 0)))
            delays_arrives(row, NULL, park_now());
    }
    sites_go_on(&quiet);
    return swap_stock(call);
}

static PyObject *note_left(PyObject *queue, PyObject *item)
{
    struct quiet quiet = sites_quiet();
    struct delays *row = item && on ? items_of(queue, 1) : NULL;

    if (row)
        delays_leaves(row, NULL, park_now());
    sites_go_on(&quiet);
    return item;
}

/* Those are the queues in whose get() threads sleep, each as often as threads do. */
static void note_takers(PyObject *queues)
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
    struct delays *row = on ? items_of(call->self, 0) : NULL;
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
static const struct swap_table tables[TABLES] = {
    {.type = &semaphore_type, .methods = semaphore_methods},
    {.type = &queue_type, .methods = queue_methods},
};

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

/* What was counted is given back.  waited_for: a new time begins, and this is `before`; NULL: none does. */
static void exchange_counts(PyObject *waited_for)
{
    struct quiet quiet = sites_quiet();
    struct delays *rows = delays_take();
    struct stack *stacks = stacks_take();
    PyObject *former = before;

    before = Py_XNewRef(waited_for);
    atomic_fetch_add(&generation, 1);
    begun = park_now();
    atomic_store(&on, waited_for != NULL);
    if (waited_for)
        be_current(0);
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
    if (held_begin(HELD_BY_WAITS, &reader) < 0)
        return NULL;
    queue_type = (PyTypeObject *)queue;
    exchange_counts(waited_for);
    if (swap_in(tables, TABLES, 1) < 0) {
        end_counting();
        return NULL;
    }
    note_takers(queues);
    if (!WITHOUT_GIL && gil_crowd_begins() == 0)
        gil_waits_begin();
    atomic_store(&until, lasts > 0 ? begun + (int64_t)(lasts * PARK_SECOND) : 0);
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
    if (!on)
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
    int counts = atomic_load(&on);
    int64_t ns = (counts ? park_now() : ended) - begun;
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
