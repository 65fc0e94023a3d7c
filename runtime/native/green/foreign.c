#include "green/foreign.h"

#include "green/carrier.h"

#include <limits.h>

enum {
    PLACES = 1024,
    TRIES = 8,
    HAND_OVER = 5000, /* ns: what it costs to wake another LWP for a call that returns at once */
};

/* Where C code of others gives up the GIL.  Kept for good: the code could only be unloaded by dlclose(3), which CPython never calls. */
struct foreign_place {
    const void *_Atomic code;
    atomic_int expected; /* so many of the next calls are expected to block.  Relaxed: it is a guess */
    atomic_long blocked; /* how often it has */
    atomic_llong ns;     /* for how long in all */
};
static struct foreign_place places[PLACES];

/* NULL: the table is full. */
static struct foreign_place *place_of(const void *code)
{
    size_t hash = ((uintptr_t)code * UINT64_C(0x9E3779B97F4A7C15)) >> 54;

    for (size_t i = hash; i < hash + TRIES; i++) {
        struct foreign_place *place = &places[i % PLACES];
        const void *found = atomic_load_explicit(&place->code, memory_order_relaxed);
        if (found == code || (!found && atomic_compare_exchange_strong(&place->code, &found, code)) || found == code)
            return place;
    }
    return NULL;
}

/* A call that blocks unexpectedly costs the others a time slice.  So after it, for as many calls as cost a slice if they are handed over
 * in vain, all calls from there are expected to block: whatever comes, at most twice is lost of what the right guesses would have cost. */
static int as_many_as_cost_a_slice(const struct scheduler *s)
{
    int64_t calls = (s->slice ? s->slice : TICK) / HAND_OVER;

    return calls < 1 ? 1 : calls < INT_MAX ? (int)calls : INT_MAX;
}

static void learn_from(struct foreign_place *place, int64_t ns, const struct scheduler *s)
{
    int expected = atomic_load_explicit(&place->expected, memory_order_relaxed);

    if (ns > BLOCKS) {
        atomic_store_explicit(&place->expected, as_many_as_cost_a_slice(s), memory_order_relaxed);
        atomic_fetch_add_explicit(&place->blocked, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&place->ns, ns, memory_order_relaxed);
    } else if (expected)
        atomic_store_explicit(&place->expected, expected - 1, memory_order_relaxed);
}

void foreign_blocked(void (*see)(const void *code, long times, int64_t ns, void *arg), void *arg)
{
    for (int i = 0; i < PLACES; i++) {
        long times = atomic_load_explicit(&places[i].blocked, memory_order_relaxed);
        if (times)
            see(places[i].code, times, atomic_load_explicit(&places[i].ns, memory_order_relaxed), arg);
    }
}

/* Whether the scheduler has several LWPs, so that one can take the place of another. */
static int has_places(const struct scheduler *s)
{
    return s->lwps > 1 && !s->policy;
}

/* Without the lock: the answer may be old, except that a thread learns in time that its own LWP has got the place. */
static int runs_on_runner(const struct green *me)
{
    return __atomic_load_n(&me->scheduler->runner, __ATOMIC_RELAXED) == me->carrier;
}

void foreign_enter(const void *code)
{
    struct green *me = park_green;

    if (!has_places(me->scheduler) || !runs_on_runner(me) || !(me->in_c = place_of(code)))
        return;
    atomic_store_explicit(&me->in_c_since, park_now(), memory_order_relaxed);
    if (atomic_load_explicit(&me->in_c->expected, memory_order_relaxed))
        carrier_enters_c(me->carrier);
}

void foreign_leave(void)
{
    struct green *me = park_green;
    struct scheduler *s = me->scheduler;
    int64_t since = atomic_load_explicit(&me->in_c_since, memory_order_relaxed);

    if (since) {
        atomic_store_explicit(&me->in_c_since, 0, memory_order_relaxed);
        learn_from(me->in_c, park_now() - since, s);
    }
    if (has_places(s) && (!runs_on_runner(me) || atomic_load(&s->idle) == IDLE_IN_C))
        carrier_leaves_c(me);
}
