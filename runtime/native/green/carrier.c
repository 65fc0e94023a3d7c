/* What the LWPs of a scheduler do.
 *
 * THE DESIGN.  A scheduler has one queue and one lock.  Of its LWPs (carriers) one is the runner: it takes threads from the queue and
 * goes on in them.  The others are spares and sleep.  One spare, the watcher, wakes up every few milliseconds; when the runner has
 * made no switch since, it takes over, and the former runner becomes a spare as soon as its thread lets it.  A scheduler with one
 * LWP, which a thread lends, has a runner only.  Each carrier has a base, the context that it came with: it sleeps there, so that
 * no green thread's stack is in use while its LWP waits.  A thread that leaves its LWP takes the next from the queue by itself
 * (carrier_schedule()); the base is entered only when the queue is empty, or every TURNS turns, or after a millisecond, to look at the clock
 * and at files.
 *
 * WITHOUT A GIL (green_parallel) threads that give way often run in parallel too: the watcher, when it finds threads in the queue though the
 * runner moves on, takes from the queue as well (a helper), and so does a former runner.  A helper becomes a spare again when the queue is
 * empty.  If the runner sleeps then, the helper wakes the runner, which alone sleeps for timers and files.  With turns shorter than
 * LEAST_TURN two carriers at one queue are slower than one, because they wait for its lock; then no spare helps.
 *
 * REJECTED.  A queue for each LWP, with work stealing, as in Go's runtime.  With a GIL only one thread runs, so two runners gain nothing
 * and fight for the GIL at each switch.  Without a GIL one queue is enough for two cores: two LWPs at it took 2.8 times as long as one
 * with turns of 0.4 us, so LEAST_TURN, but were faster from 2.5 us on.  Preemption by a timer signal: it would interrupt the
 * program's system calls, and could not switch inside C code that holds the GIL or a lock.  Here the GIL's own switch interval preempts:
 * the thread that the new runner is in asks for the GIL, and from then on the two threads take turns.
 *
 * NO LOST WAKE-UP.  The runner, with nothing to run:            A waker:
 *   1. has the lock, and sees the queue empty                     1. takes the waiter out of the wait table
 *   2. writes IDLE_IN_FUTEX or IDLE_IN_POLLER to `idle`           2. takes the lock, and puts the thread into the queue
 *   3. releases the lock                                          3. if `idle` is not BUSY, writes BUSY;
 *   4. sleeps: in a futex, if `idle` still is IDLE_IN_FUTEX;         IN_POLLER: writes to the poller's eventfd, which stays readable
 *      in epoll_wait otherwise                                    4. releases the lock
 *   5. takes the lock, and looks at the queue again               5. IN_FUTEX: wakes a sleeper at `idle`
 * Both have the lock in 1 and 2, so either the runner sees the thread in the queue, or the waker sees that it is idle.
 *
 * NO LATE TIMER.  The runner sleeps until the earliest timer that it knows.  A thread that was in C for longer than the slice comes back on
 * an LWP that has lost the place.  It may set an earlier timer there, or yield, and the runner sleeps on.  So this LWP, once it is in
 * its base, wakes the runner if there is something to be done before `sleeps_until`: runner_must_look().  A file needs no such care,
 * because epoll_ctl(2) also reaches an epoll_wait(2) that sleeps already.  tests/runtime/sync/test_runner_model.py tries every order.
 *
 * C CODE OF OTHERS.  A thread that is about to block there leaves the runner's place to another LWP at once: see green/foreign.h.
 *
 * DEADLOCK.  A runner that would sleep without a timeout first asks whether any thread of the process could still wake one of its
 * own: is_deadlocked(). */
#include "green/carrier.h"

#include "kernel/base/fork.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/lwp.h"
#include "green/shared_lwp.h"
#include "green/switch.h"

#include <errno.h>
#include <limits.h>

#define LOOK_EVERY 5000000  /* ns after which the native thread looks for signals, while others run */
#define LONG_TICK 10000000  /* the tick grows to this while the runner makes no switch and the queue is empty */
#define LEAST_TURN 1500     /* ns: of shorter turns one carrier at a time does more */
/* Ticks with an idle runner, and without a switch, after which the watcher sleeps without a timeout.  If it also did so while the runner sleeps
 * and runs in turn, the runner would wake it every few turns, and lose its processor to it: beside threads that compute, for milliseconds. */
