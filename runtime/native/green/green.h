/* Green threads: contexts that a scheduler runs, on an LWP that a thread lends it or on LWPs of its own (carriers).
 *
 * Where a green thread would sleep (kernel/base/park.h), yields or ends, its LWP goes on in the next one, in user space.  Nothing here
 * knows Python: CPython and glibc find what a green thread has of its own through its thread pointer, as in any thread.
 *
 *   QUEUED   could go on                                        -> RUNNING  its turn has come
 *   RUNNING  a carrier is in it                                 -> QUEUED   it yields  -> ASLEEP  it parks  -> ENDED
 *   ASLEEP   in the wait table, with a timeout on the heap too  -> QUEUED   woken, or the time is up
 *   ENDED    its stack is in use until the next thread has finished the switch and called gone()
 *
 * All of this except the wait table is under the scheduler's lock.  The lock is taken before a switch and released after it, on the
 * other stack, so a thread can't be resumed before its registers are saved.  Lock order: a poller's, the scheduler's, a bucket's of
 * the wait table.
 *
 * green.c is what a thread does, carrier.c what an LWP does, switch.c what both share, scheduler.c how LWPs come and go. */
#ifndef RUNTIME_GREEN_H
#define RUNTIME_GREEN_H

#include "waits/cancel.h"
#include "green/poller.h"
#include "green/timer_heap.h"
#include "green/wait_table.h"

struct scheduler;
struct carrier;
struct explored;

struct green {
    struct scheduler *scheduler;
    struct carrier *carrier; /* whose LWP it is on, or was on last */
    atomic_int tid;          /* the LWP's; 0 before the first turn */
    void *sp, *tp;           /* where it is resumed */
    uint64_t mask;           /* the signals that it blocks: green/shared_lwp.h */
    int64_t asked;           /* when it first called green_turn_is_over() in this turn; 0: not yet */
    struct green *next;      /* in the queue */
    struct waiter waiter;
    struct timer timer;
    void (*entry)(void *arg);
    void *arg;
    void (*gone)(struct green *green);
    int waited;              /* scheduler_waited() counts it */
    _Atomic int64_t in_c_since; /* when it came, as the runner's thread, into the C code of others that it is in; 0: it is in none */
                                /* Less than 0: not as the runner's; the kernel's latest tick, which costs less to read. */
    struct foreign_place *_Atomic in_c;
    long in_c_moves; /* the scheduler's `moves` then */
    struct explored *explored; /* of a policy (green/policy.h); NULL: the thread has none */
};

/* A place in C code of others: the function, if the library exports it, otherwise "", and the library's file, "" if the code is in none. */
struct foreign_seen {
    const char *function, *library;
};

/* Has the scheduler run a context, whose TLS block is complete: entry(arg), which must end by green_end().  The thread that runs next
 * on that LWP calls gone() when the stack is no longer in use. */
void green_begin(struct green *green, struct scheduler *scheduler, void *stack_high, void *tp, void (*entry)(void *), void *arg,
                 void (*gone)(struct green *), int waited);
_Noreturn void green_end(void);

/* Lets the others of its scheduler go first; in a thread that is on none, sched_yield(2). */
void green_yield(void);

/* A call that is ready at once never sleeps, and a loop around it would starve all other threads.  So each such call asks here: 1 if the
 * thread has kept its LWP for a millisecond since it first asked in this turn.  Then it must call green_end_turn(), which also yields to
 * threads whose timer is due or whose file is ready. */
int green_turn_is_over(void);
void green_end_turn(void);

/* park_poll() that leaves a green thread's LWP to others meanwhile.  What epoll(7) can't wait for, such as files on a disk, counts as
 * ready.  With an earlier green_closings() in *closings it is EBADF if the number has been closed since. */
int green_wait_fd(int fd, unsigned events, const unsigned *closings, int64_t deadline, unsigned *found);

/* The same for park_poll_all(), after a look that has found nothing ready.  A file that is closed meanwhile has POLLNVAL; a file on a disk
 * never gets ready. */
struct pollfd;
int green_wait_fds(struct pollfd *files, int count, int64_t deadline);

/* How often the number has been closed (green/poller.h).  For a green thread; with a policy always 0. */
unsigned green_closings(int fd);

/* The same for an attempt that doesn't block and the wait after it (green/poller.h), by a green thread.  With a policy each attempt is made. */
int green_try(struct poller_try *attempt);
void green_drained(const struct poller_try *attempt);
int green_wait_edge(const struct poller_try *attempt, unsigned events, int64_t deadline);

/* Called before and after close(2), by any thread: see green/poller.h.  Threads of all schedulers that wait for fd get EBADF.  No scheduler
 * may be freed meanwhile. */
void green_fd_closing(int fd);
void green_fd_closed(int fd);
void green_fd_disowned(int fd);

/* Called before each scheduler_new().  NULL, or why there can't be green threads here. */
const char *scheduler_init(void);

