/* Deadlines of many, the earliest at hand: a pairing heap whose links lie in what waits, so that it needs no memory of its own.
 * (Fredman, Sedgewick, Sleator, Tarjan: The pairing heap, 1986.)  Setting one is O(1), dropping one O(log n) on average. */
#ifndef RUNTIME_TIMERS_H
#define RUNTIME_TIMERS_H

#include <stdint.h>

struct timer {
    int set;
    int64_t deadline;
    struct timer *child, *sibling, *back; /* back: the parent of a first child, else the sibling before it */
};

/* *heap: its earliest, NULL when it is empty. */
void timer_set(struct timer **heap, struct timer *timer, int64_t deadline);
void timer_drop(struct timer **heap, struct timer *timer);

#endif
