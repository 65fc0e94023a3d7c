/* Cancellation of Python threads: the type CancelBase, of which a thread has an object while it is in a group.
 *
 * A thread without one pays nothing: its sleeps are as before.  A cancellation ends only a thread's sleep, or the sleep that it is
 * about to begin: what it waits for has not been granted then, so nothing is undone.  runtime/groups/ knows which groups ask for it and
 * what shields the thread: `word` (waits/cancel.h) says that something is to be raised, and a function there raises it. */
#ifndef RUNTIME_PYTHON_CANCEL_H
#define RUNTIME_PYTHON_CANCEL_H

#include "kernel/base/park.h"
#include "python/python.h"
#include "waits/cancel.h"

API extern PyTypeObject *cancel_type; /* once module.c has had cancel.c add it */

/* The calling thread's record, for python_sleep() to sleep with; NULL: nothing may end this sleep. */
API struct park_cancel *cancel_mine(void);

/* Whether a cancellation was asked for, or its deadline has passed. */
int cancel_is_due(void);

/* Called after a sleep has ended with EINTR: -1 with Cancelled, if that is due. */
API int cancel_raise(void);

/* Between these the calling thread is not cancelled: a Condition takes its lock back. */
void cancel_hold(void);
void cancel_let(void);

#endif
