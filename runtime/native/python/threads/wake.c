/* Waking, where the waker has the GIL and the woken thread wants it.
 *
 * The waker keeps the GIL, as in CPython: its next line runs before the woken thread does, unless it blocks or its switch interval
 * ends.  Programs rely on that (asgiref sets a future's result, and stores afterwards what belongs to it).  But a thread that is woken
 * at once mostly gets the processor at once (the kernel's wake-up preemption), finds the GIL taken, and sleeps again in take_gil
 * (Python/ceval_gil.c).  Two threads that take turns then make five switches instead of two.  So a waker that is about to sleep defers
 * the wake-up until it has given up the GIL.
 *
 *   1. The waker can't be sure that it will sleep.  It may compute, block in other C code, end, be killed or exec.  So only a thread that
 *      is DOZING is woken late (kernel/lock/lock.h): it wakes up by itself within the default switch interval, and where a shorter one is set
 *      no thread dozes.  So no wake-up is lost, whatever becomes of the waker.  A thread that is ASLEEP is woken at once.
 *   2. That the waker is about to sleep is a guess.  It is made if SURE wake-ups in a row were followed by a sleep in python_sleep()
 *      within SOON.  So only threads that keep taking turns doze and defer; a producer that streams, or a thread that blocks elsewhere,
 *      doesn't.
 *   3. A wrong guess may have cost the woken thread the time until the wake-up was done.  For as many turns as that time has
 *      microseconds the waker does not defer.  A turn saves more than a microsecond, so no pattern loses in the long run.
 *
 * A green thread neither defers nor dozes: the thread that it wakes mostly waits for this very LWP.  A thread that may be cancelled doesn't
 * doze, because a cancellation would come late.
 *
 * A CREATOR that waits until its thread has begun (boot.c) wants the GIL that this thread has, too.  There nothing is guessed: the
 * thread wakes it when it first gives up the GIL, whatever for, or by its end, which takes no call.  A thread that computes gives
 * up nothing unless it is asked: so the creator sleeps for the switch interval and then asks at once, when it would if it had
 * waited for the GIL all the time.  A start and a join: one sleep, where a creator that is woken as soon as the thread has begun
 * sleeps for the GIL, for its mutex, and for the end.  After install(), on one core, that is 23 us in place of 40 (threading: 64).
 *
 * REJECTED.  To hand the GIL to the woken thread: as fast as a late wake-up, but the woken thread ran before the waker's next line, on
 * which programs rely (see above).  A shorter time of dozing: with 1 ms in place of 5 a round trip took half as much time again, with
 * 50 us seven times as much, because a timer that is due before the clock's next tick must be set in the hardware, which in a virtual
 * machine is an exit to the host. */
#include "python/threads/wake.h"

#include "python/threads/gil_crowd.h"
#include "python/threads/gil_state.h"
#include "python/waits/cancel.h"
#include "python/room.h"
#include "green/replace.h"
#include "kernel/lock/lock.h"
#include "kernel/lwp/lwp.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

enum {
    SURE = 16,
    SOON = 50000, /* ns from the wake-up to the sleep.  If it isn't deferred, the woken thread runs in between, until it asks for the GIL */
};

static const unsigned long *interval; /* in microseconds; a program may set it */
static __thread struct {
    atomic_int *deferred; /* the word to wake at, or NULL.  Only an address: its thread may have woken by itself, and be gone */
    int64_t since; /* time of the first wake-up since the last python_sleep(); 0: none */
    int trust; /* turns in a row that went as guessed, up to SURE; below 0: minus the turns before they count again */
    int without_gil;
    struct lwp *begun; /* the thread's own, if its creator sleeps and is to be woken; or NULL */
} waker;

int waker_dozes(int64_t deadline)
{
    /* Without a GIL a woken thread needs nothing that the waker has. */
    return !WITHOUT_GIL && waker.trust == SURE && !park_green && !cancel_mine() && *interval * 1000 >= SYNC_DOZE
           && (deadline == PARK_FOREVER || deadline - park_now() > SYNC_DOZE);
}

void waker_dozed_in_vain(void)
{
    if (waker.trust > 0)
        waker.trust = 0;
}

/* ---- a creator that waits until its thread has begun ------------------------------------------------------------ */

/* It writes `alive` too, or the wake-up could come between the creator's look at `begun` and its sleep. */
static void wake_creator(struct lwp *me)
{
    int alive = atomic_load(&me->alive);

    if (atomic_load_explicit(&me->begun, memory_order_relaxed) != WAKER_BEGUN) /* it has woken by itself */
        return;
    if (!lwp_has_ended(alive) && atomic_compare_exchange_strong(&me->alive, &alive, LWP_HAS_BEGUN))
        futex_wake(&me->alive, INT_MAX, PARK_SHARED);
}

static struct libc_slot slot;
static uintptr_t gil[2];

/* In place of pthread_mutex_unlock(), for libpython: its call with the GIL's mutex ends drop_gil() (Python/ceval_gil.c).  To wake the creator
 * before that, as take_gil() does with its cond variable, would have it sleep once more, for the mutex. */
