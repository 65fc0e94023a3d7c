#include "explore/explore.h"

#include "kernel/arch/arch.h"
#include "kernel/glibc/glibc.h"
#include "green/switch.h"
#include "kernel/base/poll.h"
#include "kernel/lwp/lwp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

int (*explore_unstick)(struct explored *thread);
void *(*explore_let_others_run)(void);
void (*explore_go_on)(void *held);

static struct {
    struct scheduler *scheduler;
    struct explore_plan plan;
    struct explored *next; /* what explore_leave() goes on in; NULL: the base */
    int last;              /* the thread that took the last step */
    int alive;
    int unwinding, failed;
    int lwps;       /* of the process, when the run began */
    int64_t waited; /* ns, for threads from before the run */
    long passed, late;     /* operations that were no steps; points between bytecodes past the limit */
    unsigned turns;        /* the clock in earnest is looked at in each 64th, because that takes as long as a step */
    int64_t unwound_by;    /* in earnest: what has not ended by then is abandoned */
    struct explored *_Atomic running;
    atomic_long progress;
    atomic_int stopped;
} run;

enum { MOST_CANCELLED = 1000, HOPELESS = 20000 };
enum { MOST_PASSED = 25, LATE_POINTS = 50 }; /* the first: times the limit */
#define UNWINDING_PATIENCE 1000000000LL /* ns */
#define SLACK 100000LL /* ns */
/* ns: a sleep of an explored thread lasts at most this long by the real clock while the test has child processes, which may end it. */
#define CHILDS_PATIENCE 50000000LL
#define OUTSIDE_PATIENCE 1000000LL    /* ns that a file may take while a deadline is there to move the clock to */
#define FULL_PATIENCE 1000000000LL    /* ns: after these in earnest nothing will come */
#define LWP_PATIENCE 5000000000LL     /* ns that a thread with an LWP of its own may take */

/* ---- who can go on ----------------------------------------------------------------------------------------------- */

static int file_is_ready(const struct explored *thread)
{
    return poll(thread->files, (nfds_t)thread->file_count, 0) != 0;
}

int explore_is_cancelled(const struct explored *thread)
{
    return thread->cancel && atomic_load(&thread->cancel->word);
}

static inline __attribute__((always_inline)) int can_go_on(const struct explored *thread)
{
    switch (thread->state) {
    case EXPLORED_NEW:
        return 1;
    case EXPLORED_AT_POINT:
        return !thread->op.can || thread->op.can(thread) || explore_is_cancelled(thread);
    case EXPLORED_WOKEN:
        return !thread->op.can || thread->op.can(thread);
    default:
        return 0;
    }
}

/* A thread that was woken waits for something without a deadline.  A thread that is in the middle of a task is not at its TURN. */
static int has_deadline(const struct explored *thread)
{
    int sleeps = thread->state == EXPLORED_AT_POINT || thread->state == EXPLORED_ASLEEP;

    return thread->op.deadline != PARK_FOREVER && sleeps && (!thread->loop || thread->green->explored == thread);
}

/* Returns whether there is one.  *first: the thread with the earliest deadline, of those that can't go on; NULL: none has one. */
static int all_that_can(struct explore_set *can, const struct explored **first)
{
    int some = 0;

    *first = NULL;
    explore_clear(can);
    for (int i = 0; i < explore_run.count; i++) {
        const struct explored *thread = &explore_run.threads[i];
        int has = has_deadline(thread);
        if (can_go_on(thread) || (has && thread->op.deadline <= explore_run.now)) {
            explore_add(can, i);
            some = 1;
        } else if (has && (!*first || thread->op.deadline < (*first)->op.deadline))
            *first = thread;
    }
    return some;
}

/* The threads that can only go on if their time is up early, and cancellers.  They join those that can. */
static void add_all_that_strike(struct explore_set *can, struct explore_set *early)
{
    explore_clear(early);
    for (int i = 0; run.plan.strikes && i < explore_run.count; i++) {
        const struct explored *thread = &explore_run.threads[i];
        int is_early = run.plan.strikes & EXPLORE_EARLY && has_deadline(thread) && !explore_has(can, i);
        if (is_early || explore_may_strike(thread)) {
            explore_add(can, i);
            explore_add(early, i);
        }
    }
}

/* ---- circles: each thread waits for what the next one has, without an end ---------------------------------------- */

