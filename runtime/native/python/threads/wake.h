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

/* What is at `begun` of an LWP.  A creator that waits until its thread has begun sleeps at `alive`, where the kernel wakes it at the
 * thread's end.  AWAITED: the thread wakes it when it has begun.  DOZED: when it then gives up the GIL. */
enum waker_begun { WAKER_UNASKED, WAKER_AWAITED, WAKER_DOZED, WAKER_BEGUN };

/* A creator calls the first with the GIL before it clones; and if it waits, the second for python_sleep().  The thread calls the third
 * when it has begun, the fourth when it has given up the GIL, and with the GIL the fifth at its end, which wakes its creator anyway. */
void waker_expect(struct lwp *lwp, int waits);
int waker_await_begun(void *lwp);
void waker_say_begun(struct lwp *me);
void waker_wake_creator(void);
void waker_forget_creator(void);

#endif
