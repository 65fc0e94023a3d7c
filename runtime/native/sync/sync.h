/* Synchronisation without Python: a lock of one word, and a queue of sleepers from which event, semaphore, condition and
 * barrier are made.  Everything sleeps through park.  Functions that may sleep return 0, ETIMEDOUT or EINTR like park_wait. */
#ifndef RUNTIME_SYNC_H
#define RUNTIME_SYNC_H

#include "base/park.h"

/* LOCK.  Whoever finds it free takes it, also when others sleep for it: that is fast, since the one who runs needs no wake-up.
 * A sleeper who has waited for a millisecond becomes urgent, and while there are urgent sleepers a release hands the lock to
 * one of them: nobody starves.
 *
 *   FREE -> HELD        acquire, no system call            HELD, OWING -> CONTENDED   somebody is about to sleep
 *   FREE -> CONTENDED   acquire by one who has slept: others may sleep still
 *   HELD -> FREE        release, no system call            CONTENDED -> FREE   release, one sleeper is woken
 *   HELD -> OWING       the release owes somebody a wake-up who sleeps in a queue, see there, and to nobody else
 *   OWING -> FREE       release, that one is woken; from CONTENDED he is too, besides the sleeper
 *   HELD, OWING, CONTENDED -> HANDED   release while somebody is urgent; only an urgent sleeper may take it from there
 *   HANDED -> CONTENDED an urgent sleeper has taken it     HANDED -> FREE      the urgent ones have given up */
struct sync_lock {
    atomic_int word;
    atomic_int urgent;     /* sleepers that are urgent, see sync/sync.c */
    _Atomic uint64_t owed; /* the place of whom the release is to wake, see sync/sync.c */
};
enum sync_lock_word { SYNC_FREE, SYNC_HELD, SYNC_CONTENDED, SYNC_HANDED, SYNC_OWING };

static inline int sync_lock_try(struct sync_lock *lock)
{
    int seen = SYNC_FREE;
    return atomic_compare_exchange_strong_explicit(&lock->word, &seen, SYNC_HELD, memory_order_acquire, memory_order_relaxed);
}

/* *since: when the caller began to wait, 0 at first; an EINTR on the way does not put it back. */
int sync_lock_wait(struct sync_lock *lock, int64_t deadline, int64_t *since);

/* 0, or EPERM when nobody holds it. */
int sync_lock_release_any(struct sync_lock *lock);

/* HELD says that there is nobody to wake: who is about to sleep, and urgent ones too, make it CONTENDED before. */
static inline int sync_lock_release(struct sync_lock *lock)
{
    int seen = SYNC_HELD;
    return atomic_compare_exchange_strong_explicit(&lock->word, &seen, SYNC_FREE, memory_order_release, memory_order_relaxed)
               ? 0
               : sync_lock_release_any(lock);
}

/* Makes it as new, for a forked child whose holder is lost. */
void sync_lock_reset(struct sync_lock *lock);

/* HANDED: looks whether the thread that it was handed to was lost by a fork; if so it is free.  Whether it isn't. */
int sync_lock_really_handed(struct sync_lock *lock);

static inline int sync_lock_held(struct sync_lock *lock)
{
    int word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    return word == SYNC_HANDED ? sync_lock_really_handed(lock) : word != SYNC_FREE;
}

