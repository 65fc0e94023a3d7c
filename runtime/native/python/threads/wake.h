/* Waking, where the waker has the GIL and the woken thread wants it: see the head of wake.c. */
#ifndef RUNTIME_PYTHON_WAKE_H
#define RUNTIME_PYTHON_WAKE_H

#include "python/python.h"

#include <stdatomic.h>

struct lwp;

/* Has sync_wake() defer wake-ups. */
void waker_init(void);

/* Whether the calling thread should doze before it sleeps until the deadline, so that its waker may defer the wake-up. */
int waker_dozes(int64_t deadline);
/* Called after a doze that had to be followed by a sleep, and so cost a wake-up.  The thread dozes again after SURE more turns. */
void waker_dozed_in_vain(void);

/* python_sleep() calls these when the calling thread has given up the GIL, and when it has it back. */
void waker_gave_up_gil(void);
void waker_has_gil(void);

/* Does the wake-up that the calling thread has deferred, if any.  Called without the GIL, because the woken thread wants it. */
void waker_do_deferred(void);

/* With the GIL: whether the calling thread, as a creator that waits until its thread has begun, may sleep by lwp_doze_begun(). */
int waker_creator_dozes(void);
/* Called by a thread that has begun, with its own LWP, if its creator dozes: wakes it when the thread gives up the GIL.  NULL: it need not
 * be woken any more. */
void waker_defer_creator(struct lwp *me);

void waker_after_fork(void);

#endif
