/* Many contexts on one LWP: green threads.
 *
 * A scheduler has a queue of contexts that could go on.  Where one of them would sleep (park.h), gives its turn away or ends, its
 * LWP goes on in the next, in user space.  Nothing here knows Python: what a green thread has of its own, CPython and glibc find
 * through its thread pointer, as in any thread.
 *
 * The LWP is lent by a thread that attaches itself to the scheduler.  It is one of the contexts then, the native one: the others
 * run while it sleeps.  When nobody can go on, the LWP sleeps in the kernel, on the stack of whoever was the last.
 *
 *   QUEUED   could go on                   -> RUNNING  its turn
 *   RUNNING  the one that the LWP is in    -> QUEUED   it yields     -> ASLEEP  it parks     -> ENDED
 *   ASLEEP   in sleepers.c, perhaps with a timer     -> QUEUED  woken, or the time is up
 *   ENDED    its stack is still stood on, until the next one has arrived and calls gone()
 *
 * All but the sleepers' table is under the scheduler's lock.  Who leaves takes it, who arrives releases it: nobody can let a thread
 * go on that has not been left yet.  Lock order: the scheduler's, then a bucket's of sleepers.c. */
#ifndef RUNTIME_GREEN_H
#define RUNTIME_GREEN_H

#include "park.h"
#include "sleepers.h"
#include "timers.h"

struct scheduler;

struct green {
    struct scheduler *scheduler;
    void *sp, *tp;       /* where it goes on */
    struct green *next;  /* in the queue */
    struct sleeper sleeper;
    struct timer timer;
    void (*entry)(void *arg);
    void *arg;
    void (*gone)(struct green *green);
    int waited;          /* scheduler_waited() counts it */
};

/* NULL with errno set. */
struct scheduler *scheduler_new(void);
/* Nobody refers to it any more but its threads. */
void scheduler_free(struct scheduler *scheduler);

/* Makes a context run there: calls entry(arg), which ends by green_end().  What lies in the TLS block at its thread pointer is
 * complete.  gone(): called when its stack is left for good, by whoever runs next. */
void green_begin(struct green *green, struct scheduler *scheduler, void *stack_high, void *tp, void (*entry)(void *), void *arg,
                 void (*gone)(struct green *), int waited);
_Noreturn void green_end(void);

/* Lets the others of its scheduler go first; in a thread that has none, sched_yield(2). */
void green_yield(void);

/* Sleeps until one of the events (poll.h's) is there at the descriptor, which *found says, or HUP or ERR.  0, ETIMEDOUT, EINTR, or
 * why it can't be waited for (poll(2), epoll_ctl(2)).  What is always ready, as files are, is so at once. */
int green_wait_fd(int fd, unsigned events, int64_t deadline, unsigned *found);

/* The calling thread lends its LWP.  0; EBUSY: another thread does; EDEADLK: the caller is on a scheduler. */
int scheduler_attach(struct scheduler *scheduler);
void scheduler_detach(struct scheduler *scheduler);

/* Whether it is the calling thread that is attached. */
int scheduler_lent_by_me(struct scheduler *scheduler);

/* The scheduler that the calling thread is on, green or attached; NULL: none. */
struct scheduler *scheduler_here(void);

/* A word: how many threads are waited for and have not ended.  Who sleeps on it is woken when it gets to 0. */
atomic_int *scheduler_waited(struct scheduler *scheduler);

/* One that has threads which are waited for, or NULL: what is left to do at the end of a program. */
struct scheduler *scheduler_unfinished(void);

/* The LWP that is lent to it, or was last; 0 before. */
int scheduler_tid(struct scheduler *scheduler);

/* The thread pointer of the attached thread. */
void *scheduler_native(struct scheduler *scheduler);

/* Since the process began: threads, times that an LWP went from one to another, and that it slept because none could go on. */
struct green_counts {
    long started, switches, sleeps;
};
struct green_counts green_count(void);

/* Called when all sleep, without a timeout, and the process has nobody else who could wake one; then the native thread's wait
 * returns EINTR.  For the floor above, which can say so.  NULL: they sleep on. */
extern void (*green_stuck)(void);

/* In a forked child: the caller is the only thread.  If it was on a scheduler, that is empty, and it is attached to it. */
void green_after_fork(void);

#endif
