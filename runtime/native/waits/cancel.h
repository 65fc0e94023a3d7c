/* Cancellation: another thread ends a thread's sleep, or its next one.
 *
 * park_wait(), park_wait_some(), park_poll() and what they call return EINTR as soon as `word` is not 0, or the deadline there has passed.
 *
 * NO LOST CANCELLATION.  Between a look at the word and the sleep a canceller may come.  So an LWP sleeps at two words, the word that it
 * waits for and `word`: futex_waitv(2) compares both with what they were, under the kernel's locks.  Kernels before 5.16 lack that call,
 * and some seccomp filters forbid it.  There the LWP sleeps at the first word, where a canceller wakes it, and looks again after
 * 10 ms, then less often, every second or two in the end.  In ppoll(2) the second word is an eventfd.  A green thread looks at the
 * word with its scheduler's lock, enters the wait table, and keeps the lock until it is asleep; a canceller writes the word and then takes
 * that lock.  NO LOST WAKE-UP.  If both words were woken, futex_waitv() returns the last that was: the word waited for comes second, so
 * EINTR means that no wake-up was consumed. */
#ifndef RUNTIME_CANCEL_H
#define RUNTIME_CANCEL_H

#include "kernel/base/park.h"

struct scheduler;
struct park_cancel {
    atomic_int word;                         /* a futex word: not 0, the thread is to come back */
    atomic_int *_Atomic at;                  /* where the thread sleeps, if the kernel lacks a sleep at two words; otherwise NULL */
    atomic_int fd;                           /* an eventfd, once the thread has slept in ppoll(2); before, -1 */
    int64_t deadline;                        /* written by the thread itself */
    _Atomic(struct scheduler *) scheduler;   /* on which it slept last, as a green thread */
    struct green *_Atomic green;             /* written by the thread, with that scheduler's lock or awake; NULL: it isn't asleep */
};

/* A record as new.  Once it is `park_cancel` of a thread it ends that thread's sleeps.  Only a thread whose code looks for the
 * cancellation after EINTR, and raises an exception for it, may have one; otherwise the cancellation would be lost. */
void cancel_init(struct park_cancel *cancel);

/* Ends the thread's sleep, or its next one, unless that is the calling thread.  The thread must not end meanwhile. */
void park_interrupt(struct park_cancel *cancel);

/* Ends a green thread's sleep; does nothing if it doesn't sleep.  The schedulers' floor gives it; NULL until there is a scheduler. */
extern void (*_Atomic cancel_green)(struct park_cancel *cancel);

#endif
