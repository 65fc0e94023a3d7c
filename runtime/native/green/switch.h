/* From one flow of control to the next: the queue of the threads that could go on, and the change of stacks. */
#ifndef RUNTIME_SWITCH_H
#define RUNTIME_SWITCH_H

#include "green/scheduler.h"

/* With the scheduler's lock. */
void ready_push(struct scheduler *s, struct green *green);
struct green *ready_pop(struct scheduler *s);

/* With the lock: a thread that has slept may go on.  Off the heap of timers, into the queue. */
void green_make_ready(struct scheduler *s, struct green *green);

/* The same without the lock, and the runner is woken if it sleeps. */
void green_resume(struct green *green);

/* Called with the lock when a thread has been made ready: keeps the runner from sleeping.  What it returns must be given to runner_wake()
 * once the lock is released; before that, the runner would wake up only to sleep for the lock. */
atomic_int *runner_mark_busy(struct scheduler *s);
void runner_wake(atomic_int *sleeper);

/* With the lock, while the runner is in C code of others: a spare takes its place, or if there is none, the next LWP that comes to its
 * base.  runner_wake() as above.  The spare's LWP may have ended by then: a wake-up at an address in its stack, which is never unmapped,
 * does no harm. */
atomic_int *runner_hand_over(struct scheduler *s);

/* With the lock: goes on in `to`.  Returns, without the lock, when another thread switches back. */
API void green_switch(struct scheduler *s, struct green *from, struct green *to);

/* The second half of a switch, on the new stack: releases the lock, and calls gone() of the thread that was left if it has ended.  A
 * thread's first turn begins with it. */
void green_finish_switch(struct scheduler *s);

/* Where the thread with that thread pointer keeps its `park_green`. */
struct green **green_of(void *tp);

#endif
