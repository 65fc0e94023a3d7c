#include "green/green.h"

#include "kernel/arch/arch.h"
#include "green/carrier.h"
#include "green/shared_lwp.h"
#include "green/switch.h"
#include "kernel/base/poll.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>

#define LONG_TURN 1000000 /* ns: see green_turn_is_over() */
#define LOOK_EVERY 1000000 /* ns for which the runner doesn't look at files, if threads are ready */
enum { SHARE = 64 }; /* one in SHARE wake-ups counts one woken less, so that a waiter with an LWP of its own is woken too */

/* ---- a thread's turns -------------------------------------------------------------------------------------------- */

static void first_turn(void *arg)
{
    struct green *me = arg;

    green_finish_switch(me->scheduler);
    me->entry(me->arg);
    abort(); /* not reached: entry() ends by green_end() */
}

void green_begin(struct green *green, struct scheduler *s, void *stack_high, void *tp, void (*entry)(void *), void *arg,
                 void (*gone)(struct green *), int waited)
{
    *green = (struct green){
        .scheduler = s, .tp = tp, .mask = green_lwp_mask(), .entry = entry, .arg = arg, .gone = gone, .waited = waited};
    green->sp = arch_swap_begin(stack_high, first_turn, green);
    *green_of(tp) = green;
    scheduler_forget_lost(s);
    atomic_fetch_add(&s->waited, waited != 0);
    park_lock(&s->lock);
    s->threads++;
    s->counts.started++;
    park_unlock(&s->lock);
    if (s->policy)
        s->policy->begin(green);
    else
        green_resume(green);
}

_Noreturn void green_end(void)
{
    struct green *me = park_green;

    if (me->scheduler->policy)
        me->scheduler->policy->end(me);
    park_lock(&me->scheduler->lock);
    me->scheduler->ended = me;
    carrier_schedule(me->scheduler, me);
    abort(); /* not reached: an ended thread is never resumed */
}

void green_yield(void)
{
    struct green *me = park_green;

    if (!me) {
        sched_yield();
        return;
    }
    if (me->scheduler->policy) {
        me->scheduler->policy->yield(me);
        return;
    }
    park_lock(&me->scheduler->lock);
    ready_push(me->scheduler, me);
    carrier_schedule(me->scheduler, me);
}

void green_end_turn(void)
{
    struct green *me = park_green;

    park_lock(&me->scheduler->lock);
    me->scheduler->turns = -1; /* the carrier looks at the clock and at files before its next turn */
    ready_push(me->scheduler, me);
    carrier_schedule(me->scheduler, me);
}

/* The runner looks at the clock and at files before the next turn. */
static void look_soon(struct scheduler *s)
{
    park_lock(&s->lock);
    if (s->turns > 0)
        s->turns = 0;
    park_unlock(&s->lock);
}

int green_turn_is_over(void)
{
    struct green *me = park_green;

    if (!me || me->scheduler->policy)
        return 0;
    int64_t now = park_now();
    if (now - atomic_load_explicit(&me->scheduler->looked_at, memory_order_relaxed) >= LOOK_EVERY)
        look_soon(me->scheduler);
    if (!me->asked)
        me->asked = now;
    return now - me->asked >= LONG_TURN;
}

enum green_state green_state_of(void *tp)
{
    struct green *green = *green_of(tp);
    /* NULL while the thread begins to lend its LWP once more; volatile, so that it is read once. */
    struct scheduler *s = green ? *(struct scheduler *volatile *)&green->scheduler : NULL;

    if (!s)
        return GREEN_NOT;
    park_lock(&s->lock);
    /* The carrier may have stopped: its record lies on a stack that is recycled and never unmapped. */
    int runs = green->carrier && green->carrier->in == green, sleeps = atomic_load(&green->waiter.word) != NULL;
    park_unlock(&s->lock);
    return sleeps ? GREEN_SLEEPS : runs ? GREEN_RUNS : GREEN_QUEUED;
}

/* ---- what park calls --------------------------------------------------------------------------------------------- */

static int green_wait(atomic_int *word, int expected, int64_t deadline, unsigned bits)
{
    struct green *me = park_green;
    struct scheduler *s = me->scheduler;

    if (s->policy)
        return s->policy->wait(me, word, expected, deadline, bits);
    if (deadline <= 0)
        return ETIMEDOUT;
    park_lock(&s->lock);
    if (park_cancel && !green_may_sleep(me)) {
        park_unlock(&s->lock);
        return EINTR;
    }
    if (!wait_table_enter(&me->waiter, word, expected, bits)) {
        park_unlock(&s->lock);
        green_is_awake();
        return 0;
    }
    if (deadline != PARK_FOREVER)
        timer_set(&s->timers, &me->timer, deadline);
    carrier_schedule(s, me);
    green_is_awake();
    return me->waiter.result;
}

