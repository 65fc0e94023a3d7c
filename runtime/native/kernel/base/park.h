/* Where threads sleep: at a word, with a deadline on the monotonic clock.
 *
 * THE DESIGN.  A word is an int whose value says whether a thread must sleep.  A thread with an LWP of its own sleeps at it in futex(2);
 * a green thread enters its scheduler's wait table and leaves its LWP to others.  A waker names the word and need not know which kind
 * sleeps there: it wakes green threads first, in user space, then the rest by a system call.  Almost everything else that waits (locks,
 * queues, joins, time.sleep) is a word and a loop around park_wait(); files and processes are waited for in poll(2).
 *
 * REJECTED.  pthread mutexes and condition variables: they know the owner by the tid in struct pthread, which green threads of one LWP
 * can't share, and they keep their LWP.  eventfd or pipes: a descriptor for each object, and a system call without contention.
 *
 * THE PROTOCOL.  A sleeper:                                     A waker:
 *   1. reads the word, and decides by it to sleep                 1. writes the word
 *   2. park_wait(word, the value that it read)                    2. park_wake(word)
 *   3. reads the word again, whatever woke it
 * No wake-up is lost: the kernel, and the wait table, compare the word with that value and begin the sleep under one lock, which a waker
 * takes after it has written.  So the sleeper sees the new value and returns, or the waker finds it.  A wake-up may come without a
 * reason, and it may come late: the word's memory can be gone by then, since a wake-up only names the address.
 *
 * "Private" futexes are keyed by (mm, address) and cheap; "shared" ones by the page behind the address.  The kernel wakes the
 * CLONE_CHILD_CLEARTID word as a shared futex (kernel/fork.c, mm_release), so a thread that waits for this word must say PARK_SHARED, or
 * it is never woken. */
#ifndef RUNTIME_PARK_H
#define RUNTIME_PARK_H

#include "api.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define PARK_FOREVER INT64_MAX

enum park_scope { PARK_PRIVATE, PARK_SHARED };

#define PARK_SECOND INT64_C(1000000000) /* in ns, the unit of all times and deadlines */

/* A clock of clock_gettime(2), in ns. */
API int64_t park_clock(clockid_t clock);

/* CLOCK_MONOTONIC in ns, or park_time.  Deadlines are on this clock. */
API int64_t park_now(void);

/* The calling thread's clock, which another thread sets; NULL: the kernel's. */
API extern __thread const int64_t *park_time;

/* Sleeps if *word == expected, until a wake-up.  0: woken, perhaps without a reason, or the word differs: read it again.  ETIMEDOUT:
 * the deadline has passed.  EINTR: a signal handler ran, or the kernel refuses to sleep.  errno is preserved. */
API int park_wait(atomic_int *word, int expected, int64_t deadline, enum park_scope scope);

/* Wakes at most `count` sleepers.  The word's memory may be gone: a wake-up at an unmapped address has no effect.  errno is
 * preserved. */
API void park_wake(atomic_int *word, int count, enum park_scope scope);

/* The same, private, for groups of sleepers at one word: a wake-up reaches only sleepers that share one of the four lowest bits with
 * it. */
int park_wait_some(atomic_int *word, int expected, int64_t deadline, unsigned bits);
API int park_wake_some(atomic_int *word, int count, unsigned bits); /* the number woken */

/* park_wake() for green threads only: no system call. */
void park_wake_greens(atomic_int *word, int count);

/* ---- what higher floors add -------------------------------------------------------------------------------------- */

/* Green threads (green/green.h): such a thread leaves its LWP to others while it sleeps. */
struct green;
API extern __thread struct green *park_green; /* of the calling thread; NULL: it has its LWP to itself */
struct park_ops {
    int (*wait)(atomic_int *word, int expected, int64_t deadline, unsigned bits); /* by a green thread */
    int (*wake)(atomic_int *word, int count, unsigned bits); /* how many it woke; sometimes 1 less, to wake an LWP too */
};
extern const struct park_ops *_Atomic park_ops; /* NULL until there is a scheduler */

