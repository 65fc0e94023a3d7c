/* What a run did, step by step. */
#include "explore/explore.h"

#include <stddef.h>

struct explore_run explore_run;

/* ---- numbers of objects ------------------------------------------------------------------------------------------ */

enum { PLACES = EXPLORE_THREAD, PLACE_BITS = 12 };
static struct place {
    const void *object;
    uint32_t number;
} places[PLACES];
static uint32_t numbered;
static uint16_t used[PLACES]; /* places to clear before the next run */

uint32_t explore_number(const void *object, int *fresh)
{
    const struct explored *threads = explore_run.threads;

    *fresh = 0;
    if ((uintptr_t)object - (uintptr_t)threads < sizeof explore_run.threads)
        return EXPLORE_THREAD + (uint32_t)((const struct explored *)object - threads);
    if (!object || numbered == PLACES - 1)
        return 0;
    unsigned at = (unsigned)(((uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u >> (64 - PLACE_BITS));
    for (; places[at].object; at = (at + 1) % PLACES)
        if (places[at].object == object)
            return places[at].number;
    *fresh = 1;
    used[numbered] = (uint16_t)at;
    places[at] = (struct place){object, ++numbered};
    return numbered;
}

void explore_forget_numbers(void)
{
    while (numbered)
        places[used[--numbered]].object = NULL;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static void mix_into(uint64_t *hash, uint64_t value)
{
    *hash = (*hash ^ value) * 0x9e3779b97f4a7c15u;
    *hash ^= *hash >> 29;
}

void explore_record(const struct explored *thread, uint64_t can, uint64_t early, int usual, int flags)
{
    int fresh;
    struct explore_step *step = &explore_run.steps[explore_run.step++];
    enum explore_kind kind = thread->state == EXPLORED_NEW        ? EXPLORE_BEGIN
                             : thread->state == EXPLORED_AT_POINT ? thread->op.kind
                                                                  : EXPLORE_WAKE;

    if (kind == EXPLORE_BEGIN && !thread->green->waited)
        flags |= EXPLORE_DAEMON;
    flags |= (thread->op.at_gil ? EXPLORE_AT_GIL : 0) | (thread->op.deadline != PARK_FOREVER ? EXPLORE_TIMED : 0);
    *step = (struct explore_step){.can = can,
                                  .early = early,
                                  .object = explore_number(thread->op.object, &fresh),
                                  .chosen = (uint8_t)thread->index,
                                  .usual = (uint8_t)usual,
                                  .kind = (uint8_t)kind,
                                  .flags = (uint8_t)flags};
    mix_into(&explore_run.hash, (uint64_t)thread->index << 40 | (uint64_t)kind << 32 | step->object);
    mix_into(&explore_run.schedule, (uint64_t)thread->index + 1);
}
