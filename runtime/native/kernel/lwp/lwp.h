/* Kernel threads made by clone(2), each on a context of its own; and green threads, contexts that a scheduler runs (green/green.h).
 *
 * LIFE CYCLE.  Two kinds of owner hold a struct lwp, counted in `refs`: each handle, and the registry, from (2) to (6).
 *
 *   (1) NEW       lwp_new(): it has a context, so its ident (pthread_self()) is known.  One ref, the handle's.
 *   (2) LISTED    prepare_thread(): linked into the registry, which holds a second ref, and into glibc's _dl_stack_user; its TLS
 *                 is loaded.
 *   (3) RUNNING   lwp_start() has set `alive` to 1 and cloned it; it runs thread_main().
 *   (4) ENDING    thread_exit(): it has left glibc's list and pushed itself on the `ended` stack, but still runs on its own stack.
 *                 `alive` is 1.
 *   (5) GONE      the kernel has cleared `alive` and woken a sleeper there.  Nothing uses the stack and the TLS any more.
 *   (6) REAPED    another thread, in lwp_reap(), has taken it off the `ended` stack and out of the registry, put the context back
 *                 and dropped the registry's ref.
 *
 *   (1) -> (2) -> (3) -> (4) -> (5) -> (6)
 *   (1) -> freed           lwp_release() of a thread that was never started
 *   (2) -> (1)             undo_listing(): no memory for its TLS, or clone failed.  It keeps its context, and may be started again.
 *   (3) -> (5)             a process that shares our memory was killed, or called _exit or exec.  process_reap() then does the work of
 *                          thread_exit(), and lwp_reap() keeps nothing of the TLS block: the end may have come in the middle of malloc.
 *   (2),(3),(4),(5) -> (6) reap_lost(), in a forked child, where the thread doesn't exist.  The child finds it in the registry
 *                          whatever its state was; that is why the registry holds it from (2) to (6).
 *
 * A green thread has the same states.  (3): lwp_start_green() has put it into its scheduler's queue; it runs thread_main_green().
 * (5): the next thread on its LWP has finished the switch away from its stack, and calls clear_alive() in the kernel's place.
 *   (3) -> (3)             take_lwp(), in a child that it has forked: it has the LWP to itself from then on
 *
 * OWNERSHIP.  Only lwp_reap() at (5) -> (6), or reap_lost(), puts a started thread's context back: a thread can't free the stack that
 * it runs on.  The last registry_drop() frees the struct lwp.  `alive` lies there, not in the context, since joiners read it after (6).
 * Detached is no state: a handle that isn't joined is released, nothing more. */
#ifndef RUNTIME_LWP_H
#define RUNTIME_LWP_H

#include "green/green.h"
#include "waits/any.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct context;

struct lwp {
    atomic_int alive;   /* the CLONE_CHILD_CLEARTID word: 1 from before clone until the kernel writes 0; see lwp_count_as_ended() */
    atomic_int refs;
    atomic_int joiners; /* threads that sleep on `alive`, or are about to */
    atomic_int watched; /* lwp_watch() was called */
    atomic_int begun;   /* see lwp_await_begun() */
    atomic_int reaping; /* a lock around waitpid, for processes; order: docs/architecture.md */
    atomic_int tid;     /* of the LWP, kept after its end */
    atomic_int started;
    unsigned long flags;
    int waited;         /* the program's end waits for it: lwp_next_waited() */
    int exit_signal;
    int exit_status;    /* its argument of exit(2) */
    atomic_int wait_status; /* of a process, from waitpid; -1: not yet, -2: lost */
    atomic_int ending;  /* it has come to thread_exit(), or counts as ended */
    void (*run)(void *arg);
    _Atomic(void *) arg; /* NULL after `run` has consumed it, and in a forked child */
    struct context *context; /* NULL from (6) on */
    uintptr_t stack_low, stack_high, guard_low, block_low, block_high, tp; /* the context's addresses, which stay after (6) */
    uintptr_t ident; /* pthread_self() in the thread: its struct pthread, which is at tp in variant II only */
    struct lwp *newer, *older; /* registry */
    struct lwp *below;         /* `ended` stack */
    int signal_stack;          /* it gets one, if there is memory: context_signal_stack() */
    int masked;                /* it begins with all signals blocked, and then sets `mask`, its creator's */
    uint64_t mask;
    int64_t cloned_at;         /* measure.c: the time of its EVENT_STARTS; 0: it was not measuring */
    char name[32];             /* when it was started: lwp_set_name() */
    int named;                 /* the kernel is told it: prctl(2), PR_SET_NAME, keeps 15 bytes */
    struct green green;        /* its scheduler is NULL when it has an LWP of its own */
};

