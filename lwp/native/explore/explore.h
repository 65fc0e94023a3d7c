/* A run: the threads of a scheduler, of which one at a time goes on, as a plan says; and what they did, step by step.
 *
 * A thread comes to a POINT before each operation that another thread could see: it says what it is about to do, and whether it can.
 * Then the plan chooses one of the threads that can.  The chosen thread does its operation and goes on to its next point: a STEP.
 * Nothing else decides which thread runs, and time is the run's own, so the same plan makes the same run.
 *
 *   NEW      made, not begun                                   RUNNING  between two points
 *   AT_POINT before an operation; it can, or can't yet         ENDED
 *   ASLEEP   in the wait table, as in a condition              WOKEN    taken out of it, perhaps by its deadline
 *
 * TIME.  Deadlines are on the run's clock, which clock.c moves: a little at each step and at each look at it, and to the earliest
 * deadline when no thread can go on.  With EXPLORE_EARLY a thread that has a deadline can always go on: its time is up, as if all other
 * threads were slow.  The default schedule lets no thread go on in that way, nor a canceller.
 *
 * THE END.  A run is over when thread 0 and all threads except daemons have ended; when a thread has failed; when none can go on; when
 * threads wait for each other in a circle; at the step limit; or when its time in earnest is up.  Then the rest are UNWOUND, one after the other: each operation that could sleep is cancelled, and a higher floor
 * raises that as an exception.  A thread that doesn't end by the exception is abandoned, with its stack.
 *
 * TASKS.  A task of asyncio has a number and steps as a thread has, but no stack: it runs on that of the thread whose loop calls its handles,
 * and meanwhile it stands in that thread's place (`green->explored`).  Before each handle the thread comes to a TURN, where each of its
 * tasks that has a handle can go on.  What may cancel a task, its CANCELLER, has a number and one step, too, so that plans can choose it.
 * turns.c has the rest.
 *
 * One run at a time in a process, and all on the LWP that explore_go() was called on: run.c's state needs no lock.  Only
 * explored_ready() may be called by another LWP. */
#ifndef RUNTIME_EXPLORE_H
#define RUNTIME_EXPLORE_H

#include "green/policy.h"
#include "reading/kinds.h"

enum { EXPLORE_THREADS = 1024, EXPLORE_WORDS = EXPLORE_THREADS / 64 }; /* the most that a run may start */

static inline int explore_may_cancel(enum explore_kind kind)
{
    return kind < EXPLORE_RELEASE || kind == EXPLORE_TURN;
}

struct explored;
typedef int explore_can(const struct explored *thread);

struct explore_op {
    enum explore_kind kind;
    const void *object;  /* what it is done to; NULL: not known */
    explore_can *can;    /* NULL: at any time */
    int64_t deadline;
    int at_gil;          /* CODE: CPython with a GIL could switch here */
};

struct explored {
    struct green *green;
    int index;
    enum { EXPLORED_NEW, EXPLORED_AT_POINT, EXPLORED_ASLEEP, EXPLORED_WOKEN, EXPLORED_RUNNING, EXPLORED_ENDED } state;
    struct explore_op op;
    int result;           /* of the point: 0, ETIMEDOUT, or ECANCELED */
    explore_can *
        awake; /* for its next sleep: whether the thread can go on once it is woken.  A condition's waiter can't while the lock is held */
    const void *awake_for;
    struct pollfd *files; /* that it waits for */
    int file_count;
    struct park_cancel
        *cancel; /* at a point: a cancellation may let the thread go on though it can't do its operation; NULL: none may */
    uint64_t priority;
    int refused; /* it has seen held what it is about to take */
    int yields; /* its last operation failed, or gave its turn away */
    int looks; /* at the clock, since it did anything else */
    long looked; /* the same, since it slept or waited */
    int sleeps; /* for a time, and for nothing else */
    int cancelled; /* operations that it came to while it was unwound */
    uint32_t drawn; /* random words, by the program */
    struct explored *loop; /* a task's: the thread whose loop calls its handles; a thread's that runs a loop: itself; otherwise NULL */
    /* TURN: whether it has a handle, which can be called now; or only as if others were slow; or not before those ahead of it */
    enum { EXPLORE_NO_TURN, EXPLORE_HAS_TURN, EXPLORE_MAY_BE_EARLY, EXPLORE_IS_BEHIND } ready;
    int told; /* TURN: that has been noted */
    int turning; /* it is at a TURN; tasks have what their thread has */
    int front; /* at a TURN: which of them has the handle that was ready first */
    int cancellers[2]; /* a task's: their numbers, or 0: the second one is a timeout of the task */
    int by_timeout; /* a canceller's: whether it stands for a timeout of its task, not for a cancel() */
};

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

