/* Which thread goes on: the default schedule, and the plan's strategy. */
#include "explore/strategies/strategy.h"

static const struct strategy *const strategies[] = {[EXPLORE_DEFAULT] = &strategy_planned,
                                                    [EXPLORE_RANDOM] = &strategy_random,
                                                    [EXPLORE_PCT] = &strategy_pct,
                                                    [EXPLORE_POS] = &strategy_pos};
static const struct strategy *strategy; /* the run's */

int explore_usual(uint64_t can, int last)
{
    if (can >> last & 1 && !strategy_gives_way(last))
        return last;
    uint64_t later = last == 63 ? 0 : can & ~0ull << (last + 1);
    return __builtin_ctzll(later ? later : can);
}

int explore_choose(uint64_t can, int last, int usual)
{
    return explore_run.step < strategy_run.plan->limit ? strategy->choose(can, last, usual) : usual;
}

void explore_chosen(struct explored *thread, uint64_t can)
{
    strategy_run.in_a_row = thread == strategy_run.before ? strategy_run.in_a_row + 1 : 0;
    strategy_run.before = thread;
    if (strategy->chosen)
        strategy->chosen(thread, can);
}

void explore_choice_thread(struct explored *thread)
{
    thread->priority = strategy_random_word() | 1ull << 63; /* above what a strategy gives later */
}

void explore_choice_begins(const struct explore_plan *plan)
{
    strategy_run = (struct strategy_run){.plan = plan, .random = plan->seed};
    strategy = strategies[plan->strategy];
    if (strategy->begin)
        strategy->begin();
}
