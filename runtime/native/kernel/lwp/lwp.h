/* Kernel threads made by clone(2), each on a context of its own.  A higher floor may run such a context itself, as a green thread
 * (green/thread.h).
 *
 * LIFE CYCLE.  Two kinds of owner hold a struct lwp, counted in `refs`: each handle, and the registry, from (2) to (6).
 *
 *   (1) NEW       lwp_new(): it has a context, so its ident (pthread_self()) is known.  One ref, the handle's.
 *   (2) LISTED    lwp_prepare(): linked into the registry, which holds a second ref, and into glibc's _dl_stack_user; its TLS
 *                 is loaded.
 *   (3) RUNNING   lwp_start() has set `alive` to 1 and cloned it; it runs thread_main().
 *   (4) ENDING    thread_exit(): it has left glibc's list and pushed itself on the `ended` stack, but still runs on its own stack.
 *                 `alive` is not 0 yet.
 *   (5) GONE      the kernel has cleared `alive` and woken a sleeper there.  Nothing uses the stack and the TLS any more.
 *   (6) REAPED    another thread, in lwp_reap(), has taken it off the `ended` stack and out of the registry, put the context back
 *                 and dropped the registry's ref.
 *
 *   (1) -> (2) -> (3) -> (4) -> (5) -> (6)
 *   (1) -> freed           lwp_release() of a thread that was never started
 *   (2) -> (1)             undo_listing(): no memory for its TLS, or clone failed.  It keeps its context, and may be started again.
 *   (3) -> (5)             a process-style LWP (no CLONE_THREAD) was killed, or called _exit or exec.  process_reap() does the work of
 *                          thread_exit(), and lwp_reap() keeps nothing of the TLS block: the end may have come in the middle of malloc.
 *   (2),(3),(4),(5) -> (6) reap_lost(), in a forked child, where the thread doesn't exist.  The child finds it in the registry
 *                          whatever its state was; that is why the registry holds it from (2) to (6).
 *
 * A thread that a higher floor runs has the same states.  From (2) to (3) that floor puts it into a queue, in place of clone(2); and it clears
 * `alive` in the kernel's place, once nothing uses the thread's stack any more.
 *
 * OWNERSHIP.  Only lwp_reap() at (5) -> (6), or reap_lost(), puts a started thread's context back: a thread can't free the stack that
 * it runs on.  The last registry_drop() frees the struct lwp.  `alive` lies there, not in the context, since joiners read it after (6).
 * Detached is no state: a handle that isn't joined is released, nothing more. */
#ifndef RUNTIME_LWP_H
#define RUNTIME_LWP_H

#include "api.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct context;
struct lwp_watch;

struct lwp {
    atomic_int alive;   /* its five values: below */
    atomic_int refs;
    atomic_int joiners; /* threads that sleep on `alive`, or are about to */
    atomic_int watching; /* a lock around `watchers`; order: docs/architecture.md */
    atomic_int begun;   /* a higher floor's: how far its start has come (python/threads/wake.c) */
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
    _Atomic(struct lwp_watch *) watchers; /* a higher floor's, for `lwp_ends`; none in a forked child */
    struct context *context; /* NULL from (6) on */
    uintptr_t stack_low, stack_high, guard_low, block_low, block_high, tp; /* the context's addresses, which stay after (6) */
    uintptr_t ident; /* pthread_self() in the thread: its struct pthread, which is at tp in variant II only */
    struct lwp *newer, *older; /* registry */
    struct lwp *below;         /* `ended` stack */
    int signal_stack;          /* it gets one, if there is memory: context_signal_stack() */
    int masked;                /* it begins with all signals blocked, and then sets `mask` */
    uint64_t mask;
    int64_t cloned_at;         /* measure.c: the time of its EVENT_STARTS; 0: it was not measuring */
    char name[32];             /* when it was started: lwp_set_name() */
    int named;                 /* the kernel is told it: prctl(2), PR_SET_NAME, keeps 15 bytes */
    int aside;                 /* set at (1): an LWP that serves the program's threads, and doesn't keep the process alive */
    int counted;               /* in __nptl_nthreads: the process lives until it ends */
    void (*leave)(struct lwp *lwp); /* NULL: it has an LWP of its own.  Otherwise the last function that the thread calls, at (4) */
};

/* THE VALUES OF `alive`, the word at which joiners sleep.  The kernel clears it at the LWP's end, whatever is there (CLONE_CHILD_CLEARTID).
 *
 *    value  states     written by                                         read by
 *      0    (1), (2)   lwp_blank(); undo_listing(), if a start fails
 *           (5), (6)   the kernel, which then wakes one sleeper;          lwp_reap(): only now is the stack free; lwp_uncount_joiner():
 *                      lwp_clear_alive(), for a thread that a higher      the joiner that is woken wakes the others; lwp_has_ended();
 *                      floor runs; reap_lost(), in a forked child         debuggers, which list the others (gdb_threads.py)
 *      1    (3), (4)   lwp_begins(), before clone(2)                      lwp_has_ended(): 1, a tid and 2 are the same to it
 *     tid   (3), (4)   the kernel, over the 1, by CLONE_CHILD_SETTID      lwp_has_ended()
 *      2    (3), (4)   the thread itself when it has begun, on a higher   its creator, which sleeps there until then and only sees that the
 *                      floor (python/threads/wake.c): HAS_BEGUN           word has changed; lwp_has_ended()
 *     -1    (3), (4)   lwp_count_as_ended(), by the main thread of a      lwp_has_ended(), as an end; lwp_reap(), as none
 *                      forked child at its end: COUNTS_AS_ENDED
 *
 * Joiners and lwp_alive() ask lwp_has_ended().  2 and -1 are written by compare and exchange, so they never replace the kernel's 0. */
