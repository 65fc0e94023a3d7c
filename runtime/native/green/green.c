#include "green/green.h"

#include "arch/arch.h"
#include "green/scheduler.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>

#define LONG_TURN 1000000 /* ns: see green_turn_is_over() */
enum { SHARE = 64 }; /* of so many wake-ups one reaches for a sleeper with an LWP of its own too */

/* ---- the queue --------------------------------------------------------------------------------------------------- */

void queue_push(struct scheduler *s, struct green *green)
{
    green->next = NULL;
    *(s->head ? &s->tail->next : &s->head) = green;
    s->tail = green;
}

struct green *queue_pop(struct scheduler *s)
{
    struct green *green = s->head;

    s->head = green->next;
    return green;
}

void green_ready(struct scheduler *s, struct green *green)
{
    if (green->timer.set)
        timer_drop(&s->timers, &green->timer);
    queue_push(s, green);
}

static void let_go(struct green *green)
{
    struct scheduler *s = green->scheduler;

    park_light_lock(&s->lock);
    green_ready(s, green);
    int wake = carrier_rouse(s);
    park_light_unlock(&s->lock);
    if (wake)
        carrier_wake(s);
}

/* ---- from one to the next ---------------------------------------------------------------------------------------- */

/* Whoever goes on: releases the lock, which the one that was left has taken, and buries it if it has ended. */
static void arrive(struct scheduler *s)
{
    struct green *ended = s->ended;

    s->ended = NULL;
    s->threads -= ended != NULL;
    park_light_unlock(&s->lock);
    if (!ended)
        return;
    int waited = ended->waited;
    ended->gone(ended);
    if (waited && atomic_fetch_sub(&s->waited, 1) == 1)
        park_wake(&s->waited, INT_MAX, PARK_PRIVATE);
}

void green_switch(struct scheduler *s, struct green *from, struct green *to)
{
    to->carrier = from->carrier;
    to->carrier->in = to;
    atomic_store_explicit(&to->tid, atomic_load_explicit(&from->tid, memory_order_relaxed), memory_order_relaxed);
    s->counts.switches++;
    arch_swap(&from->sp, to->sp, to->tp);
    arrive(s);
}

/* With the lock; the caller is queued, asleep, or ended.  Returns without it, when it is the caller's turn. */
static void leave(struct scheduler *s, struct green *me)
{
    struct carrier *c = me->carrier;

    me->asked = 0;
    if (me == &c->base) {
        carry(c);
        return;
    }
    int queued = s->runner == c && --s->turns >= 0 && s->head;
    struct green *to = queued ? queue_pop(s) : &c->base;
    c->chosen = queued && to == &c->base;
    if (to == me)
        park_light_unlock(&s->lock);
    else
        green_switch(s, me, to);
}

static void begin(void *arg)
{
    struct green *me = arg;

    arrive(me->scheduler);
    me->entry(me->arg);
    abort(); /* it ends by green_end() */
}

/* Our thread-local words lie at the same distance from the thread pointer in all threads. */
static struct green **here(void *tp)
{
    return (struct green **)((char *)tp + ((char *)&park_green - (char *)arch_thread_pointer()));
}

void green_begin(struct green *green, struct scheduler *s, void *stack_high, void *tp, void (*entry)(void *), void *arg,
                 void (*gone)(struct green *), int waited)
{
    *green = (struct green){.scheduler = s, .tp = tp, .entry = entry, .arg = arg, .gone = gone, .waited = waited};
    green->sp = arch_swap_begin(stack_high, begin, green);
    *here(tp) = green;
    scheduler_waited(s); /* forgets what a fork has lost */
    atomic_fetch_add(&s->waited, waited != 0);
    park_light_lock(&s->lock);
    s->threads++;
    s->counts.started++;
    park_light_unlock(&s->lock);
    let_go(green);
}

_Noreturn void green_end(void)
{
    struct green *me = park_green;

    park_light_lock(&me->scheduler->lock);
    me->scheduler->ended = me;
    leave(me->scheduler, me);
    abort(); /* nobody goes on here */
}

