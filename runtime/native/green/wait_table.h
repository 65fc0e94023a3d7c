/* Which green thread sleeps on which word: what the kernel's futex hash is to LWPs. */
#ifndef RUNTIME_WAIT_TABLE_H
#define RUNTIME_WAIT_TABLE_H

#include "api.h"

#include <stdatomic.h>

struct waiter {
    struct waiter *newer, *older;
    _Atomic(atomic_int *) word; /* NULL: not asleep */
    unsigned bits;
    int result;
};

/* Enters the table if *word == expected; returns whether it did.  A waker that changes the word and then calls wait_table_take()
 * finds it. */
API int wait_table_enter(struct waiter *waiter, atomic_int *word, int expected, unsigned bits);

/* Takes one waiter out.  1: it slept, and the caller must resume it; of several wakers at once only one gets a 1. */
API int wait_table_leave(struct waiter *waiter, int result);

/* Takes out the oldest `count` that sleep on the word and share a bit, linked by `newer`; *woken: how many.  The caller must resume
 * each. */
struct waiter *wait_table_take(atomic_int *word, int count, unsigned bits, int *woken);

/* Empties the table, in a forked child: all waiters are lost. */
void wait_table_forget(void);

#endif