enum { QUIET = 3 };

int green_reports_deadlock, green_parallel;
int (*scheduler_spawn_carrier)(struct scheduler *scheduler);
atomic_int green_lwps_resting, carriers_maybe_deadlocked;

/* ---- sleeping: each releases the lock for the time --------------------------------------------------------------- */

/* sleeper: the runner if it is idle, otherwise NULL.  The runner looks at the queue as soon as it is awake, so threads that its own poll
 * makes ready need not wake it. */
static int poll_until(struct scheduler *s, int64_t deadline, struct carrier *sleeper)
{
    struct poller *poller = s->poller;
    struct poller_events events;

    atomic_fetch_add(&s->polling, 1);
    if (deadline != 0)
        poller_announce(poller);
    park_unlock(&s->lock);
    int result = poller_poll(poller, deadline, &events);
    if (sleeper && events.count) {
        park_lock(&s->lock);
        if (s->runner == sleeper)
            atomic_store(&s->idle, BUSY);
        park_unlock(&s->lock);
    }
    poller_deliver(poller, &events);
    park_lock(&s->lock);
    if (atomic_fetch_sub(&s->polling, 1) == 1 && s->stopping)
        futex_wake(&s->polling, INT_MAX, PARK_PRIVATE);
    return result;
}

static int sleep_in_futex(struct scheduler *s, int64_t deadline)
{
    park_unlock(&s->lock);
    int result = futex_wait(&s->idle, IDLE_IN_FUTEX, deadline, PARK_PRIVATE);
    park_lock(&s->lock);
    return result;
}

static void wake_spare(struct carrier *c)
{
    atomic_store(&c->word, 0);
    futex_wake(&c->word, 1, PARK_PRIVATE);
}

static void sleep_as_spare(struct carrier *c, int64_t deadline)
{
    atomic_store(&c->word, 1);
    park_unlock(&c->scheduler->lock);
    green_lwp_block(&c->base);
    futex_wait(&c->word, 1, deadline, PARK_PRIVATE);
    park_lock(&c->scheduler->lock);
}

/* ---- timers, files and signals ----------------------------------------------------------------------------------- */

/* Ends the native thread's wait with EINTR, so that it looks for signals.  The kernel has interrupted the LWP, and not that wait. */
static void interrupt_native(struct scheduler *s)
{
    if (wait_table_leave(&s->lent.base.waiter, EINTR))
        green_make_ready(s, &s->lent.base);
    s->looked = 1;
    s->look_at = park_now() + LOOK_EVERY;
}

static void fire_timers(struct scheduler *s)
{
    int64_t now = s->timers ? park_now() : 0;

    while (s->timers && s->timers->deadline <= now) {
        struct green *green = CONTAINER(s->timers, struct green, timer);
        if (wait_table_leave(&green->waiter, ETIMEDOUT))
            green_make_ready(s, green);
        else
            timer_drop(&s->timers, &green->timer); /* a waker has taken it out, and is about to make it ready */
    }
}

int green_lwps(void)
{
    return atomic_load(glibc.thread_count) + atomic_load(&lwps_beside_count) - atomic_load(&green_lwps_resting);
}

static int watches_files(struct scheduler *s)
{
    return s->poller && poller_waiters(s->poller);
}

/* Checks timers and files and, for the native thread, signals.  A runner that always finds a thread in the queue must call this from time
 * to time.  Releases the lock meanwhile. */
static void check_events(struct scheduler *s)
{
    fire_timers(s);
    if (watches_files(s))
        poll_until(s, 0, NULL);
    if (atomic_load(&s->attached) && park_now() >= s->look_at)
        interrupt_native(s);
}

/* Relaxed: a thread that reads an older value has the runner look once more. */
static void has_looked(struct scheduler *s)
{
    atomic_store_explicit(&s->looked_at, park_now(), memory_order_relaxed);
}

/* ---- the runner -------------------------------------------------------------------------------------------------- */

