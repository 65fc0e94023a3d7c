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

/* Sets `threads` to the threads that can go on.  `can` may name tasks of asyncio; the thread that runs such a task can go on too. */
static void threads_of(const struct explore_set *can, struct explore_set *threads)
{
    explore_clear(threads);
    for (int i = explore_next(can, 0); i >= 0; i = explore_next(can, i + 1))
        explore_add(threads, explore_thread_of(&explore_run.threads[i])->index);
}

static int usual_thread(const struct explore_set *threads, int before)
{
    int last = explore_thread_of(&explore_run.threads[before])->index;

    if (explore_has(threads, last) && !strategy_thread_gives_way(before))
        return last;
    if (strategy_turns_by_chance())
        return strategy_by_chance(threads);
    int later = explore_next(threads, last + 1);
    return later >= 0 ? later : explore_next(threads, 0);
}

/* Of a thread's tasks the loop's order decides which goes on: what was ready first. */
int explore_usual(const struct explore_set *can, int last)
{
    struct explore_set threads;

    if (!explore_run.tasks)
        return usual_thread(can, last);
    threads_of(can, &threads);
    const struct explored *thread = &explore_run.threads[usual_thread(&threads, last)];
    return !thread->turning ? thread->green->explored->index : explore_has(can, thread->front) ? thread->front : thread->index;
}

/* Cancellers go on at a step by chance, or at the first one after it at which one can: if they were among the threads that a strategy
 * chooses from, most runs would cancel a task at its first await.  Returns whether one does.  *rest: the others. */
static int one_cancels(const struct explore_set *can, struct explore_set *rest, int *canceller)
{
    struct explore_set cancellers;

    explore_clear(&cancellers);
    explore_clear(rest);
    for (int i = explore_next(can, 0); i >= 0; i = explore_next(can, i + 1))
        explore_add(explore_is_canceller(&explore_run.threads[i]) ? &cancellers : rest, i);
    int count = explore_run.step < strategy_run.cancels_at ? 0 : explore_size(&cancellers);
    if (count)
        *canceller = strategy_nth(&cancellers, strategy_random_below((uint64_t)count));
    return count;
}

int explore_choose(const struct explore_set *can, int last, int usual)
{
    const struct explore_plan *plan = strategy_run.plan;
    struct explore_set rest;
    int canceller;

    if (explore_run.step >= plan->limit)
        return usual;
    if (!(plan->strikes & EXPLORE_CANCELS) || plan->strategy == &strategy_planned)
        return plan->strategy->choose(can, last, usual);
    return one_cancels(can, &rest, &canceller) ? canceller : plan->strategy->choose(&rest, last, usual);
}

void explore_chosen(struct explored *thread, const struct explore_set *can)
{
    struct explored *before = strategy_run.before;

    strategy_run.in_a_row = thread == before ? strategy_run.in_a_row + 1 : 0;
    strategy_run.on_thread = before && explore_thread_of(thread) == explore_thread_of(before) ? strategy_run.on_thread + 1 : 0;
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
    if (plan->strikes & EXPLORE_CANCELS)
        strategy_run.cancels_at = (long)strategy_random_below((uint64_t)plan->length + 1);
}
