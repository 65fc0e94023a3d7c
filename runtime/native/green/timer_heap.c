#include "green/timer_heap.h"

#include <stddef.h>

static struct timer *meld_heaps(struct timer *a, struct timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->deadline < a->deadline) {
        struct timer *other = a;
        a = b;
        b = other;
    }
    b->back = a;
    if ((b->sibling = a->child))
        b->sibling->back = b;
    a->child = b;
    return a;
}

/* One heap of a list of siblings: in pairs on the way there, all together on the way back. */
static struct timer *meld_all(struct timer *first)
{
    struct timer *pairs = NULL, *all = NULL, *rest;

    for (; first; first = rest) {
        struct timer *second = first->sibling;
        rest = second ? second->sibling : NULL;
        first->sibling = first->back = NULL;
        if (second)
            second->sibling = second->back = NULL;
        struct timer *pair = meld_heaps(first, second);
        pair->sibling = pairs;
        pairs = pair;
    }
    for (; pairs; pairs = rest) {
        rest = pairs->sibling;
        pairs->sibling = NULL;
        all = meld_heaps(all, pairs);
    }
    return all;
}

void timer_set(struct timer **heap, struct timer *timer, int64_t deadline)
{
    *timer = (struct timer){.set = 1, .deadline = deadline};
    *heap = meld_heaps(*heap, timer);
}

void timer_drop(struct timer **heap, struct timer *timer)
{
    struct timer *below = meld_all(timer->child);

    timer->set = 0;
    if (timer == *heap) {
        *heap = below;
        return;
    }
    *(timer->back->child == timer ? &timer->back->child : &timer->back->sibling) = timer->sibling;
    if (timer->sibling)
        timer->sibling->back = timer->back;
    *heap = meld_heaps(*heap, below);
}
