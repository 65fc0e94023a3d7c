/* Which locks threads take while they hold others, for runtime/observe/lock_order.py.
 *
 * The methods of all locks, the runtime's and CPython's own, lead here once lock_order_begin() was called (explore/swap.h): before, no
 * lock costs more.  Each thread has a list of the locks that it holds, with the lines where it took them.  What a thread does is
 * recorded when it takes a lock while it holds others, once for each combination.  A record keeps its locks alive, so that no other
 * lock gets their addresses.
 *
 * All lists and records are touched between sites_quiet() and sites_go_on() only. */
#include "kernel/base/events.h"
#include "python/args.h"
#include "python/explore/swap.h"
#include "python/observe/sites.h"
#include "python/sync/lock.h"
#include "python/sync/waiters.h"
#include "python/rooms.h"

#include <stdlib.h>

enum { DEEPEST = 24, MOST_RECORDS = 1 << 17, SEEN = 4 * MOST_RECORDS };

struct held {
    PyObject *lock; /* a reference */
    uint32_t site;
    long depth; /* of an RLock */
};

struct holder {
    struct holder *next, **link; /* all threads that have taken a lock */
    PyObject *moment; /* what Python knows of the thread just now, or NULL */
    int count, unlisted; /* unlisted: locks that it took above DEEPEST */
    struct held held[DEEPEST];
};

static __thread struct holder *mine;
static struct holder *holders;
static PyObject *records, *hello;
static PyObject *elsewhere; /* locks of records that were released by another thread than their taker: a dict without values */
static uint64_t *seen; /* hashes of what is in the records: a thread's moment, the locks that it held, and the one that it took */
static long recorded, lost;
static PyTypeObject *stock_lock_type, *stock_rlock_type;

static int is_rlock(PyObject *lock)
{
    return !Py_IS_TYPE(lock, lock_type) && !Py_IS_TYPE(lock, stock_lock_type);
}

/* ---- what a thread holds ----------------------------------------------------------------------------------------- */

static struct holder *my_holder(void)
{
    if (mine || !(mine = PyMem_RawCalloc(1, sizeof *mine)))
        return mine;
    mine->next = holders;
    mine->link = &holders;
    if (holders)
        holders->link = &mine->next;
    return holders = mine;
}

static int held_at(const struct holder *holder, PyObject *lock)
{
    int at = holder ? holder->count : 0;

    while (--at >= 0 && holder->held[at].lock != lock)
        ;
    return at;
}

