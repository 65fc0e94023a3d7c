#include "glibc/glibc.h"
#include "green/scheduler.h"
#include "green/shared_lwp.h"

#include <errno.h>
#include <limits.h>

#define LOOK_EVERY 5000000  /* ns from one look of the native thread for signals to the next, while others run */
#define TICK 2000000        /* ns of standing still after which another carrier takes over, if no slice was asked for */
#define LONG_TICK 10000000  /* when it has stood still for longer, for a reason that another carrier can't help */
enum { QUIET = 3 };         /* ticks without anything to run, until the watcher sleeps for good */

int green_tells_stuck;
int (*scheduler_another)(struct scheduler *scheduler);
atomic_int green_others_ending, carriers_in_doubt;

/* ---- sleeping ---------------------------------------------------------------------------------------------------- */

int carrier_rouse(struct scheduler *s)
{
    enum idle how = atomic_load(&s->idle);

    if (how == BUSY)
        return 0;
    atomic_store(&s->idle, BUSY);
    if (how == IDLE_IN_POLLER)
        poller_wake(s->poller); /* here, for without the lock it may be gone with the scheduler */
    return how == IDLE_IN_FUTEX;
}

void carrier_wake(struct scheduler *s)
{
    park_wake_lwp(&s->idle, 1, PARK_PRIVATE);
}

/* Without the lock meanwhile. */
static int poll_until(struct scheduler *s, int64_t deadline)
{
    struct poller *poller = s->poller;

    atomic_fetch_add(&s->polling, 1);
    if (deadline != 0)
        poller_announce(poller);
    park_light_unlock(&s->lock);
    int result = poller_poll(poller, deadline);
    park_light_lock(&s->lock);
    if (atomic_fetch_sub(&s->polling, 1) == 1 && s->stopping)
        park_wake_lwp(&s->polling, INT_MAX, PARK_PRIVATE);
    return result;
}

static int sleep_in_futex(struct scheduler *s, int64_t deadline)
{
    park_light_unlock(&s->lock);
    int result = park_wait_lwp(&s->idle, IDLE_IN_FUTEX, deadline, PARK_PRIVATE);
    park_light_lock(&s->lock);
    return result;
}

static void wake_spare(struct carrier *c)
{
    atomic_store(&c->word, 0);
    park_wake_lwp(&c->word, 1, PARK_PRIVATE);
}

/* 0, ETIMEDOUT or EINTR; without the lock meanwhile. */
static int sleep_as_spare(struct carrier *c, int64_t deadline)
{
    atomic_store(&c->word, 1);
    park_light_unlock(&c->scheduler->lock);
    int result = park_wait_lwp(&c->word, 1, deadline, PARK_PRIVATE);
    park_light_lock(&c->scheduler->lock);
    return result;
}

/* ---- what comes from outside ------------------------------------------------------------------------------------- */

/* The native thread's wait is interrupted, so that it looks for signals. */
static void interrupt_native(struct scheduler *s)
{
    if (sleeper_leave(&s->lent.base.sleeper, EINTR))
        green_ready(s, &s->lent.base);
    s->looked = 1;
    s->look_at = park_now() + LOOK_EVERY;
}

static void fire_timers(struct scheduler *s)
{
    int64_t now = s->timers ? park_now() : 0;

    while (s->timers && s->timers->deadline <= now) {
        struct green *green = CONTAINER(s->timers, struct green, timer);
        if (sleeper_leave(&green->sleeper, ETIMEDOUT))
            green_ready(s, green);
        else
            timer_drop(&s->timers, &green->timer); /* somebody who wakes it is on the way to green_ready() */
    }
}

static int watches_files(struct scheduler *s)
{
    return s->poller && poller_waiters(s->poller);
}

/* What only time brings, while there is always one that can go on.  Without the lock meanwhile. */
static void look(struct scheduler *s)
{
    fire_timers(s);
    if (watches_files(s))
        poll_until(s, 0);
    if (atomic_load(&s->attached) && park_now() >= s->look_at)
        interrupt_native(s);
}

/* ---- the runner -------------------------------------------------------------------------------------------------- */

/* Whether nobody could wake a green thread: glibc knows of no thread but the carriers, which have none, and one that waits for
 * all. */
static int alone(struct scheduler *s)
{
    int rests = atomic_load(&s->attached) || (atomic_load(&s->awaited) && atomic_load(&s->waited));

    return rests && s->out == 0 && atomic_load(glibc.thread_count) == s->made + 1 && !atomic_load(&green_others_ending) && !s->head
           && !watches_files(s) && !green_lwp_has_handlers();
}

static void say_stuck(struct scheduler *s)
{
    atomic_store(&s->was_stuck, 1);
    if (atomic_load(&s->attached))
        interrupt_native(s);
    else {
        atomic_fetch_or(&s->waited, STUCK);
        park_wake_lwp(&s->waited, 1, PARK_PRIVATE);
    }
}