struct strategy; /* strategies/strategy.h */
/* The strategy of that name, or NULL. */
const struct strategy *explore_strategy(const char *name);

struct explore_deviation {
    uint32_t step, thread;
};

enum explore_strikes {
    EXPLORE_EARLY = 1, /* timeouts fire early */
    EXPLORE_CANCELS = 2, /* a task is cancelled, one in a run */
};

struct explore_plan {
    const struct strategy *strategy;
    uint64_t seed;
    int depth; /* pct: one more than its changes */
    int odds; /* random: another may go on at one bytecode in this many */
    int strikes; /* what may happen that the default schedule never has: of enum explore_strikes */
    int after; /* a release of a lock or a semaphore is followed by a point, too */
    int circles; /* threads that wait for each other end the run, though others can go on */
    int64_t patience; /* ns in earnest, in all: before a deadline, or the end, files and threads from before the run get that */
    int64_t until; /* in earnest: the run ends then.  PARK_FOREVER: it has no such limit */
    long length; /* pct: steps that the run is expected to have */
    long limit; /* steps; from there on all threads have their turns */
    long end; /* steps; the run ends.  Only the first 2 * limit are recorded */
    const struct explore_deviation *deviations; /* from the default schedule, in the order of the steps: planned's */
    int count;
};

/* ---- what was done ----------------------------------------------------------------------------------------------- */

enum {
    EXPLORE_WAS_TIMEOUT = 1,
    EXPLORE_WAS_FORCED = 2, /* no other thread could go on */
    EXPLORE_AT_GIL = 4,
    EXPLORE_TIMED = 8, /* the thread has a deadline */
    EXPLORE_DAEMON = 16, /* a daemon begins */
    EXPLORE_IN_TURN = 32, /* the usual choice is the next one in a loop's order, and the loop is that of the step before */
    EXPLORE_OUT_OF_TURN = 64, /* asyncio would call another handle first, whenever files and timers had come */
};

struct explore_step {
    uint64_t can; /* of the first 64 threads those that could go on */
    uint64_t early; /* of these, the threads that could only if their time was up early, and the cancellers */
    uint32_t object; /* explore_number()'s; 0: not known */
    uint16_t chosen, usual; /* usual: the default schedule's choice */
    uint8_t kind, flags;
};

enum explore_outcome {
    EXPLORE_FINISHED,
    EXPLORE_FAILED, /* explore_fail() was called */
    EXPLORE_DEADLOCK, /* none could go on */
    EXPLORE_LEFT_BEHIND, /* the same, after thread 0 had ended */
    EXPLORE_LIMIT, /* it does not end, even when all threads have their turns */
    EXPLORE_TOO_MANY, /* threads */
    EXPLORE_STUCK, /* a thread came to no point for a long time */
    EXPLORE_OUT_OF_TIME, /* plan->until has come, or explore_stop() */
};

/* What the run in hand has done so far. */
struct explore_hand {
    long runs, step;
    struct explore_step steps[];
};