void green_yield(void)
{
    struct green *me = park_green;

    if (!me) {
        sched_yield();
        return;
    }
    park_light_lock(&me->scheduler->lock);
    queue_push(me->scheduler, me);
    leave(me->scheduler, me);
}

void green_end_turn(void)
{
    struct green *me = park_green;

    park_light_lock(&me->scheduler->lock);
    me->scheduler->turns = -1; /* its carrier looks at the clock and for files first */
    queue_push(me->scheduler, me);
    leave(me->scheduler, me);
}

int green_turn_is_over(void)
{
    struct green *me = park_green;

    if (!me)
        return 0;
    int64_t now = park_now();
    if (!me->asked)
        me->asked = now;
    return now - me->asked >= LONG_TURN;
}

void *green_native(void)
{
    return park_green->carrier->base.tp;
}

enum green_state green_state_of(void *tp)
{
    struct green *green = *here(tp);

    if (!green)
        return GREEN_NOT;
    park_light_lock(&green->scheduler->lock);
    /* A carrier that has stopped was on a stack that stays mapped. */
    int runs = green->carrier && green->carrier->in == green, sleeps = atomic_load(&green->sleeper.word) != NULL;
    park_light_unlock(&green->scheduler->lock);
    return sleeps ? GREEN_SLEEPS : runs ? GREEN_RUNS : GREEN_QUEUED;
}

/* ---- park's part ------------------------------------------------------------------------------------------------- */

static int green_wait(atomic_int *word, int expected, int64_t deadline, unsigned bits)
{
    struct green *me = park_green;
    struct scheduler *s = me->scheduler;

    if (deadline <= 0)
        return ETIMEDOUT;
    park_light_lock(&s->lock);
    if (!sleeper_enter(&me->sleeper, word, expected, bits)) {
        park_light_unlock(&s->lock);
        return 0;
    }
    if (deadline != PARK_FOREVER)
        timer_set(&s->timers, &me->timer, deadline);
    leave(s, me);
    return me->sleeper.result;
}

static int green_wake(atomic_int *word, int count, unsigned bits)
{
    static atomic_uint wakes;
    int woken;
    struct sleeper *sleeper = sleepers_take(word, count, bits, &woken), *newer;

    for (; sleeper; sleeper = newer) {
        newer = sleeper->newer;
        let_go(CONTAINER(sleeper, struct green, sleeper));
    }
    /* Nobody sleeps for ever because green threads always come first. */
    return woken && atomic_fetch_add_explicit(&wakes, 1, memory_order_relaxed) % SHARE == 0 ? woken - 1 : woken;
}

const struct park_greens green_ways = {green_wait, green_wake};

/* ---- files ------------------------------------------------------------------------------------------------------- */

static int wait_alone(int fd, unsigned events, int64_t deadline, unsigned *found)
{
    struct pollfd one = {.fd = fd, .events = (short)events};
    int64_t left = deadline - park_now();
    struct timespec timeout = {left / 1000000000, left % 1000000000};

    if (left < 0)
        timeout = (struct timespec){0, 0};
    int count = ppoll(&one, 1, deadline == PARK_FOREVER ? NULL : &timeout, NULL);
    *found = (unsigned)(unsigned short)one.revents;
    return count < 0 ? errno : count == 0 ? ETIMEDOUT : one.revents & POLLNVAL ? EBADF : 0;
}

int green_wait_fd(int fd, unsigned events, int64_t deadline, unsigned *found)
{
    struct green *me = park_green;

    if (!me)
        return wait_alone(fd, events, deadline, found);
    struct scheduler *s = me->scheduler;
    if (!s->poller && !(s->poller = poller_new())) /* with one LWP, which is here */
        return errno;
    int result = poller_wait(s->poller, fd, events, deadline, found);
    if (result != EPERM)
        return result;
    *found = events;
    return 0;
}
