#include "green/scheduler.h"

#include "kernel/arch/arch.h"
#include "kernel/base/fork.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/lwp.h"
#include "green/carrier.h"
#include "green/shared_lwp.h"
#include "green/switch.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Never freed: a waker may touch the lock after the last thread has ended. */
static _Atomic(struct scheduler *) all;
static atomic_int all_lock; /* order: docs/architecture.md */

/* ---- a forked child ---------------------------------------------------------------------------------------------- */

/* In the child an explored thread is an ordinary one, because the run that puts it to sleep and wakes it is the parent's. */
void green_after_fork(void)
{
    struct scheduler *s = park_green && !park_green->explored ? park_green->scheduler : NULL;

    atomic_store(&carriers_maybe_deadlocked, 0);
    atomic_store(&green_lwps_resting, 0);
    wait_table_forget();
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
    c->base = (struct green){.scheduler = s, .carrier = c, .tp = arch_thread_pointer(), .mask = green_lwp_mask()};
    atomic_store(&c->base.tid, (int)syscall(SYS_gettid));
    atomic_store(&s->tid, atomic_load(&c->base.tid));
    park_green = &c->base;
}

int scheduler_attach(struct scheduler *s)
{
    scheduler_forget_lost(s);
    if (park_green)
        return EDEADLK;
    if (atomic_exchange(&s->attached, 1))
        return EBUSY;
    park_lock(&s->lock); /* green_each_runner() may look */
    begin_carrying(s, &s->lent);
    s->runner = &s->lent;
    park_unlock(&s->lock);
    return 0;
}

void scheduler_detach(struct scheduler *s)
{
    park_green = NULL;
    park_lock(&s->lock);
    s->runner = NULL;
    park_unlock(&s->lock);
    atomic_store(&s->attached, 0);
}

void scheduler_set_policy(struct scheduler *s, const struct policy *policy)
{
    s->policy = policy;
}

int scheduler_lent_by_me(struct scheduler *s)
{
    return park_green == &s->lent.base;
}

/* ---- LWPs of its own --------------------------------------------------------------------------------------------- */

int scheduler_serve(struct scheduler *s)
{
    scheduler_forget_lost(s);
    if (park_green)
        return EDEADLK;
    park_lock(&s->lock);
    int busy = s->served == SERVED;
    if (!busy)
        atomic_store(&s->was_deadlocked, 0);
    s->served = SERVED;
    park_unlock(&s->lock);
    return busy ? EBUSY : 0;
}

int scheduler_missing_carriers(struct scheduler *s)
{
    scheduler_forget_lost(s);
    park_lock(&s->lock);
    int lacks = s->served && s->made < s->lwps ? s->lwps - s->made : 0;
    s->made += lacks;
    park_unlock(&s->lock);
    return lacks;
}

void scheduler_carrier_failed(struct scheduler *s)
{
    park_lock(&s->lock);
    s->made -= s->made > 0;
    park_unlock(&s->lock);
}

void scheduler_carry(struct scheduler *s)
{
    struct carrier c;

    park_lock(&s->lock);
    if (s->begun == s->made) { /* it was stopped before this one got here */
        park_unlock(&s->lock);
        return;
    }
    s->begun++;
    begin_carrying(s, &c);
    green_lwp_block(&c.base);
    carrier_run(&c);
    park_green = NULL;
}

void scheduler_stop(struct scheduler *s)
{
    park_lock(&s->lock);
    s->served = UNSERVED;
    s->generation++;
    carriers_wake(s); /* they need the lock to go on, so that none sees the scheduler before the next lines have changed it */
    s->runner = s->watcher = s->spares = NULL;
    s->made = s->begun = s->handed = 0;
    /* A carrier in the poller has been woken.  It must have left before the poller is freed, and before another polls, which would
     * take that wake-up in its place.  To leave it needs nothing but a processor. */
    s->stopping++;
    for (int polling; (polling = atomic_load(&s->polling)) != 0;) {
        park_unlock(&s->lock);
        futex_wait(&s->polling, polling, PARK_FOREVER, PARK_PRIVATE);
        park_lock(&s->lock);
    }
    s->stopping--;
    park_unlock(&s->lock);
}

/* ---- a thread that is not green --------------------------------------------------------------------------------- */

/* ns: CPython's switch interval.  So long the thread would wait for the GIL beside a thread that computes. */
#define MOST_PATIENCE 5000000

