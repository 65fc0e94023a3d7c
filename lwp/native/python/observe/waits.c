/* Which thread waits for what: reads the records that threads write before they sleep (python/threads/sleep.h).  And where each is. */
#include "kernel/glibc/glibc.h"
#include "green/green.h"
#include "green/listed.h"
#include "python/args.h"
#include "python/threads/lwp.h"
#include "python/green/scheduler.h"
#include "python/reading/current_frames.h"
#include "python/reading/takings.h"
#include "python/sync/future.h"
#include "python/sync/lock.h"
#include "python/room.h"
#include "python/threads/sleep.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { SYS_FUTEX = SYS_futex }; /* as /proc/PID/task/TID/syscall numbers it */

struct found {
    uintptr_t ident;
    int tid;
    PyObject *object; /* that it waits for, a reference; or NULL */
    unsigned long joined, serial,
        taker; /* ident of the thread that it joins, or 0; the thread's number; its lock's or future's holder's */
    int64_t since, deadline;
    enum green_state state;
    struct foreign_seen place; /* in C */
};

struct all {
    struct found *found;
    size_t capacity, count; /* count: of all, also of those that did not fit */
};

static void add_found(struct all *all, struct found found)
{
    if (all->count++ >= all->capacity)
        return;
    Py_XINCREF(found.object);
    all->found[all->count - 1] = found;
}

/* A thread that a condition has notified sleeps for the condition's lock. */
static PyObject *really_for(PyObject *object, const struct sync_place *place)
{
    return place && place->lock && sync_place_granted(place) ? lock_object(place->lock) : object;
}

/* The serial number of the thread that makes the call or has taken the lock, or 0. */
static unsigned long taker_of(PyObject *object)
{
    if (PyObject_TypeCheck(object, future_type))
        return atomic_load_explicit(&((FutureObject *)object)->runner, memory_order_relaxed);
    if (!lock_is_ours(object))
        return 0;
    LockObject *lock = (LockObject *)object;
    int word = atomic_load(&lock->lock.word);
    return word == SYNC_HELD || word == SYNC_OWING || word == SYNC_CONTENDED ? atomic_load(&lock->owner) : 0;
}

/* Threads that don't wait are found too, if they may be holders. */
static void add_waiter(uintptr_t ident, int tid, void *arg)
{
    struct wait *wait = (struct wait *)(ident + (uintptr_t)wait_offset);
    PyObject *object = atomic_load(&wait->object); /* in sequential order after the count of readers: python_wait_ends() */
    struct found found = {.ident = ident, .tid = tid, .serial = serial_of(ident)};

    if (object) {
        found.object = really_for(object, wait->place);
        found.joined = PyObject_TypeCheck(found.object, lwp_type) ? lwp_ident_alive((LwpObject *)found.object) : 0;
        found.taker = taker_of(found.object);
        found.since = wait->since;
        found.deadline = wait->deadline;
        /* It holds what it waits for.  Either it has just taken the lock: it clears its record before it writes the owner, so the record,
         * read again, is empty.  Or it waits for a lock that it holds already: a deadlock, and to be listed. */
        if (found.taker && found.taker == found.serial && !atomic_load(&wait->object))
            found.object = NULL;
    }
    if (found.object || found.serial)
        add_found(arg, found);
}

/* Under the lock of glibc's lists, so the thread doesn't end. */
static void add_state(uintptr_t ident, int tid, void *arg)
{
    enum green_state state = green_state_of(glibc_thread_pointer((void *)ident));

    if (state != GREEN_NOT)
        add_found(arg, (struct found){.ident = ident, .tid = tid, .state = state});
}

static void add_in_c(uintptr_t ident, int tid, void *arg)
{
    struct found found = {.ident = ident, .tid = tid};

    if (foreign_room && (found.since = foreign_room->since(glibc_thread_pointer((void *)ident), &found.place)))
        add_found(arg, found);
}

static void add_tid(uintptr_t ident, int tid, void *arg)
{
    add_found(arg, (struct found){.ident = ident, .tid = tid});
}

static int look_at_all(struct all *all, void (*add)(uintptr_t ident, int tid, void *all))
{
    python_waits_read(1);
    int complete = listed_each(add, all);
    python_waits_read(0);
    return complete;
}

/* 0, or -1 with an exception. */
static int find_all(struct all *all, void (*add)(uintptr_t ident, int tid, void *all))
{
    for (all->capacity = 64;; all->capacity = all->count + 64) { /* 64 more than were counted: others may begin to wait meanwhile */
        all->count = 0;
        if (!(all->found = PyMem_Malloc(all->capacity * sizeof *all->found))) {
            PyErr_NoMemory();
            return -1;
        }
        while (!look_at_all(all, add)) {
            Py_BEGIN_ALLOW_THREADS
            listed_await();
            Py_END_ALLOW_THREADS
        }
        if (all->count <= all->capacity)
            return 0;
        for (size_t i = 0; i < all->capacity; i++)
            Py_XDECREF(all->found[i].object);
        PyMem_Free(all->found);
    }
}

static PyObject *to_seconds(int64_t ns)
{
    return ns == PARK_FOREVER ? Py_NewRef(Py_None) : PyFloat_FromDouble((double)ns / PARK_SECOND);
}

static int by_serial(const void *one, const void *other)
{
    unsigned long a = ((const struct found *)one)->serial, b = ((const struct found *)other)->serial;

    return (a > b) - (a < b);
}

/* (name or None, whether it was a thread of the parent process, instruction at which it took the lock, or 0) */
static PyObject *describe_ended(const struct found *found)
{
    uintptr_t place = lock_is_ours(found->object) ? takings_place((LockObject *)found->object, found->taker) : 0;

    return Py_BuildValue("(NOk)", serial_name(found->taker), serial_is_parents(found->taker) ? Py_True : Py_False,
                         (unsigned long)place);
}

