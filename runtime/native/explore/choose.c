/* Which thread goes on: the strategies. */
#include "explore/explore.h"

#include <stdlib.h>

enum {
    LONG_TURN = 2000, /* steps in a row after which a thread counts as spinning */
    FAIR_TURN = 50,   /* the same, past the step limit */
    MOST_CHANGES = 8,
    TABLES = 4,
};
#define CHANGED (1ull << 62) /* PCT: below what threads begin with, and above what those get that spin */

static struct {
    const struct explore_plan *plan;
    uint64_t random;
    int deviation;                /* the next in the plan */
    int in_a_row;                 /* steps of the same thread */
    long changes[MOST_CHANGES];   /* PCT: the steps at which who runs falls to the lowest priority */
    uint64_t lowest;              /* PCT: below all that were given */
    struct lengths *lengths;      /* URW */
} choice;

/* What the runs before had: one table for each granularity that is explored in turns. */
static struct lengths {
    long steps[EXPLORE_THREADS]; /* at most */
    int parent[EXPLORE_THREADS];
    int known; /* threads that these two tell of */
} tables[TABLES];

static uint64_t random_word(void)
{
    uint64_t z = choice.random += 0x9e3779b97f4a7c15u; /* splitmix64: Steele, Lea, Flood, OOPSLA 2014 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t random_below(uint64_t n)
{
    return (uint64_t)((unsigned __int128)random_word() * n >> 64);
}

/* ---- the default schedule ---------------------------------------------------------------------------------------- */

int explore_usual(uint64_t can, int last)
{
    int fair = explore_run.step >= choice.plan->limit;
    int gives_way = explore_run.threads[last].yields || choice.in_a_row >= (fair ? FAIR_TURN : LONG_TURN);

    if (can >> last & 1 && !gives_way)
        return last;
    uint64_t later = last == 63 ? 0 : can & ~0ull << (last + 1);
    return __builtin_ctzll(later ? later : can);
}

/* ---- priorities -------------------------------------------------------------------------------------------------- */

static int highest_priority(uint64_t can)
{
    int best = -1;

    for (; can; can &= can - 1) {
        int i = __builtin_ctzll(can);
        if (best < 0 || explore_run.threads[i].priority > explore_run.threads[best].priority)
            best = i;
    }
    return best;
}

static void lower_priority(int i)
{
    explore_run.threads[i].priority = choice.lowest--;
}

static int choose_pct(uint64_t can, int last)
{
    if (explore_run.threads[last].yields || choice.in_a_row >= LONG_TURN)
        lower_priority(last);
    for (int i = 0; i < choice.plan->depth - 1; i++)
        if (choice.changes[i] == explore_run.step)
            explore_run.threads[last].priority = CHANGED - (uint64_t)i; /* a later change may be above an earlier one */
    return highest_priority(can);
}

/* After an operation those that race with it get new priorities.  A bytecode's object is not known: it races with all. */
static void reassign_racing(struct explored *thread, uint64_t can)
{
    const void *object = thread->op.object;

    thread->priority = random_word() | 1;
    for (can &= ~(1ull << thread->index); can; can &= can - 1) {
        struct explored *other = &explore_run.threads[__builtin_ctzll(can)];
        if (!object || other->op.object == object)
            other->priority = random_word() | 1;
    }
}

/* ---- by the steps that are left ---------------------------------------------------------------------------------- */

static uint64_t steps_left(int i)
{
    const struct lengths *lengths = choice.lengths;
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

static int choose_urw(uint64_t can)
{
    uint64_t sum = 0, at;

    for (uint64_t rest = can; rest; rest &= rest - 1)
        sum += steps_left(__builtin_ctzll(rest));
    at = random_below(sum);
    for (uint64_t rest = can; rest; rest &= rest - 1) {
        int i = __builtin_ctzll(rest);
        uint64_t left = steps_left(i);
        if (at < left)
            return i;
        at -= left;
    }
    return __builtin_ctzll(can); /* not reached */
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static int choose_random(uint64_t can, int last)
{
    if (explore_run.threads[last].op.kind == EXPLORE_CODE && can >> last & 1 && random_below((uint64_t)choice.plan->odds))
        return last;
    for (uint64_t skip = random_below((uint64_t)__builtin_popcountll(can)); skip; skip--)
        can &= can - 1;
    return __builtin_ctzll(can);
}

static int choose_planned(uint64_t can, int usual)
{
    const struct explore_plan *plan = choice.plan;

    while (choice.deviation < plan->count && plan->deviations[choice.deviation].step < explore_run.step) {
        choice.deviation++;
        explore_run.missed++; /* that step was forced */
    }
    if (choice.deviation == plan->count || plan->deviations[choice.deviation].step != explore_run.step)
        return usual;
    uint32_t thread = plan->deviations[choice.deviation++].thread;
    if (thread < EXPLORE_THREADS && can >> thread & 1)
        return (int)thread;
    explore_run.missed++;
    return usual;
}

int explore_choose(uint64_t can, int last, int usual)
{
    if (explore_run.step >= choice.plan->limit)
        return usual;
    switch (choice.plan->strategy) {
    case EXPLORE_RANDOM:
        return choose_random(can, last);
    case EXPLORE_PCT:
        return choose_pct(can, last);
    case EXPLORE_POS:
        return highest_priority(can);
    case EXPLORE_URW:
        return choose_urw(can);
    default:
        return choose_planned(can, usual);
    }
}

void explore_chosen(struct explored *thread, uint64_t can)
{
    static const struct explored *before;

    choice.in_a_row = thread == before ? choice.in_a_row + 1 : 0;
    before = thread;
    if (choice.plan->strategy == EXPLORE_POS)
        reassign_racing(thread, can);
}

/* ---- the begin of a run ------------------------------------------------------------------------------------------ */

static struct lengths *table_of(int table)
{
    return &tables[(unsigned)table % TABLES];
}

void explore_learn(int table)
{
    struct lengths *lengths = table_of(table);

    for (int i = 0; i < explore_run.count; i++) {
        long steps = explore_run.threads[i].steps;
        if (i >= lengths->known || steps > lengths->steps[i])
            lengths->steps[i] = steps;
        lengths->parent[i] = explore_run.threads[i].parent;
    }
    if (explore_run.count > lengths->known)
        lengths->known = explore_run.count;
}

void explore_forget(int table)
{
    table_of(table)->known = 0;
}

void explore_choice_thread(struct explored *thread)
{
    thread->priority = random_word() | 1ull << 63; /* above CHANGED */
}

void explore_choice_begins(const struct explore_plan *plan)
{
    choice.plan = plan;
    choice.random = plan->seed;
    choice.deviation = choice.in_a_row = 0;
    choice.lowest = CHANGED - MOST_CHANGES;
    choice.lengths = table_of(plan->depth);
    for (int i = 0; i < plan->depth - 1 && i < MOST_CHANGES; i++)
        choice.changes[i] = (long)random_below((uint64_t)(plan->length > 0 ? plan->length : 1));
}
