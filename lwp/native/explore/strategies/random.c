/* Any thread goes on, each equally likely. Between bytecodes the running thread mostly goes on, or each turn would be a few bytecodes
 * long. */
#include "explore/strategies/strategy.h"

static int choose_random(const struct explore_set *can, int last, int usual)
{
    if (explore_run.threads[last].op.kind == EXPLORE_CODE && explore_has(can, last)
        && strategy_random_below((uint64_t)strategy_run.plan->odds))
        return last;
    return strategy_nth(can, strategy_random_below((uint64_t)explore_size(can)));
}

const struct strategy strategy_random = {"random", NULL, choose_random, NULL};
