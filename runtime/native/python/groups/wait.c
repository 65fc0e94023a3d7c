#include "python/groups/wait.h"

#include "kernel/base/fork.h"
#include "python/args.h"
#include "python/room.h"
#include "python/threads/sleep.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>

struct waiting {
    struct sync_any any;
    struct thing *things;
    Py_ssize_t count;
    int keeps; /* it refuses things that would be acquired */
    int64_t since, deadline;
    int again; /* don't sleep: a thing has become ready since the wait looked */
    PyObject *given; /* a tuple */
};

/* ---- without the GIL --------------------------------------------------------------------------------------------- */

static int sleep_once(struct waiting *w, int64_t until)
{
    if (w->any.wake)
        return park_wait(&w->any.word, SYNC_ASLEEP, until, PARK_SHARED);
    return park_wait_some(&w->any.word, SYNC_ASLEEP, until, SYNC_NORMAL);
}

static void leave_all(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing->entered)
            thing->ready |= thing->kind->leave(thing);
        thing->entered = 0;
    }
    for (Py_ssize_t i = 0; i < w->count; i++)
        if (w->things[i].ready && w->things[i].kind->finish)
            w->things[i].kind->finish(&w->things[i], &w->any);
}

/* Steps 3 to 5 of waits/any.h.  0: the wait was completed; otherwise an errno. */
static int sleep_and_leave(void *arg)
{
    struct waiting *w = arg;
    int result = 0;

    while (!w->again && !result && atomic_load_explicit(&w->any.word, memory_order_acquire) != SYNC_WOKEN)
        result = sleep_once(w, w->deadline);
    int completed = !sync_any_close(&w->any);
    park_cancel = NULL; /* what follows is short, and must be done */
    leave_all(w);
    return completed ? 0 : w->again ? EAGAIN : result;
}

static void pass_batons(void *arg)
{
    struct waiting *w = arg;

    for (Py_ssize_t i = 0; i < w->count; i++)
        if (w->things[i].baton) {
            sync_queue_pass_baton(w->things[i].baton);
            w->things[i].baton = NULL;
        }
}

/* ---- with it ----------------------------------------------------------------------------------------------------- */

static int has_shared(const struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++)
        if (w->things[i].kind->shared)
            return 1;
    return 0;
}

static void wake_shared(struct sync_any *any)
{
    atomic_store(&any->word, SYNC_WOKEN);
    park_wake(&any->word, 1, PARK_SHARED);
}

/* How the wait sleeps, and is woken. */
static void prepare_to_sleep(struct waiting *w)
{
    w->any = (struct sync_any){.open = 1, .forks = fork_generation};
    w->again = 0;
    if (has_shared(w)) {
        w->any.wake = wake_shared;
        w->any.moves = !park_green;
    }
}

/* The waiter itself claims a thing that is ready and stays as it is. */
static void claim_ready(struct waiting *w, struct thing *thing)
{
    thing->ready = sync_any_claim(&w->any);
    if (thing->ready)
        atomic_store(&w->any.word, SYNC_WOKEN);
}

/* Enters the queues.  A thing that stays as it is, and is ready by now, is claimed instead. */
static void enter_queues(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        thing->entered = thing->kind->enter(thing, &w->any);
        if (!thing->entered) {
            if (thing->kind->take)
                w->again = 1;
            else
                claim_ready(w, thing);
        }
        if (w->again || atomic_load(&w->any.word) == SYNC_WOKEN)
            return;
    }
}

/* Returns what sleep_and_leave() does. */
static int sleep_for_first(struct waiting *w)
{
    int result;

    /* Once the interpreter has ended, taking the GIL ends the thread: see sleep_or_leave() in python/threads/sleep.c. */
    pthread_cleanup_push(pass_batons, w);
    result = python_sleep(&(struct python_sleep){sleep_and_leave, w, w->given, .since = w->since, .deadline = w->deadline});
    pthread_cleanup_pop(1);
    return result;
}

/* ---- the first of several ---------------------------------------------------------------------------------------- */

static Py_ssize_t find_ready(const struct waiting *w)
{
    Py_ssize_t at = 0;

    while (at < w->count && !w->things[at].kind->look(&w->things[at]))
        at++;
    return at;
}

/* Given the thing that decides, chooses which others are reported. */
static void report_with(struct waiting *w, const struct thing *decides)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing != decides)
            thing->ready = !decides->kind->take && !thing->kind->take && thing->kind->look(thing);
    }
}

