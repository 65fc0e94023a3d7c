/* Which thread goes on: the default schedule, and the plan's strategy. */
#include "explore/strategies/strategy.h"

#include <string.h>

static const struct strategy *const strategies[] = {&strategy_planned, &strategy_random, &strategy_pct, &strategy_pos};

const struct strategy *explore_strategy(const char *name)
{
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++)
        if (strcmp(strategies[i]->name, name) == 0)
            return strategies[i];
    return NULL;
}

int explore_usual(const struct explore_set *can, int last)
{
    if (explore_has(can, last) && !strategy_gives_way(last))
        return last;
    if (strategy_turns_by_chance())
        return strategy_by_chance(can);
    int later = explore_next(can, last + 1);
    return later >= 0 ? later : explore_next(can, 0);
}

int explore_choose(const struct explore_set *can, int last, int usual)
{
    return explore_run.step < strategy_run.plan->limit ? strategy_run.plan->strategy->choose(can, last, usual) : usual;
}

void explore_chosen(struct explored *thread, const struct explore_set *can)
{
    strategy_run.in_a_row = thread == strategy_run.before ? strategy_run.in_a_row + 1 : 0;
    strategy_run.before = thread;
    if (strategy_run.plan->strategy->chosen)
        strategy_run.plan->strategy->chosen(thread, can);
}

void explore_choice_thread(struct explored *thread)
{
    thread->priority = strategy_random_word() | 1ull << 63; /* above what a strategy gives later */
}

void explore_choice_begins(const struct explore_plan *plan)
{
    strategy_run = (struct strategy_run){.plan = plan, .random = plan->seed};
    if (plan->strategy->begin)
        plan->strategy->begin();
}
