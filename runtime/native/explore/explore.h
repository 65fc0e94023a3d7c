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
 * TIME.  Deadlines are on the run's clock.  It moves when no thread can go on, to the earliest deadline.  With plan->early a thread
 * that has a deadline can always go on: its time is up, as if all other threads were slow.  The default schedule lets no thread go on
 * in that way.
 *
 * THE END.  A run is over when thread 0 and all threads except daemons have ended; when a thread has failed; when none can go on; or at
 * the step limit.  Then the rest are UNWOUND, one after the other: each operation that could sleep is cancelled, and a higher floor
 * raises that as an exception.  A thread that doesn't end by the exception is abandoned, with its stack.
 *
 * One run at a time in a process, and all on the LWP that explore_go() was called on: run.c's state needs no lock.  Only
 * explored_ready() may be called by another LWP. */
#ifndef RUNTIME_EXPLORE_H
#define RUNTIME_EXPLORE_H

#include "green/policy.h"

enum { EXPLORE_THREADS = 64 }; /* the most that a run may start, because a set of threads is a word */

enum explore_kind {
    EXPLORE_BEGIN,
    EXPLORE_ACQUIRE,
    EXPLORE_TRY,
    EXPLORE_READ,
    EXPLORE_WAIT,
    EXPLORE_START,
    EXPLORE_JOIN,
    EXPLORE_SLEEP,
    EXPLORE_YIELD,
    EXPLORE_FILE,
    EXPLORE_CODE,   /* a bytecode, a call, a jump */
    EXPLORE_WAKE,   /* goes on after a sleep in the wait table */
    EXPLORE_RELEASE, /* this kind and those below never sleep, and are not cancelled */
    EXPLORE_SIGNAL, /* sets, notifies, puts */
    EXPLORE_END,
};

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
    int cancelled; /* operations that it came to while it was unwound */
    uint32_t drawn; /* random words, by the program */
};

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

struct strategy; /* strategies/strategy.h */
/* The strategy of that name, or NULL. */
const struct strategy *explore_strategy(const char *name);

struct explore_deviation {
    uint32_t step, thread;
};

struct explore_plan {
    const struct strategy *strategy;
    uint64_t seed;
    int depth; /* pct: one more than its changes */
    int odds; /* random: another may go on at one bytecode in this many */
    int early;
    int patient; /* before a deadline, or the end, threads from before the run get some time */
    long length; /* pct: steps that the run is expected to have */
    long limit; /* steps; from there on all threads have their turns, and after as many again the run ends */
    const struct explore_deviation *deviations; /* from the default schedule, in the order of the steps: planned's */
    int count;
};

/* ---- what was done ----------------------------------------------------------------------------------------------- */

enum { EXPLORE_WAS_TIMEOUT = 1, EXPLORE_WAS_FORCED = 2, EXPLORE_AT_GIL = 4, EXPLORE_TIMED = 8, EXPLORE_DAEMON = 16 };
/* FORCED: no other thread could go on; TIMED: the thread has a deadline; DAEMON: a daemon begins */

struct explore_step {
    uint64_t can; /* the threads that could go on */
    uint64_t early; /* of these, the threads that could only if their time was up early */
    uint32_t object; /* explore_number()'s; 0: not known */
    uint8_t chosen, usual, kind, flags; /* usual: the default schedule's choice */
};

enum explore_outcome {
    EXPLORE_FINISHED,
    EXPLORE_FAILED, /* explore_fail() was called */
    EXPLORE_DEADLOCK, /* none could go on */
    EXPLORE_LEFT_BEHIND, /* the same, after thread 0 had ended */
    EXPLORE_LIMIT, /* it does not end, even when all threads have their turns */
    EXPLORE_TOO_MANY, /* threads */
    EXPLORE_STUCK, /* a thread came to no point for a long time */
};

struct explore_run {
    struct explored threads[EXPLORE_THREADS];
    int count; /* threads begun */
    long made; /* Thread objects */
    struct explore_step *steps;
    long step, capacity;
    enum explore_outcome outcome;
    uint64_t hash, schedule; /* of operations and threads; of threads only */
    long missed; /* deviations whose thread could not go on */
    int abandoned; /* threads that could not be unwound */
    int64_t now;
    struct {
        int state, kind;
        uint32_t object;
        int64_t deadline;
    } final[EXPLORE_THREADS]; /* as the run's end found them */
};
extern struct explore_run explore_run;

/* The number of an object in this run: objects of the program are numbered from 1 on, as they first appear (*fresh), and a thread's is
 * EXPLORE_THREAD plus its index. */
enum { EXPLORE_THREAD = 1 << 12 };
uint32_t explore_number(const void *object, int *fresh);

/* record.c's: the next step is this thread's. */
void explore_record(const struct explored *thread, uint64_t can, uint64_t early, int usual, int flags);
void explore_forget_numbers(void);

/* ---- for the LWP that explores ----------------------------------------------------------------------------------- */

/* The scheduler's threads are explored from now on.  The caller has attached itself to it.  0 or ENOMEM. */
int explore_prepare(struct scheduler *scheduler, const struct explore_plan *plan, int64_t now);
/* Runs the threads; returns when all have ended or were abandoned. */
void explore_go(void);

/* Called when all threads that are left sleep again though they were cancelled.  1: it has woken one. */
extern int (*explore_unstick)(struct explored *thread);

/* Called by another LWP, which watches: the running thread, and a count that changes with each step; NULL: none runs. */
struct explored *explore_running(long *progress);

/* Leaves the running thread where it is, for good, and goes on to unwind the others.  Called in a signal handler on the LWP that
 * explores, when the thread is in a system call that doesn't end, or in C code. */
void explore_escape(void);

/* Called around a wait for what comes from outside of the run.  The first may return NULL; otherwise the second gets what it
 * returned. */
extern void *(*explore_let_others_run)(void);
extern void (*explore_go_on)(void *held);

extern const struct policy explore_policy;

/* ---- for an explored thread -------------------------------------------------------------------------------------- */

/* The calling thread, or NULL: it is not explored. */
static inline struct explored *explore_me(void)
{
    return park_green ? park_green->explored : NULL;
}

/* Comes to a point.  1: another thread is next, and the caller must call explore_leave(), which returns when it is the caller's turn.
 * After that, or at once after a 0, me->result is 0, ETIMEDOUT or ECANCELED. */
int explore_arrive(struct explored *me, const struct explore_op *op);
void explore_leave(void);

/* Whether the thread goes on from its point because it is cancelled, and must not do its operation. */
int explore_is_cancelled(const struct explored *thread);

/* The run ends at the next point. */
void explore_fail(enum explore_outcome outcome);
int explore_is_unwinding(void);

/* choose.c's: the thread of those in `can` that goes on, as the plan says.  usual: that of the default schedule, which goes on in the same
 * thread as long as it can, otherwise in the next one. */
void explore_choice_begins(const struct explore_plan *plan);
void explore_choice_thread(struct explored *thread);
int explore_usual(uint64_t can, int last);
int explore_choose(uint64_t can, int last, int usual);
void explore_chosen(struct explored *thread, uint64_t can);

#endif