/* `all` is sorted by serial numbers. */
static PyObject *describe_waiter(const struct found *found, const struct all *all)
{
    const struct found key = {.serial = found->taker};
    const struct found *taker = found->taker ? bsearch(&key, all->found, all->count, sizeof key, by_serial) : NULL;
    PyObject *ended = found->taker && !taker ? describe_ended(found) : Py_NewRef(Py_None);

    return Py_BuildValue("(kiOkNNNk)", (unsigned long)found->ident, found->tid, found->object, taker ? taker->ident : found->joined,
                         to_seconds(found->since), to_seconds(found->deadline), ended, found->serial);
}

static PyObject *list_waits(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct all all;

    if (find_all(&all, add_waiter) < 0)
        return NULL;
    qsort(all.found, all.count, sizeof *all.found, by_serial);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < all.count; i++) {
        if (all.found[i].object)
            append_to(&list, describe_waiter(&all.found[i], &all));
        Py_XDECREF(all.found[i].object);
    }
    PyMem_Free(all.found);
    return list;
}

/* ---- what is known of each thread ------------------------------------------------------------------------------- */

static PyObject *state_of(const struct found *found)
{
    static const char *const names[] = {[GREEN_RUNS] = "running", [GREEN_QUEUED] = "ready", [GREEN_SLEEPS] = "asleep"};

    return PyUnicode_FromString(names[found->state]);
}

static PyObject *place_of(const struct found *found)
{
    return Py_BuildValue("(iNN)", found->tid, foreign_room->name(&found->place), to_seconds(found->since));
}

static PyObject *tid_of(const struct found *found)
{
    return PyLong_FromLong(found->tid);
}

static PyObject *by_ident(void (*add)(uintptr_t ident, int tid, void *all), PyObject *(*value_of)(const struct found *found))
{
    struct all all;

    if (find_all(&all, add) < 0)
        return NULL;
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && i < all.count; i++) {
        if (dict_take_item(dict, PyLong_FromUnsignedLong(all.found[i].ident), value_of(&all.found[i])) < 0)
            Py_CLEAR(dict);
    }
    PyMem_Free(all.found);
    return dict;
}

static PyObject *list_states(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return by_ident(add_state, state_of);
}

static PyObject *list_in_c(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return by_ident(add_in_c, place_of);
}

static PyObject *list_tids(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return by_ident(add_tid, tid_of);
}

/* ---- where threads are ------------------------------------------------------------------------------------------ */

/* By its ident, the calls of each thread. */
static PyObject *map_calls(void)
{
    PyObject *frames = current_frames();
    PyObject *all = frames ? PyDict_New() : NULL, *ident, *frame;
    Py_ssize_t at = 0;

    while (all && PyDict_Next(frames, &at, &ident, &frame)) {
        PyObject *list = list_calls((PyFrameObject *)Py_NewRef(frame), INT_MAX), *calls = list ? PyList_AsTuple(list) : NULL;
        Py_XDECREF(list);
        if (!calls || PyDict_SetItem(all, ident, calls) < 0)
            Py_CLEAR(all);
        Py_XDECREF(calls);
    }
    Py_XDECREF(frames);
    return all;
}

/* Python code would give up the GIL every 5 ms: of a thread that runs meanwhile, the outer frames would be of another moment than the
 * inner, or its ident another thread's.  So this runs none, and the collector, which CPython 3.11 starts when it makes an object, stays
 * off. */
static PyObject *look_at_threads(PyObject *module, PyObject *threads)
{
    int collects = PyGC_Disable();
    PyObject *tids = list_tids(module, NULL), *waits = tids ? list_waits(module, NULL) : NULL, *calls = waits ? map_calls() : NULL;
    PyObject *copy = calls ? PyDict_Copy(threads) : NULL;

    if (collects)
        PyGC_Enable();
    if (copy)
        return Py_BuildValue("(NNNN)", waits, calls, tids, copy);
    Py_XDECREF(calls);
    Py_XDECREF(waits);
    Py_XDECREF(tids);
    return NULL;
}

static PyMethodDef functions[] = {
    {"green_states", list_states, METH_NOARGS,
     "By its ident, what each green thread, and each that lends its LWP, does: \"running\", \"ready\" or \"asleep\"."},
    {"in_c", list_in_c, METH_NOARGS,
     "By its ident, of each green thread that is in C code of others without the GIL, if its scheduler has several LWPs: (tid, the code, as\n"
     "blocked_in_c() names it, since)."},
    {"look", look_at_threads, METH_O,
     "look(threading._active): what waits() returns; by its ident each thread's calls, (code, line) from the innermost outwards; what\n"
     "tids() returns; and a copy of the argument.  All of one moment, with the GIL."},
    {"tids", list_tids, METH_NOARGS,
     "By its ident, the tid of each thread, also of pthreads; of a green thread that of an LWP that ran it."},
    {"waits", list_waits, METH_NOARGS,
     "Of each thread that sleeps for a primitive or a thread of the runtime: (ident, tid, object, ident of its holder or 0, since,\n"
     "deadline or None, ended, its serial number or 0).  ended: None, or of a holder that has ended (name or None, whether it was a\n"
     "thread of the process that has forked this one, address of the instruction with which it took the lock, or 0)."},
    {0},
};

static int add_waits(PyObject *module)
{
    enum { CODE_BEGINS = offsetof(PyCodeObject, co_code_adaptive) }; /* in a code object its instructions */

    return PyModule_AddIntMacro(module, SYS_FUTEX) < 0 ? -1 : PyModule_AddIntMacro(module, CODE_BEGINS);
}

const struct entries entries_waits = {.add = add_waits, .functions = functions};