/* Nobody can go on: the LWP sleeps, without the lock. */
static void idle(struct carrier *c)
{
    struct scheduler *s = c->scheduler;
    int64_t until = s->timers ? s->timers->deadline : PARK_FOREVER;
    int attached = atomic_load(&s->attached), doubts = until == PARK_FOREVER && (s->looked || !attached) && green_tells_stuck;

    atomic_fetch_add(&carriers_in_doubt, doubts); /* before it looks: see green_other_ended() */
    if (doubts && alone(s)) {
        say_stuck(s);
        atomic_fetch_sub(&carriers_in_doubt, 1);
        doubts = 0;
        if (attached)
            return;
    }
    /* A signal that comes while others run doesn't interrupt the sleep that follows: then it ends early, for a look. */
    int64_t wake_at = !attached || s->looked || until < s->look_at ? until : s->look_at;
    atomic_store(&s->idle, s->poller ? IDLE_IN_POLLER : IDLE_IN_FUTEX);
    s->counts.sleeps++;
    int result = s->poller ? poll_until(s, wake_at) : sleep_in_futex(s, wake_at);
    atomic_fetch_sub(&carriers_in_doubt, doubts);
    if (s->runner != c) /* it was woken, but so late that the watcher took over; that one may sleep by now */
        return;
    atomic_store(&s->idle, BUSY);
    fire_timers(s);
    if (attached && (result == EINTR || (!s->looked && park_now() >= s->look_at)))
        interrupt_native(s);
    if (s->head && s->watcher && s->watcher_is_off) {
        s->watcher_is_off = 0;
        wake_spare(s->watcher);
    }
}

/* ---- the others -------------------------------------------------------------------------------------------------- */

/* Looks every now and then whether the runner gets on; returns as the runner, or at the end.  Where the runner's thread computes,
 * the one that this carrier goes on in asks for the GIL, and from then on the two take turns. */
static void watch(struct carrier *c)
{
    struct scheduler *s = c->scheduler;
    int64_t first = s->slice ? s->slice : TICK, longest = first > LONG_TICK ? first : LONG_TICK;
    long seen = s->counts.switches;
    int quiet = 0;

    for (int64_t tick = first; c->generation == s->generation;) {
        s->watcher_is_off = quiet >= QUIET;
        sleep_as_spare(c, s->watcher_is_off ? PARK_FOREVER : park_now() + tick);
        if (c->generation != s->generation)
            return;
        int moved = s->counts.switches != seen, sleeps = atomic_load(&s->idle) != BUSY;
        quiet = sleeps ? quiet + 1 : 0;
        seen = s->counts.switches;
        tick = moved || sleeps ? first : tick * 2 < longest ? tick * 2 : longest;
        if (moved || sleeps)
            continue;
        look(s);
        if (c->generation == s->generation && s->head && s->counts.switches == seen && atomic_load(&s->idle) == BUSY) {
            s->runner = c;
            return;
        }
    }
}

static void be_spare(struct carrier *c)
{
    struct scheduler *s = c->scheduler;

    if (s->watcher) {
        c->next = s->spares;
        s->spares = c;
        while (c->generation == s->generation && s->watcher != c)
            sleep_as_spare(c, PARK_FOREVER);
    } else
        s->watcher = c;
    if (c->generation == s->generation)
        watch(c);
    if (c->generation != s->generation)
        return;
    s->watcher = s->spares;
    if (s->spares) {
        s->spares = s->spares->next;
        wake_spare(s->watcher);
    }
}

/* With a slice somebody watches the runner whenever it goes into a thread, if there can be one more at all.  They stay until the
 * generation's end: there are never more than two and as many as threads did not let go at one time. */
static int lacks_watcher(struct scheduler *s)
{
    return s->slice && !s->watcher && s->begun == s->made;
}

/* Without the lock meanwhile. */
static void grow(struct scheduler *s)
{
    int generation = s->generation;

    s->made++;
    park_light_unlock(&s->lock);
    int error = scheduler_another(s);
    park_light_lock(&s->lock);
    if (error && generation == s->generation) /* else they are counted anew, without it */
        s->made--;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

void carry(struct carrier *c)
{
    struct scheduler *s = c->scheduler;
    int tried = 0;

    if (c == &s->lent) /* the native thread goes to sleep: what it did not ask for it was not woken by */
        atomic_store_explicit(&s->was_stuck, 0, memory_order_relaxed);
    for (; c->generation == s->generation; c->chosen = 0) {
        if (!s->runner)
            s->runner = c;
        if (s->runner != c) {
            be_spare(c);
            continue;
        }
        if (s->turns < 0) {
            s->turns = TURNS;
            look(s);
            continue;
        }
        if (!s->head) {
            idle(c);
            continue;
        }
        if (!tried && lacks_watcher(s)) {
            tried = 1;
            grow(s);
            continue;
        }
        tried = 0;
        struct green *to = queue_pop(s);
        if (to == &c->base)
            break;
        if (c == &s->lent)
            s->looked = 0;
        s->out++;
        green_switch(s, &c->base, to);
        park_light_lock(&s->lock);
        s->out--;
        /* The runner may sleep, and what comes back from here without being woken is one that has yielded: that is in the queue now.
         * Or the last has ended who could have let another go on, so that it is stuck. */
        if (s->runner != c && (s->head || s->out == 0) && carrier_rouse(s))
            carrier_wake(s);
        if (c->chosen)
            break;
    }
    c->chosen = 0;
    park_light_unlock(&s->lock);
}

void carriers_wake(struct scheduler *s)
{
    if (s->watcher)
        wake_spare(s->watcher);
    for (struct carrier *c = s->spares; c; c = c->next)
        wake_spare(c);
    if (carrier_rouse(s))
        carrier_wake(s);
}
