/* A run from the inside, for run.c and able.c.
 *
 * run.c takes the steps: it chooses among the threads that can go on, and ends the run.  able.c knows which threads can, and waits until one
 * can, for what comes from outside of the run. */
#ifndef RUNTIME_EXPLORE_RUN_H
#define RUNTIME_EXPLORE_RUN_H

#include "explore/explore.h"

#include <poll.h>

extern struct explore_inside {
    struct scheduler *scheduler;
    struct explore_plan plan;
    struct explored *next; /* what explore_leave() goes on in; NULL: the base */
    int last;              /* the thread that took the last step */
    int alive;
    int unwinding, failed;
    int lwps;       /* of the process, when the run began */
    int64_t waited; /* ns, for threads from before the run */
    long passed, late;     /* operations that were no steps; points between bytecodes past the limit */
    unsigned turns;        /* the clock in earnest is looked at in each 64th, because that takes as long as a step */
    int64_t unwound_by;    /* in earnest: what has not ended by then is abandoned */
    struct explored *_Atomic running;
    atomic_long progress;
    atomic_int stopped;
} explore_inside;

#define OUTSIDE_PATIENCE 1000000LL /* ns that a file may take while a deadline is there to move the clock to */

/* record.c's: for the steps of the next run.  0 or ENOMEM. */
int explore_make_room(long steps);

/* ---- able.c -------------------------------------------------------------------------------------------------------- */

int explore_file_is_ready(const struct explored *thread);

static inline __attribute__((always_inline)) int explore_can_go_on(const struct explored *thread)
{
    switch (thread->state) {
    case EXPLORED_NEW:
        return 1;
    case EXPLORED_AT_POINT:
        return !thread->op.can || thread->op.can(thread) || explore_is_cancelled(thread);
    case EXPLORED_WOKEN:
        return !thread->op.can || thread->op.can(thread);
    default:
        return 0;
    }
}

/* Whether it waits until a time. */
int explore_has_deadline(const struct explored *thread);

/* Whether the threads from this one on wait for each other, each for what the next one has, without an end. */
int explore_closes_circle(const struct explored *me);

/* The threads that can only go on if their time is up early, and cancellers.  They join those that can. */
void explore_add_strikes(struct explore_set *can, struct explore_set *early);

/* Sleeps in earnest. */
void explore_sleep_in_earnest(struct pollfd *files, int count, int64_t ns);

/* Whether the run's time in earnest is up. */
static inline int explore_out_of_time(void)
{
    if (atomic_load_explicit(&explore_inside.stopped, memory_order_relaxed))
        return 1;
    if (explore_inside.plan.until == PARK_FOREVER || explore_inside.turns++ % 64
        || park_clock(CLOCK_MONOTONIC) < explore_inside.plan.until)
        return 0;
    explore_stop();
    return 1;
}

/* Finds the threads that can go on, and waits until there is one.  0: none will. */
int explore_wait_until_some_can(struct explore_set *can);

#endif