static const struct explored *waited_for(const struct explored *thread)
{
    const struct explore_op *op = &thread->op;
    if (op->kind == EXPLORE_TURN && thread->green->explored != thread)
        return thread->green->explored; /* its thread is in the middle of another task */
    int waits = thread->state == EXPLORED_WOKEN || (thread->state == EXPLORED_AT_POINT && op->deadline == PARK_FOREVER);

    if (!waits || thread->cancel || !op->can || op->can(thread))
        return NULL;
    return op->kind == EXPLORE_JOIN                                  ? op->object
           : op->kind == EXPLORE_ACQUIRE || op->kind == EXPLORE_WAKE ? explore_holder(op->object)
                                                                     : NULL;
}

/* A thread that waits for itself is none: threading.Condition takes a lock twice, which the thread that notifies releases. */
static int closes_circle(const struct explored *me)
{
    const struct explored *thread = waited_for(me);

    if (thread == me)
        return 0;
    for (int length = 1; thread && thread != me && length < explore_run.count; length++)
        thread = waited_for(thread);
    return thread == me;
}

/* ---- what comes from outside of the run -------------------------------------------------------------------------- */

/* The patience is spent once in a run, because a livelock that sleeps would wait thousands of times. */
static int waits_for_others(void)
{
    return run.waited < run.plan.patience;
}

static void sleep_in_earnest(struct pollfd *files, int count, int64_t ns)
{
    struct timespec length = {ns / PARK_SECOND, ns % PARK_SECOND};
    void *held = explore_let_others_run ? explore_let_others_run() : NULL;

    ppoll(files, (nfds_t)count, &length, NULL);
    if (held)
        explore_go_on(held);
}

/* Sleeps in earnest, for what comes from outside of the run: a file, or a thread that has an LWP of its own.  Returns whether there is
 * such a thing.  The thread that waits for the file counts as the running thread meanwhile, so that explore_running() names it.  Of
 * many files it waits for some, because the sleep is short. */
static enum outside { NOTHING, AN_LWP, A_FILE } wait_outside(void)
{
    struct pollfd files[EXPLORE_THREADS];
    int count = 0, lwps = green_lwps() > (waits_for_others() ? 1 : run.lwps) || atomic_load(&lwps_ending);

    for (int i = 0; i < explore_run.count; i++) {
        struct explored *thread = &explore_run.threads[i];
        if (thread->state != EXPLORED_AT_POINT || thread->op.can != file_is_ready)
            continue;
        if (count == 0)
            atomic_store(&run.running, thread);
        for (int at = 0; at < thread->file_count && count < EXPLORE_THREADS; at++)
            files[count++] = thread->files[at];
    }
    if (count || lwps)
        sleep_in_earnest(files, count, OUTSIDE_PATIENCE); /* an LWP's wake-up is not a file's, and the run may be ended: look often */
    return count ? A_FILE : lwps ? AN_LWP : NOTHING;
}

