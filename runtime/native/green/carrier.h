/* The LWPs' side of a scheduler: see the head of carrier.c. */
#ifndef RUNTIME_CARRIER_H
#define RUNTIME_CARRIER_H

#include "green/scheduler.h"

/* What a carrier does in its base: runs the others, until it is the base's own turn, or the generation's end.  With the lock at
 * first, without it in the end. */
void carrier_run(struct carrier *c);

/* With the lock; the caller is queued, asleep or ended, and leaves its LWP to the next.  Returns without the lock, when it is the
 * caller's turn. */
void carrier_schedule(struct scheduler *s, struct green *me);

/* With the lock: all that sleep. */
void carriers_wake(struct scheduler *s);

/* In a forked child whatever a scheduler knew of its threads and carriers is lost: forgets it, once for each fork.  To be called
 * before anything else is done with a scheduler. */
void scheduler_forget_lost(struct scheduler *s);

/* Runners that sleep without a timeout and have not found a deadlock: a thread that ends may be the last that could have woken one
 * of theirs. */
extern atomic_int carriers_maybe_deadlocked;

#endif
