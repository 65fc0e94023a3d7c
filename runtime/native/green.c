#include "green.h"

#include "arch/arch.h"
#include "glibc.h"
#include "green_lwp.h"
#include "poller.h"

#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    TURNS = 64,           /* from one to the next, until it is time to look at the clock and for files */
    LOOK_EVERY = 5000000, /* ns from one look of the native thread for signals to the next, while others run */
    SHARE = 64,           /* of so many wake-ups one reaches for a sleeper with an LWP of its own too */
};

struct scheduler {
    atomic_int lock;
    struct green native;
    struct green *head, *tail; /* the queue */
    struct timer *timers;
    struct green *ended;       /* is being left */
    int turns;
    int looked;                /* the native thread has looked for signals since another one ran */
    int64_t look_at;
    long threads;              /* begun and not gone */
    struct green_counts counts;
    atomic_int idle;           /* a futex word: 1 while the LWP sleeps; there, or if there is one, in the poller */
    struct poller *poller;     /* made when first needed, by a thread that is on it */
    atomic_int waited;
    atomic_int tid;
    atomic_int attached;
    atomic_int forks;          /* the process that all this is about */
    int free;
    struct scheduler *other;   /* in the list of all */
};

void (*green_stuck)(void);

static int forks;

/* Their memory is never given back: who has woken a green thread may still look at the lock when all is over. */
static _Atomic(struct scheduler *) all;
static atomic_int all_lock;

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

/* ---- the queue ------------------------------------------------------------------------------------------------------------ */

static void push(struct scheduler *s, struct green *green)
{
    green->next = NULL;
    *(s->head ? &s->tail->next : &s->head) = green;
    s->tail = green;
}

/* It may go on. */
static void ready(struct scheduler *s, struct green *green)
{
    if (green->timer.set)
        timer_drop(&s->timers, &green->timer);
    push(s, green);
}

/* The same for those who don't run on it, so that its LWP may be asleep. */
static void ready_from_outside(struct green *green)
{
    struct scheduler *s = green->scheduler;

    park_lock(&s->lock);
    ready(s, green);
    int sleeps = atomic_load(&s->idle);
    struct poller *poller = s->poller;
    if (sleeps)
        atomic_store(&s->idle, 0);
    park_unlock(&s->lock);
    if (sleeps && poller)
        poller_wake(poller);
    else if (sleeps)
        park_wake_lwp(&s->idle, 1, PARK_PRIVATE);
}

/* The native thread's wait is interrupted, so that it looks for signals. */
static void interrupt_native(struct scheduler *s)
{
    if (sleeper_leave(&s->native.sleeper, EINTR))
        ready(s, &s->native);
    s->looked = 1;
    s->look_at = park_now() + LOOK_EVERY;
}

static void fire_timers(struct scheduler *s)
{
    int64_t now = s->timers ? park_now() : 0;

    while (s->timers && s->timers->deadline <= now) {
        struct green *green = CONTAINER(s->timers, struct green, timer);
        if (sleeper_leave(&green->sleeper, ETIMEDOUT))
            ready(s, green);
        else
            timer_drop(&s->timers, &green->timer); /* somebody who wakes it is on the way to ready() */
    }
}

/* ---- from one to the next --------------------------------------------------------------------------------------------------- */

static int watches(struct scheduler *s)
{
    return s->poller && poller_waiters(s->poller);
}

/* Whether nobody could wake a green thread: the LWP's own thread is the only one that glibc knows. */
static int alone(struct scheduler *s)
{
    return atomic_load(glibc.thread_count) == 1 && !watches(s) && !green_lwp_has_handlers();
}

