/* The run of explored threads: a step, the end of a run, and the policy by which its scheduler asks here who goes on. */
#include "explore/run.h"

#include "kernel/arch/arch.h"
#include "kernel/glibc/glibc.h"
#include "green/switch.h"
#include "kernel/base/poll.h"
#include "kernel/lwp/lwp.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

int (*explore_unstick)(struct explored *thread);

enum { MOST_CANCELLED = 1000, HOPELESS = 20000 };
enum { MOST_PASSED = 25, LATE_POINTS = 50 }; /* the first: times the limit */
#define UNWINDING_PATIENCE 1000000000LL /* ns */

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* For explore_running(). */
static void count_progress(void)
{
    atomic_store_explicit(&explore_inside.progress, atomic_load_explicit(&explore_inside.progress, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Makes this the thread that goes on. */
static struct explored *resume_thread(struct explored *thread)
{
    if (thread->state == EXPLORED_ASLEEP)
        wait_table_leave(&thread->green->waiter, thread->result);
    thread->state = EXPLORED_RUNNING;
    thread->green->explored = thread;
    if (thread->loop)
        thread->loop->turning = 0;
    atomic_store_explicit(&explore_inside.running, thread, memory_order_relaxed);
    count_progress();
    return thread;
}

static struct explored *take_step(struct explore_set *can)
{
    struct explore_set early;
    int usual = explore_usual(can, explore_inside.last); /* of those that can go on in time */

    explore_add_strikes(can, &early);
    int forced = explore_is_single(can);
    explore_run.choices += !forced;
    int chosen = forced ? usual : explore_choose(can, explore_inside.last, usual);
    struct explored *thread = &explore_run.threads[chosen];
    int late = !explore_is_canceller(thread) && !explore_is_task(thread) && !explore_can_go_on(thread);

    explore_record(thread, can, &early, usual,
                   (late || thread->by_timeout ? EXPLORE_WAS_TIMEOUT : 0) | (forced ? EXPLORE_WAS_FORCED : 0)
                       | explore_turn_flags(thread, &explore_run.threads[usual], &explore_run.threads[explore_inside.last]));
    explore_chosen(thread, can);
    explore_clock_steps(thread->op.kind);
    if (late && thread->op.deadline > explore_run.now)
        explore_run.now = thread->op.deadline;
    if (late && thread->op.kind == EXPLORE_FILE && explore_has_children())
        explore_sleep_in_earnest(NULL, 0,
                                 OUTSIDE_PATIENCE / 10); /* otherwise a loop of polls would be over before the process has begun */
    thread->result = late ? ETIMEDOUT : 0;
    thread->yields = late || thread->op.kind == EXPLORE_YIELD;
    explore_inside.last = chosen;
    return resume_thread(thread);
}

/* ---- the end of a run -------------------------------------------------------------------------------------------- */

void explore_look(void)
{
    int fresh;

    for (int i = 0; i < explore_run.count; i++) {
        struct explored *thread = &explore_run.threads[i];
        explore_run.final[i].state = thread->state;
        explore_run.final[i].kind = thread->op.kind;
        explore_run.final[i].may = explore_can_go_on(thread) || explore_has_deadline(thread);
        explore_run.final[i].object = explore_number(thread->op.object, &fresh);
    }
}

static void begin_to_unwind(enum explore_outcome outcome)
{
    explore_inside.unwinding = 1;
    explore_inside.unwound_by = park_clock(CLOCK_MONOTONIC) + UNWINDING_PATIENCE;
    explore_run.outcome = outcome;
    explore_look();
}

static int only_daemons_left(void)
{
    for (int i = 0; i < explore_run.count; i++)
        if (explore_run.threads[i].state != EXPLORED_ENDED && !explore_is_task(&explore_run.threads[i])
            && (i == 0 || explore_run.threads[i].green->waited))
            return 0;
    return 1;
}

/* A thread that hasn't been cancelled yet, or is not asleep.  A thread that sleeps again must be woken by another thread, if one
 * can. */
static struct explored *next_to_cancel(void)
{
    for (int i = 0; i < explore_run.count; i++) {
        struct explored *thread = &explore_run.threads[i];
        int asleep = thread->state == EXPLORED_ASLEEP;
        if (thread->state == EXPLORED_ENDED || thread->cancelled > HOPELESS || (asleep && thread->cancelled)
            || (thread->loop && thread->green->explored != thread))
            continue;
        int cancels = asleep || (thread->state == EXPLORED_AT_POINT && explore_may_cancel(thread->op.kind));
        thread->result = asleep ? EINTR : cancels ? ECANCELED : 0;
        thread->cancelled += cancels;
        return thread;
    }
    return NULL;
}

/* All sleep again.  A thread that needs a lock whose holder has ended is given that lock, because it sleeps until it has the lock,
 * whatever interrupts it. */
static struct explored *next_to_cancel_again(void)
{
    for (int i = 0; i < explore_run.count; i++) {
        struct explored *thread = &explore_run.threads[i];
        if (thread->state != EXPLORED_ASLEEP || ++thread->cancelled > HOPELESS)
            continue;
        thread->result = explore_unstick(thread) ? 0 : EINTR;
        return thread;
    }
    return NULL;
}

/* NULL: all have ended, or are abandoned. */
static struct explored *next_to_unwind(void)
{
    struct explored *thread = next_to_cancel();

    if (!thread && park_clock(CLOCK_MONOTONIC) < explore_inside.unwound_by)
        thread = next_to_cancel_again();
    if (thread)
        return resume_thread(thread);
    explore_run.abandoned = explore_inside.alive;
    atomic_store(&explore_inside.running, NULL);
    return NULL;
}

struct explored *explore_running(long *progress)
{
    *progress = atomic_load(&explore_inside.progress);
    return atomic_load(&explore_inside.running);
}

static enum explore_outcome none_goes_on(void)
{
    return explore_run.threads[0].state == EXPLORED_ENDED ? EXPLORE_LEFT_BEHIND : EXPLORE_DEADLOCK;
}

static struct explored *choose_next(void)
{
    struct explore_set can;

    if (explore_inside.unwinding)
        return next_to_unwind();
    if (explore_inside.failed)
        begin_to_unwind(explore_run.outcome);
    else if (only_daemons_left())
        begin_to_unwind(EXPLORE_FINISHED);
    else if (explore_out_of_time())
        begin_to_unwind(EXPLORE_OUT_OF_TIME);
    else if (explore_run.step >= explore_inside.plan.end)
        begin_to_unwind(EXPLORE_LIMIT);
    else if (explore_wait_until_some_can(&can))
        return take_step(&can);
    else
        begin_to_unwind(explore_inside.failed ? explore_run.outcome : explore_out_of_time() ? EXPLORE_OUT_OF_TIME : none_goes_on());
    return next_to_unwind();
}

void explore_fail(enum explore_outcome outcome)
{
    if (!explore_inside.unwinding && !explore_inside.failed)
        explore_run.outcome = outcome;
    explore_inside.failed = 1;
}

int explore_is_unwinding(void)
{
    return explore_inside.unwinding;
}

int explore_stops_after(void)
{
    return explore_inside.plan.after;
}

int explore_strikes(int which)
{
    return explore_inside.plan.strikes & which;
}

/* ---- an explored thread ------------------------------------------------------------------------------------------ */

/* It goes on though it was cancelled again and again, or for long. */
static int is_hopeless(struct explored *me)
{
    if (explore_inside.turns++ % 64 == 63 && park_clock(CLOCK_MONOTONIC) > explore_inside.unwound_by)
        me->cancelled = HOPELESS + 1;
    return me->cancelled > HOPELESS;
}

/* The thread stays where it is, once its caller has called explore_leave(). */
static void stay_for_good(struct explored *me)
{
    me->state = EXPLORED_AT_POINT;
    explore_inside.next = next_to_unwind();
}

static int result_while_unwinding(struct explored *me, const struct explore_op *op)
{
    if (!explore_may_cancel(op->kind))
        return 0;
    if (me->cancelled++ == 0 || me->cancelled > MOST_CANCELLED)
        return ECANCELED;
    me->op = *op;
    return !op->can || op->can(me) ? 0 : op->deadline != PARK_FOREVER ? ETIMEDOUT : ECANCELED;
}

int explore_arrive(struct explored *me, const struct explore_op *op)
{
    if (explore_inside.unwinding) {
        me->result = result_while_unwinding(me, op);
        if (!is_hopeless(me))
            return 0;
        stay_for_good(me);
        return 1;
    }
    me->op = *op;
    me->state = EXPLORED_AT_POINT;
    if (op->kind != EXPLORE_CODE && op->kind != EXPLORE_YIELD)
        me->looks = 0;
    if (op->can && explore_inside.plan.circles && explore_closes_circle(me)) {
        explore_run.in_circle = me->index;
        explore_fail(none_goes_on());
    }
    explore_inside.next = choose_next();
    return !explore_inside.next || explore_inside.next->green != me->green;
}

/* The only thread alive: there is nothing to choose, and a report tells its operations of primitives only, if they are few. */
static int passes_alone(const struct explore_op *op)
{
    int is_brief = op->kind <= EXPLORE_READ || op->kind == EXPLORE_RELEASE || op->kind == EXPLORE_SIGNAL;

    if (explore_inside.passed >= explore_inside.plan.limit * MOST_PASSED)
        return 0;
    return op->kind == EXPLORE_CODE || (is_brief && explore_run.step >= explore_inside.plan.limit / 2);
}

/* Past the limit most points between bytecodes are none: a test that is short between its operations, and long between its bytecodes,
 * ends. */
static int passes_late(const struct explore_op *op)
{
    return op->kind == EXPLORE_CODE && explore_run.step >= explore_inside.plan.limit
           && (!op->at_gil || ++explore_inside.late % LATE_POINTS != 0);
}

int explore_passes(struct explored *me, const struct explore_op *op)
{
    if (explore_inside.unwinding || explore_inside.failed || !(explore_inside.alive == 1 ? passes_alone(op) : passes_late(op)))
        return 0;
    me->op = *op;
    if ((op->can && !op->can(me)) || explore_out_of_time())
        return 0;
    explore_inside.passed++;
    explore_clock_steps(op->kind);
    count_progress();
    return 1;
}

void explore_escape(void)
{
    struct explored *me = explore_me();

    if (!me || me != atomic_load(&explore_inside.running))
        return;
    me->state = EXPLORED_AT_POINT;
    me->cancelled = HOPELESS + 1;
    if (!explore_inside.unwinding)
        begin_to_unwind(explore_inside.failed ? explore_run.outcome : EXPLORE_STUCK);
    explore_inside.next = next_to_unwind();
    explore_leave();
}

void explore_leave(void)
{
    struct green *base = &explore_inside.scheduler->lent.base;

    park_lock(&explore_inside.scheduler->lock);
    green_switch(explore_inside.scheduler, park_green, explore_inside.next ? explore_inside.next->green : base);
}

static void explored_begin(struct green *green)
{
    struct explored *thread = &explore_run.threads[explore_run.count];

    *thread = (struct explored){.green = green, .index = explore_run.count++, .op = {.deadline = PARK_FOREVER}};
    green->explored = thread;
    explore_inside.alive++;
    *(const int64_t **)arch_tls_of(green->tp, &park_time) = &explore_run.now;
    explore_choice_thread(thread);
}

static void explored_ready(struct green *green)
{
    park_lock(&explore_inside.scheduler->lock);
    /* A thread that an earlier run has abandoned is woken in vain: its place is another thread's. */
    if (green->explored->green == green && green->explored->state == EXPLORED_ASLEEP)
        green->explored->state = EXPLORED_WOKEN;
    park_unlock(&explore_inside.scheduler->lock);
}

static int explored_wait(struct green *green, atomic_int *word, int expected, int64_t deadline, unsigned bits)
{
    struct explored *me = green->explored;

    if (!me) /* the base */
        return futex_wait(word, expected, deadline, PARK_PRIVATE);
    if (deadline <= explore_run.now)
        return ETIMEDOUT;
    if (explore_inside.unwinding && (!me->cancelled || deadline != PARK_FOREVER)) {
        int first = me->cancelled++ == 0;
        if (is_hopeless(me)) {
            stay_for_good(me);
            explore_leave();
        }
        return first || me->cancelled > MOST_CANCELLED ? EINTR : ETIMEDOUT;
    }
    park_lock(&explore_inside.scheduler->lock);
    int cancelled = park_cancel && !green_may_sleep(green);
    int sleeps = !cancelled && wait_table_enter(&green->waiter, word, expected, bits);
    if (sleeps) {
        me->op = (struct explore_op){EXPLORE_WAKE, me->awake_for, me->awake, deadline};
        me->state = EXPLORED_ASLEEP;
        me->looks = me->looked = 0;
    }
    park_unlock(&explore_inside.scheduler->lock);
    if (sleeps) {
        explore_inside.next = choose_next();
        if (explore_inside.next != me)
            explore_leave();
    }
    green_is_awake();
    return cancelled ? EINTR : sleeps ? green->waiter.result : 0;
}

static int explored_wait_fds(struct green *green, struct pollfd *files, int count, int64_t deadline)
{
    struct explored *me = green->explored;
    int64_t until = park_cancel && park_cancel->deadline < deadline ? park_cancel->deadline : deadline;
    const struct explore_op op = {EXPLORE_FILE, NULL, explore_file_is_ready, until};

    if (!me)
        return park_poll_all(files, count, deadline);
    me->files = files;
    me->file_count = count;
    me->cancel = park_cancel;
    if (explore_arrive(me, &op))
        explore_leave();
    int cancelled = explore_is_cancelled(me) && !explore_file_is_ready(me);
    me->cancel = NULL;
    if (me->result == ETIMEDOUT)
        return until < deadline ? EINTR : ETIMEDOUT;
    return me->result || cancelled ? EINTR : park_poll_all(files, count, 0);
}

static void explored_yield(struct green *green)
{
    const struct explore_op op = {EXPLORE_YIELD, NULL, NULL, PARK_FOREVER};

    if (green->explored && explore_arrive(green->explored, &op))
        explore_leave();
}

static void explored_end(struct green *green)
{
    struct scheduler *s = explore_inside.scheduler;

    green->explored->state = EXPLORED_ENDED;
    explore_tasks_end(green->explored);
    explore_inside.alive--;
    explore_inside.next = choose_next();
    park_lock(&s->lock);
    s->ended = green;
    green_switch(s, green, explore_inside.next ? explore_inside.next->green : &s->lent.base);
}

const struct policy explore_policy = {explored_begin, explored_ready, explored_wait, explored_wait_fds, explored_yield, explored_end};

/* ---- the LWP that explores --------------------------------------------------------------------------------------- */

int explore_prepare(struct scheduler *s, const struct explore_plan *plan, int64_t now)
{
    if (explore_make_room(plan->limit * 2) != 0)
        return ENOMEM;
    explore_forget_numbers();
    explore_run.count = explore_run.tasks = explore_run.cancellers = explore_run.abandoned = 0;
    explore_run.cancelled = EXPLORE_NOT_CANCELLED;
    explore_run.made = explore_run.choices = explore_run.timed = explore_run.files = 0;
    explore_run.number++;
    explore_run.missed = 0;
    explore_run.hash = explore_run.schedule = 0;
    explore_run.outcome = EXPLORE_FINISHED;
    explore_run.in_circle = -1;
    explore_clock_begins(now, plan->end / 2);
    explore_inside.scheduler = s;
    explore_inside.plan = *plan;
    explore_inside.next = NULL;
    explore_inside.last = explore_inside.alive = explore_inside.unwinding = explore_inside.failed = 0;
    explore_inside.lwps = green_lwps();
    explore_inside.waited = explore_inside.passed = explore_inside.late = 0;
    explore_inside.turns = 0;
    atomic_store(&explore_inside.stopped, 0);
    explore_choice_begins(&explore_inside.plan);
    return 0;
}

void explore_go(void)
{
    explore_inside.next = choose_next();
    if (explore_inside.next)
        explore_leave();
    if (explore_run.abandoned) /* the end of the program must not wait for abandoned threads */
        atomic_store(&explore_inside.scheduler->waited, 0);
}
