/* A scheduler and its carriers, as the files of this folder share them. */
#ifndef RUNTIME_SCHEDULER_H
#define RUNTIME_SCHEDULER_H

#include "green/green.h"
#include "green/policy.h"
#include "green/poller.h"

#include <stddef.h>

/* An LWP that runs green threads.  Its base is the context that it came with, the native thread's or its own: there it sleeps when it
 * has nothing to run, in carrier_run(). */
struct carrier {
    struct green base;
    struct scheduler *scheduler;
    struct green *in;     /* the thread that it is in; the base, too */
    int chosen;           /* the base's turn has come.  Only the native thread's base is ever in the queue */
    int generation;       /* if the scheduler's is another, the carrier must stop */
    int helps;            /* it takes from the queue, though it is not the runner */
    int turns;            /* as a helper, since counted_at */
    int64_t counted_at;
    atomic_int word;      /* a futex word: 1 while it sleeps as a spare */
    struct carrier *next; /* in the list of spares */
    int listed;           /* it is in it */
};

enum idle { BUSY, IDLE_IN_FUTEX, IDLE_IN_POLLER, IDLE_IN_C /* its thread is in C code of others: green/foreign.h */ };

/* How it works stands at the head of carrier.c. */
struct scheduler {
    const struct policy *policy; /* NULL: the queue */
    atomic_int lock;           /* order: docs/architecture.md */
    struct green *head, *tail; /* the queue */
    struct timer *timers;
    struct green *ended;       /* the thread that a switch leaves for good */
    int turns;                 /* until the runner looks at the clock and at files */
    _Atomic int64_t looked_at; /* when it last has */
    struct carrier *runner, *watcher, *spares;
    int handed;                /* the runner still sleeps as the spare that it was: runner_hand_over() */
    long moves;                /* of the runner, from one thread to the next or to its base */
    int out;                   /* carriers that are in a thread */
    int waiting_in_c;          /* threads that have left their LWP within C code of others */
    int watcher_is_off;        /* it sleeps without a timeout, until the runner has threads to run again */
    int generation;
    struct carrier lent;       /* the attached thread's */
    int looked;                /* the native thread has looked for signals since another thread ran */
    int64_t look_at;
    long threads;              /* begun and not gone */
    struct green_counts counts;
    struct poller *_Atomic poller; /* a scheduler with one LWP makes it when it first needs one */
    atomic_int polling; /* counts the users of the poller that don't have the lock; a futex word for scheduler_stop() */
    int stopping; /* counts callers of scheduler_stop() that wait for `polling` */
    atomic_int idle; /* how the runner sleeps; a futex word */
    int64_t sleeps_until; /* while it does */
    atomic_int rests, outsiders; /* how often the runner has become idle, a futex word; and who sleeps on it: green_let_go_first() */
    atomic_int waited; /* see scheduler_waited(); and DEADLOCKED, for the callers of scheduler_await(), which sleep on it */
    atomic_int awaited; /* counts those callers */
    atomic_int tid;
    atomic_int attached;
    atomic_int was_deadlocked; /* until scheduler_was_deadlocked() has returned it */
    enum {
        UNSERVED,
        SERVED,
        INHERITED
    } served; /* whether its own LWPs are to run; INHERITED: they were, in the process that forked this one */
    atomic_int forks; /* the fork_generation that all this belongs to */
    int lwps, made, begun; /* its own LWPs: asked for, if more than one; made; in carrier_run() */
    int64_t slice; /* 0, or see scheduler_new() */
    int free;
    struct scheduler *other; /* the next in the list of all */
};

/* green.c's. */
extern const struct park_ops green_park_ops;
void green_interrupt(struct park_cancel *cancel); /* for `cancel_green` */

/* Called with the lock by a thread that may be cancelled and is about to enter the wait table.  0: it is cancelled already.  Otherwise
 * green_is_awake() must be called when the thread has slept; for a thread that can't be cancelled that does nothing. */
API int green_may_sleep(struct green *me);
API void green_is_awake(void);

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

enum { DEADLOCKED = 1 << 30 };
enum { TICK = 2000000 }; /* ns without a switch after which the watcher takes over, if no slice was asked for */
enum { BLOCKS = 50000 }; /* ns: C code of others that gives up the GIL for longer has blocked */
enum {
    TURNS = 64
}; /* turns until the runner looks at the clock and at files, unless a millisecond passes before: green_turn_is_over() */

#endif