struct explore_run {
    struct explored threads[EXPLORE_THREADS];
    int count; /* threads begun, tasks, and cancellers */
    int tasks, cancellers; /* of these */
    enum { EXPLORE_NOT_CANCELLED, EXPLORE_CANCELLED, EXPLORE_CANCELLED_BY_TIMEOUT } cancelled; /* whether a canceller has gone on */
    int timed; /* a thread with a deadline went on */
    int files; /* a loop went on for a file that the kernel made ready, and no thread of the run */
    long choices; /* steps at which more than one could go on */
    long number; /* of this run in the process */
    long made; /* Thread objects */
    struct explore_step *steps;
    long step, capacity;
    struct explore_hand *hand;
    enum explore_outcome outcome;
    uint64_t hash, schedule; /* of operations and threads; of threads only */
    long missed; /* deviations whose thread could not go on */
    int abandoned; /* threads that could not be unwound */
    int in_circle; /* a thread that closed a circle while others could go on; -1: none */
    int64_t now;
    int hurried; /* the clock was moved on because the run is long, and not only to the end of a sleep */
    struct {
        int state, kind, may; /* may: the thread could have gone on, now or later */
        uint32_t object;
    } final[EXPLORE_THREADS]; /* what explore_look() or the run's end has found of each thread */
};
extern struct explore_run explore_run;

/* Some of the run's threads.  Words that none of its threads needs are neither read nor written. */
struct explore_set {
    uint64_t words[EXPLORE_WORDS];
};

static inline int explore_words(void)
{
    return (explore_run.count + 63) / 64;
}

static inline void explore_clear(struct explore_set *set)
{
    for (int word = 0; word < explore_words(); word++)
        set->words[word] = 0;
}

static inline void explore_add(struct explore_set *set, int thread)
{
    set->words[thread / 64] |= 1ull << thread % 64;
}

static inline int explore_has(const struct explore_set *set, int thread)
{
    return thread < explore_run.count && set->words[thread / 64] >> thread % 64 & 1;
}

/* The first one from that thread on, or -1. */
static inline int explore_next(const struct explore_set *set, int thread)
{
    for (int word = thread / 64; word < explore_words(); word++, thread = word * 64) {
        uint64_t left = set->words[word] >> thread % 64;
        if (left)
            return thread + __builtin_ctzll(left);
    }
    return -1;
}

/* Whether no more than one is in it. */
static inline int explore_is_single(const struct explore_set *set)
{
    uint64_t before = 0;

    for (int word = 0; word < explore_words(); before |= set->words[word++])
        if (set->words[word] & (set->words[word] - 1) || (set->words[word] && before))
            return 0;
    return 1;
}

static inline int explore_size(const struct explore_set *set)
{
    int size = 0;

    for (int word = 0; word < explore_words(); word++)
        size += __builtin_popcountll(set->words[word]);
    return size;
}

/* The number of an object in this run: objects of the program are numbered from 1 on, as they first appear (*fresh), and a thread's is
 * EXPLORE_THREAD plus its index. */
enum { EXPLORE_THREAD = 1 << 12 };
uint32_t explore_number(const void *object, int *fresh);

/* Which thread holds a lock: an object that was numbered.  A lock that another thread has released than had taken it is no mutex, so no
 * thread counts as its holder any more. */
void explore_takes(const struct explored *thread, const void *lock);
void explore_releases(const struct explored *thread, const void *lock);
/* NULL: none, or it is not known. */
const struct explored *explore_holder(const void *lock);

/* record.c's: the next step is this thread's. */
void explore_record(const struct explored *thread, const struct explore_set *can, const struct explore_set *early, int usual,
                    int flags);
void explore_forget_numbers(void);

/* clock.c's. */
void explore_clock_begins(int64_t now, long limit);
void explore_clock_steps(enum explore_kind kind);
/* The thread looks at the clock.  1: it has done nothing else for so long that others must have a turn. */
int explore_clock_looks(struct explored *me);
/* The clock goes to that time, because no thread can go on before. */
void explore_clock_rests(int64_t until);
/* Whether the clock has gone to that deadline, the earliest, though threads can go on.  sleeps: it is the end of a sleep, and not of a wait
 * for something that may yet come. */
int explore_clock_hurries(int64_t deadline, int sleeps);

/* ---- for the LWP that explores ----------------------------------------------------------------------------------- */

/* The scheduler's threads are explored from now on.  The caller has attached itself to it.  0 or ENOMEM. */
int explore_prepare(struct scheduler *scheduler, const struct explore_plan *plan, int64_t now);
/* From the next run on steps are written to that memory, where another process finds them when this one has died in a run; a child process
 * of the test does not write there.  NULL: in memory of this process alone. */
