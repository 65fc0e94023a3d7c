/* PCT: threads have priorities by chance, and the highest goes on; at a few steps, chosen by chance, the running thread falls to the
 * lowest.  A bug of depth d is found with a chance that has a bound (Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized
 * scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010). */
#include "explore/strategies/strategy.h"

enum { MOST_CHANGES = 8 };
#define CHANGED (1ull << 62) /* below what threads begin with, and above what spinning threads get */

static long changes[MOST_CHANGES]; /* the steps at which the running thread falls */
static uint64_t lowest; /* below all priorities given so far */

static void begin_pct(void)
{
    const struct explore_plan *plan = strategy_run.plan;

    lowest = CHANGED - MOST_CHANGES;
    for (int i = 0; i < plan->depth - 1 && i < MOST_CHANGES; i++)
        changes[i] = (long)strategy_random_below((uint64_t)(plan->length > 0 ? plan->length : 1));
}

static int choose_pct(const struct explore_set *can, int last, int usual)
{
    if (strategy_gives_way(last))
        explore_run.threads[last].priority = lowest--;
    for (int i = 0; i < strategy_run.plan->depth - 1; i++)
        if (changes[i] == explore_run.step)
            explore_run.threads[last].priority = CHANGED - (uint64_t)i; /* a later change may be above an earlier one */
    return strategy_highest(can);
}

const struct strategy strategy_pct = {"pct", begin_pct, choose_pct, NULL};
