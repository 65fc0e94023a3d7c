/* Any thread goes on, each equally likely. Between bytecodes the running thread mostly goes on, or each turn would be a few bytecodes
 * long. */
#include "explore/strategies/strategy.h"

static int choose_random(uint64_t can, int last, int usual)
{
    if (explore_run.threads[last].op.kind == EXPLORE_CODE && can >> last & 1
        && strategy_random_below((uint64_t)strategy_run.plan->odds))
        return last;
    for (uint64_t skip = strategy_random_below((uint64_t)__builtin_popcountll(can)); skip; skip--)
        can &= can - 1;
    return __builtin_ctzll(can);
}

const struct strategy strategy_random = {"random", NULL, choose_random, NULL};