void explore_write_to(struct explore_hand *hand, size_t size);
void explore_after_fork(void);
/* Whether the process has child processes. */
int explore_has_children(void);
/* Runs the threads; returns when all have ended or were abandoned. */
void explore_go(void);

/* Called when all threads that are left sleep again though they were cancelled.  1: it has woken one. */
extern int (*explore_unstick)(struct explored *thread);

/* Called by another LWP, which watches: the running thread, and a count that changes with each step; NULL: none runs. */
struct explored *explore_running(long *progress);
/* Called by any LWP: the run ends at the next point. */
void explore_stop(void);

/* Leaves the running thread where it is, for good, and goes on to unwind the others.  Called in a signal handler on the LWP that
 * explores, when the thread is in a system call that doesn't end, or in C code. */
void explore_escape(void);

/* Called around a wait for what comes from outside of the run.  The first may return NULL; otherwise the second gets what it
 * returned. */
extern void *(*explore_let_others_run)(void);
extern void (*explore_go_on)(void *held);

extern const struct policy explore_policy;

/* ---- for an explored thread -------------------------------------------------------------------------------------- */

/* Comes to a point.  1: another thread is next, and the caller must call explore_leave(), which returns when it is the caller's turn.
 * After that, or at once after a 0, me->result is 0, ETIMEDOUT or ECANCELED. */
int explore_arrive(struct explored *me, const struct explore_op *op);
void explore_leave(void);

/* Whether the operation is no step, and no point: the thread is the only one alive, or the run is long. */
int explore_passes(struct explored *me, const struct explore_op *op);

/* Whether the thread goes on from its point because it is cancelled, and must not do its operation. */
int explore_is_cancelled(const struct explored *thread);

/* Writes down what the threads do. */
void explore_look(void);

/* The run ends at the next point. */
void explore_fail(enum explore_outcome outcome);
int explore_is_unwinding(void);
/* Whether the plan wants a point after a release. */
int explore_stops_after(void);
/* Whether the plan has one of these enum explore_strikes. */
int explore_strikes(int which);

/* turns.c's. */
/* The thread that the calling thread or task is, or runs on. */
static inline struct explored *explore_thread_of(struct explored *any)
{
    return any->loop ? any->loop : any;
}

static inline int explore_is_task(const struct explored *any)
{
    return any->loop && any->loop != any;
}

static inline int explore_is_canceller(const struct explored *any)
{
    return any->op.kind == EXPLORE_CANCEL;
}

/* A task of the thread's loop has been made.  NULL: there are too many. */
struct explored *explore_task_begins(struct explored *loop);
/* Whether it can go on at the TURN. */
explore_can explore_has_turn;
/* Whether its task can go on there only as if all others were slow. */
explore_can explore_may_be_early;
/* The thread is about to come to a TURN.  front: which has the handle that was ready first.  Behind the point explore_me() is what goes on. */
void explore_turn_comes(struct explored *loop, int front);
/* EXPLORE_IN_TURN, EXPLORE_OUT_OF_TURN of the step that chooses it. */
int explore_turn_flags(const struct explored *chosen, const struct explored *usual, const struct explored *last);
/* The task's canceller, which is made if there is none yet.  NULL: there are too many. */
struct explored *explore_canceller(struct explored *task, int by_timeout);
/* Whether it can go on: its task waits at an await, or is about to go on behind it. */
int explore_may_strike(const struct explored *canceller);
/* The handle was called. */
void explore_turn_ends(struct explored *loop, int has_ended);
/* The thread has ended, and its tasks with it. */
void explore_tasks_end(const struct explored *loop);

/* choose.c's: the thread of those in `can` that goes on, as the plan says.  usual: that of the default schedule, which goes on in the same
 * thread as long as it can, otherwise in the next one. */
void explore_choice_begins(const struct explore_plan *plan);
void explore_choice_thread(struct explored *thread);
int explore_usual(const struct explore_set *can, int last);
int explore_choose(const struct explore_set *can, int last, int usual);
void explore_chosen(struct explored *thread, const struct explore_set *can);

#endif
