/* A queue of sleepers, without Python: event, semaphore, condition and barrier are made of it.  Everything sleeps through park.
 *
 * THE DESIGN.  Waiters stand in the order of their coming, each with a ticket.  A grant entitles the first ones to go on, and that is
 * what counts; the wake-up follows.  Of the entitled waiters one at a time is woken.  It has the baton, and passes it to the next
 * when it runs again.
 *
 * REJECTED.  To wake all at once: ten thousand threads would wake up to fight for one GIL, in timed waits; and notify_all() to 16, on one
 * core, took 0.82 of threading's processor time in place of 0.48.  To let the futex's own queue decide which one goes on: a thread that
 * comes later could take what was granted to one that sleeps.
 *
 * THE PROTOCOL.  A waiter:                                      A waker:
 *   1. locks the queue, and looks at its object once more         1. locks the queue, and changes the object
 *   2. enters, and unlocks                                        2. grants: `entitled` goes up by tickets
 *   3. sleeps at its own word until that is WOKEN                 3. takes the first entitled waiter out, if the baton is free
 *   4. passes the baton                                           4. unlocks, and makes that waiter's word WOKEN; or, if it needs a
 *                                                                    lock that is held, defers this to the lock's release
 * Steps 1 and 2 of both are under the lock, so the waker finds the waiter, or the waiter sees the change.
 *
 *   WAITING -> GRANTED -> WOKEN     out of the queue, with the baton
 *              GRANTED -> DEFERRED  the same, but the release of the lock that it needs makes it WOKEN (kernel/lock/lock.h)
 *   DEFERRED -> WOKEN               also by a timeout or signal before the release: it cancels the deferred wake-up
 *   WAITING -> left                 timeout or signal before the grant
 *   GRANTED -> left                 timeout or signal after it, before the baton came: entitled all the same
 *   WAITING, GRANTED: away while its thread runs signal handlers.  The baton passes such a waiter by: it is awake, so it needs none,
 *                     and a handler may wait for threads that sleep here, which would then never get the baton
 *
 * A waiter's place lies on its own stack.  Its state changes under the queue's lock only, except `word`, at which it sleeps.
 * In a forked child the places of lost threads are forgotten, because their stacks serve other threads.  The thread that forks may have
 * places itself, if it does so in a signal handler: those stay. */
#ifndef RUNTIME_SYNC_QUEUE_H
#define RUNTIME_SYNC_QUEUE_H

#include "waits/any.h"

struct sync_place {
    struct sync_place *next, *previous;
    unsigned long ticket;
    struct sync_queue *queue;
    struct sync_place *outer; /* of the same thread, which sleeps there, and here in a signal handler */
    struct sync_lock *lock;   /* that it needs first when it goes on, or NULL */
    struct sync_any *any;     /* a place of a wait for several things, whose thread sleeps at the word there; otherwise NULL */
    atomic_int word;          /* an enum sync_waiter_word */
    unsigned char queued, away;
    unsigned char interrupted; /* an EINTR or EAGAIN came when it was WOKEN or DEFERRED already: signal handlers may be due */
    unsigned char claimed, has_baton; /* of a place with `any` */
};

struct sync_queue {
    atomic_int lock; /* order: docs/architecture.md */
    atomic_int forks; /* the fork_generation that the rest belongs to */
    struct sync_place *head, *tail, *first_waiting;
    unsigned long tickets;   /* given out so far */
    unsigned long entitled;  /* places with a ticket below are granted */
    long waiting;            /* places that are not granted */
    int batons;              /* woken and not passed on */
    int anys;                /* of those that wait, places of waits for several things */
};

/* The queue's lock.  A semaphore or a barrier keeps its own state under it too. */
void sync_queue_lock(struct sync_queue *queue);
void sync_queue_unlock(struct sync_queue *queue);

/* With the lock.  A thread that has entered must call sync_queue_wait() until that returns 0, or leave.  Places of one thread end in
 * the reverse order of entering. */
void sync_queue_enter(struct sync_queue *queue, struct sync_place *place, struct sync_lock *lock);
/* The same for a wait for several things.  It leaves at any time after sync_any_close(), and must leave.  1: this place was granted, and
 * *baton says whether the baton must be passed. */
void sync_queue_enter_any(struct sync_queue *queue, struct sync_place *place, struct sync_any *any);
int sync_queue_leave_any(struct sync_queue *queue, struct sync_place *place, int *baton);
/* With the lock.  Entitles the first `count` places that wait; returns how many there were.  An unlock that wakes must follow. */
long sync_queue_grant(struct sync_queue *queue, long count);
void sync_queue_unlock_and_wake(struct sync_queue *queue);
/* Grants, unlocks and wakes. */
void sync_queue_grant_unlock(struct sync_queue *queue, long count);

/* Without the lock, before one of the next two.  spin() calls look(arg) until it returns 1, or for as long as it likes; meanwhile a waker
 * makes no system call. */
void sync_queue_look(struct sync_place *place, int (*spin)(int (*look)(void *arg), void *arg, int rarer));
/* Without the lock.  Sleeps: 0 woken, with the baton; ETIMEDOUT, EINTR: still in the queue, wait again or leave. */
int sync_queue_wait(struct sync_place *place, int64_t deadline);
/* The same, for an LWP whose deadline is farther away than SYNC_DOZE: it dozes at first.  EAGAIN: SYNC_DOZE has passed.  The caller must
 * run signal handlers as after an EINTR, because the kernel reports only the time when both have come: __futex_wait() checks the time
 * first. */
int sync_queue_doze(struct sync_place *place, int64_t deadline);
/* Leaves without having been woken.  1 if entitled; *baton says whether the baton had come. */
int sync_queue_leave(struct sync_queue *queue, struct sync_place *place, int *baton);
void sync_queue_pass_baton(struct sync_queue *queue);
/* Whether a place is entitled.  Its thread must be asleep; that may end at any moment. */
API int sync_place_granted(const struct sync_place *place);
/* After an EINTR: away while handlers run, back when they have.  1: it was entitled, and has left without the baton. */
int sync_queue_away(struct sync_queue *queue, struct sync_place *place, int away);

/* 1: wake every entitled waiter at once instead of passing the baton.  The explorer sets it: with a baton it would only see waiters run in
 * queue order. */
API extern int sync_queue_wakes_all;

/* Has a forked child forget the places of lost threads. */
void sync_init(void);

#endif