/* lwps 1: a thread lends its LWP by attaching itself.  It is one of the green threads from then on, the native one, and the others
 * run while it sleeps.  More: the scheduler has LWPs of its own, and a higher floor calls scheduler_carry() in each.
 * slice: 0, or the ns after which the others go on on another LWP if a thread keeps this one.  The scheduler spawns as many carriers
 * (scheduler_spawn_carrier) as threads keep theirs; it has two LWPs at least then.
 * NULL with errno set. */
struct scheduler *scheduler_new(int lwps, int64_t slice);
/* Only its threads refer to it from now on; it is not served. */
void scheduler_free(struct scheduler *scheduler);

/* 0; EBUSY: another thread lends it its LWP; EDEADLK: the caller is on a scheduler. */
API int scheduler_attach(struct scheduler *scheduler);
API void scheduler_detach(struct scheduler *scheduler);

/* Whether it is the calling thread that is attached. */
int scheduler_lent_by_me(struct scheduler *scheduler);

/* Whether it has LWPs of its own.  They run its threads from scheduler_serve(), which returns 0, or EBUSY or EDEADLK as above, to
 * scheduler_stop().  scheduler_missing_carriers() says how many the caller must make, and counts them as made; each calls
 * scheduler_carry(), which returns some time after scheduler_stop(). */
int scheduler_own_lwps(struct scheduler *scheduler);
int scheduler_serve(struct scheduler *scheduler);
int scheduler_missing_carriers(struct scheduler *scheduler);
void scheduler_carrier_failed(struct scheduler *scheduler); /* one of these carriers could not be made */
void scheduler_carry(struct scheduler *scheduler);
void scheduler_stop(struct scheduler *scheduler);

/* Whether no LWP runs it, and the process has no second thread that could lend one. */
int scheduler_is_orphaned(struct scheduler *scheduler);

/* Whether its threads run now, on its own LWPs or when the caller sleeps. */
int scheduler_is_run(struct scheduler *scheduler);

/* How many of its threads have not ended, daemons too. */
int scheduler_threads(struct scheduler *scheduler);

/* How many of its threads the end of the program waits for.  scheduler_await() sleeps until there are none, and returns 0; EINTR: a signal
 * came, or the threads are deadlocked. */
int scheduler_waited(struct scheduler *scheduler);
int scheduler_await(struct scheduler *scheduler);

/* A scheduler that has such threads, or NULL. */
struct scheduler *scheduler_with_waited_threads(void);

/* The tid of an LWP that runs it, or ran it last; 0 before. */
int scheduler_tid(struct scheduler *scheduler);

/* The thread pointer of the thread that the caller's LWP was made for; the caller is green. */
void *green_native_tp(void);

/* Since the process began: threads started, switches, how often an LWP slept because no thread could go on, and how often a thread in C code
 * of others left its LWP's place to another LWP. */
struct green_counts {
    long started, switches, sleeps, hand_overs;
};
struct green_counts green_count(void);

/* A scheduler's runner, and the thread that it is in: if `switches` stays the same, that thread keeps the LWP. */
struct green_runner {
    int tid;       /* the LWP's */
    void *tp;      /* the thread's */
    long switches; /* the runner's */
    int waiting;   /* threads that could go on; those whose file is ready count as one */
    int sliced;    /* the scheduler has a time slice */
};
void green_each_runner(void (*see)(const struct green_runner *runner, void *arg), void *arg);

/* Called by a thread with an LWP of its own that is about to wait for files, without the GIL: sleeps until no green thread of the schedulers
 * with LWPs of their own could go on, or for MOST_PATIENCE. */
void green_let_go_first(void);

/* What the thread with that thread pointer does.  It must not end meanwhile. */
enum green_state { GREEN_NOT, GREEN_RUNS, GREEN_QUEUED, GREEN_SLEEPS };
API enum green_state green_state_of(void *tp);

/* Makes an LWP that calls scheduler_carry(): 0 or errno.  A higher floor sets this before it makes a scheduler with a slice.  Called
 * without the GIL. */
extern int (*scheduler_spawn_carrier)(struct scheduler *scheduler);

/* LWPs that sleep until a green thread has work for them.  They can wake no thread, so green_lwps(), the number of LWPs of the process,
 * doesn't include them.  green_lwp_rests() has idle runners look for a deadlock again. */
extern atomic_int green_lwps_resting;
void green_lwp_rests(void);
void green_lwp_works(void);
API int green_lwps(void);

/* Not 0: no GIL keeps two LWPs from running threads at one time. */
extern int green_parallel;

/* Deadlock: all threads of a scheduler sleep without a timeout, and the process has no other thread that could wake one.  If this is not 0
 * a deadlock is reported: the wait of the native thread, or of the thread in scheduler_await(), returns EINTR, and
 * scheduler_was_deadlocked() returns 1 there, once.  If it is 0 the threads sleep on. */
extern int green_reports_deadlock;
/* NULL: of the scheduler to which the calling thread lends its LWP, if any. */
int scheduler_was_deadlocked(struct scheduler *scheduler);

/* In a forked child, whose only thread is the caller.  A scheduler that it was on is empty; one with one LWP is attached to the
 * caller. */
void green_after_fork(void);

#endif