/* Whether nothing could wake a thread of the scheduler.  The process has no LWPs at work except the carriers, which are in no thread, and
 * the LWP that waits for the scheduler; and no file, no LWP that is about to end and no signal handler could wake one. */
static int is_deadlocked(struct scheduler *s)
{
    int rests = atomic_load(&s->attached) || (atomic_load(&s->awaited) && atomic_load(&s->waited));

    return rests && s->out == 0 && green_lwps() == s->made + 1 && !atomic_load(&lwps_ending) && !s->head && !watches_files(s)
           && !green_lwp_has_handlers();
}

static void report_deadlock(struct scheduler *s)
{
    atomic_store(&s->was_deadlocked, 1);
    if (atomic_load(&s->attached))
        interrupt_native(s);
    else {
        atomic_fetch_or(&s->waited, DEADLOCKED);
        futex_wake(&s->waited, 1, PARK_PRIVATE);
    }
}

/* See green_let_go_first(). */
static void wake_outsiders(struct scheduler *s)
{
    if (!atomic_load_explicit(&s->outsiders, memory_order_relaxed))
        return;
    atomic_fetch_add(&s->rests, 1);
    futex_wake(&s->rests, INT_MAX, PARK_PRIVATE);
}

/* The queue is empty: the runner sleeps. */
static void runner_sleep(struct carrier *c)
{
    struct scheduler *s = c->scheduler;
    int64_t until = s->timers ? s->timers->deadline : PARK_FOREVER;
    int attached = atomic_load(&s->attached), doubts = until == PARK_FOREVER && (s->looked || !attached) && green_reports_deadlock;

    /* Count first, then look: an LWP that ends after the look sees the count, and wakes this LWP to look again (`lwp_left`). */
    atomic_fetch_add(&carriers_maybe_deadlocked, doubts);
    if (doubts && is_deadlocked(s)) {
        report_deadlock(s);
        atomic_fetch_sub(&carriers_maybe_deadlocked, 1);
        doubts = 0;
        if (attached)
            return;
    }
    /* A signal that came while other threads ran doesn't interrupt this sleep.  So it ends at look_at, and the native thread looks. */
    int64_t wake_at = !attached || s->looked || until < s->look_at ? until : s->look_at;
    atomic_store(&s->idle, s->poller ? IDLE_IN_POLLER : IDLE_IN_FUTEX);
    wake_outsiders(s);
    s->sleeps_until = wake_at;
    s->counts.sleeps++;
    int result = s->poller ? poll_until(s, wake_at, c) : sleep_in_futex(s, wake_at);
    atomic_fetch_sub(&carriers_maybe_deadlocked, doubts);
    if (s->runner != c) /* it woke up so late that the watcher has taken over; `idle` may be the new runner's by now */
        return;
    atomic_store(&s->idle, BUSY);
    fire_timers(s);
    if (attached && (result == EINTR || (!s->looked && park_now() >= s->look_at)))
        interrupt_native(s);
}

/* Called when the runner goes on in a thread. */
static void watch_again(struct scheduler *s)
{
    if (s->watcher && s->watcher_is_off) {
        s->watcher_is_off = 0;
        wake_spare(s->watcher);
    }
}

/* Asked by a carrier that comes back from a thread and has lost its place: whether there is something to do that an idle runner doesn't
 * know of.  The cases are at carrier_run(). */
static int runner_must_look(struct scheduler *s)
{
    int in_c = atomic_load(&s->idle) == IDLE_IN_C, files = watches_files(s);

    return s->head || (files ? in_c : s->out == 0) || (s->timers && s->timers->deadline < s->sleeps_until);
}

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

/* Whether the carrier, which is not the runner, may take from the queue. */
static int may_help(struct carrier *c)
{
    struct scheduler *s = c->scheduler;

    if (c->helps && (!s->head || c->generation != s->generation || atomic_load(&s->idle) != BUSY))
        c->helps = 0;
    return c->helps;
}

static int is_overdue(struct scheduler *s, int64_t now)
{
    return now - atomic_load_explicit(&s->looked_at, memory_order_relaxed) > TICK;
}

