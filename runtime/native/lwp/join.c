#include "lwp/lwp.h"

#include "base/park.h"
#include "base/events.h"
#include "context/context.h"
#include "lwp/measure.h"
#include "lwp/process.h"
#include "lwp/registry.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>

/* ---- reaping ----------------------------------------------------------------------------------------------------- */

void lwp_reap(void)
{
    struct lwp *due = registry_take_ended(), *next, *first = NULL, *last = NULL;

    for (; due; due = next) {
        next = due->below;
        if (atomic_load_explicit(&due->alive, memory_order_acquire)) { /* (4): the kernel still uses its stack */
            due->below = first;
            first = due;
            if (!last)
                last = due;
            continue;
        }
        registry_unlist(due);
        struct context *context = due->context;
        due->context = NULL;
        context_put(context, !atomic_load(&due->ending));
        registry_drop(due);
    }
    if (first)
        registry_push_ended(first, last);
}

/* In `alive`, where else is 0, 1 or a tid. */
enum { COUNTS_AS_ENDED = -1 };

static int has_ended(int alive)
{
    return alive == 0 || alive == COUNTS_AS_ENDED;
}

static int is_waited(struct lwp *lwp)
{
    return lwp->waited && !has_ended(atomic_load(&lwp->alive)) && lwp->ident != (uintptr_t)pthread_self();
}

struct lwp *lwp_next_waited(void)
{
    return registry_oldest(is_waited);
}

int lwp_alive(struct lwp *lwp)
{
    if (!lwp->started)
        return 0;
    if ((lwp->flags & CLONE_VM) && !has_ended(atomic_load_explicit(&lwp->alive, memory_order_acquire)))
        return 1;
    if (lwp->flags & CLONE_THREAD)
        return 0;
    return process_alive(lwp);
}

void lwp_count_as_ended(struct lwp *lwp)
{
    int alive = atomic_load(&lwp->alive);

    /* The kernel clears the word whatever is in it, so a thread that really ends meanwhile is seen by its reaper: an end is not
     * overwritten. */
    if (has_ended(alive) || !atomic_compare_exchange_strong(&lwp->alive, &alive, COUNTS_AS_ENDED))
        return;
    park_wake(&lwp->alive, INT_MAX, PARK_SHARED);
    atomic_store(&lwp->ending, 1);
    park_wake_greens(&lwp->ending, INT_MAX);
}

/* Of a thread with an LWP, by one that is on a scheduler: the kernel, which clears the word, knows nothing of those, so the
 * thread wakes them itself, shortly before. */
static int await_ending(struct lwp *lwp, int64_t deadline)
{
    int error = 0;

    while (!atomic_load(&lwp->ending) && !error)
        error = park_wait(&lwp->ending, 0, deadline, PARK_PRIVATE);
    return error;
}

/* Sleeps until the kernel has cleared the word: (5). */
static int await_end(struct lwp *lwp, int64_t deadline)
{
    int word, error = 0; /* word: 1, or the tid if CLONE_CHILD_SETTID was asked for */
    int unlike = park_green && !lwp->green.scheduler;

    if (unlike && (lwp->flags & CLONE_THREAD) && (error = await_ending(lwp, deadline)) != 0)
        return error;
    atomic_fetch_add(&lwp->joiners, 1);
    while (!has_ended(word = atomic_load_explicit(&lwp->alive, memory_order_acquire)) && !error)
        error = (unlike ? park_wait_lwp : park_wait)(&lwp->alive, word, deadline, PARK_SHARED); /* so the kernel wakes it */
    /* The kernel wakes one sleeper (kernel/fork.c, mm_release); whoever sees the end first wakes the others. */
    if (atomic_fetch_sub(&lwp->joiners, 1) > 1 && !word)
        park_wake(&lwp->alive, INT_MAX, PARK_SHARED);
    return has_ended(word) ? 0 : error;
}

int lwp_join(struct lwp *lwp, int64_t deadline)
{
    int error;

    if (lwp->flags & CLONE_VM) {
        EVENT(EVENT_JOIN, &lwp->alive, atomic_load(&lwp->alive));
        if ((error = await_end(lwp, deadline)) != 0)
            return error;
        EVENT(EVENT_CLEARED, &lwp->alive, 0);
    }
    if (lwp->flags & CLONE_THREAD) {
        lwp_reap();
        return 0;
    }
    if (lwp->wait_status == -1 && (error = process_await(lwp, deadline)) != 0)
        return error;
    error = process_reap(lwp);
    lwp_reap();
    return error;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

void lwp_read_statistics(struct lwp_statistics *out)
{
    *out = (struct lwp_statistics){0};
    registry_read(out);
    measure_read(out);
}