/* Nobody can go on: the LWP sleeps, without the lock. */
static void idle(struct scheduler *s)
{
    int64_t until = s->timers ? s->timers->deadline : PARK_FOREVER;

    if (until == PARK_FOREVER && s->looked && green_stuck && alone(s)) {
        green_stuck();
        interrupt_native(s);
        return;
    }
    /* A signal that comes while others run doesn't interrupt the sleep that follows: then it ends early, for a look. */
    int64_t wake_at = s->looked || until < s->look_at ? until : s->look_at;
    atomic_store(&s->idle, 1);
    s->counts.sleeps++;
    park_unlock(&s->lock);
    int result = s->poller ? poller_poll(s->poller, wake_at) : park_wait_lwp(&s->idle, 1, wake_at, PARK_PRIVATE);
    park_lock(&s->lock);
    atomic_store(&s->idle, 0);
    fire_timers(s);
    if (result == EINTR || (!s->looked && park_now() >= s->look_at))
        interrupt_native(s);
}

/* What only time brings, while there is always one that can go on. */
static void look(struct scheduler *s)
{
    s->turns = TURNS;
    fire_timers(s);
    if (watches(s)) {
        park_unlock(&s->lock);
        poller_poll(s->poller, 0);
        park_lock(&s->lock);
    }
    if (park_now() >= s->look_at)
        interrupt_native(s);
}

static struct green *next(struct scheduler *s)
{
    if (--s->turns < 0)
        look(s);
    while (!s->head)
        idle(s);
    struct green *green = s->head;
    s->head = green->next;
    return green;
}

/* Whoever goes on: releases the lock, which the one that was left has taken, and buries it if it has ended. */
static void arrive(struct scheduler *s)
{
    struct green *ended = s->ended;

    s->ended = NULL;
    s->threads -= ended != NULL;
    park_unlock(&s->lock);
    if (!ended)
        return;
    int waited = ended->waited;
    ended->gone(ended);
    if (waited && atomic_fetch_sub(&s->waited, 1) == 1)
        park_wake(&s->waited, INT_MAX, PARK_PRIVATE);
}

/* With the lock; the caller is queued, asleep, or ended.  Returns without it, when it is the caller's turn. */
static void leave(struct scheduler *s, struct green *me)
{
    struct green *to = next(s);

    if (to == me) {
        park_unlock(&s->lock);
        return;
    }
    s->counts.switches++;
    if (to != &s->native)
        s->looked = 0;
    arch_swap(&me->sp, to->sp, to->tp);
    arrive(s);
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
    if (waited)
        atomic_fetch_add(&s->waited, 1);
    park_lock(&s->lock);
    s->threads++;
    s->counts.started++;
    park_unlock(&s->lock);
    ready_from_outside(green);
}

_Noreturn void green_end(void)
{
    struct green *me = park_green;
    struct scheduler *s = me->scheduler;

    park_lock(&s->lock);
    s->ended = me;
    if (!s->head) /* who waits for the end must not have to wait until somebody else can go on */
        interrupt_native(s);
    leave(s, me);
    abort(); /* nobody goes on here */
}

void green_yield(void)
{
    struct green *me = park_green;

    if (!me) {
        sched_yield();
        return;
    }
    park_lock(&me->scheduler->lock);
    push(me->scheduler, me);
    leave(me->scheduler, me);
}

/* ---- park's part -------------------------------------------------------------------------------------------------------------- */

static int green_wait(atomic_int *word, int expected, int64_t deadline, unsigned bits)
{
    struct green *me = park_green;
    struct scheduler *s = me->scheduler;

    if (deadline <= 0)
        return ETIMEDOUT;
    park_lock(&s->lock);
    if (!sleeper_enter(&me->sleeper, word, expected, bits)) {
        park_unlock(&s->lock);
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
        ready_from_outside(CONTAINER(sleeper, struct green, sleeper));
    }
    /* Nobody sleeps for ever because green threads always come first. */
    return woken && atomic_fetch_add_explicit(&wakes, 1, memory_order_relaxed) % SHARE == 0 ? woken - 1 : woken;
}

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
    struct scheduler *s = scheduler_here();

    if (!s)
        return wait_alone(fd, events, deadline, found);
    if (!s->poller && !(s->poller = poller_new()))
        return errno;
    int result = poller_wait(s->poller, fd, events, deadline, found);
    if (result != EPERM)
        return result;
    *found = events;
    return 0;
}

