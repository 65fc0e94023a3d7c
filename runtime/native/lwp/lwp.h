/* Kernel threads made by clone(2), each on a context of its own; and green threads, contexts that a scheduler runs (green/green.h).
 *
 * LIFE CYCLE.  A struct lwp has two kinds of owner, counted in `refs`: whoever holds a handle, and the
 * registry, for the thread's own life.
 *
 *   (1) NEW       lwp_new().  A context is reserved, so the ident (thread pointer) is known.  One ref: the handle.
 *   (2) LISTED    lwp_start() has linked it into our registry, which holds a second ref, and into glibc's _dl_stack_user.
 *                 Not cloned yet.
 *   (3) RUNNING   cloned.  `alive` is 1.
 *   (4) ENDING    the thread left glibc's list and pushed itself on the `ended` stack; it is still in
 *                 user space on its own stack.  `alive` is 1.
 *   (5) GONE      the kernel has cleared `alive` and woken who waited on it: nothing uses the stack or TLS any more.
 *   (6) REAPED    somebody else, lwp_reap(), took it off the `ended` stack and out of the registry, put the context back and
 *                 dropped the registry's ref.
 *
 *   (1) -> (2) -> (3) -> (4) -> (5) -> (6)
 *   (1) -> freed           lwp_release() of a thread that was never started
 *   (2) -> (1)             clone failed: both lists left, context kept, may be started again
 *   (3) -> (5)             a process-style LWP that was killed, or called _exit or exec.  reap_process() does what it
 *                          could not do, and hands it to the reaper with a TLS block that can't be trusted.
 *   (2),(3),(4),(5) -> (6) in a forked child, where the thread does not exist (lwp/fork.c, lost()).  That is why the registry
 *                          keeps it until (6): at whatever point a fork catches it, the child finds it there.
 *
 * A green thread has the same states.  It is RUNNING from when its scheduler has it in its queue, and GONE when whoever runs next
 * on that LWP, its stack being left, has cleared `alive` and woken who waited: lwp_start_green(), gone().
 *   (3) -> (3)             in a child forked by itself it has the LWP to itself from then on: take_lwp()
 *
 * Who may free: the context, only the reaper at (5) -> (6); the struct lwp, whoever drops the last ref.  A thread never frees
 * its own stack or record.  `alive` lies in struct lwp, not in the context, since joiners look at it after (6).
 * Detaching is no state: a handle that nobody joins is just released. */
#ifndef RUNTIME_LWP_H
#define RUNTIME_LWP_H

#include "green/green.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct context;

struct lwp {
    atomic_int alive;  /* the CLONE_CHILD_CLEARTID word: 1 from before clone until the kernel writes 0; see lwp_count_as_ended() */
    atomic_int refs;
    atomic_int joiners; /* asleep on `alive`, or about to be */
    atomic_int begun;   /* see lwp_await_begun() */
    atomic_int reaping; /* lock around waitpid, for process-style LWPs */
    atomic_int tid;     /* of the LWP, kept after its end */
    int started;
    unsigned long flags;
    int waited;         /* the program doesn't end before it has: lwp_next_waited() */
    int exit_signal;
    int exit_status;    /* what the thread gives to exit(2) */
    int wait_status;    /* what waitpid gave, process-style; -1 until then */
    atomic_int ending;  /* it has reached (4) by itself */
    void (*run)(void *arg);
    void *arg;  /* NULL from when `run` has used it up, and in a forked child */
    struct context *context; /* NULL from (6) on */
    uintptr_t stack_low, stack_high, guard_low, block_low, block_high, tp; /* the context's places, kept for those who ask */
    uintptr_t ident; /* pthread_self() in the thread: its struct pthread, which is at tp in variant II only */
    struct lwp *newer, *older; /* registry */
    struct lwp *below;         /* `ended` stack */
    int signal_stack;          /* it is to have one, if there is memory for it: context_signal_stack() */
    int masked;                /* it begins with all signals blocked; `mask`, its creator's, is to be its own */
    uint64_t mask;
    int64_t cloned_at;         /* for the reader of statistics: when EVENT_STARTS was told; 0: nobody read */
    char name[16];
    struct green green;        /* its scheduler is NULL when it has an LWP of its own */
};

/* The flags of an ordinary thread, and those that every LWP in our memory gets: without a TCB and words of its own it would
 * be taken for its creator. */
extern const unsigned long lwp_thread_flags, lwp_own_flags;

/* (1).  NULL with errno set. */
struct lwp *lwp_new(size_t stack_size);

/* (1) -> (3): runs run(arg) in a new LWP.  0 or errno, in which case nothing is left behind and it may be tried again. */
int lwp_start(struct lwp *lwp, unsigned long flags, int exit_signal, void (*run)(void *), void *arg);

/* The same as a green thread of that scheduler.  `waited` counts there: scheduler_waited(). */
int lwp_start_green(struct lwp *lwp, struct scheduler *scheduler, void (*run)(void *), void *arg);

/* Waits until (5), of a process until its end, which comes long after (5) if it has called exec; at most until the deadline
 * (monotonic ns).  0, ETIMEDOUT, EINTR. */
int lwp_join(struct lwp *lwp, int64_t deadline);

int lwp_alive(struct lwp *lwp);

/* (3) -> (3): to lwp_alive(), to who joins it and to the end of the program it has ended from now on; it isn't reaped before it has. */
void lwp_count_as_ended(struct lwp *lwp);

/* For a creator that doesn't go on before the thread has begun: ask before lwp_start(), then wait.  The thread says so itself,
 * when `run` is where it counts as begun; one that ends without saying so counts too. */
enum { LWP_BEGUN_UNASKED, LWP_BEGUN_AWAITED, LWP_BEGUN };
void lwp_await_begun(struct lwp *lwp);
void lwp_say_begun(struct lwp *lwp);

/* Drops the handle's ref. */
void lwp_release(struct lwp *lwp);

/* One that is `waited` for and alive, not the caller, the oldest first: NULL when there is none.  With a ref. */
struct lwp *lwp_next_waited(void);

/* (5) -> (6) for all that are due.  Called by start and join. */
void lwp_reap(void);

/* One without a context, for lwp_copy().  NULL with errno set. */
struct lwp *lwp_copied(void);

/* lwp/fork.c: fork(2) with flags: a process on a copy of memory, child side returns 0 on the caller's own stack.  `lwp` gets the pid.
 * Flags that share something (CLONE_FILES, CLONE_FS ...) can't go through libc's fork(), so the caller must be the only
 * thread: any other might hold one of malloc's locks in the copy.  0, or -errno (EBUSY: there are other threads). */
long lwp_copy(struct lwp *lwp, unsigned long flags, int exit_signal);

struct lwp_statistics {
    long started, alive, peak;
    /* since lwp_measure(1) */
    long measured, voluntary, involuntary;
    int64_t cpu_ns, latency_p50_ns, latency_p99_ns;
    size_t stack_used;
};
void lwp_measure(int on);
void lwp_read_statistics(struct lwp_statistics *out);

/* Registers the fork handlers.  Once, after glibc_calibrate(). 0 or errno. */
int lwp_init(void);

#endif
