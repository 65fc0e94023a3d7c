#include "kernel/lwp/lwp.h"

#include "kernel/base/park.h"
#include "kernel/base/events.h"
#include "kernel/context/context.h"
#include "observe/measure.h"
#include "kernel/lwp/process.h"
#include "kernel/lwp/registry.h"

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

/* A value of `alive` besides 0, 1 and a tid. */
enum { COUNTS_AS_ENDED = -1 };

static int has_ended(int alive)
{
    return alive == 0 || alive == COUNTS_AS_ENDED;
}

static int is_waited(struct lwp *lwp)
{
    /* `started`: its creator, whom the end of the program waits for too, has not come to its clone(2) else, and it can't be joined. */
    return lwp->waited && lwp->started && !has_ended(atomic_load(&lwp->alive)) && lwp->ident != (uintptr_t)pthread_self();
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

    /* By compare and exchange, so that the kernel's 0 is not overwritten: lwp_reap() would wait for it in vain.  The kernel clears the
     * word later whatever its value is. */
    if (has_ended(alive) || !atomic_compare_exchange_strong(&lwp->alive, &alive, COUNTS_AS_ENDED))
        return;
    park_wake(&lwp->alive, INT_MAX, PARK_SHARED);
    atomic_store(&lwp->ending, 1);
    park_wake_greens(&lwp->ending, INT_MAX);
    lwp_tell_watchers(lwp);
}

/* For a green joiner of a thread with an LWP of its own.  The kernel, which clears `alive`, can't wake a green thread, so thread_exit()
 * wakes it shortly before: then the wait for the kernel is short, and may keep the LWP. */
static int await_ending(struct lwp *lwp, int64_t deadline)
{
    int error = 0;

    while (!atomic_load(&lwp->ending) && !error)
        error = park_wait(&lwp->ending, 0, deadline, PARK_PRIVATE);
    return error;
}

/* Sleeps until the kernel has cleared the word: (5).  The caller is counted in `joiners`. */
static int await_cleared(struct lwp *lwp, int64_t deadline, int keeps_lwp)
{
    int word, error = 0; /* word: 1, or the tid with CLONE_CHILD_SETTID */

    while (!has_ended(word = atomic_load_explicit(&lwp->alive, memory_order_acquire)) && !error)
        error = (keeps_lwp ? park_wait_lwp : park_wait)(&lwp->alive, word, deadline, PARK_SHARED); /* as the kernel's wake-up is */
    /* The kernel wakes one sleeper (kernel/fork.c, mm_release); a joiner that sees the end wakes the others. */
    if (atomic_fetch_sub(&lwp->joiners, 1) > 1 && !word)
        park_wake(&lwp->alive, INT_MAX, PARK_SHARED);
    return has_ended(word) ? 0 : error;
}

static int await_end(struct lwp *lwp, int64_t deadline)
{
    int error, unlike = park_green && !lwp->green.scheduler; /* a green joiner, and a thread with an LWP of its own */

    if (unlike && (lwp->flags & CLONE_THREAD) && (error = await_ending(lwp, deadline)) != 0)
        return error;
    atomic_fetch_add(&lwp->joiners, 1);
    return await_cleared(lwp, deadline, unlike);
}

/* ---- among several things ---------------------------------------------------------------------------------------- */

int lwp_watch(struct lwp *lwp, struct sync_watch *watch, struct sync_any *any)
{
    sync_watch_enter(watch, lwp, any);
    atomic_store(&lwp->watched, 1);
    /* The thread writes `ending`, and then reads `watched`; we write and read them the other way round (sequentially consistent): it finds
     * the watch, or we see that it ends. */
    if (!atomic_load(&lwp->ending))
        return 1;
    return sync_watch_leave(watch);
}

void lwp_finish_watch(struct lwp *lwp, struct sync_any *any)
{
    if (any->moved == lwp)
        any->moved = NULL; /* it is counted */
    else
        atomic_fetch_add(&lwp->joiners, 1);
    while (await_cleared(lwp, PARK_FOREVER, park_green && !lwp->green.scheduler) != 0)
        atomic_fetch_add(&lwp->joiners, 1);
    lwp_reap();
}

/* The waiter sleeps at its own word, and would only wake up to sleep at `alive`: the thread isn't at (5) yet. */
static void move_to_alive(struct sync_any *any, void *lwp)
{
    atomic_int *alive = &((struct lwp *)lwp)->alive;

    if (!any->moves || has_ended(atomic_load(alive))) {
        any->wake(any);
        return;
    }
    atomic_fetch_add(&((struct lwp *)lwp)->joiners, 1);
    any->moved = lwp;
    atomic_store(&any->word, SYNC_WOKEN);
    park_move(&any->word, SYNC_WOKEN, alive);
}

void lwp_tell_watchers(struct lwp *lwp)
{
    if (atomic_load(&lwp->watched))
        sync_watch_tell(lwp, INT_MAX, move_to_alive, lwp);
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

/* ---- counts ------------------------------------------------------------------------------------------------------ */

void lwp_read_statistics(struct lwp_statistics *out)
{
    *out = (struct lwp_statistics){0};
    registry_read(out);
    measure_read(out);
}