/* The outsider is counted with the lock held, so the runner's next sleep sees it and changes `rests`: no wake-up is lost. */
static void let_go_first(struct scheduler *s, int64_t deadline)
{
    park_lock(&s->lock);
    int waits = s->runner && atomic_load(&s->idle) == BUSY, rests = atomic_load(&s->rests);
    atomic_fetch_add(&s->outsiders, waits);
    park_unlock(&s->lock);
    if (!waits)
        return;
    futex_wait(&s->rests, rests, deadline, PARK_PRIVATE);
    atomic_fetch_sub(&s->outsiders, 1);
}

void green_let_go_first(void)
{
    int64_t deadline = park_now() + MOST_PATIENCE;

    for (struct scheduler *s = atomic_load(&all); s; s = s->other)
        if (s->lwps > 1 && s->served == SERVED && !s->policy && atomic_load(&s->forks) == fork_generation)
            let_go_first(s, deadline);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

int scheduler_own_lwps(struct scheduler *s)
{
    return s->lwps > 1;
}

int scheduler_is_orphaned(struct scheduler *s)
{
    scheduler_forget_lost(s);
    return !atomic_load(&s->attached) && !s->served && green_lwps() == 1;
}

int scheduler_is_run(struct scheduler *s)
{
    scheduler_forget_lost(s);
    return s->lwps > 1 ? s->served == SERVED : scheduler_lent_by_me(s);
}

int scheduler_threads(struct scheduler *s)
{
    scheduler_forget_lost(s);
    park_lock(&s->lock);
    long count = s->threads;
    park_unlock(&s->lock);
    return (int)count;
}

int scheduler_waited(struct scheduler *s)
{
    scheduler_forget_lost(s);
    return atomic_load(&s->waited) & ~DEADLOCKED;
}

int scheduler_await(struct scheduler *s)
{
    int count, result = 0;

    atomic_fetch_add(&s->awaited, 1);
    if (!park_green) { /* its threads may sleep already, and this caller makes that a deadlock: is_deadlocked() in carrier.c */
        park_lock(&s->lock);
        runner_wake(runner_mark_busy(s));
        park_unlock(&s->lock);
    }
    while (!result && (count = atomic_load(&s->waited)) != 0) {
        if (!(count & DEADLOCKED))
            result = park_wait(&s->waited, count, PARK_FOREVER, PARK_PRIVATE);
        else {
            atomic_fetch_and(&s->waited, ~DEADLOCKED);
            result = EINTR;
        }
    }
    atomic_fetch_sub(&s->awaited, 1);
    return result;
}

/* Called by an LWP that can wake no thread any more, and may have been the last that could. */
static void look_for_deadlocks(void)
{
    if (!atomic_load(&carriers_maybe_deadlocked))
        return;
    for (struct scheduler *s = atomic_load(&all); s; s = s->other) {
        if (atomic_load(&s->forks) != fork_generation)
            continue;
        park_lock(&s->lock);
        atomic_int *sleeper = runner_mark_busy(s);
        park_unlock(&s->lock);
        runner_wake(sleeper);
    }
}

void green_lwp_rests(void)
{
    atomic_fetch_add(&green_lwps_resting, 1);
    look_for_deadlocks();
}

void green_lwp_works(void)
{
    atomic_fetch_sub(&green_lwps_resting, 1);
}

int scheduler_was_deadlocked(struct scheduler *s)
{
    if (!s && park_green && park_green == &park_green->scheduler->lent.base)
        s = park_green->scheduler;
    return s && atomic_exchange(&s->was_deadlocked, 0);
}

/* With the lock, or a poller could be freed meanwhile. */
static void each_poller(void (*call)(struct poller *poller, int fd), int fd)
{
    if (!atomic_load(&all))
        return;
    park_lock(&all_lock);
    for (struct scheduler *s = atomic_load(&all); s; s = s->other) {
        struct poller *poller = atomic_load(&s->forks) == fork_generation ? s->poller : NULL;
        if (poller)
            call(poller, fd);
    }
    park_unlock(&all_lock);
}

void green_fd_closing(int fd)
{
    each_poller(poller_closing, fd);
}

void green_fd_closed(int fd)
{
    each_poller(poller_closed, fd);
}

void green_fd_disowned(int fd)
{
    each_poller(poller_disowned, fd);
}

static int timers_due(const struct timer *timer, int64_t now)
{
    int count = 0;

    for (; timer; timer = timer->sibling) /* a child is not before its parent */
        count += timer->deadline <= now ? 1 + timers_due(timer->child, now) : 0;
    return count;
}

/* A thread on another LWP than the runner's goes on, so it isn't counted. */
static int waiting_for_the_runner(struct scheduler *s)
{
    struct poller *poller = s->poller;
    int count = timers_due(s->timers, park_now()) + (poller && poller_is_ready(poller));

    for (struct green *green = s->head; green; green = green->next)
        count++;
    return count;
}

void green_each_runner(void (*see)(const struct green_runner *runner, void *arg), void *arg)
{
    for (struct scheduler *s = atomic_load(&all); s; s = s->other) {
        if (atomic_load(&s->forks) != fork_generation)
            continue;
        park_lock(&s->lock);
        struct carrier *c = s->runner;
        struct green_runner runner = {0};
        if (c)
            runner = (struct green_runner){.tid = atomic_load(&c->base.tid),
                                           .tp = c->in->tp,
                                           .switches = s->moves,
                                           .waiting = waiting_for_the_runner(s),
                                           .sliced = s->slice != 0};
        park_unlock(&s->lock);
        if (c)
            see(&runner, arg);
    }
}

struct scheduler *scheduler_with_waited_threads(void)
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
        park_lock(&s->lock);
        sum.started += s->counts.started;
        sum.switches += s->counts.switches;
        sum.sleeps += s->counts.sleeps;
        sum.hand_overs += s->counts.hand_overs;
        park_unlock(&s->lock);
    }
    return sum;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static struct scheduler *reuse_scheduler(void)
{
    struct scheduler *s;

    for (s = atomic_load(&all); s; s = s->other) {
        scheduler_forget_lost(s);
        if (s->free && s->threads == 0) {
            s->free = 0;
            s->policy = NULL; /* not in scheduler_free(): a thread that is left may be made ready until it is gone */
            return s;
        }
    }
    return NULL;
}

