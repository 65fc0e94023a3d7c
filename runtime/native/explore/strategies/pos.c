/* POS: operations have priorities by chance, and the highest is done; operations that race with it get new priorities, so that both
 * orders of a race are equally likely (Yuan, Yang, Gu, "Partial order aware concurrency sampling", CAV 2018). */
#include "explore/strategies/strategy.h"

static int choose_pos(uint64_t can, int last, int usual)
{
    return strategy_highest(can);
}

/* After an operation, those that race with it get new priorities.  A bytecode's object is not known, so it races with all. */
static void reassign_racing(struct explored *thread, uint64_t can)
{
    const void *object = thread->op.object;

    thread->priority = strategy_random_word() | 1;
    for (can &= ~(1ull << thread->index); can; can &= can - 1) {
        struct explored *other = &explore_run.threads[__builtin_ctzll(can)];
        if (!object || other->op.object == object)
            other->priority = strategy_random_word() | 1;
    }
}

const struct strategy strategy_pos = {"pos", NULL, choose_pos, reassign_racing};
