/* The deadlines of all threads that sleep with a timeout, the earliest on top: a pairing heap whose links lie in the threads, so
 * that it allocates nothing.
 * (Fredman, Sedgewick, Sleator, Tarjan: The pairing heap, 1986.)  Setting one is O(1), dropping one O(log n) on average. */
#ifndef RUNTIME_TIMER_HEAP_H
#define RUNTIME_TIMER_HEAP_H

#include <stdint.h>

struct timer {
    int set;
    int64_t deadline;
    struct timer *child, *sibling, *back; /* back: the parent of a first child, otherwise the sibling before it */
};

/* *heap: its earliest, NULL when it is empty. */
void timer_set(struct timer **heap, struct timer *timer, int64_t deadline);
void timer_drop(struct timer **heap, struct timer *timer);

#endif
