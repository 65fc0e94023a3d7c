/* Which locks threads take while they hold others, for lwp/observe/lock_order.py.
 *
 * What a thread does is recorded when it is about to take a lock while it holds others (held.h), once for each combination.  A record
 * keeps its locks alive, so that no other lock gets their addresses.
 *
 * All records are touched between sites_quiet() and sites_go_on() only. */
#include "kernel/base/events.h"
#include "python/reading/held.h"
#include "python/reading/sites.h"
#include "python/sync/lock.h"
#include "python/room.h"

#include <stdlib.h>

enum { MOST_RECORDS = 1 << 17, SEEN = 4 * MOST_RECORDS };

static PyObject *records, *hello;
static PyObject *elsewhere; /* locks of records that were released by another thread than their taker: a dict without values */
static uint64_t *seen; /* hashes of what is in the records: a thread's moment, the locks that it held, and the one that it took */
static long recorded, lost;

/* ---- records ----------------------------------------------------------------------------------------------------- */

static uint64_t mix_in(uint64_t hash, uint64_t more)
{
    hash = (hash ^ more) * 0x9e3779b97f4a7c15;
    return hash ^ hash >> 32;
}

/* Whether this is in the records already; if not, it is from now on. */
static int is_known(const struct holder *holder, PyObject *lock)
{
    uint64_t hash = mix_in(mix_in(mix_in(0, my_serial()), (uintptr_t)holder->moment), (uintptr_t)lock);

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
    return Py_BuildValue("OII", lock, site, lock_is_ours(lock) ? site_made(lock) : 0);
}

/* (moment, ident, serial number, (lock, site, where it was made) of each that is held and of the one that is taken, in vain) */
static void record_taking(const struct holder *holder, PyObject *lock, uint32_t site, int in_vain)
{
    PyObject *places = PyTuple_New(holder->count + 1), *record = NULL;
    int complete = places != NULL;

    for (int i = 0; places && i <= holder->count; i++) {
        PyObject *one = i < holder->count ? place_told(holder->held[i].lock, holder->held[i].site) : place_told(lock, site);
        complete &= one != NULL;
        PyTuple_SET_ITEM(places, i, one);
    }
    if (complete)
        record = Py_BuildValue("OkkOO", holder->moment ? holder->moment : Py_None, my_ident(), my_serial(), places,
                               in_vain ? Py_True : Py_False);
    if (!record || PyList_Append(records, record) < 0)
        lost++;
    PyErr_Clear();
    Py_XDECREF(record);
    Py_XDECREF(places);
}

static void note_attempt(const struct holder *me, PyObject *lock, uint32_t site, int in_vain)
{
    if (me->count && me->count < HELD_DEEPEST && !is_known(me, lock))
        record_taking(me, lock, site, in_vain);
}

/* An acquire that only tries can't be part of a deadlock; but what the thread then waits for, while it holds the lock, can. */
static void note_taken(const struct holder *me, PyObject *lock, uint32_t site, int surely)
{
    if (surely) /* by a Condition's wait, which makes no attempt */
        note_attempt(me, lock, site, 0);
}

/* A lock that one thread takes and another one releases is a signal between the two, whose order means nothing. */
static void note_released_elsewhere(PyObject *lock)
{
    PyObject *key = PyLong_FromVoidPtr(lock);

    if (key)
        PyDict_SetItem(elsewhere, key, lock);
    Py_XDECREF(key);
    PyErr_Clear();
}

static const struct held_reader reader = {.taken = note_taken, .attempts = note_attempt, .released_elsewhere = note_released_elsewhere};

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void be_at(PyObject *moment)
{
    struct quiet quiet = sites_quiet();
    struct holder *me = held_mine();
    PyObject *former = me ? me->moment : NULL;

    if (me)
        me->moment = Py_NewRef(moment);
    sites_go_on(&quiet);
    Py_XDECREF(former);
}

static void hear_event(enum event event, uint64_t a, uint64_t b)
{
    if (event == EVENT_LEAVES_GIL && held_known())
        held_forget_me();
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

static PyObject *begin_watching(PyObject *module, PyObject *function)
{
    if (held_is_read(HELD_BY_ORDER)) {
        PyErr_SetString(PyExc_RuntimeError, "the order of locks is being watched already");
        return NULL;
    }
    if ((!records && !(records = PyList_New(0))) || (!elsewhere && !(elsewhere = PyDict_New()))
        || (!seen && !(seen = PyMem_RawCalloc(SEEN, sizeof *seen))))
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    if (held_begin(HELD_BY_ORDER, &reader) < 0)
        return NULL;
    hello = Py_NewRef(function);
    events_begin(EVENTS_LOCK_ORDER, hear_event);
    Py_RETURN_NONE;
}

static PyObject *end_watching(PyObject *module, PyObject *unused)
{
    if (hello) {
        events_end(EVENTS_LOCK_ORDER);
        held_end(HELD_BY_ORDER);
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
    struct holder *me = held_known();
    return Py_NewRef(me && me->moment ? me->moment : Py_None);
}

static PyObject *set_moment(PyObject *module, PyObject *moment)
{
    be_at(moment);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"lock_order_begin", begin_watching, METH_O,
     "lock_order_begin(hello): watches all locks from now on, also CPython's own.  hello(thread or function) is called in each new thread, and\n"
     "returns its moment.  RuntimeError: they are watched already."},
    {"lock_order_end", end_watching, METH_NOARGS, "Ends that."},
    {"lock_order_take", take_records, METH_NOARGS,
     "(records, locks that were released by another thread than their taker, by id, number of records that are lost), each once; the records are\n"
     "(moment or None, ident, serial number, ((lock, site, site where it was made), ...), in vain), the last lock taken while the others were held."},
    {"lock_order_forget", forget_records, METH_NOARGS, "Forgets what was recorded."},
    {"lock_order_moment", moment_now, METH_NOARGS, "What is known of the calling thread just now, or None."},
    {"lock_order_be_at", set_moment, METH_O, "Sets that."},
    {0},
};

const struct entries entries_lock_order = {.functions = functions};