/* Cancellation (waits/cancel.h): what another thread may end the calling thread's sleeps with.  park_wait() and park_wait_some() return
 * EINTR then. */
struct park_cancel;
API extern __thread struct park_cancel *park_cancel; /* of the calling thread; NULL: nothing ends its sleeps */
struct pollfd;
struct park_cancel_ops {
    int (*wait)(atomic_int *word, int expected, int64_t deadline, enum park_scope scope, unsigned bits);
    int (*poll)(struct pollfd *polled, int count, int64_t deadline); /* kernel/base/poll.h */
};
extern const struct park_cancel_ops *_Atomic park_cancel_ops; /* NULL until a thread has a park_cancel */

/* The time at which the calling thread must look for signals: then its waits in park_wait(), park_wait_some() and park_poll_all() return
 * EINTR. */
extern __thread int64_t park_look; /* PARK_FOREVER: it needn't */

/* For these waits: how long the kernel may let the thread sleep, and what the caller is told of the result. */
static inline int64_t park_until(int64_t deadline)
{
    return park_look < deadline ? park_look : deadline;
}

static inline int park_result(int result, int64_t deadline)
{
    return result == ETIMEDOUT && park_look < deadline ? EINTR : result;
}

/* ---- sleeps that keep the LWP ------------------------------------------------------------------------------------
 *
 * For the short waits of this library itself.  They are futex(2) for a green thread too, and nothing cancels them.  Arguments and results
 * are as above; the wake-ups reach no green thread that sleeps in its wait table. */
API int futex_wait(atomic_int *word, int expected, int64_t deadline, enum park_scope scope);
API void futex_wake(atomic_int *word, int count, enum park_scope scope);
int futex_wait_some(atomic_int *word, int expected, int64_t deadline, enum park_scope scope, unsigned bits);
int futex_wake_some(atomic_int *word, int count, enum park_scope scope, unsigned bits); /* the number woken */

/* Sleeps for about so many nanoseconds.  Its waker mostly comes first, so the thread keeps its timer slack, which would take three calls. */
int futex_doze(atomic_int *word, int expected, int64_t ns, enum park_scope scope);

/* For a sleep in another system call.  The first drops the thread's timer slack if the deadline is near; the second restores it, from what
 * the first returned. */
int futex_drop_slack(int64_t deadline);
void futex_restore_slack(int slack);

/* The result of a sleep that the kernel has refused: EINTR, or ETIMEDOUT if the deadline has passed. */
int futex_refused(int64_t deadline);

/* Call once a process has many threads.  From Linux 6.16 on it has a futex hash of its own, with few buckets: with thousands of
 * sleepers each wake-up would walk long chains, so this asks for 4,096 buckets.  Older kernels refuse: the machine's hash is large. */
void futex_many(void);

/* ---- locks ------------------------------------------------------------------------------------------------------- */

/* A lock of one word: 0 free, 1 held, 2 held and a thread may sleep for it.  glibc's own low-level locks follow the same protocol
 * (sysdeps/nptl/lowlevellock.h), so these work on glibc's words too.  Held for a few instructions, by a thread that runs: a thread
 * that waits for it keeps its LWP.  docs/architecture.md has a table of all locks and their order. */
API void park_lock_contended(atomic_int *lock);

static inline int park_try_lock(atomic_int *lock)
{
    int seen = 0;

    /* Acquire: we see what the last holder wrote. */
    return atomic_compare_exchange_strong_explicit(lock, &seen, 1, memory_order_acquire, memory_order_relaxed);
}

static inline void park_lock(atomic_int *lock)
{
    if (!park_try_lock(lock))
        park_lock_contended(lock);
}

static inline void park_unlock(atomic_int *lock)
{
    /* Release: pairs with the acquire above.  After the exchange another thread may take the lock and free its memory: the wake-up only
     * names the address. */
    if (atomic_exchange_explicit(lock, 0, memory_order_release) == 2)
        futex_wake(lock, 1, PARK_PRIVATE);
}

#endif
