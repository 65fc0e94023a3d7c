/* Any thread goes on, each equally likely. Between bytecodes the running thread mostly goes on, or each turn would be a few bytecodes
 * long. */
#include "explore/strategies/strategy.h"

static int choose_random(const struct explore_set *can, int last, int usual)
{
    if (explore_run.threads[last].op.kind == EXPLORE_CODE && explore_has(can, last)
        && strategy_random_below((uint64_t)strategy_run.plan->odds))
        return last;
    int chosen = explore_next(can, 0);
    for (uint64_t skip = strategy_random_below((uint64_t)explore_size(can)); skip; skip--)
        chosen = explore_next(can, chosen + 1);
    return chosen;
}

const struct strategy strategy_random = {"random", NULL, choose_random, NULL};