int explore_has_children(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* The last deadline that is about as early as the earliest.  The kernel's timers are no more exact, so the threads that have these deadlines
 * may go on in any order. */
static int64_t last_of_these(int64_t earliest)
{
    int64_t last = earliest;

    for (int i = 0; i < explore_run.count; i++) {
        const struct explored *thread = &explore_run.threads[i];
        if (has_deadline(thread) && thread->op.deadline > last && thread->op.deadline - earliest < SLACK)
            last = thread->op.deadline;
    }
    return last;
}

/* No thread can go on before that deadline.  With a child process a sleep, with which the process is polled, lasts some time at least. */
static void go_to_deadline(int64_t deadline, int has_children)
{
    int64_t left = deadline - explore_run.now;

    if (has_children)
        sleep_in_earnest(NULL, 0, left < CHILDS_PATIENCE ? left : CHILDS_PATIENCE);
    explore_clock_rests(deadline);
}

void explore_stop(void)
{
    atomic_store(&run.stopped, 1);
}

/* Whether the run's time in earnest is up. */
static int out_of_time(void)
{
    if (atomic_load_explicit(&run.stopped, memory_order_relaxed))
        return 1;
    if (run.plan.until == PARK_FOREVER || run.turns++ % 64 || park_clock(CLOCK_MONOTONIC) < run.plan.until)
        return 0;
    explore_stop();
    return 1;
}

static int wait_until_some_can(struct explore_set *can)
{
    const struct explored *first;
    int64_t waited = 0;
    int some = all_that_can(can, &first);

    if (some && first && explore_clock_hurries(last_of_these(first->op.deadline), first->sleeps))
        return all_that_can(can, &first);
    while (!some && !run.failed) {
        int64_t before = park_clock(CLOCK_MONOTONIC);
        enum outside outside = wait_outside();
        /* A child process takes time in earnest for what a thread waits for, and its own clock is the system's, so the clock goes with
         * that while a thread waits for a file. */
        int has_children = explore_has_children(), goes = has_children && outside == A_FILE;
        if (goes)
            explore_run.now += park_clock(CLOCK_MONOTONIC) - before;
        /* Also if there was nothing outside: an LWP may have ended, and woken a thread, just before. */
        if ((some = all_that_can(can, &first)))
            break;
        if (run.plan.until != PARK_FOREVER && before >= run.plan.until)
            explore_stop();
        if (out_of_time())
            break;
        if (outside && waits_for_others()) {
            run.waited += park_clock(CLOCK_MONOTONIC) - before; /* on busy processors a sleep takes longer than asked */
            continue;
        }
        if (first && !goes)
            go_to_deadline(last_of_these(first->op.deadline), has_children);
        else if (!first && (!outside || run.waited >= FULL_PATIENCE || (waited += OUTSIDE_PATIENCE) > LWP_PATIENCE))
            break;
        some = all_that_can(can, &first);
    }
    return some;
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* For explore_running(). */
static void count_progress(void)
{
    atomic_store_explicit(&run.progress, atomic_load_explicit(&run.progress, memory_order_relaxed) + 1, memory_order_relaxed);
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
    atomic_store_explicit(&run.running, thread, memory_order_relaxed);
    count_progress();
    return thread;
}

static struct explored *take_step(struct explore_set *can)
{
    struct explore_set early;
    int usual = explore_usual(can, run.last); /* of those that can go on in time */

    add_all_that_strike(can, &early);
    int forced = explore_is_single(can);
    explore_run.choices += !forced;
    int chosen = forced ? usual : explore_choose(can, run.last, usual);
    struct explored *thread = &explore_run.threads[chosen];
    int late = !explore_is_canceller(thread) && !can_go_on(thread);

    explore_record(thread, can, &early, usual,
                   (late || thread->by_timeout ? EXPLORE_WAS_TIMEOUT : 0) | (forced ? EXPLORE_WAS_FORCED : 0)
                       | explore_turn_flags(thread, &explore_run.threads[usual], &explore_run.threads[run.last]));
    explore_chosen(thread, can);
    explore_clock_steps(thread->op.kind);
    if (late && thread->op.deadline > explore_run.now)
        explore_run.now = thread->op.deadline;
    if (late && thread->op.kind == EXPLORE_FILE && explore_has_children())
        sleep_in_earnest(NULL, 0, OUTSIDE_PATIENCE / 10); /* otherwise a loop of polls would be over before the process has begun */
    thread->result = late ? ETIMEDOUT : 0;
    thread->yields = late || thread->op.kind == EXPLORE_YIELD;
    run.last = chosen;
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
        explore_run.final[i].may = can_go_on(thread) || has_deadline(thread);
        explore_run.final[i].object = explore_number(thread->op.object, &fresh);
    }
}

static void begin_to_unwind(enum explore_outcome outcome)
{
    run.unwinding = 1;
    run.unwound_by = park_clock(CLOCK_MONOTONIC) + UNWINDING_PATIENCE;
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

    if (!thread && park_clock(CLOCK_MONOTONIC) < run.unwound_by)
        thread = next_to_cancel_again();
    if (thread)
        return resume_thread(thread);
    explore_run.abandoned = run.alive;
    atomic_store(&run.running, NULL);
    return NULL;
}

struct explored *explore_running(long *progress)
{
    *progress = atomic_load(&run.progress);
    return atomic_load(&run.running);
}

static enum explore_outcome none_goes_on(void)
{
    return explore_run.threads[0].state == EXPLORED_ENDED ? EXPLORE_LEFT_BEHIND : EXPLORE_DEADLOCK;
}

static struct explored *choose_next(void)
{
    struct explore_set can;

    if (run.unwinding)
        return next_to_unwind();
    if (run.failed)
        begin_to_unwind(explore_run.outcome);
    else if (only_daemons_left())
        begin_to_unwind(EXPLORE_FINISHED);
    else if (out_of_time())
        begin_to_unwind(EXPLORE_OUT_OF_TIME);
    else if (explore_run.step >= run.plan.end)
        begin_to_unwind(EXPLORE_LIMIT);
    else if (wait_until_some_can(&can))
        return take_step(&can);
    else
        begin_to_unwind(run.failed ? explore_run.outcome : out_of_time() ? EXPLORE_OUT_OF_TIME : none_goes_on());
    return next_to_unwind();
}

void explore_fail(enum explore_outcome outcome)
{
    if (!run.unwinding && !run.failed)
        explore_run.outcome = outcome;
    run.failed = 1;
}

int explore_is_unwinding(void)
{
    return run.unwinding;
}

int explore_stops_after(void)
{
    return run.plan.after;
}

int explore_cancels(void)
{
    return run.plan.strikes & EXPLORE_CANCELS;
}

/* ---- an explored thread ------------------------------------------------------------------------------------------ */

/* It goes on though it was cancelled again and again, or for long. */
static int is_hopeless(struct explored *me)
{
    if (run.turns++ % 64 == 63 && park_clock(CLOCK_MONOTONIC) > run.unwound_by)
        me->cancelled = HOPELESS + 1;
    return me->cancelled > HOPELESS;
}

/* The thread stays where it is, once its caller has called explore_leave(). */
static void stay_for_good(struct explored *me)
{
    me->state = EXPLORED_AT_POINT;
    run.next = next_to_unwind();
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
    if (run.unwinding) {
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
    if (op->can && run.plan.circles && closes_circle(me)) {
        explore_run.in_circle = me->index;
        explore_fail(none_goes_on());
    }
    run.next = choose_next();
    return !run.next || run.next->green != me->green;
}

/* The only thread alive: there is nothing to choose, and a report tells its operations of primitives only, if they are few. */
static int passes_alone(const struct explore_op *op)
{
    int is_brief = op->kind <= EXPLORE_READ || op->kind == EXPLORE_RELEASE || op->kind == EXPLORE_SIGNAL;

    if (run.passed >= run.plan.limit * MOST_PASSED)
        return 0;
    return op->kind == EXPLORE_CODE || (is_brief && explore_run.step >= run.plan.limit / 2);
}

/* Past the limit most points between bytecodes are none: a test that is short between its operations, and long between its bytecodes,
 * ends. */
static int passes_late(const struct explore_op *op)
{
    return op->kind == EXPLORE_CODE && explore_run.step >= run.plan.limit && (!op->at_gil || ++run.late % LATE_POINTS != 0);
}

int explore_passes(struct explored *me, const struct explore_op *op)
{
    if (run.unwinding || run.failed || !(run.alive == 1 ? passes_alone(op) : passes_late(op)))
        return 0;
    me->op = *op;
    if ((op->can && !op->can(me)) || out_of_time())
        return 0;
    run.passed++;
    explore_clock_steps(op->kind);
    count_progress();
    return 1;
}

void explore_escape(void)
{
    struct explored *me = explore_me();

    if (!me || me != atomic_load(&run.running))
        return;
    me->state = EXPLORED_AT_POINT;
    me->cancelled = HOPELESS + 1;
    if (!run.unwinding)
        begin_to_unwind(run.failed ? explore_run.outcome : EXPLORE_STUCK);
    run.next = next_to_unwind();
    explore_leave();
}

void explore_leave(void)
{
    struct green *base = &run.scheduler->lent.base;

    park_lock(&run.scheduler->lock);
    green_switch(run.scheduler, park_green, run.next ? run.next->green : base);
}

static void explored_begin(struct green *green)
{
    struct explored *thread = &explore_run.threads[explore_run.count];

    *thread = (struct explored){.green = green, .index = explore_run.count++, .op = {.deadline = PARK_FOREVER}};
    green->explored = thread;
    run.alive++;
    *(const int64_t **)arch_tls_of(green->tp, &park_time) = &explore_run.now;
    explore_choice_thread(thread);
}

static void explored_ready(struct green *green)
{
    park_lock(&run.scheduler->lock);
    /* A thread that an earlier run has abandoned is woken in vain: its place is another thread's. */
    if (green->explored->green == green && green->explored->state == EXPLORED_ASLEEP)
        green->explored->state = EXPLORED_WOKEN;
    park_unlock(&run.scheduler->lock);
}

static int explored_wait(struct green *green, atomic_int *word, int expected, int64_t deadline, unsigned bits)
{
    struct explored *me = green->explored;

    if (!me) /* the base */
        return futex_wait(word, expected, deadline, PARK_PRIVATE);
    if (deadline <= explore_run.now)
        return ETIMEDOUT;
    if (run.unwinding && (!me->cancelled || deadline != PARK_FOREVER)) {
        int first = me->cancelled++ == 0;
        if (is_hopeless(me)) {
            stay_for_good(me);
            explore_leave();
        }
        return first || me->cancelled > MOST_CANCELLED ? EINTR : ETIMEDOUT;
    }
    park_lock(&run.scheduler->lock);
    int cancelled = park_cancel && !green_may_sleep(green);
    int sleeps = !cancelled && wait_table_enter(&green->waiter, word, expected, bits);
    if (sleeps) {
        me->op = (struct explore_op){EXPLORE_WAKE, me->awake_for, me->awake, deadline};
        me->state = EXPLORED_ASLEEP;
        me->looks = me->looked = 0;
    }
    park_unlock(&run.scheduler->lock);
    if (sleeps) {
        run.next = choose_next();
        if (run.next != me)
            explore_leave();
    }
    green_is_awake();
    return cancelled ? EINTR : sleeps ? green->waiter.result : 0;
}

static int explored_wait_fds(struct green *green, struct pollfd *files, int count, int64_t deadline)
{
    struct explored *me = green->explored;
    int64_t until = park_cancel && park_cancel->deadline < deadline ? park_cancel->deadline : deadline;
    const struct explore_op op = {EXPLORE_FILE, NULL, file_is_ready, until};

    if (!me)
        return park_poll_all(files, count, deadline);
    me->files = files;
    me->file_count = count;
    me->cancel = park_cancel;
    if (explore_arrive(me, &op))
        explore_leave();
    int cancelled = explore_is_cancelled(me) && !file_is_ready(me);
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
    struct scheduler *s = run.scheduler;

    green->explored->state = EXPLORED_ENDED;
    explore_tasks_end(green->explored);
    run.alive--;
    run.next = choose_next();
    park_lock(&s->lock);
    s->ended = green;
    green_switch(s, green, run.next ? run.next->green : &s->lent.base);
}

const struct policy explore_policy = {explored_begin, explored_ready, explored_wait, explored_wait_fds, explored_yield, explored_end};

/* ---- the LWP that explores --------------------------------------------------------------------------------------- */

int explore_prepare(struct scheduler *s, const struct explore_plan *plan, int64_t now)
{
    long capacity = plan->limit * 2;

    if (capacity > explore_run.capacity) {
        struct explore_step *steps = realloc(explore_run.steps, (size_t)capacity * sizeof *steps);
        if (!steps)
            return ENOMEM;
        explore_run.steps = steps;
    }
    explore_run.capacity = capacity;
    explore_forget_numbers();
    explore_run.count = explore_run.tasks = explore_run.cancellers = explore_run.abandoned = 0;
    explore_run.cancelled = EXPLORE_NOT_CANCELLED;
    explore_run.made = explore_run.choices = 0;
    explore_run.number++;
    explore_run.step = explore_run.missed = 0;
    explore_run.hash = explore_run.schedule = 0;
    explore_run.outcome = EXPLORE_FINISHED;
    explore_run.in_circle = -1;
    explore_clock_begins(now, plan->end / 2);
    run.scheduler = s;
    run.plan = *plan;
    run.next = NULL;
    run.last = run.alive = run.unwinding = run.failed = 0;
    run.lwps = green_lwps();
    run.waited = run.passed = run.late = 0;
    run.turns = 0;
    atomic_store(&run.stopped, 0);
    explore_choice_begins(&run.plan);
    return 0;
}

void explore_go(void)
{
    run.next = choose_next();
    if (run.next)
        explore_leave();
    if (explore_run.abandoned) /* the end of the program must not wait for abandoned threads */
        atomic_store(&run.scheduler->waited, 0);
}
