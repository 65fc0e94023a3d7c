/* Which threads can go on, and the wait until one can. */
#include "explore/run.h"

#include "kernel/base/poll.h"
#include "kernel/lwp/lwp.h"

#include <poll.h>
#include <sys/wait.h>

void *(*explore_let_others_run)(void);
void (*explore_go_on)(void *held);

struct explore_inside explore_inside;

#define SLACK 100000LL /* ns */
/* ns: a sleep of an explored thread lasts at most this long by the real clock while the test has child processes, which may end it. */
#define CHILDS_PATIENCE 50000000LL
#define FULL_PATIENCE 1000000000LL    /* ns: after these in earnest nothing will come */
#define LWP_PATIENCE 5000000000LL     /* ns that a thread with an LWP of its own may take */

/* ---- who can go on ----------------------------------------------------------------------------------------------- */

int explore_file_is_ready(const struct explored *thread)
{
    return poll(thread->files, (nfds_t)thread->file_count, 0) != 0;
}

int explore_is_cancelled(const struct explored *thread)
{
    return thread->cancel && atomic_load(&thread->cancel->word);
}

/* A thread that was woken waits for something without a deadline.  A thread that is in the middle of a task is not at its TURN. */
int explore_has_deadline(const struct explored *thread)
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
        int has = explore_has_deadline(thread);
        if (explore_can_go_on(thread) || (has && thread->op.deadline <= explore_run.now)) {
            explore_add(can, i);
            some = 1;
        } else if (has && (!*first || thread->op.deadline < (*first)->op.deadline))
            *first = thread;
    }
    return some;
}

void explore_add_strikes(struct explore_set *can, struct explore_set *early)
{
    explore_clear(early);
    for (int i = 0; explore_inside.plan.strikes && i < explore_run.count; i++) {
        const struct explored *thread = &explore_run.threads[i];
        int may = explore_has_deadline(thread) || explore_may_be_early(thread);
        int is_early = explore_inside.plan.strikes & EXPLORE_EARLY && may && !explore_has(can, i);
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
int explore_closes_circle(const struct explored *me)
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
    return explore_inside.waited < explore_inside.plan.patience;
}

void explore_sleep_in_earnest(struct pollfd *files, int count, int64_t ns)
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
    int count = 0, lwps = green_lwps() > (waits_for_others() ? 1 : explore_inside.lwps) || atomic_load(&lwps_ending);

    for (int i = 0; i < explore_run.count; i++) {
        struct explored *thread = &explore_run.threads[i];
        if (thread->state != EXPLORED_AT_POINT || thread->op.can != explore_file_is_ready)
            continue;
        if (count == 0)
            atomic_store(&explore_inside.running, thread);
        for (int at = 0; at < thread->file_count && count < EXPLORE_THREADS; at++)
            files[count++] = thread->files[at];
    }
    if (count || lwps)
        explore_sleep_in_earnest(files, count,
                                 OUTSIDE_PATIENCE); /* an LWP's wake-up is not a file's, and the run may be ended: look often */
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
        if (explore_has_deadline(thread) && thread->op.deadline > last && thread->op.deadline - earliest < SLACK)
            last = thread->op.deadline;
    }
    return last;
}

/* No thread can go on before that deadline.  With a child process a sleep, with which the process is polled, lasts some time at least. */
static void go_to_deadline(int64_t deadline, int has_children)
{
    int64_t left = deadline - explore_run.now;

    if (has_children)
        explore_sleep_in_earnest(NULL, 0, left < CHILDS_PATIENCE ? left : CHILDS_PATIENCE);
    explore_clock_rests(deadline);
}

void explore_stop(void)
{
    atomic_store(&explore_inside.stopped, 1);
}

int explore_wait_until_some_can(struct explore_set *can)
{
    const struct explored *first;
    int64_t waited = 0;
    int some = all_that_can(can, &first);

    if (some && first && explore_clock_hurries(last_of_these(first->op.deadline), first->sleeps))
        return all_that_can(can, &first);
    while (!some && !explore_inside.failed) {
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
        if (explore_inside.plan.until != PARK_FOREVER && before >= explore_inside.plan.until)
            explore_stop();
        if (explore_out_of_time())
            break;
        if (outside && waits_for_others()) {
            explore_inside.waited += park_clock(CLOCK_MONOTONIC) - before; /* on busy processors a sleep takes longer than asked */
            continue;
        }
        if (first && !goes)
            go_to_deadline(last_of_these(first->op.deadline), has_children);
        else if (!first && (!outside || explore_inside.waited >= FULL_PATIENCE || (waited += OUTSIDE_PATIENCE) > LWP_PATIENCE))
            break;
        some = all_that_can(can, &first);
    }
    return some;
}
