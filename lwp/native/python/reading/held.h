/* Which locks each thread holds, where and since when it took them, for the readers of this: the order of locks, and where time goes.
 *
 * The methods of all locks, the runtime's and CPython's own, lead here while there is a reader (reading/swap.h): without one no lock
 * costs more.  A lock that was taken before the first reader came is not known to be held.  A lock in a list is kept alive, so that no
 * other lock gets its address.
 *
 * All lists are touched, and readers called, between sites_quiet() and sites_go_on() only. */
#ifndef RUNTIME_HELD_H
#define RUNTIME_HELD_H

#include "python/reading/swap.h"

enum { HELD_DEEPEST = 24 };

struct held {
    PyObject *lock; /* a reference */
    uint32_t site;
    long depth;    /* of an RLock */
    int64_t since; /* monotonic clock; 0: no reader wants the time */
};

struct holder {
    struct holder *next, **link; /* all threads that have taken a lock */
    PyObject *moment;            /* a reference: what the order of locks knows of the thread just now, or NULL */
    int count, unlisted;         /* unlisted: locks that it took above HELD_DEEPEST */
    struct held held[HELD_DEEPEST];
};

struct held_reader {
    int wants_time;
    /* The thread has taken the lock, which is not in its list yet.  surely: it would have waited for the lock without end. */
    void (*taken)(const struct holder *me, PyObject *lock, uint32_t site, int surely);
    /* The thread is about to take the lock, and would wait for it without end; in_vain: it has waited, and its time was up. */
    void (*attempts)(const struct holder *me, PyObject *lock, uint32_t site, int in_vain);
    /* Its taker has released it; or another thread has, and the hold is nobody's. */
    void (*released)(const struct held *former);
    void (*released_elsewhere)(PyObject *lock);
    /* Takes one of CPython's own locks in place of swap_stock(call), and may look whether that waits.  Not quiet.  `try` is the swap of
     * the lock's acquire().  deadline: 0 if the call only tries, or will raise. */
    PyObject *(*take_stock)(const struct swap_call *call, struct swap *try, int64_t deadline);
};
enum held_by { HELD_BY_ORDER, HELD_BY_WAITS, HELD_READERS };

/* Has all locks, CPython's own too, lead to the reader.  -1 with an exception: RuntimeError, it is on already. */
int held_begin(enum held_by by, const struct held_reader *reader);
void held_end(enum held_by by);
int held_is_read(enum held_by by);

/* The calling thread's; NULL: there is no memory. */
struct holder *held_mine(void);
/* The same, but NULL if it has taken no lock. */
struct holder *held_known(void);

/* Whether it is a lock of CPython's. */
int held_is_stock(PyObject *object);

/* In a forked child: that reader has gone, and nobody holds anything.  What was held is not given back. */
void held_forget_reader(enum held_by by);

/* Not quiet: the thread, which ends, holds nothing any more. */
void held_forget_me(void);

#endif