/* A helper's next thread comes from the queue, unless it has to look at the clock and at files before. */
static int helper_goes_on(struct carrier *c)
{
    if (!may_help(c))
        return 0;
    int64_t now = park_now();
    if (++c->turns >= TURNS) {
        c->helps = now - c->counted_at >= TURNS * LEAST_TURN;
        c->turns = 0;
        c->counted_at = now;
    }
    return c->helps && !is_overdue(c->scheduler, now);
}

static void begin_to_help(struct carrier *c)
{
    c->helps = green_parallel;
    c->turns = 0;
    c->counted_at = park_now();
}

/* ---- the spares -------------------------------------------------------------------------------------------------- */

/* Whether the runner's thread has blocked in C code of others that was not known to block. */
static int runner_blocks(struct scheduler *s)
{
    int64_t since = s->runner ? atomic_load_explicit(&s->runner->in->in_c_since, memory_order_relaxed) : 0;

    return since && park_now() - since > BLOCKS;
}

/* A runner in its base goes on by itself.  Until then its LWP has the mask of the thread that it was in last, which sleeps: if another LWP ran
 * that thread meanwhile, this one could take a signal that the thread has blocked.  A native thread's LWP is in its base in the thread. */
static int may_take_over(struct scheduler *s)
{
    int in_base = s->runner && s->runner != &s->lent && s->runner->in == &s->runner->base;

    return !in_base && (s->head || runner_blocks(s)) && atomic_load(&s->idle) == BUSY;
}

/* The watcher: returns when it has become the runner or a helper, or at the generation's end. */
static void watch_runner(struct carrier *c)
{
    struct scheduler *s = c->scheduler;
    int64_t first = s->slice ? s->slice : TICK, longest = first > LONG_TICK ? first : LONG_TICK;
    long seen = s->moves;
    int quiet = 0;

    for (int64_t tick = first; c->generation == s->generation && s->runner != c;) {
        s->watcher_is_off = quiet >= QUIET;
        sleep_as_spare(c, s->watcher_is_off ? PARK_FOREVER : park_now() + tick);
        if (c->generation != s->generation || s->runner == c)
            return;
        long moved = s->moves - seen;
        int sleeps = atomic_load(&s->idle) != BUSY;
        quiet = sleeps && !moved ? quiet + 1 : 0;
        seen = s->moves;
        if (green_parallel && moved && !sleeps && s->head && moved * LEAST_TURN <= tick) {
            begin_to_help(c);
            return;
        }
        tick = moved || sleeps ? first : tick * 2 < longest ? tick * 2 : longest;
        if ((moved && !runner_blocks(s)) || sleeps)
            continue;
        check_events(s);
        /* If no thread could go on this LWP sleeps in place of the runner, and not every tick: nobody watches a thread in C. */
        if (c->generation == s->generation && s->moves == seen && may_take_over(s)) {
            if (s->runner)
                begin_to_help(s->runner);
            s->runner = c;
            return;
        }
    }
}

static void list_spare(struct carrier *c)
{
    struct scheduler *s = c->scheduler;

    c->next = s->spares;
    s->spares = c;
    c->listed = 1;
}

/* The place is free, or its thread is in C code and there is something to do. */
static void take_free_place(struct carrier *c)
{
    struct scheduler *s = c->scheduler;

    if (s->runner && (atomic_load(&s->idle) != IDLE_IN_C || !runner_must_look(s)))
        return;
    s->runner = c;
    atomic_store(&s->idle, BUSY);
}

/* A spare may become the watcher, and then the runner, before it has woken up from its sleep.  A runner that is not awake keeps its place,
 * may_take_over(), except to a thread that comes back from C code, which lists it again, run_again(). */
static void be_spare(struct carrier *c)
{
    struct scheduler *s = c->scheduler;

    while (c->generation == s->generation && s->runner != c && s->watcher && s->watcher != c) {
        if (!c->listed)
            list_spare(c);
        sleep_as_spare(c, PARK_FOREVER);
    }
    if (c->generation == s->generation && s->runner != c) {
        s->watcher = c;
        watch_runner(c);
    }
    if (c->generation != s->generation || s->watcher != c)
        return;
    s->watcher = s->spares;
    if (s->spares) {
        s->spares->listed = 0;
        s->spares = s->spares->next;
        wake_spare(s->watcher);
    }
}

