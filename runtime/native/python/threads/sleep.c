#include "python/threads/sleep.h"

#include "kernel/base/events.h"
#include "kernel/glibc/glibc.h"
#include "green/green.h"
#include "python/waits/cancel.h"
#include "python/threads/spin.h"
#include "python/threads/wake.h"
#include "python/room.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/resource.h>

__thread struct wait my_wait;
ptrdiff_t wait_offset;
static PyObject *describe_deadlock;
const struct python_control *python_control;
struct python_looks python_looks;

enum { FIRST_LOOK = 10000000 }; /* ns */

/* ---- who waits for what ------------------------------------------------------------------------------------------ */

void python_wait_begins(PyObject *object, struct sync_place *place, int64_t since, int64_t deadline)
{
    my_wait.place = place;
    my_wait.since = since;
    my_wait.deadline = deadline;
    atomic_store_explicit(&my_wait.object, object, memory_order_release);
}

/* Without a GIL a sleeper could go on, and drop the object, while a reader looks at it.  So a reader counts itself first, and a sleeper
 * that has cleared its record waits until no reader is left.  Both in sequential order: either the reader finds the record empty, or the
 * sleeper finds the reader. */
static atomic_int readers;

void python_waits_read(int on)
{
    if (!WITHOUT_GIL)
        return;
    if (on)
        atomic_fetch_add(&readers, 1);
    else if (atomic_fetch_sub(&readers, 1) == 1)
        futex_wake(&readers, INT_MAX, PARK_PRIVATE);
}

void python_wait_ends(void)
{
    int count;

    if (!WITHOUT_GIL) {
        atomic_store_explicit(&my_wait.object, NULL, memory_order_release);
        return;
    }
    if (!atomic_load_explicit(&my_wait.object, memory_order_relaxed))
        return;
    atomic_store(&my_wait.object, NULL);
    while ((count = atomic_load(&readers)) != 0)
        futex_wait(&readers, count, PARK_FOREVER, PARK_PRIVATE);
}

static void python_waits_after_fork(void)
{
    atomic_store(&readers, 0);
}

/* ---- sleeping ---------------------------------------------------------------------------------------------------- */

/* How often the calling thread has slept. */
static long count_sleeps(void)
{
    struct rusage used;

    getrusage(RUSAGE_THREAD, &used);
    return used.ru_nvcsw;
}

/* Not inlined: what it keeps would lie in the stack of each thread that sleeps, whose first page is nearly full then
 * (tests/runtime/core/test_costs.py). */
__attribute__((noinline)) static int wake_up(const struct python_sleep *how, PyThreadState *tstate, int result)
{
    int waits = result == EINTR || result == EAGAIN; /* it sleeps again for the same, so others find it here until it has the GIL */
    int looks = result == EINTR && park_look <= park_now();
    int counts = looks && atomic_load_explicit(&python_looks.counts, memory_order_relaxed);
    long slept = counts ? count_sleeps() : 0;

    park_cancel = NULL;
    park_look = PARK_FOREVER;
    if (counts)
        atomic_store(&python_looks.looking, 1);
    if (!waits)
        python_wait_ends();
    EVENT(EVENT_WANTS_GIL, result == EINTR && !how->no_point && cancel_is_due() ? ECANCELED : looks ? EAGAIN : result, 0);
    spin_for_gil();
    PyEval_RestoreThread(tstate);
    spin_has_gil();
    if (counts)
        atomic_fetch_add(&python_looks.sleeps, count_sleeps() - slept); /* for the GIL */
    if (waits)
        python_wait_ends();
    waker_has_gil();
    EVENT(EVENT_HAS_GIL, 0, 0);
    return result;
}

/* A signal handler that runs after the last look at the signals and before the system call doesn't end the sleep; and giving up the GIL,
 * which lies between, lets the thread run that sends the signal.  So the main thread, which alone runs Python's handlers, comes back to
 * look: after FIRST_LOOK, then whenever the wait has become twice as long, in the end once a second. */
static int64_t next_look(const struct python_sleep *how)
{
    if (how->no_point || park_green || !_PyOS_IsMainThread()) /* for green threads their scheduler looks */
        return PARK_FOREVER;
    if (atomic_load_explicit(&python_looks.looking, memory_order_relaxed)) {
        atomic_fetch_add(&python_looks.sleeps, 1); /* the sleep that goes on: the kernel counts it in a moment, when it begins */
        atomic_store(&python_looks.looking, 0);
    }
    int64_t now = park_now(), waited = how->since ? now - how->since : 0;
    return now + (waited < FIRST_LOOK ? FIRST_LOOK : waited < PARK_SECOND ? waited : PARK_SECOND);
}

int python_sleep(const struct python_sleep *how)
{
    if (how->object) {
        python_wait_begins(how->object, how->place, how->since, how->deadline);
        EVENT(EVENT_BLOCKED, how->object, how->place); /* its readers may look at my_wait */
    } else if (how->what)
        EVENT(EVENT_SLEEPS, how->what, 0);
    /* The lock is free before another thread can have the GIL, as in CPython: a thread that sees this one wait finds it free.  Its
     * waiters are woken afterwards, because they want the GIL too. */
    int whom = how->give_up ? sync_lock_free(how->give_up) : 0;
    park_look = next_look(how); /* with the GIL: _PyOS_IsMainThread() reads the thread's state */
    PyThreadState *tstate = PyEval_SaveThread();
    waker_gave_up_gil();
    if (whom > 0)
        sync_lock_wake(how->give_up, whom);
    waker_do_deferred();
    park_cancel = how->no_point ? NULL : cancel_mine();
    return wake_up(how, tstate, how->call(how->arg));
}

