/* What green/green.c, green/carrier.c and green/scheduler.c share. */
#ifndef RUNTIME_SCHEDULER_H
#define RUNTIME_SCHEDULER_H

#include "green/green.h"
#include "green/poller.h"

#include <stddef.h>

/* An LWP that runs green threads.  Its base is the context that it came with: the native thread's, or one of its own.  There it
 * sleeps when it has nothing to run, in carry(). */
struct carrier {
    struct green base;
    struct scheduler *scheduler;
    struct green *in;     /* the thread that it is in; the base, too */
    int chosen;           /* the base was in the queue, and it is its turn: only the native thread's ever is */
    int generation;       /* the scheduler's has changed: it is to stop */
    atomic_int word;      /* a futex: 1 while it is a spare that sleeps */
    struct carrier *next; /* of the spares */
};

enum idle { BUSY, IDLE_IN_FUTEX, IDLE_IN_POLLER };

/* One carrier, the runner, takes threads from the queue.  The others are spares: there can be no use in two that run Python, as long
 * as the one gets on.  One of them watches it, and takes over when it doesn't. */
struct scheduler {
    struct park_light lock;
    struct green *head, *tail; /* the queue */
    struct timer *timers;
    struct green *ended;       /* is being left */
    int turns;                 /* until it is time to look at the clock and for files */
    struct carrier *runner, *watcher, *spares;
    int out;                   /* carriers that are in a thread */
    int watcher_is_off;        /* it sleeps without a timeout, until the runner has something to do */
    int generation;
    struct carrier lent;       /* the attached thread's */
    int looked;                /* the native thread has looked for signals since another one ran */
    int64_t look_at;
    long threads;              /* begun and not gone */
    struct green_counts counts;
    struct poller *_Atomic poller; /* with one LWP made when first needed, by a thread that is on it; used with the lock, or while */
    atomic_int polling;        /* counts; a futex word for the `stopping` */
    int stopping;              /* counts */
    atomic_int idle;           /* how the runner sleeps; a futex word */
    atomic_int waited;         /* threads, and STUCK for who sleeps on it */
    atomic_int awaited;        /* who does */
    atomic_int tid;
    atomic_int attached;
    atomic_int was_stuck;      /* until that is told */
    enum { UNSERVED, SERVED, INHERITED } served; /* its own LWPs are wanted; INHERITED: by the process that forked this one */
    atomic_int forks;          /* the process that all this is about */
    int lwps, made, begun;     /* its own LWPs: wanted, if more than one; made; that carry */
    int64_t slice;             /* 0, or see scheduler_new() */
    int free;
    struct scheduler *other;   /* in the list of all */
};

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

/* ---- green/green.c.  All with the lock. -------------------------------------------------------------------------- */

void queue_push(struct scheduler *s, struct green *green);
struct green *queue_pop(struct scheduler *s);

/* It may go on: off the heap of timers, into the queue. */
void green_ready(struct scheduler *s, struct green *green);

extern const struct park_greens green_ways;

/* Goes on there; returns, without the lock, when somebody comes back. */
void green_switch(struct scheduler *s, struct green *from, struct green *to);

/* ---- green/carrier.c --------------------------------------------------------------------------------------------- */

/* What a carrier does in its base: runs the others, until it is the base's own turn, or the generation's end.  With the lock at
 * first, without it in the end. */
void carry(struct carrier *c);

/* With the lock, by who has made a thread ready: the runner is not to sleep.  1: carrier_wake() is to follow, without the lock. */
int carrier_rouse(struct scheduler *s);
void carrier_wake(struct scheduler *s);

/* All that sleep, with the lock. */
void carriers_wake(struct scheduler *s);

/* Runners that sleep without a timeout and are not stuck: who ends may be the last one who could have woken a thread. */
extern atomic_int carriers_in_doubt;

enum { STUCK = 1 << 30 };
enum { TURNS = 64 }; /* from one thread to the next, until a carrier looks at the clock and for files */

#endif