/* Without sleeping.  1: found; 0: none is ready. */
static int look_for_first(struct waiting *w)
{
    for (;;) {
        Py_ssize_t first = find_ready(w);
        if (first == w->count)
            return 0;
        struct thing *thing = &w->things[first];
        if (thing->kind->take && !thing->kind->take(thing))
            continue; /* another thread was faster */
        thing->ready = 1;
        report_with(w, thing);
        return 1;
    }
}

static void report_completed(struct waiting *w)
{
    Py_ssize_t first = 0;

    while (!w->things[first].ready)
        first++;
    report_with(w, &w->things[first]);
}

/* The steps of waits/any.h.  1: one of the things has come; 0: none the deadline has passed; -1 with an exception. */
static int wait_for_first(struct waiting *w)
{
    for (;;) {
        int found = look_for_first(w); /* 1 */
        if (found || w->deadline == 0)
            return found;
        prepare_to_sleep(w);
        enter_queues(w); /* 2 */
        int result = sleep_for_first(w); /* 3 to 5 */
        if (result == 0)
            report_completed(w);
        if (result == 0 || result == ETIMEDOUT)
            return result == 0;
        if (result != EINTR && result != EAGAIN) /* EAGAIN: a thing can be taken by now */
            return raise_errno(result), -1;
        if (result == EINTR && python_interrupted(NULL, w->given) < 0)
            return -1;
    }
}

/* ---- what Python calls ------------------------------------------------------------------------------------------- */

static void forget_things(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++)
        Py_XDECREF(w->things[i].object);
    PyMem_Free(w->things);
}

static int set_things(struct waiting *w)
{
    Py_ssize_t count = PyTuple_GET_SIZE(w->given);

    if (!(w->things = PyMem_Calloc((size_t)count + 1, sizeof *w->things))) {
        PyErr_NoMemory();
        return -1;
    }
    for (; w->count < count; w->count++) {
        if (wait_set_thing(&w->things[w->count], PyTuple_GET_ITEM(w->given, w->count), w->deadline == PARK_FOREVER) < 0)
            return -1;
        if (w->keeps && w->things[w->count].kind->take) {
            PyErr_Format(PyExc_TypeError, "%R would be acquired, which a wait for all doesn't do: acquire it after the wait",
                         w->things[w->count].given);
            w->count++; /* forget_things() releases it */
            return -1;
        }
    }
    return 0;
}

/* The things that are ready.  NULL with an exception: nothing is taken then. */
static PyObject *list_ready(struct waiting *w)
{
    PyObject *list = PyList_New(0);

    for (Py_ssize_t i = 0; list && i < w->count; i++)
        if (w->things[i].ready && PyList_Append(list, w->things[i].given) < 0)
            Py_CLEAR(list);
    for (Py_ssize_t i = 0; !list && i < w->count; i++)
        if (w->things[i].kind->take && w->things[i].ready)
            w->things[i].kind->give_back(&w->things[i]);
    return list;
}

/* Takes the timeout as Event.wait() does, except that NaN is always refused (Event.wait() takes it for 0 before Python 3.14), and that
 * exceptions name this function. */
static int set_deadline(struct waiting *w, PyObject *timeout)
{
    if (PyFloat_Check(timeout) && isnan(PyFloat_AS_DOUBLE(timeout)))
        PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)"); /* as the interpreter's own */
    else
        return args_own_deadline(timeout, &w->deadline);
    return -1;
}

/* (tuple of things, timeout, whether one that would be acquired is refused): a list. */
static PyObject *wait_things(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    struct waiting w = {.since = park_now()};
    PyObject *list = NULL;

    if (count != 3 || !PyTuple_Check(args[0]))
        return PyErr_Format(PyExc_TypeError, "wait_things(tuple, timeout, keeps)");
    w.given = args[0];
    w.keeps = args[2] == Py_True;
    if (set_deadline(&w, args[1]) == 0 && set_things(&w) == 0 && (w.count ? wait_for_first(&w) : 0) >= 0)
        list = list_ready(&w);
    forget_things(&w);
    return list;
}

static PyMethodDef functions[] = {
    POSITIONAL("wait_things", wait_things, "(tuple of things, timeout, whether none may be acquired): those that are ready."),
    {0},
};

const struct entries entries_wait = {.functions = functions};
