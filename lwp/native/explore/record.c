/* What a run did, step by step. */
#include "explore/explore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct explore_hand unseen;
struct explore_run explore_run = {.hand = &unseen};

/* ---- numbers of objects ------------------------------------------------------------------------------------------ */

enum { PLACES = EXPLORE_THREAD, PLACE_BITS = 12 };
static struct place {
    const void *object;
    uint32_t number;
    int holder; /* a thread's index + 1; 0: none is known; -1: it is no mutex */
} places[PLACES];
static uint32_t numbered;
static uint16_t used[PLACES]; /* places to clear before the next run */

/* The object's place, or the free place that it would get. */
static struct place *place_of(const void *object)
{
    unsigned at = (unsigned)(((uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u >> (64 - PLACE_BITS));

    while (places[at].object && places[at].object != object)
        at = (at + 1) % PLACES;
    return &places[at];
}

uint32_t explore_number(const void *object, int *fresh)
{
    const struct explored *threads = explore_run.threads;

    *fresh = 0;
    if ((uintptr_t)object - (uintptr_t)threads < sizeof explore_run.threads)
        return EXPLORE_THREAD + (uint32_t)((const struct explored *)object - threads);
    if (!object || numbered == PLACES - 1)
        return 0;
    struct place *place = place_of(object);
    if (place->object)
        return place->number;
    *fresh = 1;
    used[numbered] = (uint16_t)(place - places);
    *place = (struct place){object, ++numbered, 0};
    return numbered;
}

void explore_takes(const struct explored *thread, const void *lock)
{
    struct place *place = place_of(lock);

    if (place->object && place->holder >= 0)
        place->holder = thread->index + 1;
}

void explore_releases(const struct explored *thread, const void *lock)
{
    struct place *place = place_of(lock);

    if (place->object && place->holder >= 0)
        place->holder = place->holder == thread->index + 1 ? 0 : -1;
}

const struct explored *explore_holder(const void *lock)
{
    const struct place *place = place_of(lock);

    return place->object && place->holder > 0 ? &explore_run.threads[place->holder - 1] : NULL;
}

void explore_forget_numbers(void)
{
    while (numbered)
        places[used[--numbered]] = (struct place){0};
}

/* ---- where steps are written ------------------------------------------------------------------------------------- */

static long room; /* steps that the hand holds */
static struct explore_step *own;
static long own_room;

void explore_write_to(struct explore_hand *hand, size_t size)
{
    explore_run.hand = hand ? hand : &unseen;
    room = hand ? (long)((size - sizeof *hand) / sizeof *hand->steps) : 0;
    explore_run.capacity = 0;
}

int explore_make_room(long steps)
{
    if (steps > room && steps > own_room) {
        struct explore_step *longer = realloc(own, (size_t)steps * sizeof *own);
        if (!longer)
            return ENOMEM;
        own = longer;
        own_room = steps;
    }
    explore_run.steps = steps > room ? own : explore_run.hand->steps;
    explore_run.capacity = steps;
    explore_run.hand->runs++;
    explore_run.hand->step = explore_run.step = 0;
    return 0;
}

/* Nothing that a child process of the test does is a step of the run. */
void explore_after_fork(void)
{
    long written = explore_run.step < explore_run.capacity ? explore_run.step : explore_run.capacity;
    const struct explore_step *steps = explore_run.steps;

    if (explore_run.hand == &unseen)
        return;
    explore_run.hand = &unseen;
    explore_run.steps = own = calloc((size_t)explore_run.capacity, sizeof *own);
    own_room = explore_run.capacity = own ? explore_run.capacity : 0;
    room = 0;
    if (own && written)
        memcpy(own, steps, (size_t)written * sizeof *own);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static void mix_into(uint64_t *hash, uint64_t value)
{
    *hash = (*hash ^ value) * 0x9e3779b97f4a7c15u;
    *hash ^= *hash >> 29;
}

void explore_record(const struct explored *thread, const struct explore_set *can, const struct explore_set *early, int usual, int flags)
{
    int fresh;
    struct explore_step unrecorded,
        *step = explore_run.step < explore_run.capacity ? &explore_run.steps[explore_run.step] : &unrecorded;
    enum explore_kind kind = thread->state == EXPLORED_NEW        ? EXPLORE_BEGIN
                             : thread->state == EXPLORED_AT_POINT ? thread->op.kind
                                                                  : EXPLORE_WAKE;

    explore_run.hand->step = ++explore_run.step;
    if (kind == EXPLORE_BEGIN && !thread->green->waited)
        flags |= EXPLORE_DAEMON;
    flags |= (thread->op.at_gil ? EXPLORE_AT_GIL : 0) | (thread->op.deadline != PARK_FOREVER ? EXPLORE_TIMED : 0);
    explore_run.timed |= flags & EXPLORE_TIMED;
    *step = (struct explore_step){.can = can->words[0],
                                  .early = early->words[0],
                                  .object = explore_number(thread->op.object, &fresh),
                                  .chosen = (uint16_t)thread->index,
                                  .usual = (uint16_t)usual,
                                  .kind = (uint8_t)kind,
                                  .flags = (uint8_t)flags};
    mix_into(&explore_run.hash, (uint64_t)thread->index << 40 | (uint64_t)kind << 32 | step->object);
    mix_into(&explore_run.schedule, (uint64_t)thread->index + 1);
}
