/* Where threads sleep: at a word, with a deadline on the monotonic clock.
 *
 * THE DESIGN.  A word is an int whose value says whether a thread must sleep.  A thread with an LWP of its own sleeps at it in futex(2);
 * a green thread enters its scheduler's wait table and leaves its LWP to others.  A waker names the word and need not know which kind
 * sleeps there: it wakes green threads first, in user space, then the rest by a system call.  Everything else that waits (locks,
 * queues, joins, time.sleep) is a word and a loop around park_wait().
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

/* CLOCK_MONOTONIC in ns, or park_time.  Deadlines are on this clock. */
int64_t park_now(void);

/* The calling thread's clock, which another thread sets; NULL: the kernel's. */
extern __thread const int64_t *park_time;

/* ---- cancellation ------------------------------------------------------------------------------------------------
 *
 * What another thread may end the calling thread's sleeps with.  park_wait(), park_wait_some(), park_poll() and what they call return
 * EINTR as soon as `word` is not 0, or the deadline there has passed.
 *
 * NO LOST CANCELLATION.  Between a look at the word and the sleep a canceller may come.  So an LWP sleeps at two words, the one that it
 * waits for and this one: futex_waitv(2) compares both with what they were, under the kernel's locks.  Kernels before 5.16, and some
 * seccomp filters, have no such call: there it sleeps at the first, where a canceller wakes it, and looks again after PARK_SLICE, then
 * less often, every second or two in the end.  In ppoll(2) the second word is an eventfd.  A green
 * thread looks at the word with its scheduler's lock, enters the wait table, and keeps the lock until it is asleep; a canceller writes
 * the word and then takes that lock.
 * NO LOST WAKE-UP.  If both words were woken, futex_waitv() returns the last that was: the word waited for comes second, so EINTR
 * means that no wake-up was consumed. */
struct green;
struct scheduler;
struct park_cancel {
    atomic_int word;                         /* a futex word: not 0, the thread is to come back */
    atomic_int *_Atomic at;                  /* where the thread sleeps, if the kernel can't have it sleep at two words; else NULL */
    atomic_int fd;                           /* an eventfd, once the thread has slept in ppoll(2); else -1 */
    int64_t deadline;                        /* written by the thread itself */
    _Atomic(struct scheduler *) scheduler;   /* on which it slept last, as a green thread */
    struct green *_Atomic green;             /* written by the thread, with that scheduler's lock or awake; NULL: it isn't asleep */
};
#define PARK_CANCEL_INIT {.fd = -1, .deadline = PARK_FOREVER}
#define PARK_SLICE INT64_C(10000000) /* ns */

/* The calling thread's while it sleeps for something that may be cancelled; NULL: nothing ends its sleeps.  Only a caller that then goes
 * back to where an exception is raised sets it. */
extern __thread struct park_cancel *park_cancel;

/* Ends the thread's sleep, or its next one, unless that is the calling thread.  The thread must not end meanwhile. */
void park_interrupt(struct park_cancel *cancel);

/* Sleeps if *word == expected, until a wake-up.  0: woken, perhaps without a reason, or the word differs: read it again.  ETIMEDOUT:
 * the deadline has passed.  EINTR: a signal handler ran, or the kernel refuses to sleep.  errno is preserved. */
int park_wait(atomic_int *word, int expected, int64_t deadline, enum park_scope scope);

/* Wakes at most `count` sleepers.  The word's memory may be gone: a wake-up at an unmapped address has no effect.  errno is
 * preserved. */
void park_wake(atomic_int *word, int count, enum park_scope scope);

/* The same, private, for groups of sleepers at one word: a wake-up reaches sleepers that have one of the four lowest bits in common
 * with it. */
int park_wait_some(atomic_int *word, int expected, int64_t deadline, unsigned bits);
void park_wake_some(atomic_int *word, int count, unsigned bits);

/* As park_wait(), all bits, but keeps the LWP and sleeps for about `ns` nanoseconds: the timer may be late by the thread's slack. */
int park_doze(atomic_int *word, int expected, int64_t ns);

/* Keeps the LWP, also a green thread's, until the descriptor has one of the events (poll.h's), or HUP or ERR: *found says which.  0,
 * ETIMEDOUT or EINTR as above; EBADF: it is closed; ENOMEM. */
int park_poll(int fd, unsigned events, int64_t deadline, unsigned *found);

/* The same for several: `polled` has room for one more, and gets what was found.  EBADF isn't returned: POLLNVAL says so. */
struct pollfd;
int park_poll_all(struct pollfd *polled, int count, int64_t deadline);

/* Moves a thread that sleeps at `from`, which holds `expected`, with PARK_SHARED, to `to`: it is woken when that is. */
void park_move(atomic_int *from, int expected, atomic_int *to);

/* The time left until the deadline, for a system call that takes a length: 0 if it has passed; NULL, no limit, for PARK_FOREVER. */
struct timespec *park_timeout(int64_t deadline, struct timespec *into);

/* Call once a process has many threads.  From Linux 6.16 on it has a futex hash of its own, with few buckets: with thousands of
 * sleepers each wake-up would walk long chains, so this asks for 4,096 buckets.  Older kernels refuse: the machine's hash is large. */
void park_many(void);

/* The scheduler's part: a green thread that sleeps leaves its LWP to others (green/green.h). */
extern __thread struct green *park_green; /* of the calling thread; NULL: it has its LWP to itself */
struct park_ops {
    int (*wait)(atomic_int *word, int expected, int64_t deadline, unsigned bits); /* by a green thread */
    int (*wake)(atomic_int *word, int count, unsigned bits); /* returns the number woken; now and then 1 less, for LWPs */
    void (*interrupt)(struct park_cancel *cancel); /* of a green thread; does nothing if it doesn't sleep */
};
extern const struct park_ops *_Atomic park_ops; /* NULL until there is a scheduler */

/* park_wake() for green threads only: no system call.  park_wait() that keeps the LWP, also a green thread's, and its park_wake(). */
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
        park_wake_lwp(lock, 1, PARK_PRIVATE);
}

/* Has all running threads of the process pass a memory barrier before it returns (membarrier(2)).  0, or errno if the kernel can't.
 * errno itself is preserved. */
int park_barrier(void);

#endif