/* With a slice the runner needs a watcher whenever it enters a thread, and without one while a thread waits in C code of others and has left
 * its LWP: the thread may hold a lock for which all other LWPs block there, and only the watcher then sees that its wait is over.  Carriers
 * stay until the generation's end: at most there are two more of them than threads that kept their LWP at one time, or `lwps`. */
static int lacks_watcher(struct scheduler *s)
{
    return (s->slice || s->waiting_in_c) && !s->watcher && s->begun == s->made;
}

/* Releases the lock meanwhile. */
static void spawn_watcher(struct scheduler *s)
{
    int generation = s->generation;

    s->made++;
    park_unlock(&s->lock);
    int error = scheduler_spawn_carrier(s);
    park_lock(&s->lock);
    if (error && generation == s->generation) /* another generation counts its carriers anew */
        s->made--;
}

/* ---- every carrier ----------------------------------------------------------------------------------------------- */

/* What a carrier does in its base, first to last:
 *
 *   it is       the queue     it
 *   a spare     any           sleeps, and may watch: be_spare().  It comes back as the runner or a helper, or to stop
 *   a helper    has threads   looks at the clock and at files if the runner hasn't for a TICK, or goes on in a thread
 *   the runner  any           has no turns left: looks at the clock and at files
 *               empty         sleeps until a timer, an event of a file, or a wake-up
 *               has threads   goes on in the first.  With a slice it has a watcher made before that, if there is none
 *
 * A runner loses its place only while it is in a thread, or is late in waking up.  When the thread leaves that LWP, to
 *   sleep without a deadline    the runner need not know: a waker of the thread wakes the runner
 *   wait for a file             the same: the kernel does
 *   sleep with a deadline       an idle runner must look, if the deadline comes before its own
 *   yield                       an idle runner must look
 *   end                         gone() wakes the threads that wait for it
 *   (any, the last LWP in one)  an idle runner must look for a deadlock, unless a file could end it
 *
 * A runner that isn't idle sees all this before it sleeps, since it has the lock then. */
void carrier_run(struct carrier *c)
{
    struct scheduler *s = c->scheduler;
    int tried = 0;

    if (c == &s->lent) /* clear a stale deadlock report, or the native thread would take it for the reason of its next wake-up */
        atomic_store_explicit(&s->was_deadlocked, 0, memory_order_relaxed);
    for (; c->generation == s->generation; c->chosen = 0) {
        take_free_place(c);
        if (s->runner != c && !may_help(c)) {
            be_spare(c);
            s->handed = s->handed && s->runner != c;
            continue;
        }
        if (s->runner != c && is_overdue(s, park_now())) {
            check_events(s);
            has_looked(s);
            continue;
        }
        if (s->runner == c && s->turns < 0) {
            s->turns = TURNS;
            check_events(s);
            has_looked(s);
            continue;
        }
        if (!s->head) {
            runner_sleep(c);
            has_looked(s);
            continue;
        }
        if (!tried && lacks_watcher(s)) {
            tried = 1;
            spawn_watcher(s);
            continue;
        }
        tried = 0;
        watch_again(s);
        s->moves += s->runner == c;
        struct green *to = ready_pop(s);
        if (to == &c->base)
            break;
        if (c == &s->lent)
            s->looked = 0;
        s->out++;
        green_switch(s, &c->base, to);
        park_lock(&s->lock);
        s->out--;
        if (s->runner != c && atomic_load(&s->idle) != IDLE_IN_C && runner_must_look(s))
            runner_wake(runner_mark_busy(s));
        if (c->chosen)
            break;
    }
    c->chosen = 0;
    park_unlock(&s->lock);
}

void carrier_schedule(struct scheduler *s, struct green *me)
{
    struct carrier *c = me->carrier;

    me->asked = 0;
    if (me == &c->base) {
        carrier_run(c);
        return;
    }
    int from_queue = 0;
    if (s->runner == c) {
        s->turns--;
        s->moves++;
        from_queue = s->turns >= 0 && s->head;
    } else
        from_queue = helper_goes_on(c);
    struct green *to = from_queue ? ready_pop(s) : &c->base;
    c->chosen = from_queue && to == &c->base;
    if (to == me)
        park_unlock(&s->lock);
    else
        green_switch(s, me, to);
}