/* QUEUE.  Sleepers in the order of their coming.  A grant makes the first ones entitled to go on; the grant is what counts,
 * the wake-up follows.  Of those entitled one at a time is woken: it holds the baton, and passes it to the next when it runs
 * again.  Ten thousand threads that are let go at once would otherwise all wake up to fight for one GIL, in timed waits.
 *
 * Who needs a certain lock first when it is let go names it: while that is held, its release owes the wake-up, instead of waking
 * a sleeper who could only sleep again, for the lock.  A lock owes one at a time; another is woken at once.
 *
 *   WAITING -> GRANTED -> WOKEN (out of the queue, with the baton) -> passes the baton
 *              GRANTED -> OWED (out of the queue, with the baton) -> WOKEN by the release
 *              OWED -> WOKEN      timeout or signal before the release: it takes the debt off the lock itself
 *   WAITING -> left     timeout or signal before the grant
 *   GRANTED -> left     timeout or signal after it, before the baton came: entitled all the same
 *   The word of a place that is WAITING or GRANTED: ASLEEP <-> DOZING, by its thread.  DOZING it looks again by itself after
 *                       SYNC_DOZE, so its futex wake-up may come later, or never; an ASLEEP one is woken at once
 *   WAITING, GRANTED: away while its thread runs signal handlers.  It is awake, so it needs no baton; and it must not sit on
 *                       one, for a handler may wait for others that sleep here: the baton passes it by
 *
 * A sleeper's place lies on its own stack.  Its state changes under the queue's lock only, but for `word`, on which it sleeps.
 * In a forked child the places of lost threads are forgotten: their stacks serve others by then.  The thread that
 * forks may have places itself, when it does so in a signal handler: those stay. */
struct sync_place {
    struct sync_place *next, *previous;
    unsigned long ticket;
    int queued, away;
    int interrupted; /* an EINTR or EAGAIN came when it was woken already, or owed to: handlers may be due */
    struct sync_queue *queue;
    struct sync_place *outer; /* of the same thread: it sleeps there, and here in a signal handler */
    struct sync_lock *lock; /* needed first, or NULL */
    atomic_int word;
};
enum sync_place_word { SYNC_ASLEEP, SYNC_DOZING, SYNC_WOKEN };
enum { SYNC_DOZE = 5000000 }; /* ns: the default switch interval.  Below a tick of the clock a timer costs more than a wake-up */

struct sync_queue {
    atomic_int lock;
    atomic_int forks; /* the process that the rest is about, see base/fork.h */
    struct sync_place *head, *tail, *first_waiting;
    unsigned long tickets;   /* given out so far */
    unsigned long entitled;  /* places with a ticket below are granted */
    long waiting;            /* places that are not granted */
    int batons;              /* woken and not passed on */
};

/* Lock the queue's state: for those who keep a word of their own under it (semaphore, barrier). */
void sync_queue_lock(struct sync_queue *queue);
void sync_queue_unlock(struct sync_queue *queue);

/* With the state locked.  Whoever has entered ends with a wait that returns 0, or leaves; in the reverse order of entering. */
void sync_queue_enter(struct sync_queue *queue, struct sync_place *place, struct sync_lock *lock);
/* Entitles the first `count` that wait; returns how many there were.  To be followed by an unlock that wakes. */
long sync_queue_grant(struct sync_queue *queue, long count);
void sync_queue_unlock_and_wake(struct sync_queue *queue);
/* Both. */
long sync_queue_grant_unlock(struct sync_queue *queue, long count);

/* Without. */
/* Sleeps: 0 woken, with the baton; ETIMEDOUT, EINTR: still in the queue, wait again or leave. */
int sync_queue_wait(struct sync_place *place, int64_t deadline);
/* The same, for an LWP whose deadline is farther away than SYNC_DOZE: it dozes.  EAGAIN: SYNC_DOZE has passed, and a signal may
 * have come too, for the kernel then says ETIMEDOUT (__futex_wait looks at the timer first): as after an EINTR. */
int sync_queue_doze(struct sync_place *place, int64_t deadline);
/* Leaves before being woken.  1 if entitled; *baton says whether the baton had come. */
int sync_queue_leave(struct sync_queue *queue, struct sync_place *place, int *baton);
void sync_queue_pass_baton(struct sync_queue *queue);
/* Whether it may go on, for who looks at another thread's place while that sleeps: it may be so by the next moment. */
int sync_place_granted(const struct sync_place *place);
/* After an EINTR: away while handlers run, back when they have.  1: it was entitled, and has left without the baton. */
int sync_queue_away(struct sync_queue *queue, struct sync_place *place, int away);

/* Wakes the thread of a place whose word is SYNC_WOKEN by now.  If it was DOZING a layer above may do that later. */
extern void (*sync_wake)(atomic_int *word, int dozing);

/* Has a forked child forget the waiters that it has lost. */
void sync_init(void);

#endif