static int unlock_for_python(pthread_mutex_t *mutex)
{
    int result = pthread_mutex_unlock(mutex);

    if (waker.begun && (uintptr_t)mutex - gil[0] < gil[1] - gil[0])
        waker_wake_creator();
    return result;
}

static int creator_dozes(void)
{
    static int tried, filled;

    if (WITHOUT_GIL || park_green)
        return 0;
    if (!tried)
        filled = gil_crowd_begins() == 0 && libc_fill_slot(&slot, unlock_for_python) == 0;
    tried = 1;
    return filled;
}

void waker_expect(struct lwp *lwp, int waits)
{
    atomic_store(&lwp->begun, !waits ? WAKER_UNASKED : creator_dozes() ? WAKER_DOZED : WAKER_AWAITED);
}

/* Keeps the LWP of a green creator, whose other threads can do little meanwhile: the new thread begins as soon as it has the GIL. */
int waker_await_begun(void *arg)
{
    struct lwp *lwp = arg;
    int word, begun, error = 0;

    atomic_fetch_add(&lwp->joiners, 1);
    while (!lwp_has_ended(word = atomic_load_explicit(&lwp->alive, memory_order_acquire))
           && (begun = atomic_load_explicit(&lwp->begun, memory_order_acquire)) != WAKER_BEGUN) {
        error = begun == WAKER_DOZED ? futex_doze(&lwp->alive, word, (int64_t)*interval * 1000, PARK_SHARED)
                                     : futex_wait(&lwp->alive, word, PARK_FOREVER, PARK_SHARED);
        if (error == ETIMEDOUT) /* it waits for the GIL: then there is no need to ask again and again */
            atomic_compare_exchange_strong(&lwp->begun, &begun, WAKER_AWAITED);
    }
    lwp_uncount_joiner(lwp, word);
    gil_crowd_ask_at_once(error == ETIMEDOUT);
    atomic_store_explicit(&lwp->begun, WAKER_UNASKED, memory_order_relaxed);
    return 0;
}

void waker_say_begun(struct lwp *me)
{
    if (atomic_load_explicit(&me->begun, memory_order_relaxed) == WAKER_UNASKED)
        return;
    if (atomic_exchange_explicit(&me->begun, WAKER_BEGUN, memory_order_release) == WAKER_DOZED)
        waker.begun = me;
    else
        wake_creator(me);
}

void waker_wake_creator(void)
{
    struct lwp *me = waker.begun;

    waker.begun = NULL;
    if (me)
        wake_creator(me);
}

void waker_forget_creator(void)
{
    waker.begun = NULL;
}

/* ---- deferred wake-ups ------------------------------------------------------------------------------------------- */

void waker_do_deferred(void)
{
    if (!waker.deferred)
        return;
    park_wake_some(waker.deferred, 1, ~0u);
    waker.deferred = NULL;
}

/* late: the age of a deferred wake-up. */
static void lose_trust(int64_t late)
{
    waker.trust = -(int)((late < SYNC_DOZE ? late : SYNC_DOZE) / 1000);
}

/* Notes a wake-up.  1: it may be deferred. */
static int note_wake_up(void)
{
    if (waker.without_gil || park_green)
        return 0;
    if (!waker.since)
        waker.since = park_now();
    else if (waker.deferred) { /* a second wake-up, and no sleep in between */
        int64_t late = park_now() - waker.since;
        if (late > SOON) {
            lose_trust(late);
            waker_do_deferred();
        }
    }
    return !waker.deferred && waker.trust == SURE;
}

static void wake_or_defer(atomic_int *word, int dozing)
{
    if (note_wake_up() && dozing)
        waker.deferred = word;
    else
        park_wake_some(word, 1, ~0u);
}

/* Those that sleep for a lock share its word.  If the call wakes none of those that don't doze, all doze, or there is none.  REJECTED: a count
 * of those that don't, in each lock: it would save the call, a tenth of a ping-pong. */
static int wake_asleep_or_defer(atomic_int *word)
{
    if (!note_wake_up())
        return 0;
    if (!park_wake_some(word, 1, SYNC_NORMAL | SYNC_STARVING))
        waker.deferred = word;
    return 1;
}

void waker_gave_up_gil(void)
{
    waker.without_gil = 1;
    if (!waker.since)
        return;
    int64_t late = park_now() - waker.since;
    if (late <= SOON)
        waker.trust += waker.trust < SURE;
    else if (waker.deferred)
        lose_trust(late);
    else if (waker.trust > 0)
        waker.trust = 0;
    waker.since = 0;
}

void waker_has_gil(void)
{
    waker.without_gil = 0;
}

static void waker_after_fork(void)
{
    waker.deferred = NULL;
    waker.begun = NULL;
    waker.since = 0;
}

void waker_init(void)
{
    sync_wake = wake_or_defer;
    sync_lock_defer = wake_asleep_or_defer;
    slot = libc_slot_of((void *)PyEval_RestoreThread, "pthread_mutex_unlock");
    interval = gil_switch_interval();
    gil_place(gil);
}

const struct entries entries_wake = {.after_fork = waker_after_fork};
