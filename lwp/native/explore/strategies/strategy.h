/* A strategy chooses which of the threads that can go on does.  Each has a file, with the paper that it follows at its head;
 * lwp/explore/search/strategies.py makes the plans that try it.
 *
 * All state is the run's: one run at a time, on one LWP. */
#ifndef RUNTIME_STRATEGY_H
#define RUNTIME_STRATEGY_H

#include "explore/explore.h"
#include "reading/random.h"

struct strategy {
    const char *name;
    void (*begin)(void); /* of a run.  NULL: nothing is to be done */
    int (*choose)(const struct explore_set *can, int last, int usual); /* usual: the default schedule's choice */
    void (*chosen)(struct explored *thread, const struct explore_set *can); /* called after each step.  NULL: it needs no word of it */
};
extern const struct strategy strategy_planned, strategy_random, strategy_pct, strategy_pos;

extern struct strategy_run {
    const struct explore_plan *plan;
    uint64_t random;
    struct explored *before; /* that had the last step; NULL: none has had one */
    int in_a_row; /* steps of that thread or task, after its first */
    int on_thread; /* the same, of that thread and all of its tasks */
    long cancels_at; /* the step from which on a canceller goes on */
} strategy_run;

/* From the plan's seed. */
uint64_t strategy_random_word(void);
uint64_t strategy_random_below(uint64_t n);

/* Whether the thread that ran last has had so many steps in a row that it counts as spinning, or gave its turn away. */
int strategy_gives_way(int last);
/* The same of its thread, with all of that thread's tasks. */
int strategy_thread_gives_way(int last);

/* Past the step limit turns are short, and for a while by chance: when all threads have turns of one length, one after the other, a thread
 * that puts, one that takes away and one that looks may miss each other for ever.  Then they are as regular as can be, so that a livelock
 * repeats itself. */
int strategy_turns_by_chance(void);
int strategy_by_chance(const struct explore_set *can);

/* The set's nth thread, from 0 on. */
int strategy_nth(const struct explore_set *can, uint64_t n);

/* For strategies that go by priority. */
int strategy_highest(const struct explore_set *can);

#endif
