/* The default schedule, with deviations: a token that is replayed, and each run of dfs and dpor. */
#include "explore/strategies/strategy.h"

static int deviation; /* the next in the plan */

static void begin_planned(void)
{
    deviation = 0;
}

static int choose_planned(const struct explore_set *can, int last, int usual)
{
    const struct explore_plan *plan = strategy_run.plan;

    while (deviation < plan->count && plan->deviations[deviation].step < explore_run.step) {
        deviation++;
        explore_run.missed++; /* that step was forced */
    }
    if (deviation == plan->count || plan->deviations[deviation].step != explore_run.step)
        return usual;
    uint32_t thread = plan->deviations[deviation++].thread;
    if (thread < EXPLORE_THREADS && explore_has(can, (int)thread))
        return (int)thread;
    explore_run.missed++;
    return usual;
}

const struct strategy strategy_planned = {"planned", begin_planned, choose_planned, NULL};