static inline struct lwp *lwp_of_green(struct green *green)
{
    return (struct lwp *)((char *)green - offsetof(struct lwp, green));
}

/* The flags of an ordinary thread; and those that every LWP in our memory needs: without a TCB and a tid word of its own, glibc would
 * take it for its creator. */
extern const unsigned long lwp_thread_flags, lwp_own_flags;

/* (1).  NULL with errno set. */
struct lwp *lwp_new(size_t stack_size);

/* At (1): its name for debuggers, which need no Python for it, and if `named` for the kernel. */
void lwp_set_name(struct lwp *lwp, const char *name, int named);

/* (1) -> (3): calls run(arg) in a new LWP.  0, or errno: it is (1) again, and may be started again. */
int lwp_start(struct lwp *lwp, unsigned long flags, int exit_signal, void (*run)(void *), void *arg);

/* The same, in a green thread of that scheduler, which counts `waited` itself: scheduler_waited(). */
int lwp_start_green(struct lwp *lwp, struct scheduler *scheduler, void (*run)(void *), void *arg);

/* Sleeps until (5), or for a process until its end, which comes later than (5) if it has called exec; at most until the deadline.  0,
 * ETIMEDOUT or EINTR. */
int lwp_join(struct lwp *lwp, int64_t deadline);

int lwp_alive(struct lwp *lwp);

/* For a thread among several things that are waited for (waits/any.h); a process isn't.  It is claimed at (4), by the thread itself.  A
 * waiter that sleeps in a futex sleeps on then, moved to `alive`: the kernel wakes it at (5).  lwp_finish_watch() sleeps until (5), a short
 * time at most, and must be called after a claim.
 * lwp_watch(): 0, it is at (4) or later, and the watch isn't entered. */
int lwp_watch(struct lwp *lwp, struct sync_watch *watch, struct sync_any *any);
void lwp_finish_watch(struct lwp *lwp, struct sync_any *any);
/* By the thread at (4), or who writes `alive` in the kernel's place. */
void lwp_tell_watchers(struct lwp *lwp);

/* (3) -> (3): from now on it counts as ended, for lwp_alive(), lwp_join() and the program's end.  lwp_reap() still waits for (5). */
void lwp_count_as_ended(struct lwp *lwp);

/* By a thread whose start fails after all, before it ends: it is not counted as started. */
void lwp_uncount_start(void);

/* For a creator that waits until the thread has begun: sets `begun` to AWAITED before lwp_start(), and calls lwp_await_begun() after
 * it.  `run` calls lwp_say_begun() when the thread counts as begun; thread_exit_hooks() does, if it hasn't. */
enum { LWP_BEGUN_UNASKED, LWP_BEGUN_AWAITED, LWP_BEGUN };
void lwp_await_begun(struct lwp *lwp);
void lwp_say_begun(struct lwp *lwp);

/* Drops the handle's ref. */
void lwp_release(struct lwp *lwp);

/* The oldest that is `waited` for and alive, but not the caller; with a ref.  NULL: none. */
struct lwp *lwp_next_waited(void);

/* (5) -> (6) for every thread that is gone.  Called by lwp_new() and lwp_join(). */
void lwp_reap(void);

/* A struct lwp without a context: for lwp_copy(), and how lwp_new() begins.  NULL with errno set. */
struct lwp *lwp_blank(void);

/* fork(2) with flags: makes a process on a copy of memory, in which the call returns 0 on the caller's own stack.  Returns the pid, or
 * -errno; lwp->tid is the pid.  Flags that share something (CLONE_FILES, CLONE_FS ...) can't go through libc's fork(), which sees to
 * malloc's locks.  Another thread might hold one of them in the copy, so with such flags and other threads it fails: EBUSY. */
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

/* Registers the fork handlers.  Once, after glibc_calibrate().  0 or errno. */
int lwp_init(void);

#endif
