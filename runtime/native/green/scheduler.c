#include "green/scheduler.h"

#include "arch/arch.h"
#include "glibc/glibc.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int forks;

/* Their memory is never given back: who has woken a green thread may still look at the lock when all is over. */
static _Atomic(struct scheduler *) all;
static atomic_int all_lock;

/* ---- a forked child ---------------------------------------------------------------------------------------------- */

/* Of a process that has forked since, nobody else is left. */
static void forget_lost(struct scheduler *s)
{
    if (atomic_load(&s->forks) == forks)
        return;
    s->head = s->ended = NULL;
    s->timers = NULL;
    s->runner = s->watcher = s->spares = NULL;
    s->generation++;
    s->threads = 0;
    s->turns = s->looked = s->made = s->begun = s->out = s->stopping = 0;
    s->served = s->served ? INHERITED : UNSERVED;
    s->look_at = 0;
    if (s->poller)
        poller_free(s->poller); /* its descriptors lead to the parent's */
    s->poller = s->lwps > 1 ? poller_new() : NULL;
    s->lock = (struct park_light){0};
    atomic_store(&s->waited, 0);
    atomic_store(&s->awaited, 0);
    atomic_store(&s->attached, 0);
    atomic_store(&s->polling, 0);
    atomic_store(&s->was_stuck, 0);
    atomic_store(&s->idle, BUSY);
    atomic_store(&s->forks, forks);
}

void green_after_fork(void)
{
    struct scheduler *s = park_green ? park_green->scheduler : NULL;

    forks++;
    atomic_store(&carriers_in_doubt, 0);
    sleepers_forget();
    atomic_store(&all_lock, 0);
    park_green = NULL;
    if (s && s->lwps == 1)
        scheduler_attach(s);
}

/* ---- one LWP that is lent ---------------------------------------------------------------------------------------- */

static void begin_carrying(struct scheduler *s, struct carrier *c)
{
    *c = (struct carrier){.scheduler = s, .generation = s->generation};
    c->in = &c->base;
    c->base = (struct green){.scheduler = s, .carrier = c, .tp = arch_thread_pointer()};
    atomic_store(&c->base.tid, (int)syscall(SYS_gettid));
    atomic_store(&s->tid, atomic_load(&c->base.tid));
    park_green = &c->base;
}

int scheduler_attach(struct scheduler *s)
{
    forget_lost(s);
    if (park_green)
        return EDEADLK;
    if (atomic_exchange(&s->attached, 1))
        return EBUSY;
    begin_carrying(s, &s->lent);
    s->runner = &s->lent;
    return 0;
}

void scheduler_detach(struct scheduler *s)
{
    park_green = NULL;
    s->runner = NULL;
    atomic_store(&s->attached, 0);
}

int scheduler_lent_by_me(struct scheduler *s)
{
    return park_green == &s->lent.base;
}

/* ---- LWPs of its own --------------------------------------------------------------------------------------------- */

int scheduler_serve(struct scheduler *s)
{
    forget_lost(s);
    if (park_green)
        return EDEADLK;
    park_light_lock(&s->lock);
    int busy = s->served == SERVED;
    if (!busy)
        atomic_store(&s->was_stuck, 0);
    s->served = SERVED;
    park_light_unlock(&s->lock);
    return busy ? EBUSY : 0;
}

int scheduler_lacks(struct scheduler *s)
{
    forget_lost(s);
    park_light_lock(&s->lock);
    int lacks = s->served && s->made < s->lwps ? s->lwps - s->made : 0;
    s->made += lacks;
    park_light_unlock(&s->lock);
    return lacks;
}

void scheduler_lacks_another(struct scheduler *s)
{
    park_light_lock(&s->lock);
    s->made -= s->made > 0;
    park_light_unlock(&s->lock);
}

void scheduler_carry(struct scheduler *s)
{
    struct carrier c;

    park_light_lock(&s->lock);
    if (s->begun == s->made) { /* it was stopped before this one got here */
        park_light_unlock(&s->lock);
        return;
    }
    s->begun++;
    begin_carrying(s, &c);
    carry(&c);
    park_green = NULL;
}

void scheduler_stop(struct scheduler *s)
{
    park_light_lock(&s->lock);
    s->served = UNSERVED;
    s->generation++;
    carriers_wake(s); /* they can't go before the lock is released */
    s->runner = s->watcher = s->spares = NULL;
    s->made = s->begun = 0;
    /* Whoever polls has been woken.  It must be gone before the poller is, and before the next one polls, who would be woken in its
     * place; for that it needs nothing but its turn. */
    s->stopping++;
    for (int polling; (polling = atomic_load(&s->polling)) != 0;) {
        park_light_unlock(&s->lock);
        park_wait_lwp(&s->polling, polling, PARK_FOREVER, PARK_PRIVATE);
        park_light_lock(&s->lock);
    }
    s->stopping--;
    park_light_unlock(&s->lock);
}

