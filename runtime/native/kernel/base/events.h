/* What happens to threads, as one stream of events.  Its readers are the steps (`demo createthread`), the trace, the statistics, and
 * the notes of where primitives are made, in which order locks are taken, and how long threads wait for what.
 *
 * Without a reader an event costs one load.  A reader gets every event, in the thread to which it happens, and picks what it needs.
 * It must not sleep, nor take a lock that a place with an EVENT() holds: that would deadlock. */
#ifndef RUNTIME_EVENTS_H
#define RUNTIME_EVENTS_H

#include "api.h"

#include <stdatomic.h>
#include <stdint.h>

enum event {
    /* What steps records, in the order of STEP_NAMES (lwp/study/steps.py). */
    EVENT_MAP,        /* a: lowest address, b: bytes */
    EVENT_GUARD,      /* a: lowest address, b: bytes */
    EVENT_REUSE,      /* a: thread pointer: a block from the cache instead of the two above */
    EVENT_TLS,        /* a: lowest address of the TLS block, b: modules with a static block */
    EVENT_TCB,        /* a: thread pointer, b: struct pthread's size */
    EVENT_LIST,       /* a: struct pthread linked, b: head of _dl_stack_user */
    EVENT_MASK,       /* a: 1 all signals blocked, 0 restored */
    EVENT_CLONE,      /* a: flags | exit signal, b: top of the child's stack */
    EVENT_CLONED,     /* a: tid as clone returned it */
    EVENT_BORN,       /* child. a: stack pointer, b: struct lwp; steps records the thread pointer in its place */
    EVENT_GLIBC,      /* child. a: __resp's address, b: ctype tables set */
    EVENT_ROBUST,     /* child. a: list head */
    EVENT_RSEQ,       /* child. a: area, b: 1 registered, 0 not */
    EVENT_UNMASK,     /* child. a: the signal mask it starts with */
    EVENT_PYTHON,     /* child. a: PyThreadState; it wants the GIL */
    EVENT_TARGET,     /* child, with the GIL. a: the callable, b: 1 it is a Thread */
    EVENT_RETURNED,   /* child. a: 1 when it raised */
    EVENT_DESTRUCTORS,/* child. a: struct lwp: C++ thread_local and pthread key destructors have run */
    EVENT_UNLIST,     /* child. a: struct pthread unlinked */
    EVENT_EXIT,       /* child. a: status given to exit(2) */
    EVENT_JOIN,       /* a: address of the word waited on, b: its value */
    EVENT_CLEARED,    /* a: address of the word, b: its value: 0, written by the kernel */
    EVENT_RECYCLED,   /* a: thread pointer of the block put back into the cache */
    EVENT_STEPS,      /* the number of steps */
    /* What the trace and the statistics read besides. */
    EVENT_STARTS = EVENT_STEPS, /* a: thread pointer, b: struct lwp: about to be cloned, or put into a scheduler's queue */
    EVENT_GRANTS,     /* a: struct sync_queue, b: the waiters with a ticket below may go on */
    EVENT_RELEASES,   /* a: struct sync_lock: a waiter is about to be woken */
    /* In Python. */
    EVENT_PREPARES,   /* with the GIL: a thread is about to be made; the caller holds no lock */
    EVENT_MADE,       /* with the GIL. a: a primitive */
    EVENT_BLOCKED, /* with the GIL. a: the object that the thread is about to sleep for, b: its struct sync_place in a queue, or 0 */
    EVENT_UNHEARD, /* with the GIL. a: a condition, whose notify() has met no waiter */
    EVENT_SLEEPS, /* with the GIL. a: a string, such as "sleep": what the thread is about to sleep for, if that is no object */
    EVENT_AWAITS, /* with the GIL. a: thread pointer of the thread that it has started; it waits until that has begun */
    EVENT_CANCELS, /* with the GIL. a: thread pointer of the thread whose sleep or next sleep is ended, b: a text that says why, or 0 */
    EVENT_CANCELLED, /* with the GIL. a: a text that says why the thread is cancelled, after that has ended the thread's wait */
    EVENT_GROUP, /* with the GIL. a: a text: the thread is in this group from now on */
    EVENT_PLACED, /* with the GIL. a: a text: what the thread was given at its birth */
    EVENT_QUEUED, /* with the GIL. a: a WorkQueue, b: a call that is in it from now on */
    EVENT_UNQUEUED, /* with the GIL. a, b: the same: a thread has taken the call, or it was cancelled */
    EVENT_WANTS_GIL, /* a: if it slept: 0 woken; otherwise ETIMEDOUT, EINTR, ECANCELED, or EAGAIN: it will sleep again */
    EVENT_HAS_GIL,
    EVENT_LEAVES_GIL, /* at its end: it doesn't take the GIL again */
};

enum events_reader {
    EVENTS_STEPS,
    EVENTS_TRACE,
    EVENTS_PYTHON_TRACE,
    EVENTS_STATISTICS,
    EVENTS_SITES,
    EVENTS_LOCK_ORDER,
    EVENTS_CONTENTION,
    EVENTS_CHAOS,
    EVENTS_READERS
};

API extern atomic_int events_wanted; /* a bit for each reader */

static inline int events_read_by(enum events_reader reader)
{
    return atomic_load_explicit(&events_wanted, memory_order_relaxed) >> reader & 1;
}

#define EVENT(event, a, b)                                                                   \
    do {                                                                                     \
        if (__builtin_expect(atomic_load_explicit(&events_wanted, memory_order_relaxed), 0)) \
            events_tell(event, (uint64_t)(a), (uint64_t)(b));                                \
    } while (0)
void events_tell(enum event event, uint64_t a, uint64_t b);

/* From now on `hear` gets all events, until events_end().  A thread may still be in `hear` after that, so what it writes to must stay.
 * A reader always has the same function. */
API void events_begin(enum events_reader reader, void (*hear)(enum event event, uint64_t a, uint64_t b));
API void events_end(enum events_reader reader);

#endif