enum { LWP_COUNTS_AS_ENDED = -1, LWP_HAS_BEGUN = 2 };
static inline int lwp_has_ended(int alive)
{
    return alive == 0 || alive == LWP_COUNTS_AS_ENDED;
}

/* The flags of an ordinary thread; and the flags that every LWP in our memory needs, because without a TCB and a tid word of its own glibc
 * would take it for its creator. */
API extern const unsigned long lwp_thread_flags, lwp_own_flags;

/* (1).  NULL with errno set. */
API struct lwp *lwp_new(size_t stack_size);

/* At (1): sets the name that debuggers read without Python, and the kernel's if `named`. */
void lwp_set_name(struct lwp *lwp, const char *name, int named);

/* (1) -> (3): calls run(arg) in a new LWP.  0, or errno: it is (1) again, and may be started again. */
API int lwp_start(struct lwp *lwp, unsigned long flags, int exit_signal, void (*run)(void *), void *arg);

/* Sleeps until (5), or for a process until its end, which comes later than (5) if it has called exec; at most until the deadline.  0,
 * ETIMEDOUT or EINTR. */
API int lwp_join(struct lwp *lwp, int64_t deadline);

int lwp_alive(struct lwp *lwp);

/* (3) -> (3): from now on it counts as ended, for lwp_alive(), lwp_join() and the program's end.  lwp_reap() still waits for (5). */
void lwp_count_as_ended(struct lwp *lwp);

/* Called by a thread whose start fails after all, before it ends, so that it is not counted as started. */
void lwp_uncount_start(void);

/* Drops the handle's ref. */
API void lwp_release(struct lwp *lwp);

/* The oldest thread that is `waited` for and alive, except the caller; with a ref.  NULL: none. */
struct lwp *lwp_next_waited(void);

/* (5) -> (6) for every thread that is gone.  lwp_new() and lwp_join() call it. */
void lwp_reap(void);

/* A struct lwp without a context: for lwp_copy(), and how lwp_new() begins.  NULL with errno set. */
struct lwp *lwp_blank(void);

/* fork(2) with flags: makes a process on a copy of memory, in which the call returns 0 on the caller's own stack.  Returns the pid, or
 * -errno; lwp->tid is the pid.  Flags that share something (CLONE_FILES, CLONE_FS ...) can't go through libc's fork(), which sees to
 * malloc's locks.  Another thread might hold one of them in the copy, so with such flags and other threads it fails: EBUSY. */
long lwp_copy(struct lwp *lwp, unsigned long flags, int exit_signal);

/* Registers the fork handlers.  Once, after glibc_calibrate().  0 or errno. */
int lwp_init(void);

/* ---- for higher floors ------------------------------------------------------------------------------------------- */

/* Called by a thread at (4), and wherever else its joiners are told that it has ended.  So a floor with another way to wait for a thread's
 * end than lwp_join() learns of it (waits/watch.c).  NULL until there is such a wait. */
extern void (*_Atomic lwp_ends)(struct lwp *lwp);
static inline void lwp_tell_end(struct lwp *lwp)
{
    void (*ends)(struct lwp *) = atomic_load(&lwp_ends);

    if (ends)
        ends(lwp);
}

/* Called by a thread that has counted itself in `joiners` to sleep at `alive`, which it has read as `word`, and goes on. */
void lwp_uncount_joiner(struct lwp *lwp, int word);

/* Sleeps until (5), a short time, since the thread is at (4), and reaps it.  counted: the caller is in `joiners` already. */
void lwp_await_gone(struct lwp *lwp, int counted);

/* How many LWPs the process has more than __nptl_nthreads says: those that are `aside`, less the green threads that it counts. */
extern atomic_int lwps_beside_count;

/* The number of LWPs that are ending: glibc doesn't count them any more, but they have not yet woken the green threads that wait for their
 * end.  (The kernel wakes those that sleep at `alive`, later.)  Each LWP calls `lwp_left` once it has woken them, because it may have been
 * the last LWP that could wake a thread. */
API extern atomic_int lwps_ending;
extern void (*_Atomic lwp_left)(void);

/* A floor that runs contexts itself keeps what it needs of a thread behind the struct lwp: lwp_new() makes this many bytes of zeros.  The
 * floor sets it before the first lwp_new(). */
extern size_t lwp_size;

/* (1) -> (2), what lwp_start() does before clone(2): makes the context's memory as a new thread must find it.  0, or errno: still (1). */
int lwp_prepare(struct lwp *lwp, unsigned long flags, int exit_signal, void (*run)(void *), void *arg);

/* Towards (3): it counts as started.  The floor has set `leave`; it runs thread_run() (thread_main.h) on the context's stack. */
void lwp_begins(struct lwp *lwp);

/* Called before lwp_begins() for a thread that LWPs run which are `aside`: until it ends it keeps the process alive in their place. */
void lwp_count_green(struct lwp *lwp);

/* (4) -> (5), after `leave`, when its stack isn't used any more. */
void lwp_clear_alive(struct lwp *lwp);

#endif
