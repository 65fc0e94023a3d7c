#include "kernel/base/park.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEAR 4000000 /* ns: eighty times the usual slack; and less than the 5 ms of CPython's switch interval and a time slice */

__thread struct green *park_green;
__thread const int64_t *park_time;
__thread struct park_cancel *park_cancel;
__thread int64_t park_look = PARK_FOREVER;
const struct park_ops *_Atomic park_ops;
const struct park_cancel_ops *_Atomic park_cancel_ops;

int64_t park_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * PARK_SECOND + now.tv_nsec;
}

int64_t park_now(void)
{
    return park_time ? *park_time : park_clock(CLOCK_MONOTONIC);
}

/* ---- futex(2) ---------------------------------------------------------------------------------------------------- */

/* The kernel may fire a timer late, mostly by up to 50 us, to wake the processor once for several timers (prctl(2), PR_SET_TIMERSLACK).
 * A near deadline would be late by a large part of itself. */
int futex_drop_slack(int64_t deadline)
{
    if (deadline == PARK_FOREVER || deadline - park_now() > NEAR)
        return 0;
    int slack = prctl(PR_GET_TIMERSLACK);
    if (slack > 0)
        prctl(PR_SET_TIMERSLACK, 1);
    return slack > 0 ? slack : 0;
}

void futex_restore_slack(int slack)
{
    if (slack)
        prctl(PR_SET_TIMERSLACK, slack);
}

/* The kernel refuses to sleep when it is out of memory, or a seccomp filter forbids it.  The caller can't go on without what it waits for,
 * so this pretends a signal: on EINTR every caller looks at the word, the time and the signals, and calls again. */
int futex_refused(int64_t deadline)
{
    sched_yield();
    return park_now() < deadline ? EINTR : ETIMEDOUT;
}

static int private_if(enum park_scope scope)
{
    return scope == PARK_PRIVATE ? FUTEX_PRIVATE_FLAG : 0;
}

int futex_wait_some(atomic_int *word, int expected, int64_t deadline, enum park_scope scope, unsigned bits)
{
    /* WAIT_BITSET, unlike WAIT, takes an absolute time: no drift when the caller repeats the wait after a signal. */
    int saved = errno, result = 0;
    struct timespec until = {deadline / PARK_SECOND, deadline % PARK_SECOND};

    if (deadline < 0)
        until = (struct timespec){0, 0};
    int slack = futex_drop_slack(deadline);
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET | private_if(scope), expected, deadline == PARK_FOREVER ? NULL : &until, NULL, bits)
            < 0
        && errno != EAGAIN)
        result = errno == ETIMEDOUT || errno == EINTR ? errno : futex_refused(deadline);
    futex_restore_slack(slack);
    errno = saved;
    return result;
}

int futex_wake_some(atomic_int *word, int count, enum park_scope scope, unsigned bits)
{
    int saved = errno, woken = (int)syscall(SYS_futex, word, FUTEX_WAKE_BITSET | private_if(scope), count, NULL, NULL, bits);

    errno = saved;
    return woken < 0 ? 0 : woken;
}

int futex_wait(atomic_int *word, int expected, int64_t deadline, enum park_scope scope)
{
    return futex_wait_some(word, expected, deadline, scope, FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(atomic_int *word, int count, enum park_scope scope)
{
    futex_wake_some(word, count, scope, FUTEX_BITSET_MATCH_ANY);
}

int futex_doze(atomic_int *word, int expected, int64_t ns, enum park_scope scope)
{
    int saved = errno, result = 0;
    struct timespec length = {ns / PARK_SECOND, ns % PARK_SECOND};

    if (syscall(SYS_futex, word, FUTEX_WAIT | private_if(scope), expected, &length, NULL, 0) < 0 && errno != EAGAIN)
        result = errno == ETIMEDOUT ? ETIMEDOUT : EINTR;
    errno = saved;
    return result;
}

void futex_many(void)
{
    int saved = errno;
    prctl(78 /* PR_FUTEX_HASH */, 1 /* PR_FUTEX_HASH_SET_SLOTS */, 4096, 0, 0);
    errno = saved;
}

/* ---- waiting and waking ------------------------------------------------------------------------------------------ */

static int wake_greens(atomic_int *word, int count, unsigned bits)
{
    const struct park_ops *ops = atomic_load_explicit(&park_ops, memory_order_acquire);
    return ops ? ops->wake(word, count, bits) : 0;
}

static const struct park_cancel_ops *cancel_ops(void)
{
    return atomic_load_explicit(&park_cancel_ops, memory_order_acquire);
}

static inline int wait_some(atomic_int *word, int expected, int64_t deadline, enum park_scope scope, unsigned bits)
{
    int64_t until = park_until(deadline);
    int result = park_cancel  ? cancel_ops()->wait(word, expected, until, scope, bits)
                 : park_green ? park_ops->wait(word, expected, until, bits)
                              : futex_wait_some(word, expected, until, scope, bits);

    return park_result(result, deadline);
}

int park_wait(atomic_int *word, int expected, int64_t deadline, enum park_scope scope)
{
    return wait_some(word, expected, deadline, scope, FUTEX_BITSET_MATCH_ANY);
}

void park_wake(atomic_int *word, int count, enum park_scope scope)
{
    if ((count -= wake_greens(word, count, FUTEX_BITSET_MATCH_ANY)) > 0)
        futex_wake_some(word, count, scope, FUTEX_BITSET_MATCH_ANY);
}

void park_wake_greens(atomic_int *word, int count)
{
    wake_greens(word, count, FUTEX_BITSET_MATCH_ANY);
}

int park_wait_some(atomic_int *word, int expected, int64_t deadline, unsigned bits)
{
    return wait_some(word, expected, deadline, PARK_PRIVATE, bits);
}

int park_wake_some(atomic_int *word, int count, unsigned bits)
{
    int greens = wake_greens(word, count, bits);

    return count > greens ? greens + futex_wake_some(word, count - greens, PARK_PRIVATE, bits) : greens;
}

void park_lock_contended(atomic_int *lock)
{
    /* Takes the lock as 2, not 1: other threads may still sleep, and only the release of a 2 wakes one. */
    while (atomic_exchange_explicit(lock, 2, memory_order_acquire) != 0)
        futex_wait(lock, 2, PARK_FOREVER, PARK_PRIVATE);
}