/* Returns the reference.  The caller drops it after sites_go_on(), because that may run callbacks of the program. */
static PyObject *remove_at(struct holder *holder, int at)
{
    PyObject *lock = holder->held[at].lock;

    memmove(&holder->held[at], &holder->held[at + 1], sizeof *holder->held * (size_t)(--holder->count - at));
    return lock;
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

static uint64_t mix_in(uint64_t hash, uint64_t more)
{
    hash = (hash ^ more) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 32;
}

/* Whether this is in the records already; if not, it is from now on. */
static int is_known(const struct holder *holder, PyObject *lock)
{
    uint64_t hash = mix_in(mix_in(mix_in(0, my_ident()), (uintptr_t)holder->moment), (uintptr_t)lock);

    for (int i = 0; i < holder->count; i++)
        hash = mix_in(hash, (uintptr_t)holder->held[i].lock);
    hash |= 1;
    uint64_t at = hash >> 20;
    while (seen[at % SEEN] && seen[at % SEEN] != hash)
        at++;
    if (seen[at % SEEN])
        return 1;
    if (recorded == MOST_RECORDS) {
        lost++;
        return 1;
    }
    recorded++;
    seen[at % SEEN] = hash;
    return 0;
}

static PyObject *place_told(PyObject *lock, uint32_t site)
{
    int ours = Py_IS_TYPE(lock, lock_type) || PyObject_TypeCheck(lock, rlock_type);
    return Py_BuildValue("OII", lock, site, ours ? site_made(lock) : 0);
}

/* (moment, ident, (lock, site, where it was made) of each that is held and of the one that is taken) */
static void record_taking(const struct holder *holder, PyObject *lock, uint32_t site)
{
    PyObject *places = PyTuple_New(holder->count + 1), *record = NULL;
    int complete = places != NULL;

    for (int i = 0; places && i <= holder->count; i++) {
        PyObject *one = i < holder->count ? place_told(holder->held[i].lock, holder->held[i].site) : place_told(lock, site);
        complete &= one != NULL;
        PyTuple_SET_ITEM(places, i, one);
    }
    if (complete)
        record = Py_BuildValue("OkO", holder->moment ? holder->moment : Py_None, my_ident(), places);
    if (!record || PyList_Append(records, record) < 0)
        lost++;
    PyErr_Clear();
    Py_XDECREF(record);
    Py_XDECREF(places);
}

/* surely: the thread would have waited for the lock without end, so this can be part of a deadlock.  An acquire that only tries can't;
 * but what the thread then waits for, while it holds the lock, can. */
static void note_taken(PyObject *lock, int surely, long depth)
{
    struct quiet quiet = sites_quiet();
    struct holder *me = my_holder();
    PyObject *former = NULL;
    int at = held_at(me, lock);

    if (at >= 0 && is_rlock(lock) && me->held[at].depth) {
        me->held[at].depth += depth;
        sites_go_on(&quiet);
        return;
    }
    if (at >= 0) /* its release was not seen: by C code, or by _at_fork_reinit() */
        former = remove_at(me, at);
    if (me && me->count < DEEPEST) {
        uint32_t site = site_current();
        if (me->count && surely && !is_known(me, lock))
            record_taking(me, lock, site);
        me->held[me->count++] = (struct held){Py_NewRef(lock), site, depth};
    } else if (me)
        me->unlisted++;
    sites_go_on(&quiet);
    Py_XDECREF(former);
}

/* A lock that one thread takes and another one releases is a signal between the two, whose order means nothing. */
static PyObject *note_released_elsewhere(PyObject *lock)
{
    PyObject *former = NULL;

    for (struct holder *one = holders; one && !former; one = one->next) {
        int at = held_at(one, lock);
        if (at >= 0)
            former = remove_at(one, at);
    }
    PyObject *key = former ? PyLong_FromVoidPtr(lock) : NULL;
    if (key)
        PyDict_SetItem(elsewhere, key, lock);
    Py_XDECREF(key);
    PyErr_Clear();
    return former;
}

/* depth: how many of an RLock's acquires are undone; 0: all, and returned. */
static long note_released(PyObject *lock, long depth, int is_rlock)
{
    struct quiet quiet = sites_quiet();
    PyObject *former = NULL;
    int at = held_at(mine, lock);
    long before = mine && at >= 0 ? mine->held[at].depth : 1;

    if (mine && at >= 0 && depth && before > depth)
        mine->held[at].depth -= depth;
    else if (mine && at >= 0)
        former = remove_at(mine, at);
    else if (mine && mine->unlisted)
        mine->unlisted--;
    else if (!is_rlock)
        former = note_released_elsewhere(lock);
    sites_go_on(&quiet);
    Py_XDECREF(former);
    return before;
}

/* ---- the methods of locks ---------------------------------------------------------------------------------------- */

static PyObject *acquire_noted(const struct swap_call *call)
{
    PyObject *lock = swap_lock_behind(call->self), *result = swap_stock(call);
    int64_t deadline = PARK_FOREVER;

    if (result != Py_True || !lock)
        return result;
    if (call->count || call->names)
        args_acquire(call->args, call->count, call->names, &deadline); /* has been done without an error */
    note_taken(lock, deadline == PARK_FOREVER, 1);
    return result;
}

static PyObject *release_noted(const struct swap_call *call)
{
    PyObject *lock = swap_lock_behind(call->self);

    if (lock)
        note_released(lock, 1, is_rlock(lock));
    return swap_stock(call);
}

static PyObject *save_noted(const struct swap_call *call)
{
    note_released(call->self, 0, 1);
    return swap_stock(call);
}

static PyObject *restore_noted(const struct swap_call *call)
{
    PyObject *result = swap_stock(call), *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback); /* it is taken even then */
    long depth = call->count == 1 && PyTuple_Check(call->args[0]) ? PyLong_AsLong(PyTuple_GetItem(call->args[0], 0)) : 1;
    PyErr_Clear();
    note_taken(call->self, 1, depth);
    PyErr_Restore(type, value, traceback);
    return result;
}

