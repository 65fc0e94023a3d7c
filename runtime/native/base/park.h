/* Where threads sleep: on futex(2) words, with deadlines on the monotonic clock.
 *
 * "Private" futexes are keyed by (mm, address) and cheap; "shared" ones by the page behind the address.  The kernel wakes the
 * CLONE_CHILD_CLEARTID word as a shared futex (kernel/fork.c, mm_release), so a thread that waits for that one must say PARK_SHARED,
 * or it is never woken. */
#ifndef RUNTIME_PARK_H
#define RUNTIME_PARK_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define PARK_FOREVER INT64_MAX

enum park_scope { PARK_PRIVATE, PARK_SHARED };

#define PARK_SECOND INT64_C(1000000000) /* in ns, the unit of all times and deadlines */

/* A clock of clock_gettime(2), in ns. */
int64_t park_clock(clockid_t clock);

/* CLOCK_MONOTONIC in ns.  Deadlines are on this clock. */
int64_t park_now(void);

/* Sleeps while *word == expected.  0: woken, or the word differs (look at it again: a wake may be spurious);
 * ETIMEDOUT: the deadline passed; EINTR: a signal handler ran, or the kernel refuses to sleep.  errno is preserved. */
int park_wait(atomic_int *word, int expected, int64_t deadline, enum park_scope scope);

/* Wakes at most `count` sleepers.  The word may be gone by now: a wake on unmapped memory fails harmlessly.  errno is preserved. */
void park_wake(atomic_int *word, int count, enum park_scope scope);

/* The same, private, between groups of sleepers on one word: a wake-up reaches those that share a bit with it. */
int park_wait_some(atomic_int *word, int expected, int64_t deadline, unsigned bits);
void park_wake_some(atomic_int *word, int count, unsigned bits);

/* Of an LWP, for about `ns` nanoseconds: the timer may be late by the thread's slack.  As park_wait(), all bits. */
int park_doze(atomic_int *word, int expected, int64_t ns);

/* Keeps the LWP, whatever runs on it, until one of the events (poll.h's) is there at the descriptor, which *found says, or HUP or
 * ERR.  0, ETIMEDOUT or EINTR as above; EBADF: it is closed; ENOMEM. */
int park_poll(int fd, unsigned events, int64_t deadline, unsigned *found);

/* From now to the deadline, 0 if that has passed, for a system call that takes a length: NULL, no limit, for PARK_FOREVER. */
struct timespec *park_timeout(int64_t deadline, struct timespec *into);

/* To be called once many threads are about to sleep.  Since Linux 6.16 a process has a futex hash of its own with few
 * buckets, where thousands of sleepers make every wake-up walk long chains; this asks for 4,096.  Older kernels refuse: their
 * hash is the machine's and large. */
void park_many(void);

/* Before anybody is put to sleep the scheduler is asked: a thread that is on one leaves the LWP to others (green/green.h). */
struct green;
extern __thread struct green *park_green; /* what the calling thread is to its scheduler; NULL: it has its LWP to itself */
struct park_ops {
    int (*wait)(atomic_int *word, int expected, int64_t deadline, unsigned bits); /* in a thread that is on one */
    int (*wake)(atomic_int *word, int count, unsigned bits); /* returns how many, 1 less if others should have a chance */
};
extern const struct park_ops *_Atomic park_ops; /* NULL until there is a scheduler */

/* Of green threads only: no system call.  Of LWPs only, whatever runs on them. */
void park_wake_greens(atomic_int *word, int count);
int park_wait_lwp(atomic_int *word, int expected, int64_t deadline, enum park_scope scope);
void park_wake_lwp(atomic_int *word, int count, enum park_scope scope);

/* A lock of one word: 0 free, 1 held, 2 held and a thread may sleep for it.  glibc's own low-level locks follow the same protocol
 * (sysdeps/nptl/lowlevellock.h), so these work on glibc's words too.  Held for a few instructions, by a thread that runs: a thread
 * that waits for it keeps its LWP.  docs/architecture.md has a table of all locks and their order. */
void park_lock_contended(atomic_int *lock);

static inline int park_try_lock(atomic_int *lock)
{
    int seen = 0;

    /* Acquire: what the last holder wrote is seen. */
    return atomic_compare_exchange_strong_explicit(lock, &seen, 1, memory_order_acquire, memory_order_relaxed);
}

static inline void park_lock(atomic_int *lock)
{
    if (!park_try_lock(lock))
        park_lock_contended(lock);
}

static inline void park_unlock(atomic_int *lock)
{
    /* Release: pairs with the acquire above.  After the exchange the lock may be taken and freed by others; the wake-up
     * only names its address. */
    if (atomic_exchange_explicit(lock, 0, memory_order_release) == 2)
        park_wake_lwp(lock, 1, PARK_PRIVATE);
}

/* All threads of the process that run pass a memory barrier before this returns (membarrier(2)).  0, or errno: nothing can do that
 * here.  errno is preserved. */
int park_barrier(void);

#endif
