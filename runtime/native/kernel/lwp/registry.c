#include "kernel/lwp/registry.h"

#include "kernel/base/park.h"
#include "kernel/base/events.h"
#include "kernel/context/context.h"
#include "kernel/glibc/glibc.h"

#include <stdlib.h>

enum { MANY = 512 }; /* threads from which on a larger futex hash is worth its memory: futex_many() */

struct lwp registry = {.newer = &registry, .older = &registry};
static atomic_int registry_lock; /* order: docs/architecture.md */
static _Atomic(struct lwp *) ended;
static atomic_long started, alive, peak;

void registry_drop(struct lwp *lwp)
{
    if (atomic_fetch_sub(&lwp->refs, 1) == 1)
        free(lwp);
}

/* ---- the lists --------------------------------------------------------------------------------------------------- */

void registry_list(struct lwp *lwp)
{
    struct glibc_list *link = glibc_field(lwp->context->pthread, glibc.list), *head = glibc.stack_user;

    atomic_fetch_add(&lwp->refs, 1);
    park_lock(&registry_lock);
    lwp->older = &registry;
    lwp->newer = registry.newer;
    registry.newer->older = lwp;
    registry.newer = lwp;
    park_unlock(&registry_lock);

    glibc_lock_threads();
    link->next = head->next;
    link->prev = head;
    head->next->prev = link;
    /* Last, and after the link's own words: debuggers and a forked child walk the list forwards without the lock. */
    __atomic_store_n(&head->next, link, __ATOMIC_RELEASE);
    glibc_unlock_threads();
    EVENT(EVENT_LIST, lwp->context->pthread, head);
}

void registry_leave_glibc(struct context *context)
{
    struct glibc_list *link = glibc_field(context->pthread, glibc.list);

    /* setxid holds this lock from its first signal to the last answer (nptl/nptl_setxid.c).  So while we hold it no setxid waits for our
     * answer, and the next won't signal us.  The signal must not be blocked here: an earlier setxid may wait for our answer. */
    glibc_lock_threads();
    link->prev->next = link->next;
    link->next->prev = link->prev;
    glibc_unlock_threads();
    EVENT(EVENT_UNLIST, context->pthread, 0);
}

void registry_unlist(struct lwp *lwp)
{
    park_lock(&registry_lock);
    lwp->newer->older = lwp->older;
    lwp->older->newer = lwp->newer;
    park_unlock(&registry_lock);
}

struct lwp *registry_oldest(int (*matches)(struct lwp *lwp, uintptr_t ident), uintptr_t ident)
{
    struct lwp *lwp;

    park_lock(&registry_lock);
    for (lwp = registry.older; lwp != &registry; lwp = lwp->older)
        if (matches(lwp, ident))
            break;
    if (lwp == &registry)
        lwp = NULL;
    else
        atomic_fetch_add(&lwp->refs, 1);
    park_unlock(&registry_lock);
    return lwp;
}

/* ---- the stack of ended threads ---------------------------------------------------------------------------------- */

/* Release: the reaper must see all that the thread wrote.  No ABA problem: single elements are never popped. */
void registry_push_ended(struct lwp *first, struct lwp *last)
{
    last->below = atomic_load_explicit(&ended, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&ended, &last->below, first, memory_order_release, memory_order_relaxed))
        ;
}

struct lwp *registry_take_ended(void)
{
    return atomic_load_explicit(&ended, memory_order_relaxed) ? atomic_exchange_explicit(&ended, NULL, memory_order_acquire) : NULL;
}

/* ---- counts ------------------------------------------------------------------------------------------------------ */

void registry_count_started(void)
{
    long now = atomic_fetch_add(&alive, 1) + 1, most = atomic_load(&peak);

    atomic_fetch_add(&started, 1);
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now))
        ;
    if (now == MANY)
        futex_many();
}

void registry_count_not_started(void)
{
    atomic_fetch_sub(&alive, 1);
    atomic_fetch_sub(&started, 1);
}

void lwp_uncount_start(void)
{
    atomic_fetch_sub(&started, 1);
}

void registry_count_ended(void)
{
    atomic_fetch_sub(&alive, 1);
}

long registry_alive(void)
{
    return atomic_load(&alive);
}

struct registry_counts registry_read(void)
{
    return (struct registry_counts){atomic_load(&started), atomic_load(&alive), atomic_load(&peak)};
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

void registry_before_fork(void)
{
    park_lock(&registry_lock);
}

void registry_after_fork(void)
{
    park_unlock(&registry_lock);
}

struct lwp *registry_after_fork_in_child(uintptr_t ident, void (*lost)(struct lwp *lwp))
{
    struct lwp *me = NULL, *lwp = registry.newer, *next;

    atomic_store(&registry_lock, 0);
    atomic_store(&ended, NULL);
    registry.newer = registry.older = &registry;
    for (; lwp != &registry; lwp = next) {
        next = lwp->newer;
        if (lwp->ident == ident)
            me = lwp;
        else
            lost(lwp);
    }
    if (me) {
        registry.newer = registry.older = me;
        me->newer = me->older = &registry;
    }
    atomic_store(&alive, me != NULL);
    return me;
}