static const struct park_greens ways = {green_wait, green_wake, sleepers_any};

/* ---- whose LWP it is ------------------------------------------------------------------------------------------------------------ */

/* Of a process that has forked since, nobody else is left. */
static void forget_lost(struct scheduler *s)
{
    if (atomic_load(&s->forks) == forks)
        return;
    s->head = s->ended = NULL;
    s->timers = NULL;
    if (s->poller)
        poller_free(s->poller); /* its descriptors lead to the parent's */
    s->poller = NULL;
    s->threads = 0;
    s->turns = s->looked = 0;
    s->look_at = 0;
    atomic_store(&s->lock, 0);
    atomic_store(&s->waited, 0);
    atomic_store(&s->attached, 0);
    atomic_store(&s->idle, 0);
    atomic_store(&s->forks, forks);
}

static void attach(struct scheduler *s)
{
    s->native = (struct green){.scheduler = s, .tp = arch_thread_pointer()};
    atomic_store(&s->tid, (int)syscall(SYS_gettid));
    park_green = &s->native;
}

int scheduler_attach(struct scheduler *s)
{
    forget_lost(s);
    if (park_green)
        return EDEADLK;
    if (atomic_exchange(&s->attached, 1))
        return EBUSY;
    attach(s);
    return 0;
}

void scheduler_detach(struct scheduler *s)
{
    park_green = NULL;
    atomic_store(&s->attached, 0);
}

int scheduler_lent_by_me(struct scheduler *s)
{
    return park_green == &s->native;
}

struct scheduler *scheduler_here(void)
{
    return park_green ? park_green->scheduler : NULL;
}

atomic_int *scheduler_waited(struct scheduler *s)
{
    forget_lost(s);
    return &s->waited;
}

int scheduler_tid(struct scheduler *s)
{
    return atomic_load(&s->tid);
}

void *scheduler_native(struct scheduler *s)
{
    return s->native.tp;
}

struct scheduler *scheduler_unfinished(void)
{
    struct scheduler *s;

    for (s = atomic_load(&all); s && atomic_load(scheduler_waited(s)) == 0; s = s->other)
        ;
    return s;
}

struct green_counts green_count(void)
{
    struct green_counts sum = {0};

    for (struct scheduler *s = atomic_load(&all); s; s = s->other) {
        park_lock(&s->lock);
        sum.started += s->counts.started;
        sum.switches += s->counts.switches;
        sum.sleeps += s->counts.sleeps;
        park_unlock(&s->lock);
    }
    return sum;
}

/* ---- making ----------------------------------------------------------------------------------------------------------------- */

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

struct scheduler *scheduler_new(void)
{
    park_lock(&all_lock);
    struct scheduler *s = reuse();
    if (!s && (s = calloc(1, sizeof *s))) {
        atomic_store(&s->forks, forks);
        s->other = atomic_load(&all);
        atomic_store(&all, s);
    }
    park_unlock(&all_lock);
    /* Who reads NULL there must not have a change of a word still under way to memory that a green thread can't see yet: that
     * would be a lost wake-up.  The kernel makes all running threads pass a barrier (membarrier(2)). */
    if (s && !atomic_load(&park_greens)) {
        atomic_store(&park_greens, &ways);
        syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
    }
    return s;
}

void scheduler_free(struct scheduler *s)
{
    park_lock(&all_lock);
    s->free = 1;
    if (s->poller && s->threads == 0) {
        poller_free(s->poller);
        s->poller = NULL;
    }
    park_unlock(&all_lock);
}

void green_after_fork(void)
{
    struct scheduler *s = scheduler_here();

    forks++;
    sleepers_forget();
    atomic_store(&all_lock, 0);
    park_green = NULL;
    if (s)
        scheduler_attach(s);
}
