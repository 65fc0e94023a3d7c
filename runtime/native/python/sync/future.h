/* FutureBase: the result of a call that another thread makes, and the queue of threads that sleep until it is there.  The Task of a
 * group is one, and the Future of a pool: runtime/groups/future.py.
 *
 * THE DESIGN.  runtime.pool.Future derives from concurrent.futures.Future, too, whose functions (wait(), as_completed(), asyncio's
 * wrap_future()) go by an object's private attributes: _condition, _state, _waiters, _done_callbacks.  They are all here, but the
 * condition, its lock and the lists, which few futures need, are made when they are first asked for.
 *
 * THE PROTOCOL.  Without a condition the state changes under the queue's lock, and nobody else need be told.  Once there is a
 * condition, the state changes in stock's methods only, which hold the condition and tell all waiters.  The condition is made under the
 * queue's lock too.  So if the end comes first, the thread that asks for the condition sees the end; otherwise the end finds the
 * condition. */
#ifndef RUNTIME_PYTHON_FUTURE_H
#define RUNTIME_PYTHON_FUTURE_H

#include "python/python.h"
#include "waits/queue.h"

enum future_state { FUTURE_PENDING, FUTURE_RUNNING, FUTURE_CANCELLED, FUTURE_NOTIFIED, FUTURE_FINISHED };

typedef struct FutureObject {
    PyObject_HEAD
    struct sync_queue sleepers; /* its lock guards what follows */
    atomic_int state; /* enum future_state.  Read without the lock too: released after what it says is there */
    atomic_ulong runner; /* serial number of the thread that makes the call, while it runs */
    int forks; /* the fork_generation whose threads end it */
    PyObject *condition, *waiters, *callbacks; /* NULL until asked for */
    PyObject *call, *result, *exception;
    struct FutureObject *next; /* in a WorkQueue, which has a reference and whose lock guards this */
    char queued;
} FutureObject;

/* Ends the future with that exception, unless it is over, also where there is a condition; needs no memory.  Returns whether it did:
 * then waiters at the condition are still to be told. */
int future_end_with(FutureObject *future, PyObject *error);

/* In a forked child: the thread that would end it is the parent's. */
int future_is_lost(FutureObject *future);

API extern PyTypeObject *future_type; /* once module.c has had future.c add it */

#endif