/* ---- C code of others -------------------------------------------------------------------------------------------- */

void carrier_enters_c(struct carrier *c)
{
    struct scheduler *s = c->scheduler;
    atomic_int *sleeper = NULL;

    park_lock(&s->lock);
    if (s->runner == c && c->generation == s->generation) {
        s->sleeps_until = PARK_FOREVER;
        if (s->head || s->timers || watches_files(s))
            sleeper = runner_hand_over(s);
        else { /* a waker, or an LWP that comes to its base, hands over when there is something to do */
            atomic_store(&s->idle, IDLE_IN_C);
            wake_outsiders(s);
        }
    }
    park_unlock(&s->lock);
    runner_wake(sleeper);
}

/* Whether a thread that comes back may have the runner's place: it still has it, or the runner is in C code too, or still sleeps as the spare
 * that it was. */
static int may_run(struct carrier *c)
{
    struct scheduler *s = c->scheduler;

    return s->runner == c || s->handed || atomic_load(&s->idle) == IDLE_IN_C
           || atomic_load_explicit(&s->runner->in->in_c_since, memory_order_relaxed);
}

static void run_again(struct carrier *c)
{
    struct scheduler *s = c->scheduler;

    if (s->handed && s->runner != s->watcher)
        list_spare(s->runner);
    s->runner = c;
    s->handed = 0;
    atomic_store(&s->idle, BUSY);
    watch_again(s);
}

int carrier_leaves_c(struct carrier *c)
{
    struct scheduler *s = c->scheduler;

    park_lock(&s->lock);
    int on = s->runner && c->generation == s->generation, runs = on && may_run(c);
    if (runs)
        run_again(c);
    /* A runner in its base sleeps, and keeps the place: only one LWP may sleep for files. */
    int lost = on && !runs && s->runner->in != &s->runner->base;
    park_unlock(&s->lock);
    return lost;
}

void carrier_begins_wait_in_c(struct scheduler *s)
{
    park_lock(&s->lock);
    s->waiting_in_c++;
    if (lacks_watcher(s))
        s->turns = -1; /* the runner goes to its base, and there it makes one, before it enters another thread */
    park_unlock(&s->lock);
}

void carrier_ends_wait_in_c(struct scheduler *s)
{
    park_lock(&s->lock);
    s->waiting_in_c--;
    park_unlock(&s->lock);
}

int carrier_others_go_on(struct scheduler *s, long moves)
{
    park_lock(&s->lock);
    int go_on = s->moves != moves || s->head || (s->timers && s->timers->deadline <= park_now());
    go_on = go_on || (s->poller && poller_is_ready(s->poller));
    park_unlock(&s->lock);
    return go_on;
}

void carriers_wake(struct scheduler *s)
{
    wake_outsiders(s);
    if (s->watcher)
        wake_spare(s->watcher);
    for (struct carrier *c = s->spares; c; c = c->next)
        wake_spare(c);
    runner_wake(runner_mark_busy(s));
}

static void forget_lost(void *of)
{
    struct scheduler *s = of;

    s->head = s->ended = NULL;
    s->timers = NULL;
    s->runner = s->watcher = s->spares = NULL;
    s->generation++;
    s->threads = 0;
    s->turns = s->looked = s->made = s->begun = s->out = s->stopping = s->handed = s->waiting_in_c = 0;
    s->served = s->served ? INHERITED : UNSERVED;
    s->look_at = 0;
    if (s->poller)
        poller_free(s->poller); /* its descriptors lead to the parent's files */
    s->poller = s->lwps > 1 ? poller_new() : NULL;
    atomic_store(&s->lock, 0);
    atomic_store(&s->waited, 0);
    atomic_store(&s->awaited, 0);
    atomic_store(&s->attached, 0);
    atomic_store(&s->polling, 0);
    atomic_store(&s->was_deadlocked, 0);
    atomic_store(&s->idle, BUSY);
    atomic_store(&s->outsiders, 0);
}

void scheduler_forget_lost(struct scheduler *s)
{
    fork_forget(&s->forks, forget_lost, s);
}
