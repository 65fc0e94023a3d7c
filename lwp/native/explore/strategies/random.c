/* Any thread goes on, each equally likely. Between bytecodes the running thread mostly goes on, or each turn would be a few bytecodes
 * long.
 * Half of the runs GATHER the threads: none begins while another can go on, as if all stood behind a barrier, and from there each step is
 * drawn anew.  Otherwise of many threads the first has mostly ended before the last is started.  A race of 21 threads that needs all of
 * them at their begin (reorder_20 of SCTBench) is found in 10 gathered runs, and in no 45,000 of the others.  REJECTED: URW
 * (Zhao et al., ASPLOS 2025), which chooses in proportion to the steps that threads have left, takes 48 runs, and 74 lines. */
#include "explore/strategies/strategy.h"

static enum { STICKS, GATHERS, GATHERED } now;

static void begin_random(void)
{
    now = strategy_run.plan->seed >> 8 & 1 ? GATHERS : STICKS;
}

/* Of those that can go on the ones that have begun; all, once no others are left. */
static const struct explore_set *those_begun(const struct explore_set *can, struct explore_set *begun)
{
    explore_clear(begun);
    for (int i = explore_next(can, 0); i >= 0; i = explore_next(can, i + 1))
        if (explore_run.threads[i].state != EXPLORED_NEW)
            explore_add(begun, i);
    if (explore_next(begun, 0) >= 0)
        return begun;
    now = GATHERED;
    return can;
}

static int choose_random(const struct explore_set *can, int last, int usual)
{
    struct explore_set begun;

    if (now == GATHERS && strategy_gives_way(last)) /* it may poll for what a thread does that has not begun */
        now = GATHERED;
    if (now == GATHERS)
        can = those_begun(can, &begun);
    if (now == STICKS && explore_run.threads[last].op.kind == EXPLORE_CODE && explore_has(can, last)
        && strategy_random_below((uint64_t)strategy_run.plan->odds))
        return last;
    return strategy_nth(can, strategy_random_below((uint64_t)explore_size(can)));
}

const struct strategy strategy_random = {"random", begin_random, choose_random, NULL};
