/* The LWPs' side of a scheduler: see the head of carrier.c. */
#ifndef RUNTIME_CARRIER_H
#define RUNTIME_CARRIER_H

#include "green/scheduler.h"

/* A carrier's loop, in its base: runs threads until it is the base's own turn, or the generation's end.  Called with the lock, returns
 * without it. */
void carrier_run(struct carrier *c);

/* Called with the lock by a thread that is queued, asleep or ended: its LWP goes on in the next thread.  Returns without the lock, when it
 * is the caller's turn. */
void carrier_schedule(struct scheduler *s, struct green *me);

/* Called without the lock by the thread that the carrier is in, around C code of others that blocks: green/foreign.h.  carrier_leaves_c()
 * returns 1 if another LWP is the runner, and in a thread. */
void carrier_enters_c(struct carrier *c);
int carrier_leaves_c(struct carrier *c);

/* Called around a wait there that leaves the LWP to others. */
void carrier_begins_wait_in_c(struct scheduler *s);
void carrier_ends_wait_in_c(struct scheduler *s);

/* moves: the scheduler's count at an earlier time.  Whether another thread has gone on since then, or could go on now. */
int carrier_others_go_on(struct scheduler *s, long moves);

/* Called with the lock.  Wakes all carriers that sleep. */
void carriers_wake(struct scheduler *s);

/* In a forked child the threads and carriers of a scheduler are lost: this forgets them, once for each fork.  It must come before anything
 * else that is done with a scheduler. */
void scheduler_forget_lost(struct scheduler *s);

/* Runners that sleep without a timeout and have not found a deadlock: a thread that ends may be the last that could have woken one
 * of theirs. */
extern atomic_int carriers_maybe_deadlocked;

#endif
