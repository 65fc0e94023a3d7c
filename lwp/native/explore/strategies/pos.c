/* POS: operations have priorities by chance, and the highest is done; operations that race with it get new priorities, so that both
 * orders of a race are equally likely (Yuan, Yang, Gu, "Partial order aware concurrency sampling", CAV 2018). */
#include "explore/strategies/strategy.h"

static int choose_pos(const struct explore_set *can, int last, int usual)
{
    return strategy_highest(can);
}

/* After an operation, those that race with it get new priorities.  A bytecode's object is not known, so it races with all. */
static void reassign_racing(struct explored *thread, const struct explore_set *can)
{
    const void *object = thread->op.object;

    thread->priority = strategy_random_word() | 1;
    for (int i = explore_next(can, 0); i >= 0; i = explore_next(can, i + 1)) {
        struct explored *other = &explore_run.threads[i];
        if (other != thread && (!object || other->op.object == object))
            other->priority = strategy_random_word() | 1;
    }
}

const struct strategy strategy_pos = {"pos", NULL, choose_pos, reassign_racing};
