#include "waits/watch.h"

#include "kernel/base/fork.h"
#include "kernel/lwp/lwp.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the list of a thread's watches ------------------------------------------------------------------------------ */

static void enter_list(struct lwp *lwp, struct lwp_watch *watch, struct sync_any *any)
{
    park_lock(&lwp->watching);
    struct lwp_watch *next = atomic_load(&lwp->watchers);
    *watch = (struct lwp_watch){.next = next, .lwp = lwp, .any = any, .queued = 1};
    if (next)
        next->previous = watch;
    atomic_store(&lwp->watchers, watch);
    park_unlock(&lwp->watching);
}

static void take_out(struct lwp *lwp, struct lwp_watch *watch)
{
    if (watch->previous)
        watch->previous->next = watch->next;
    else
        atomic_store(&lwp->watchers, watch->next);
    if (watch->next)
        watch->next->previous = watch->previous;
    watch->queued = 0;
}

int lwp_unwatch(struct lwp_watch *watch)
{
    struct lwp *lwp = watch->lwp;

    if (watch->any->forks != fork_generation)
        return watch->claimed;
    park_lock(&lwp->watching);
    if (watch->queued)
        take_out(lwp, watch);
    park_unlock(&lwp->watching);
    return watch->claimed;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Moves a thread that sleeps in a shared futex at `from`, which holds `expected`, to `to`.  A wake-up there wakes it. */
static void move_sleeper(atomic_int *from, int expected, atomic_int *to)
{
    int saved = errno;

    syscall(SYS_futex, from, FUTEX_CMP_REQUEUE, 0, (long)1, to, expected);
    errno = saved;
}

/* The waiter sleeps at its own word, and would only wake up to sleep at `alive`: the thread isn't at (5) yet. */
static void move_to_alive(struct sync_any *any, struct lwp *lwp)
{
    if (!any->moves || lwp_has_ended(atomic_load(&lwp->alive))) {
        any->wake(any);
        return;
    }
    atomic_fetch_add(&lwp->joiners, 1);
    any->moved = lwp;
    atomic_store(&any->word, SYNC_WOKEN);
    move_sleeper(&any->word, SYNC_WOKEN, &lwp->alive);
}

/* `lwp_ends`: claims all the waits that watch the thread. */
static void tell_watchers(struct lwp *lwp)
{
    if (!atomic_load(&lwp->watchers))
        return;
    park_lock(&lwp->watching);
    for (struct lwp_watch *watch; (watch = atomic_load(&lwp->watchers));) {
        struct sync_any *any = watch->any;
        take_out(lwp, watch);
        watch->claimed = sync_any_claim(any);
        if (watch->claimed)
            move_to_alive(any, lwp);
    }
    park_unlock(&lwp->watching);
}

int lwp_watch(struct lwp *lwp, struct lwp_watch *watch, struct sync_any *any)
{
    atomic_store(&lwp_ends, tell_watchers);
    enter_list(lwp, watch, any);
    /* The thread writes `ending`, and then reads `lwp_ends` and `watchers`; we write and read them the other way round (sequentially
     * consistent): it finds the watch, or we see that it ends. */
    if (!atomic_load(&lwp->ending))
        return 1;
    return lwp_unwatch(watch);
}

void lwp_finish_watch(struct lwp *lwp, struct sync_any *any)
{
    int counted = any->moved == lwp;

    any->moved = NULL;
    lwp_await_gone(lwp, counted);
}
