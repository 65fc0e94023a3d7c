/* Contexts without a thread, on a shelf for each stack size.  clone(2) on a new mapping each time is slower than pthread_create, which
 * has such a cache too.
 *
 * REJECTED.  LWPs that outlive their threads, of which one is woken in place of a clone(2): that saved 1 of the 11 us of a start and a
 * join, and took 31 system calls in place of 6, because all that a thread may have changed for itself (affinity, priority,
 * credentials ...) has to be checked; eight kinds of it can't be seen. */
#include "kernel/base/park.h"
#include "kernel/base/events.h"
#include "kernel/context/mapping.h"

#include <stdlib.h>

enum { KEPT = 1024 }; /* contexts in the cache that keep pages of their stacks */

static struct shelf {
    struct shelf *next;
    size_t stack_size;
    struct context *top; /* last in, first out: its memory is the likeliest to be in the processor's caches */
} *shelves;
static int cached;
static atomic_int cache_lock; /* order: docs/architecture.md */

/* To few sizes, so that contexts can be used again. */
static size_t rounded_size(size_t wanted)
{
    size_t step = page_size();

    while (step * 8 <= wanted) /* four sizes a doubling */
        step *= 2;
    return round_up(wanted, step);
}

static struct shelf *shelf_for(size_t stack_size)
{
    struct shelf *shelf;

    for (shelf = shelves; shelf; shelf = shelf->next)
        if (shelf->stack_size == stack_size)
            return shelf;
    if (!(shelf = calloc(1, sizeof *shelf)))
        return NULL;
    shelf->stack_size = stack_size;
    shelf->next = shelves;
    return shelves = shelf;
}

/* errno is calloc's or mmap's. */
struct context *context_get(size_t stack_size)
{
    struct context *context = NULL;

    park_lock(&cache_lock);
    struct shelf *shelf = shelf_for(rounded_size(stack_size));
    if (shelf && (context = shelf->top)) {
        shelf->top = context->next;
        cached--;
    }
    park_unlock(&cache_lock);
    if (context)
        EVENT(EVENT_REUSE, context->tp, context->size);
    else if (shelf && (context = mapping_new(shelf->stack_size)))
        context->shelf = shelf;
    return context;
}

int context_take(struct context *context)
{
    park_lock(&cache_lock);
    struct context **at = &context->shelf->top;
    while (*at && *at != context)
        at = &(*at)->next;
    int found = *at != NULL;
    *at = found ? context->next : NULL;
    cached -= found;
    park_unlock(&cache_lock);
    return found;
}

void context_put(struct context *c, int vanished)
{
    EVENT(EVENT_RECYCLED, c->tp, c->size);
    if (vanished) {
        /* The thread may have been in the middle of a malloc, so the next thread begins with a blank block,
         * and what the DTV and libc's block point at is leaked. */
        c->used = VANISHED;
    } else {
        tls_free_dynamic(c);
        mapping_trim(c, cached < KEPT); /* without the lock: KEPT is a limit on memory that may be missed by a few */
    }
    park_lock(&cache_lock);
    c->next = c->shelf->top;
    c->shelf->top = c;
    cached++;
    park_unlock(&cache_lock);
}

void context_count(struct context_counts *out)
{
    park_lock(&cache_lock);
    *out = (struct context_counts){.made = mapping_count(), .cached = cached, .bytes = mapping_bytes()};
    park_unlock(&cache_lock);
}

void context_before_fork(void)
{
    park_lock(&cache_lock);
}

void context_after_fork(void)
{
    park_unlock(&cache_lock);
}