static int is_mine(PyObject *lock)
{
    struct quiet quiet = sites_quiet();
    int is = held_at(mine, lock) >= 0;

    sites_go_on(&quiet);
    return is;
}

/* A Condition's wait gives its lock up and takes it back, whatever else its thread holds. */
static PyObject *wait_noted(const struct swap_call *call)
{
    PyObject *lock = condition_lock(call->self);

    if (!lock || !is_mine(lock))
        return swap_stock(call);
    Py_INCREF(lock);
    long depth = note_released(lock, 0, is_rlock(lock));
    PyObject *result = swap_stock(call);
    if (is_rlock(lock) || sync_lock_held(&((LockObject *)lock)->lock))
        note_taken(lock, 1, depth);
    Py_DECREF(lock);
    return result;
}

#define LOCK_METHODS(ROW, of)                                              \
    SWAP_TAKING(ROW, of, acquire_noted, release_noted)                     \
    ROW(of##_acquire_lock, "acquire_lock", acquire_noted, EXPLORE_ACQUIRE) \
    ROW(of##_release_lock, "release_lock", release_noted, EXPLORE_RELEASE)
#define RLOCK_METHODS(ROW, of)                                   \
    SWAP_TAKING(ROW, of, acquire_noted, release_noted)           \
    ROW(of##_save, "_release_save", save_noted, EXPLORE_RELEASE) \
    ROW(of##_restore, "_acquire_restore", restore_noted, EXPLORE_ACQUIRE)
#define CONDITION_METHODS(ROW, of)                     \
    SWAP_TAKING(ROW, of, acquire_noted, release_noted) \
    ROW(of##_wait, "wait", wait_noted, EXPLORE_WAIT)
#define QUICK_METHODS(ROW, of) SWAP_WITH(ROW, of, acquire_noted, release_noted)

SWAP_LOCK_TABLES(tables, LOCK_METHODS, RLOCK_METHODS, CONDITION_METHODS, QUICK_METHODS);
enum { TABLES = sizeof tables / sizeof *tables };

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void be_at(PyObject *moment)
{
    struct quiet quiet = sites_quiet();
    struct holder *me = my_holder();
    PyObject *former = me ? me->moment : NULL;

    if (me)
        me->moment = Py_NewRef(moment);
    sites_go_on(&quiet);
    Py_XDECREF(former);
}

static void forget_me(void)
{
    struct quiet quiet = sites_quiet();
    struct holder *me = mine;

    mine = NULL;
    if (me && (*me->link = me->next))
        me->next->link = me->link;
    sites_go_on(&quiet);
    for (int i = 0; me && i < me->count; i++)
        Py_DECREF(me->held[i].lock);
    Py_XDECREF(me ? me->moment : NULL);
    PyMem_RawFree(me);
}

static void hear_event(enum event event, uint64_t a, uint64_t b)
{
    if (event == EVENT_LEAVES_GIL && mine)
        forget_me();
    if (event != EVENT_TARGET)
        return;
    struct quiet quiet = sites_quiet();
    PyObject *function = Py_XNewRef(hello); /* NULL: another thread has ended the watch just now */
    sites_go_on(&quiet);
    PyObject *moment = function ? PyObject_CallOneArg(function, (PyObject *)(uintptr_t)a) : NULL;
    if (moment)
        be_at(moment);
    else if (function)
        PyErr_WriteUnraisable(function);
    Py_XDECREF(moment);
    Py_XDECREF(function);
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

static PyObject *begin_watching(PyObject *module, PyObject *args)
{
    PyObject *lock, *rlock, *function;

    if (!PyArg_ParseTuple(args, "O!O!O:lock_order_begin", &PyType_Type, &lock, &PyType_Type, &rlock, &function))
        return NULL;
    if (hello) {
        PyErr_SetString(PyExc_RuntimeError, "the order of locks is being watched already");
        return NULL;
    }
    if ((!records && !(records = PyList_New(0))) || (!elsewhere && !(elsewhere = PyDict_New()))
        || (!seen && !(seen = PyMem_RawCalloc(SEEN, sizeof *seen))))
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    stock_lock_type = (PyTypeObject *)lock;
    stock_rlock_type = (PyTypeObject *)rlock;
    if (swap_in(tables, TABLES, 1) < 0) {
        swap_out(tables, TABLES);
        return NULL;
    }
    hello = Py_NewRef(function);
    events_begin(EVENTS_LOCK_ORDER, hear_event);
    Py_RETURN_NONE;
}

static PyObject *end_watching(PyObject *module, PyObject *unused)
{
    if (hello) {
        events_end(EVENTS_LOCK_ORDER);
        swap_out(tables, TABLES);
        struct quiet quiet = sites_quiet();
        PyObject *former = hello;
        hello = NULL;
        sites_go_on(&quiet);
        Py_XDECREF(former);
    }
    Py_RETURN_NONE;
}

struct taken {
    PyObject *records, *elsewhere;
    long lost;
};

/* Gives Python the records, to which no thread adds any more: without a GIL Python would otherwise sleep for the lock of a list that
 * grows.  0 or -1. */
static int exchange_taken(struct taken *former)
{
    PyObject *new_records = PyList_New(0), *new_elsewhere = PyDict_New();

    if (!new_records || !new_elsewhere) {
        Py_XDECREF(new_records);
        Py_XDECREF(new_elsewhere);
        return -1;
    }
    struct quiet quiet = sites_quiet();
    *former = (struct taken){records, elsewhere, lost};
    records = new_records;
    elsewhere = new_elsewhere;
    sites_go_on(&quiet);
    return 0;
}

static PyObject *take_records(PyObject *module, PyObject *unused)
{
    struct taken former;

    return exchange_taken(&former) < 0 ? NULL : Py_BuildValue("NNl", former.records, former.elsewhere, former.lost);
}

static PyObject *forget_records(PyObject *module, PyObject *unused)
{
    struct taken former;

    if (exchange_taken(&former) < 0)
        return NULL;
    struct quiet quiet = sites_quiet();
    if (recorded)
        memset(seen, 0, SEEN * sizeof *seen);
    recorded = lost = 0;
    sites_go_on(&quiet);
    Py_XDECREF(former.records);
    Py_XDECREF(former.elsewhere);
    Py_RETURN_NONE;
}

static PyObject *moment_now(PyObject *module, PyObject *unused)
{
    return Py_NewRef(mine && mine->moment ? mine->moment : Py_None);
}

static PyObject *set_moment(PyObject *module, PyObject *moment)
{
    be_at(moment);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"lock_order_begin", begin_watching, METH_VARARGS,
     "lock_order_begin(lock, rlock, hello): watches all locks from now on, also CPython's of these types.  hello(thread or function) is\n"
     "called in each new thread, and returns its moment.  RuntimeError: they are watched already."},
    {"lock_order_end", end_watching, METH_NOARGS, "Ends that."},
    {"lock_order_take", take_records, METH_NOARGS,
     "(records, locks that were released by another thread than their taker, by id, number of records that are lost), each once; the records are\n"
     "(moment or None, ident, ((lock, site, site where it was made), ...)), the last lock taken while the others were held."},
    {"lock_order_forget", forget_records, METH_NOARGS, "Forgets what was recorded."},
    {"lock_order_moment", moment_now, METH_NOARGS, "What is known of the calling thread just now, or None."},
    {"lock_order_be_at", set_moment, METH_O, "Sets that."},
    {0},
};

int python_add_lock_order(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