static struct scheduler *take_scheduler(void)
{
    park_lock(&all_lock);
    struct scheduler *s = reuse_scheduler();
    if (!s && (s = calloc(1, sizeof *s))) {
        atomic_store(&s->forks, fork_generation);
        s->other = atomic_load(&all);
        atomic_store(&all, s);
    }
    park_unlock(&all_lock);
    return s;
}

/* With all_lock.  The poller stays if threads may wait in it. */
static void drop_poller(struct scheduler *s)
{
    struct poller *poller = NULL;

    park_lock(&s->lock); /* the waker of the last thread may be about to wake its LWP through the poller */
    if (s->threads == 0) {
        poller = s->poller;
        s->poller = NULL;
    }
    park_unlock(&s->lock);
    if (poller)
        poller_free(poller);
}

static int call_membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) == 0 ? 0 : errno;
}

/* Has all running threads of the process pass a memory barrier before it returns (membarrier(2)).  0, or errno if the kernel can't. */
static int pass_barrier(void)
{
    int error = call_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);

    if (error == EPERM && call_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0) /* the first time */
        error = call_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    if (error)
        error = call_membarrier(MEMBARRIER_CMD_GLOBAL); /* milliseconds */
    return error;
}

const char *scheduler_init(void)
{
    static int done; /* under all_lock: without a GIL two threads may make their first scheduler at one time */
    const char *why = NULL;

    park_lock(&all_lock);
    if (!done && !(why = green_lwp_init())) {
        /* A waker stores its change of a word and then reads park_ops.  If it reads NULL its store may still be on the way, and a green
         * thread that looks at the word now would sleep on the old value: a lost wake-up.  After the barrier all such stores are
         * visible. */
        atomic_store(&cancel_green, green_interrupt);
        atomic_store(&lwp_left, look_for_deadlocks);
        atomic_store(&park_ops, &green_park_ops);
        done = pass_barrier() == 0;
        if (!done) {
            atomic_store(&park_ops, NULL);
            why = "membarrier(2) fails, is it forbidden by a seccomp filter?";
        }
    }
    park_unlock(&all_lock);
    return why;
}

struct scheduler *scheduler_new(int lwps, int64_t slice)
{
    struct scheduler *s = take_scheduler();

    if (!s)
        return NULL;
    park_lock(&all_lock);
    drop_poller(s); /* threads outlived this poller, and nothing has told it what was closed since */
    park_unlock(&all_lock);
    s->lwps = slice && lwps == 1 ? 2 : lwps;
    s->slice = slice;
    if (s->lwps > 1 && !(s->poller = poller_new())) {
        int error = errno;
        scheduler_free(s);
        errno = error;
        return NULL;
    }
    return s;
}

void scheduler_free(struct scheduler *s)
{
    park_lock(&all_lock);
    s->free = 1;
    drop_poller(s);
    park_unlock(&all_lock);
}