void green_is_awake(void)
{
    if (park_cancel)
        atomic_store(&park_cancel->green, NULL);
}

int green_may_sleep(struct green *me)
{
    struct park_cancel *cancel = park_cancel;

    /* The canceller writes the word, reads `scheduler`, and takes its lock, which our caller has: it finds the thread asleep, or we see
     * the word. */
    atomic_store(&cancel->scheduler, me->scheduler);
    if (atomic_load(&cancel->word))
        return 0;
    atomic_store(&cancel->green, me);
    return 1;
}

void green_interrupt(struct park_cancel *cancel)
{
    struct scheduler *s = atomic_load(&cancel->scheduler);

    if (!s)
        return;
    park_lock(&s->lock);
    struct green *green = atomic_load(&cancel->green);
    int slept = green && wait_table_leave(&green->waiter, EINTR);
    atomic_int *sleeper = NULL;
    if (slept && !s->policy) {
        green_make_ready(s, green);
        sleeper = runner_mark_busy(s);
    }
    park_unlock(&s->lock);
    if (slept && s->policy)
        s->policy->ready(green);
    runner_wake(sleeper);
}

static int green_wake(atomic_int *word, int count, unsigned bits)
{
    static atomic_uint wakes;
    int woken;
    struct waiter *waiter = wait_table_take(word, count, bits, &woken), *newer;

    for (; waiter; waiter = newer) {
        newer = waiter->newer;
        green_resume(CONTAINER(waiter, struct green, waiter));
    }
    /* Green waiters come first.  If they always did, a waiter with an LWP of its own could starve. */
    return woken && atomic_fetch_add_explicit(&wakes, 1, memory_order_relaxed) % SHARE == 0 ? woken - 1 : woken;
}

const struct park_ops green_park_ops = {green_wait, green_wake};

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* A scheduler with one LWP gets its poller here, and needs no lock, since that LWP is the caller's; others have one from the start.  NULL
 * with errno set. */
static struct poller *poller_of(struct scheduler *s)
{
    if (!s->poller)
        s->poller = poller_new();
    return s->poller;
}

unsigned green_closings(int fd)
{
    struct scheduler *s = park_green->scheduler;
    struct poller *poller = s->policy ? NULL : poller_of(s);

    return poller ? poller_closings(poller, fd) : 0;
}

static int wait_by_policy(int fd, unsigned events, int64_t deadline, unsigned *found)
{
    struct pollfd files[2] = {{.fd = fd, .events = (short)events}};
    int result = park_green->scheduler->policy->wait_fds(park_green, files, 1, deadline);

    *found = (unsigned)(unsigned short)files[0].revents;
    return !result && *found & POLLNVAL ? EBADF : result;
}

int green_wait_fd(int fd, unsigned events, const unsigned *closings, int64_t deadline, unsigned *found)
{
    struct green *me = park_green;

    if (!me)
        return park_poll(fd, events, deadline, found);
    struct scheduler *s = me->scheduler;
    if (s->policy)
        return wait_by_policy(fd, events, deadline, found);
    struct poller *poller = poller_of(s);
    if (!poller)
        return errno;
    int result = poller_wait(poller, fd, events, closings, deadline, found);
    if (result != EPERM)
        return result;
    *found = events;
    return 0;
}

int green_wait_fds(struct pollfd *files, int count, int64_t deadline)
{
    struct scheduler *s = park_green ? park_green->scheduler : NULL;

    if (!s)
        return park_poll_all(files, count, deadline);
    if (s->policy)
        return s->policy->wait_fds(park_green, files, count, deadline);
    struct poller *poller = poller_of(s);
    return poller ? poller_wait_all(poller, files, count, deadline) : errno;
}

int green_try(struct poller_try *attempt)
{
    struct scheduler *s = park_green->scheduler;
    struct poller *poller = s->policy ? NULL : poller_of(s);

    return poller ? poller_try(poller, attempt) : 1;
}

void green_drained(const struct poller_try *attempt)
{
    struct scheduler *s = park_green->scheduler;

    if (!s->policy && s->poller)
        poller_drained(s->poller, attempt);
}

int green_wait_edge(const struct poller_try *attempt, unsigned events, int64_t deadline)
{
    struct scheduler *s = park_green->scheduler;
    unsigned found;

    if (s->policy)
        return wait_by_policy(attempt->fd, events, deadline, &found);
    struct poller *poller = poller_of(s);
    return poller ? poller_wait_edge(poller, attempt, events, deadline) : errno;
}
