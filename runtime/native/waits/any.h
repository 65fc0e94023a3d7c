/* A wait for the first of several things: one waiter, with a place in the queue of each thing.
 *
 * THE DESIGN.  The wait is `open` until it is decided.  A thread that grants one of the things claims the wait by exchanging that word.  The
 * first claim completes the wait, and its thread is woken, by one word, however many things there are.  A claim that comes too late takes
 * nothing: what was to be granted goes to the next in that queue.  The waiter that gives up, by a timeout or a signal, closes the wait by
 * the same word.  So a wait is granted or given up, and never both.
 *
 * REJECTED.  futex_waitv(2) on the words of all things: at most 128, Linux 5.16, not for green threads, and a wake-up there says only that
 * something may be had, which a faster thread then takes.  Here a permit is granted in the order of coming, as to any other waiter.  A
 * helper thread for each thing, or looking now and then: 1,000 threads, or a processor that never sleeps.
 * THE PROTOCOL.  A waiter:                                      A waker:
 *   1. looks at all things: is one ready?                         1. locks the thing's queue, changes the thing
 *   2. enters each queue under its lock, and looks once more      2. of the places in their order: sync_any_claim()
 *   3. sleeps at its word                                         3. too late: takes the place out, goes on to the next
 *   4. sync_any_close(): nothing is granted from here on             in time: the place is entitled, and woken as any other
 *   5. leaves each queue under its lock
 * Lock: another thread may touch a place, or its struct sync_any, only while it holds the lock of the queue that the place is in.  The one
 * exception is the final wake-up after a wait has completed; step 5 waits for it.
 *
 * What the waiter sleeps in decides how it is woken:
 *   a futex, or a green thread's wait table   `wake` is NULL: as any waiter of a queue, once it has the baton (waits/queue.h)
 *   a shared futex                            if a thread's end is among the things, see waits/watch.h
 *   nowhere: it has an eventfd                for a thread's end, see python/waits/end_fd.c */
#ifndef RUNTIME_SYNC_ANY_H
#define RUNTIME_SYNC_ANY_H

#include "kernel/lock/lock.h"

struct sync_any {
    atomic_int word;   /* SYNC_ASLEEP; SYNC_WOKEN, written by the thread that has completed it */
    atomic_int open;   /* 0: completed, or closed */
    int forks;         /* the fork_generation in which it has entered the queues: in a child they have forgotten it */
    void (*wake)(struct sync_any *any); /* called under the lock of a queue; NULL: sync_wake_waiter(), without it */
    int moves;         /* it sleeps in a futex, and may be moved to another word: waits/watch.h */
    const void *moved; /* to a word of this thread, which counts it */
};

/* 1: the caller's claim completes the wait; 0: it comes too late. */
static inline int sync_any_claim(struct sync_any *any)
{
    return atomic_exchange(&any->open, 0);
}

/* Called by the waiter, to give up.  0: the wait was completed before. */
static inline int sync_any_close(struct sync_any *any)
{
    return atomic_exchange(&any->open, 0);
}

#endif
