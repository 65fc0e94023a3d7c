#include "explore/strategies/strategy.h"

struct strategy_run strategy_run;

uint64_t strategy_next_word(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64: Steele, Lea, Flood, OOPSLA 2014 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t strategy_random_word(void)
{
    return strategy_next_word(&strategy_run.random);
}

uint64_t strategy_random_below(uint64_t n)
{
    return (uint64_t)((unsigned __int128)strategy_random_word() * n >> 64);
}

int strategy_gives_way(int last)
{
    enum { LONG_TURN = 2000, FAIR_TURN = 50 }; /* steps; the second past the step limit */
    int most = explore_run.step >= strategy_run.plan->limit ? FAIR_TURN : LONG_TURN;

    return explore_run.threads[last].yields || strategy_run.in_a_row >= most;
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
