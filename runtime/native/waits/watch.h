/* Things without a queue, among several that are waited for: locks and the ends of threads.
 *
 * They are many, and seldom waited for in this way, so they have no room for a queue.  A table has the queues, by address. */
#ifndef RUNTIME_WATCH_H
#define RUNTIME_WATCH_H

#include "waits/any.h"

struct lwp;

struct sync_watch {
    struct sync_watch *next, *previous;
    const void *object;
    struct sync_any *any;
    int queued, claimed;
};

void sync_watch_enter(struct sync_watch *watch, const void *object, struct sync_any *any);
/* Returns whether the watch was claimed. */
int sync_watch_leave(struct sync_watch *watch);

/* Claims the waits that watch the object, in their order and at most `count`, and calls `complete` under the table's lock for each wait
 * that is completed by the claim; NULL: what its `wake` says.  Returns how many waits were completed. */
int sync_watch_tell(const void *object, int count, void (*complete)(struct sync_any *any, void *arg), void *arg);

/* Whether an object is watched. */
int sync_is_watched(const void *object);

/* Watches a lock.  Its release hands it over: the lock is the watcher's as soon as the watch is claimed.  0: it is free, and isn't
 * watched. */
int sync_lock_watch(struct sync_lock *lock, struct sync_watch *watch, struct sync_any *any);
int sync_lock_unwatch(struct sync_watch *watch);

/* The end of a thread; a process isn't watched.  The thread claims the watch itself, at (4) (kernel/lwp/lwp.h).  A waiter that sleeps in a futex
 * sleeps on then, moved to `alive`: the kernel wakes it at (5).  lwp_finish_watch() sleeps until (5), a short time at most, and must be called
 * after a claim.
 * lwp_watch(): 0, it is at (4) or later, and the watch isn't entered. */
int lwp_watch(struct lwp *lwp, struct sync_watch *watch, struct sync_any *any);
void lwp_finish_watch(struct lwp *lwp, struct sync_any *any);

/* In a forked child. */
void sync_watch_forget(void);

#endif
