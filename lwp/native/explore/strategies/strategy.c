#include "explore/strategies/strategy.h"

struct strategy_run strategy_run;

uint64_t strategy_random_word(void)
{
    return random_next_word(&strategy_run.random);
}

uint64_t strategy_random_below(uint64_t n)
{
    return (uint64_t)((unsigned __int128)strategy_random_word() * n >> 64);
}

int strategy_nth(const struct explore_set *can, uint64_t n)
{
    int thread = explore_next(can, 0);

    for (; n; n--)
        thread = explore_next(can, thread + 1);
    return thread;
}

static int is_late(void)
{
    return explore_run.step >= strategy_run.plan->limit;
}

/* By chance, but the same in each run: a word for the turn that began at that step. */
static uint64_t chance_of_turn(long begun)
{
    uint64_t state = (uint64_t)begun;
    return random_next_word(&state);
}

int strategy_turns_by_chance(void)
{
    return is_late() && explore_run.step / (strategy_run.plan->limit / 2 + 1) % 2 == 0;
}

/* In steps. */
static int longest_turn(void)
{
    enum { LONG = 2000, FAIR = 50 };

    if (!is_late())
        return LONG;
    return strategy_turns_by_chance() ? 1 + (int)(chance_of_turn(explore_run.step - strategy_run.in_a_row) % (2 * FAIR)) : FAIR;
}

int strategy_by_chance(const struct explore_set *can)
{
    return strategy_nth(can, chance_of_turn(explore_run.step) % (uint64_t)explore_size(can));
}

/* A turn ends only where CPython with a GIL could switch: such an end is no deviation of the plan, by which a find says whether it needs
 * another CPython. */
static int gives_way(int last, int steps, int most)
{
    const struct explored *thread = &explore_run.threads[last];
    int may_end = thread->op.kind != EXPLORE_CODE || thread->op.at_gil;

    return thread->yields || (may_end && steps >= most);
}

int strategy_gives_way(int last)
{
    enum { POLLS = 50 }; /* turns of a task, which waits by asyncio.sleep(0) for another one */
    int longest = longest_turn(), polls = explore_is_task(&explore_run.threads[last]) && longest > POLLS;

    return gives_way(last, strategy_run.in_a_row, polls ? POLLS : longest);
}

int strategy_thread_gives_way(int last)
{
    return gives_way(last, strategy_run.on_thread, longest_turn());
}

int strategy_highest(const struct explore_set *can)
{
    int best = -1;

    for (int i = explore_next(can, 0); i >= 0; i = explore_next(can, i + 1)) {
        if (best < 0 || explore_run.threads[i].priority > explore_run.threads[best].priority)
            best = i;
    }
    return best;
}
