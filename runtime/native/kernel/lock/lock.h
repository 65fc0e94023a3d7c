/* A lock of one word, without Python.  Functions that may sleep return 0, ETIMEDOUT or EINTR as park_wait() does.
 *
 * A thread that finds the lock free takes it, also while others sleep for it: that is fast, since the thread that runs needs no
 * wake-up.  But no waiter may starve: one that finds, when it wakes, that it has waited for a millisecond counts itself in `starving`.
 * While that count isn't 0 a release writes HANDED in place of FREE, and wakes a starving waiter.
 *
 *   FREE -> HELD             acquire, no system call
 *   FREE -> CONTENDED acquire by a waiter: others may sleep still
 *   HELD -> FREE             release, no system call
 *   HELD, OWING -> CONTENDED a waiter is about to sleep
 *   CONTENDED -> FREE        release; one waiter is woken
 *   HELD -> OWING            the release must wake the thread whose wake-up was deferred to it, and no other
 *   OWING -> FREE            release; that thread is woken.  From CONTENDED it is woken too, besides the waiter
 *   HELD, OWING, CONTENDED -> HANDED  release while a waiter starves; only a starving waiter takes it
 *   HANDED -> CONTENDED      a starving waiter has taken it
 *   HANDED -> FREE           the starving ones have given up
 *
 * WAIT MORPHING.  A thread that sleeps in a condition needs the lock as soon as it is notified.  If the lock is held, to wake the
 * thread now would only have it sleep again.  So the notifier defers the wake-up to the lock, and the release does it.  A lock
 * keeps one deferred wake-up at a time; while it has one, other threads are woken at once.
 *
 * REJECTED.  FUTEX_CMP_REQUEUE, by which the kernel moves a notified thread to the lock's sleepers: a system call for each notification,
 * and one more for each release of a lock that has had sleepers.  A round trip by a condition took 3.1 us, and takes 2.2. */
#ifndef RUNTIME_SYNC_LOCK_H
#define RUNTIME_SYNC_LOCK_H

#include "kernel/base/park.h"

struct sync_lock {
    atomic_int word;
    atomic_int starving;       /* waiters that starve, and the fork generation that they belong to */
    _Atomic uint64_t deferred; /* the word of the waiter that the release must wake, and its fork generation; 0: none */
};
enum sync_lock_word { SYNC_FREE, SYNC_HELD, SYNC_CONTENDED, SYNC_HANDED, SYNC_OWING };

/* What the word of a waiter in a queue holds; it sleeps there.  DOZING: it sleeps for SYNC_DOZE at most and then reads the word by
 * itself, so its futex wake-up may be put off, or left out.  LOOKING: it reads the word again and again, and does not sleep before the word
 * is ASLEEP again: it needs no wake-up. */
enum sync_waiter_word { SYNC_ASLEEP, SYNC_DOZING, SYNC_WOKEN, SYNC_LOOKING };
enum { SYNC_DOZE = 5000000 }; /* ns: the default switch interval.  Below a tick of the clock a timer costs more than a wake-up */

static inline int sync_lock_try(struct sync_lock *lock)
{
    int seen = SYNC_FREE;
    return atomic_compare_exchange_strong_explicit(&lock->word, &seen, SYNC_HELD, memory_order_acquire, memory_order_relaxed);
}

/* *since: when the caller began to wait, 0 at first.  A caller that comes back after an EINTR passes it again, and starves no later.
 * dozes: unless the caller starves it sleeps for about SYNC_DOZE at most, and this function then returns EAGAIN.  A caller that gets EAGAIN
 * runs signal handlers and calls again, as after sync_queue_doze() (waits/queue.h). */
int sync_lock_wait(struct sync_lock *lock, int64_t deadline, int64_t *since, int dozes);

/* 0, or EPERM if no thread holds it. */
int sync_lock_release_any(struct sync_lock *lock);

/* A release in two halves, for a thread that has something to do in between.  The first frees the lock; the second wakes its waiters, and
 * is given what the first returned.  A negative result of the first is -EPERM. */
int sync_lock_free(struct sync_lock *lock);
void sync_lock_wake(struct sync_lock *lock, int whom);

/* HELD means that no thread must be woken: a waiter, starving or not, makes it CONTENDED before it sleeps. */
static inline int sync_lock_release(struct sync_lock *lock)
{
    int seen = SYNC_HELD;
    return atomic_compare_exchange_strong_explicit(&lock->word, &seen, SYNC_FREE, memory_order_release, memory_order_relaxed)
               ? 0
               : sync_lock_release_any(lock);
}

/* Makes the lock as new.  A forked child calls it when the lock's holder is lost. */
API void sync_lock_reset(struct sync_lock *lock);

/* For a HANDED lock: frees it if a fork has lost the thread that it was handed to, and then returns 0. */
API int sync_lock_really_handed(struct sync_lock *lock);

static inline int sync_lock_held(struct sync_lock *lock)
{
    int word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    return word == SYNC_HANDED ? sync_lock_really_handed(lock) : word != SYNC_FREE;
}

/* Leaves the waiter's wake-up to the release of a lock that is held.  1: the release does it, or has done it; 0: the lock is free
 * or HANDED, or has a deferred wake-up already. */
int sync_lock_defer_wake(struct sync_lock *lock, atomic_int *waiter);

/* Called by a waiter that wakes up by itself.  1: its wake-up was deferred, and is cancelled; 0: it was not, or it is on its way. */
int sync_lock_cancel_deferred(struct sync_lock *lock, atomic_int *waiter);

/* Makes a waiter's word WOKEN and wakes its thread.  The thread may be gone as soon as the word is written: the wake-up only names the
 * address. */
void sync_wake_waiter(atomic_int *waiter);

/* What sync_wake_waiter() calls for the futex wake-up.  If the thread was DOZING a higher floor may put that off. */
extern void (*sync_wake)(atomic_int *waiter, int dozing);

/* A release calls this function of a higher floor before it wakes a sleeper that doesn't starve.  1: the function has woken a sleeper that
 * doesn't doze, or will wake one later; 0: the release wakes one.  The release can't choose by itself, because all sleepers share the
 * lock's word, which doesn't say whether they doze. */
extern int (*sync_lock_defer)(atomic_int *word);

/* Futex bits: which sleepers at a word a wake-up is for. */
enum { SYNC_NORMAL = 1, SYNC_STARVING = 2, SYNC_DOZER = 4 };

#endif
