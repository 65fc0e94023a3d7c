#include "green/switch.h"

#include "green/shared_lwp.h"
#include "kernel/arch/arch.h"

#include <limits.h>

/* ---- the queue --------------------------------------------------------------------------------------------------- */

void ready_push(struct scheduler *s, struct green *green)
{
    green->next = NULL;
    *(s->head ? &s->tail->next : &s->head) = green;
    s->tail = green;
}

struct green *ready_pop(struct scheduler *s)
{
    struct green *green = s->head;

    s->head = green->next;
    return green;
}

void green_make_ready(struct scheduler *s, struct green *green)
{
    if (green->timer.set)
        timer_drop(&s->timers, &green->timer);
    ready_push(s, green);
}

void green_resume(struct green *green)
{
    struct scheduler *s = green->scheduler;

    if (s->policy) {
        s->policy->ready(green);
        return;
    }
    park_lock(&s->lock);
    green_make_ready(s, green);
    atomic_int *sleeper = runner_mark_busy(s);
    park_unlock(&s->lock);
    runner_wake(sleeper);
}

atomic_int *runner_mark_busy(struct scheduler *s)
{
    enum idle how = atomic_load(&s->idle);

    if (how == BUSY)
        return NULL;
    if (how == IDLE_IN_C)
        return runner_hand_over(s);
    atomic_store(&s->idle, BUSY);
    if (how == IDLE_IN_POLLER)
        poller_wake(s->poller); /* with the lock: without it the poller may be freed */
    return how == IDLE_IN_FUTEX ? &s->idle : NULL;
}

atomic_int *runner_hand_over(struct scheduler *s)
{
    struct carrier *c = s->spares ? s->spares : s->watcher;

    atomic_store(&s->idle, c ? BUSY : IDLE_IN_C);
    if (!c)
        return NULL;
    if (c == s->spares) {
        s->spares = c->next;
        c->listed = 0;
    }
    s->runner = c;
    s->handed = 1;
    s->counts.hand_overs++;
    atomic_store(&c->word, 0);
    return &c->word;
}

void runner_wake(atomic_int *sleeper)
{
    if (sleeper)
        futex_wake(sleeper, 1, PARK_PRIVATE);
}

/* ---- the switch -------------------------------------------------------------------------------------------------- */

void green_finish_switch(struct scheduler *s)
{
    struct green *ended = s->ended;

    s->ended = NULL;
    s->threads -= ended != NULL;
    park_unlock(&s->lock);
    if (!ended)
        return;
    int waited = ended->waited;
    ended->gone(ended);
    if (waited && atomic_fetch_sub(&s->waited, 1) == 1 && atomic_load(&s->awaited)) /* scheduler_await() counts itself first */
        park_wake(&s->waited, INT_MAX, PARK_PRIVATE);
}

void green_switch(struct scheduler *s, struct green *from, struct green *to)
{
    to->carrier = from->carrier;
    to->carrier->in = to;
    atomic_store_explicit(&to->tid, atomic_load_explicit(&from->tid, memory_order_relaxed), memory_order_relaxed);
    s->counts.switches++;
    int stays = to == &to->carrier->base && to->carrier != &s->lent;
    if (stays && s->ended == from) { /* its mask is no thread's any more */
        to->mask = green_all_signals;
        stays = 0;
    }
    if (from->mask != to->mask)
        green_lwp_change_mask(from, to, stays);
    /* The lock is taken before a switch and released after it, on the other stack, so that no LWP resumes a thread before its
     * registers are saved. */
    arch_swap(&from->sp, to->sp, to->tp);
    green_finish_switch(s);
}

struct green **green_of(void *tp)
{
    return arch_tls_of(tp, &park_green);
}

void *green_native_tp(void)
{
    return park_green->carrier->base.tp;
}
