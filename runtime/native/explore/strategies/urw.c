/* URW: each interleaving is as likely, since a thread is chosen in proportion to the steps that it and the threads that it will start have
 * left, as the runs before had them (Zhao et al., "Selectively uniform concurrency testing", ASPLOS 2025). */
#include "explore/strategies/strategy.h"

enum { TABLES = 4 };

/* What the runs before had: one table for each granularity that is explored in turns. */
static struct lengths {
    long steps[EXPLORE_THREADS]; /* at most */
    int parent[EXPLORE_THREADS];
    int known; /* threads that these two tell of */
} tables[TABLES], *lengths;

static struct lengths *table_of(int table)
{
    return &tables[(unsigned)table % TABLES];
}

void explore_learn(int table)
{
    struct lengths *known = table_of(table);

    for (int i = 0; i < explore_run.count; i++) {
        long steps = explore_run.threads[i].steps;
        if (i >= known->known || steps > known->steps[i])
            known->steps[i] = steps;
        known->parent[i] = explore_run.threads[i].parent;
    }
    if (explore_run.count > known->known)
        known->known = explore_run.count;
}

void explore_forget(int table)
{
    table_of(table)->known = 0;
}

static void begin_urw(void)
{
    lengths = table_of(strategy_run.plan->depth);
}

static uint64_t steps_left(int i)
{
    long left = i < lengths->known ? lengths->steps[i] - explore_run.threads[i].steps : 0, sum = left > 1 ? left : 1;

    for (int child = explore_run.count; child < lengths->known; child++)
        for (int of = lengths->parent[child]; of >= i; of = lengths->parent[of]) {
            if (of == i)
                sum += lengths->steps[child];
            if (of == 0 || of < explore_run.count)
                break;
        }
    return (uint64_t)sum;
}

static int choose_urw(uint64_t can, int last, int usual)
{
    uint64_t sum = 0, at;

    for (uint64_t rest = can; rest; rest &= rest - 1)
        sum += steps_left(__builtin_ctzll(rest));
    at = strategy_random_below(sum);
    for (uint64_t rest = can; rest; rest &= rest - 1) {
        int i = __builtin_ctzll(rest);
        uint64_t left = steps_left(i);
        if (at < left)
            return i;
        at -= left;
    }
    return __builtin_ctzll(can); /* not reached */
}

const struct strategy strategy_urw = {begin_urw, choose_urw, NULL};
