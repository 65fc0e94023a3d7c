/* The end of a thread, among several things that are waited for. */
#ifndef RUNTIME_WATCH_H
#define RUNTIME_WATCH_H

#include "waits/any.h"

struct lwp;

struct lwp_watch {
    struct lwp_watch *next, *previous; /* of the thread's `watchers` */
    struct lwp *lwp;
    struct sync_any *any;
    int queued, claimed;
};

/* The end of a thread; a process isn't watched.  The thread claims the watch itself, at (4) (kernel/lwp/lwp.h).  A waiter that sleeps in a futex
 * sleeps on then, moved to `alive`: the kernel wakes it at (5).  lwp_finish_watch() sleeps until (5), a short time at most, and must be called
 * after a claim.
 * lwp_watch(): 0, it is at (4) or later, and the watch isn't entered.
 * lwp_unwatch() returns whether the watch was claimed. */
int lwp_watch(struct lwp *lwp, struct lwp_watch *watch, struct sync_any *any);
int lwp_unwatch(struct lwp_watch *watch);
void lwp_finish_watch(struct lwp *lwp, struct sync_any *any);

#endif
