#include "kernel/lwp/lwp.h"

#include "kernel/base/park.h"
#include "kernel/base/events.h"
#include "kernel/context/context.h"
#include "kernel/lwp/process.h"
#include "kernel/lwp/registry.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>

void (*_Atomic lwp_ends)(struct lwp *lwp);

/* ---- reaping ----------------------------------------------------------------------------------------------------- */

void lwp_reap(void)
{
    struct lwp *due = registry_take_ended(), *next, *first = NULL, *last = NULL;

    for (; due; due = next) {
        next = due->below;
        if (atomic_load_explicit(&due->alive, memory_order_acquire)) { /* (4): it still runs on its stack */
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

static int is_waited(struct lwp *lwp, uintptr_t caller)
{
    /* Without `started` it can't be joined yet, because its creator has not come to clone(2); the program's end waits for the creator
     * too. */
    return lwp->waited && lwp->started && !lwp_has_ended(atomic_load(&lwp->alive)) && lwp->ident != caller;
}

struct lwp *lwp_next_waited(void)
{
    return registry_oldest(is_waited, (uintptr_t)pthread_self());
}

int lwp_alive(struct lwp *lwp)
{
    if (!lwp->started)
        return 0;
    if ((lwp->flags & CLONE_VM) && !lwp_has_ended(atomic_load_explicit(&lwp->alive, memory_order_acquire)))
        return 1;
    if (lwp->flags & CLONE_THREAD)
        return 0;
    return process_alive(lwp);
}

void lwp_count_as_ended(struct lwp *lwp)
{
    int alive = atomic_load(&lwp->alive);

    /* By compare and exchange, so that the kernel's 0 is not overwritten: lwp_reap() would wait for it in vain.  The kernel clears the
     * word later whatever its value is. */
    if (lwp_has_ended(alive) || !atomic_compare_exchange_strong(&lwp->alive, &alive, LWP_COUNTS_AS_ENDED))
        return;
    park_wake(&lwp->alive, INT_MAX, PARK_SHARED);
    atomic_store(&lwp->ending, 1);
    park_wake_greens(&lwp->ending, INT_MAX);
    lwp_tell_end(lwp);
}

/* For a green joiner of a thread with an LWP of its own.  The kernel clears `alive`, but can't wake a green thread.  So the joiner
 * sleeps twice: here at `ending`, where thread_exit() wakes it, and then at `alive` in futex(2), for so short a time that it may keep
 * its LWP. */
static int await_ending(struct lwp *lwp, int64_t deadline)
{
    int error = 0;

    while (!atomic_load(&lwp->ending) && !error)
        error = park_wait(&lwp->ending, 0, deadline, PARK_PRIVATE);
    return error;
}

/* The kernel wakes one sleeper (kernel/fork.c, mm_release); a joiner that sees the end wakes the others. */
void lwp_uncount_joiner(struct lwp *lwp, int word)
{
    if (atomic_fetch_sub(&lwp->joiners, 1) > 1 && !word)
        park_wake(&lwp->alive, INT_MAX, PARK_SHARED);
}

/* Sleeps until the kernel has cleared the word: (5).  The caller is counted in `joiners`. */
static int await_cleared(struct lwp *lwp, int64_t deadline, int keeps_lwp)
{
    int word, error = 0; /* word: lwp.h has its values */

    while (!lwp_has_ended(word = atomic_load_explicit(&lwp->alive, memory_order_acquire)) && !error)
        error = (keeps_lwp ? futex_wait : park_wait)(&lwp->alive, word, deadline, PARK_SHARED); /* as the kernel's wake-up is */
    lwp_uncount_joiner(lwp, word);
    return lwp_has_ended(word) ? 0 : error;
}

static int await_end(struct lwp *lwp, int64_t deadline)
{
    int error, unlike = park_green && !lwp->leave; /* a green joiner, and a thread with an LWP of its own */

    if (unlike && (lwp->flags & CLONE_THREAD) && (error = await_ending(lwp, deadline)) != 0)
        return error;
    atomic_fetch_add(&lwp->joiners, 1);
    return await_cleared(lwp, deadline, unlike);
}

void lwp_await_gone(struct lwp *lwp, int counted)
{
    if (!counted)
        atomic_fetch_add(&lwp->joiners, 1);
    while (await_cleared(lwp, PARK_FOREVER, park_green && !lwp->leave) != 0)
        atomic_fetch_add(&lwp->joiners, 1);
    lwp_reap();
}

/* ---- joining ----------------------------------------------------------------------------------------------------- */

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