void scheduler_stop_all(void)
{
    for (struct scheduler *s = atomic_load(&all); s; s = s->other)
        if (s->lwps > 1 && atomic_load(&s->forks) == forks)
            scheduler_stop(s);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

int scheduler_own_lwps(struct scheduler *s)
{
    return s->lwps > 1;
}

int scheduler_forsaken(struct scheduler *s)
{
    forget_lost(s);
    return !atomic_load(&s->attached) && !s->served && atomic_load(glibc.thread_count) == 1;
}

int scheduler_waited(struct scheduler *s)
{
    forget_lost(s);
    return atomic_load(&s->waited) & ~STUCK;
}

int scheduler_await(struct scheduler *s)
{
    int count, result = 0;

    atomic_fetch_add(&s->awaited, 1);
    if (!park_green) { /* all may be stuck already, see alone() */
        park_light_lock(&s->lock);
        if (carrier_rouse(s))
            carrier_wake(s);
        park_light_unlock(&s->lock);
    }
    while (!result && (count = atomic_load(&s->waited)) != 0) {
        if (!(count & STUCK))
            result = park_wait(&s->waited, count, PARK_FOREVER, PARK_PRIVATE);
        else {
            atomic_fetch_and(&s->waited, ~STUCK);
            result = EINTR;
        }
    }
    atomic_fetch_sub(&s->awaited, 1);
    return result;
}

void green_other_ended(void)
{
    atomic_fetch_sub(&green_others_ending, 1);
    if (!atomic_load(&carriers_in_doubt))
        return;
    for (struct scheduler *s = atomic_load(&all); s; s = s->other) {
        if (atomic_load(&s->forks) != forks)
            continue;
        park_light_lock(&s->lock);
        int wake = carrier_rouse(s);
        park_light_unlock(&s->lock);
        if (wake)
            carrier_wake(s);
    }
}

int scheduler_was_stuck(struct scheduler *s)
{
    if (!s && park_green && park_green == &park_green->scheduler->lent.base)
        s = park_green->scheduler;
    return s && atomic_exchange(&s->was_stuck, 0);
}

static void each_poller(void (*call)(struct poller *poller, int fd), int fd)
{
    for (struct scheduler *s = atomic_load(&all); s; s = s->other) {
        struct poller *poller = atomic_load(&s->forks) == forks ? s->poller : NULL;
        if (poller)
            call(poller, fd);
    }
}

void green_fd_closing(int fd)
{
    each_poller(poller_closing, fd);
}

void green_fd_closed(int fd)
{
    each_poller(poller_closed, fd);
}

static int due(const struct timer *timer, int64_t now)
{
    int count = 0;

    for (; timer; timer = timer->sibling) /* a child is not before its parent */
        count += timer->deadline <= now ? 1 + due(timer->child, now) : 0;
    return count;
}

/* One on a scheduler of several LWPs may be on another one than the runner's: those get on. */
static int waiting_for_the_runner(struct scheduler *s)
{
    struct poller *poller = s->poller;
    int count = due(s->timers, park_now()) + (poller && poller_is_ready(poller));

    for (struct green *green = s->head; green; green = green->next)
        count++;
    return count;
}

void green_each_runner(void (*see)(const struct green_runner *runner, void *arg), void *arg)
{
    for (struct scheduler *s = atomic_load(&all); s; s = s->other) {
        if (atomic_load(&s->forks) != forks)
            continue;
        park_light_lock(&s->lock);
        struct carrier *c = s->runner;
        struct green_runner runner = {0};
        if (c)
            runner = (struct green_runner){.tid = atomic_load(&c->base.tid),
                                           .tp = c->in->tp,
                                           .switches = s->counts.switches,
                                           .waiting = waiting_for_the_runner(s),
                                           .sliced = s->slice != 0};
        park_light_unlock(&s->lock);
        if (c)
            see(&runner, arg);
    }
}

struct scheduler *scheduler_unfinished(void)
{
    struct scheduler *s;

    for (s = atomic_load(&all); s && scheduler_waited(s) == 0; s = s->other)
        ;
    return s;
}

int scheduler_tid(struct scheduler *s)
{
    return atomic_load(&s->tid);
}

struct green_counts green_count(void)
{
    struct green_counts sum = {0};

    for (struct scheduler *s = atomic_load(&all); s; s = s->other) {
        park_light_lock(&s->lock);
        sum.started += s->counts.started;
        sum.switches += s->counts.switches;
        sum.sleeps += s->counts.sleeps;
        park_light_unlock(&s->lock);
    }
    return sum;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static struct scheduler *reuse(void)
{
    struct scheduler *s;

    for (s = atomic_load(&all); s; s = s->other) {
        forget_lost(s);
        if (s->free && s->threads == 0) {
            s->free = 0;
            return s;
        }
    }
    return NULL;
}

static struct scheduler *get(void)
{
    park_lock(&all_lock);
    struct scheduler *s = reuse();
    if (!s && (s = calloc(1, sizeof *s))) {
        atomic_store(&s->forks, forks);
        s->other = atomic_load(&all);
        atomic_store(&all, s);
    }
    park_unlock(&all_lock);
    return s;
}

struct scheduler *scheduler_new(int lwps, int64_t slice)
{
    struct scheduler *s = get();

    if (!s)
        return NULL;
    s->lwps = slice && lwps == 1 ? 2 : lwps;
    s->slice = slice;
    if (s->lwps > 1 && !s->poller && !(s->poller = poller_new())) {
        int error = errno;
        scheduler_free(s);
        errno = error;
        return NULL;
    }
    /* Who reads NULL there must not have a change of a word still under way to memory that a green thread can't see yet: that
     * would be a lost wake-up. */
    if (!atomic_load(&park_greens)) {
        atomic_store(&park_greens, &green_ways);
        park_barrier();
    }
    return s;
}

void scheduler_free(struct scheduler *s)
{
    struct poller *poller = NULL;

    park_lock(&all_lock);
    park_light_lock(&s->lock); /* who has woken the last thread may be about to wake its LWP */
    s->free = 1;
    if (s->threads == 0) {
        poller = s->poller;
        s->poller = NULL;
    }
    park_light_unlock(&s->lock);
    park_unlock(&all_lock);
    if (poller)
        poller_free(poller);
}