int python_sleep_on(const struct python_sleep *how, struct scheduler *scheduler)
{
    struct python_sleep sleep = *how;
    int result;

    sleep.since = park_now();
    while ((result = python_sleep(&sleep)) == EINTR)
        if (python_interrupted(scheduler, how->object) < 0)
            return -1;
    return result;
}

int python_interrupted(struct scheduler *scheduler, PyObject *object)
{
    int deadlocked = scheduler_was_deadlocked(scheduler);

    if (python_control && python_control->unwinds(1))
        return -1;
    if (Py_MakePendingCalls() < 0) /* runs signal handlers, and what Py_AddPendingCall() has queued, as a stock wait does */
        return -1;
    if (cancel_raise() < 0)
        return -1;
    if (!deadlocked || !describe_deadlock)
        return 0;
    if (object) /* the wait has ended; the report names what waits() finds, so this thread must be there */
        python_wait_begins(object, NULL, park_now(), PARK_FOREVER);
    PyObject *none = PyObject_CallNoArgs(describe_deadlock);
    python_wait_ends();
    Py_XDECREF(none);
    return none ? 0 : -1;
}

void python_set_describe_deadlock(PyObject *function)
{
    Py_XSETREF(describe_deadlock, Py_NewRef(function));
}

/* ---- with the GIL, as long as nothing blocks --------------------------------------------------------------------- */

/* NULL; MAY between begin and end; or then, when the GIL was given up, the state to take it back with. */
static __thread PyThreadState *give_up;
static char may_give_up;
#define MAY ((PyThreadState *)&may_give_up) /* an address that no state has */

static void before_glibc_waits(void)
{
    if (give_up == MAY)
        give_up = PyEval_SaveThread();
}

void python_give_up_begin(void)
{
    give_up = MAY;
}

void python_give_up_end(void)
{
    PyThreadState *tstate = give_up;

    give_up = NULL;
    if (!tstate || tstate == MAY)
        return;
    EVENT(EVENT_WANTS_GIL, 0, 0);
    PyEval_RestoreThread(tstate);
    EVENT(EVENT_HAS_GIL, 0, 0);
}

/* ---- in a queue -------------------------------------------------------------------------------------------------- */

struct queue_wait {
    struct sync_queue *queue;
    struct sync_place *place;
    int64_t deadline;
    int dozes;
};

static int wait_in_queue(void *arg)
{
    struct queue_wait *wait = arg;

    if (spin_may())
        sync_queue_look(wait->place, spin_for);
    return wait->dozes ? sync_queue_doze(wait->place, wait->deadline) : sync_queue_wait(wait->place, wait->deadline);
}

static void leave_queue(void *arg)
{
    struct queue_wait *wait = arg;
    int baton;

    sync_queue_leave(wait->queue, wait->place, &baton);
    if (baton)
        sync_queue_pass_baton(wait->queue);
}

/* When the interpreter is being finalized, taking the GIL ends a daemon thread by pthread_exit.  Its place must not stay in the queue of
 * an object that lives on. */
static int sleep_or_leave(const struct python_sleep *how)
{
    int result;

    pthread_cleanup_push(leave_queue, how->arg);
    result = python_sleep(how);
    pthread_cleanup_pop(0);
    return result;
}

/* Inlined into its caller: with a frame more the stack of a thread of CPython 3.11 that sleeps in its first function takes a page more
 * (tests/runtime/core/test_costs.py). */
static inline __attribute__((always_inline)) enum outcome sleep_in_queue(PyObject *op, struct queue_wait *wait,
                                                                         struct sync_lock *give_up, int *baton)
{
    struct sync_queue *queue = wait->queue;
    struct sync_place *place = wait->place;
    struct python_sleep how = {wait_in_queue, wait, op, place, park_now(), wait->deadline, give_up};

    for (;; how.give_up = NULL) {
        wait->dozes = waker_dozes(wait->deadline);
        int result = sleep_or_leave(&how);
        *baton = result == 0;
        if (result == 0)
            return ENTITLED;
        if (result == EAGAIN)
            waker_dozed_in_vain();
        else if (result != EINTR)
            return sync_queue_leave(queue, place, baton) ? ENTITLED : LEFT;
        int entitled = sync_queue_away(queue, place, 1);
        int raised = python_interrupted(NULL, op) < 0;
        entitled = entitled || sync_queue_away(queue, place, 0);
        if (raised && !entitled)
            entitled = sync_queue_leave(queue, place, baton);
        if (raised || entitled)
            return !raised ? ENTITLED : entitled ? RAISED_ENTITLED : RAISED;
    }
}

enum outcome python_sleep_in_queue(PyObject *op, struct sync_queue *queue, struct sync_place *place, struct sync_lock *give_up,
                                   int64_t deadline, int *baton)
{
    struct queue_wait wait = {queue, place, deadline, 0};
    int to_pass = 0;
    enum outcome outcome = sleep_in_queue(op, &wait, give_up, baton ? baton : &to_pass);

    if (to_pass)
        sync_queue_pass_baton(queue);
    return outcome;
}

static int add_sleep(PyObject *Py_UNUSED(module))
{
    wait_offset = (char *)&my_wait - (char *)pthread_self();
    glibc_before_wait = before_glibc_waits;
    return 0;
}

const struct entries entries_sleep = {.add = add_sleep, .after_fork = python_waits_after_fork};
