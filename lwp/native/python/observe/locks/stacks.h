/* The stacks at which threads have waited and held, sampled as Go's block profile is (runtime/mprof.go): a wait of STACKS_RATE or more
 * always counts; a shorter one counts with the chance of its share of that, and then as if it had lasted so long.  So the sums are right on
 * average, and what is frequent and short costs little.
 *
 * Between sites_quiet() and sites_go_on() only. */
#ifndef RUNTIME_STACKS_H
#define RUNTIME_STACKS_H

#include "python/observe/locks/delays.h"

enum { STACKS_RATE = 100000 /* ns */, STACKS_MOST = 1 << 13, STACKS_DEEPEST = 64 };

struct stack {
    struct stack *next;
    uint64_t hash;
    const void *object; /* what it waited for, or held, as in struct delays */
    PyTypeObject *type; /* a reference */
    uint32_t site;
    enum stack_of { STACK_WAITS, STACK_HOLDS } of;
    double count;
    int64_t ns;
    int depth;
    uint32_t lines[]; /* the innermost first: numbers of sites.h */
};

/* Of the calling thread, which has just waited for, or held, the row's object for so long. */
void stacks_count(enum stack_of of, const struct delays *row, int64_t ns);

extern uint64_t stacks_lost; /* samples for whose stack there was no room */
extern uint64_t stacks_cut;  /* samples whose stack was deeper */
void stacks_each(void (*call)(const struct stack *stack, void *arg), void *arg);

/* As delays_take() and delays_free(). */
struct stack *stacks_take(void);
void stacks_free(struct stack *all);

#endif
