/* Green threads: contexts that a scheduler runs, on LWPs that it is lent or makes (carriers).
 *
 * Where one would sleep (base/park.h), gives its turn away or ends, its LWP goes on in the next, in user space.  Nothing here knows
 * Python: what a green thread has of its own, CPython and glibc find through its thread pointer, as in any thread.
 *
 *   QUEUED   could go on                              -> RUNNING  its turn
 *   RUNNING  the one that a carrier is in             -> QUEUED   it yields     -> ASLEEP  it parks     -> ENDED
 *   ASLEEP   in green/wait_table.c, perhaps with a timer      -> QUEUED   woken, or the time is up
 *   ENDED    its stack is still stood on, until the next one has arrived and calls gone()
 *
 * All but the sleepers' table is under the scheduler's lock.  Who leaves takes it, who arrives releases it: nobody can let a thread
 * go on that has not been left yet.  Lock order: a poller's, the scheduler's, a bucket's of green/wait_table.c.
 *
 * green/green.c has the threads' side, green/carrier.c the LWPs', green/scheduler.c whose LWPs they are. */
#ifndef RUNTIME_GREEN_H
#define RUNTIME_GREEN_H

#include "base/park.h"
#include "green/timer_heap.h"
#include "green/wait_table.h"

struct scheduler;
struct carrier;

struct green {
    struct scheduler *scheduler;
    struct carrier *carrier; /* that it is in, or was last */
    atomic_int tid;          /* its LWP's; 0 before the first turn */
    void *sp, *tp;           /* where it goes on */
    int64_t asked;           /* when it first called green_turn_is_over() in this turn; 0: it hasn't */
    struct green *next;      /* in the queue */
    struct sleeper sleeper;
    struct timer timer;
    void (*entry)(void *arg);
    void *arg;
    void (*gone)(struct green *green);
    int waited;              /* scheduler_waited() counts it */
};

/* Makes a context run there: calls entry(arg), which ends by green_end().  What lies in the TLS block at its thread pointer is
 * complete.  gone(): called when its stack is left for good, by whoever runs next. */
void green_begin(struct green *green, struct scheduler *scheduler, void *stack_high, void *tp, void (*entry)(void *), void *arg,
                 void (*gone)(struct green *), int waited);
_Noreturn void green_end(void);

/* Lets the others of its scheduler go first; in a thread that has none, sched_yield(2). */
void green_yield(void);

/* Whether the caller has kept its LWP for a millisecond since it first called this in its turn: then it is to call
 * green_end_turn(), which yields also to those whose timer is due or whose file is ready.  For calls that are ready at once and so
 * never sleep: a loop around one would starve all others. */
int green_turn_is_over(void);
void green_end_turn(void);

/* Sleeps until one of the events (poll.h's) is there at the descriptor, which *found says, or HUP or ERR.  0, ETIMEDOUT, EINTR, or
 * why it can't be waited for (poll(2), epoll_ctl(2)).  What is always ready, as files are, is so at once. */
int green_wait_fd(int fd, unsigned events, int64_t deadline, unsigned *found);

/* Around close(2), by any thread; see green/poller.h.  Threads of all schedulers are woken: EBADF.  No scheduler is freed meanwhile. */
void green_fd_closing(int fd);
void green_fd_closed(int fd);

/* With one LWP it is the one that a thread lends, by attaching itself; that thread is one of the green ones then, the native one,
 * and the others run while it sleeps.  With more they are its own, which somebody gives it, by scheduler_carry() in each.
 * slice: 0, or the ns for which a thread keeps the others waiting.  After that they go on on another LWP of its own, and it gets
 * as many of those, by scheduler_another, as there are threads that don't let go of theirs; for this, two LWPs at least are wanted.
 * NULL with errno set. */
struct scheduler *scheduler_new(int lwps, int64_t slice);
/* Nobody refers to it any more but its threads. */
void scheduler_free(struct scheduler *scheduler);

/* 0; EBUSY: another thread lends it its LWP; EDEADLK: the caller is on a scheduler. */
int scheduler_attach(struct scheduler *scheduler);
void scheduler_detach(struct scheduler *scheduler);

/* Whether it is the calling thread that is attached. */
int scheduler_lent_by_me(struct scheduler *scheduler);

/* Whether it has LWPs of its own.  They are wanted from scheduler_serve() to scheduler_stop(): 0, or EBUSY and EDEADLK as above.  How
 * many are still to be made, which count as made when that was asked.  In each: returns some time after scheduler_stop(). */
int scheduler_own_lwps(struct scheduler *scheduler);
int scheduler_serve(struct scheduler *scheduler);
int scheduler_lacks(struct scheduler *scheduler);
void scheduler_lacks_another(struct scheduler *scheduler); /* one could not be made */
void scheduler_carry(struct scheduler *scheduler);
void scheduler_stop(struct scheduler *scheduler);
void scheduler_stop_all(void);

/* Whether nobody runs it, and the process has no second thread that could. */
int scheduler_forsaken(struct scheduler *scheduler);

/* How many threads are waited for and have not ended.  Sleeps until there are none: 0, or EINTR: a signal came, or they are stuck. */
int scheduler_waited(struct scheduler *scheduler);
int scheduler_await(struct scheduler *scheduler);

/* One that has threads which are waited for, or NULL: what is left to do at the end of a program. */
struct scheduler *scheduler_unfinished(void);

/* An LWP that carries it, or did last; 0 before. */
int scheduler_tid(struct scheduler *scheduler);

/* The thread pointer of the thread whose LWP the caller, which is on a scheduler, is on. */
void *green_native(void);

/* Since the process began: threads, times that an LWP went from one to another, and that it slept because none could go on. */
struct green_counts {
    long started, switches, sleeps;
};
struct green_counts green_count(void);

/* An LWP that takes threads from a scheduler's queue, and the one that it is in: if `switches` stays, that one doesn't let go of it. */
struct green_runner {
    int tid;       /* the LWP's */
    void *tp;      /* the thread's */
    long switches; /* the scheduler's */
    int waiting;   /* threads that could go on; of those whose file is ready one is counted */
    int sliced;    /* the scheduler has a time slice */
};
void green_each_runner(void (*see)(const struct green_runner *runner, void *arg), void *arg);

/* What the thread with that thread pointer does; it is alive. */
enum green_state { GREEN_NOT, GREEN_RUNS, GREEN_QUEUED, GREEN_SLEEPS };
enum green_state green_state_of(void *tp);

/* Makes one that calls scheduler_carry(), without the GIL: 0 or errno.  For the floor above, which has set it before any scheduler
 * has a slice. */
extern int (*scheduler_another)(struct scheduler *scheduler);

/* LWPs that glibc doesn't count any more, but that have not woken yet who waits for their end.  After that: green_other_ended(),
 * which takes the LWP off, and has those look again who would be stuck but for the threads with LWPs that there are. */
extern atomic_int green_others_ending;
void green_other_ended(void);

/* Whether it is told that all sleep, without a timeout, and the process has nobody else who could wake one: then the wait of the
 * native thread, or of who is in scheduler_await(), returns EINTR, and scheduler_was_stuck() is 1 there, once.  0: they sleep on. */
extern int green_tells_stuck;
/* NULL: of the scheduler that the calling thread lends its LWP to, if it does. */
int scheduler_was_stuck(struct scheduler *scheduler);

/* In a forked child: the caller is the only thread.  If it was on a scheduler, that is empty; with one LWP it is attached to it. */
void green_after_fork(void);

#endif
