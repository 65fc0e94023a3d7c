/* What decides which thread of a scheduler goes on, in place of its queue.
 *
 * A scheduler with a policy has one LWP, which a thread lends, and neither timers nor a poller nor a queue: the functions here do what
 * carrier.c does for others.  Each is called where a green thread would be made ready, sleep, yield or end. */
#ifndef RUNTIME_POLICY_H
#define RUNTIME_POLICY_H

#include "green/green.h"

struct policy {
    void (*begin)(struct green *green); /* it has been made, with everything but `explored` */
    void (*ready)(struct green *green); /* a waker has taken it out of the wait table; by any thread */
    int (*wait)(struct green *me, atomic_int *word, int expected, int64_t deadline, unsigned bits); /* as park_wait() */
    int (*wait_fds)(struct green *me, struct pollfd *files, int count, int64_t deadline);           /* as green_wait_fds() */
    void (*yield)(struct green *me);
    void (*end)(struct green *me); /* doesn't return */
};

/* For a new scheduler, before its first thread; NULL: the queue again, once it has no threads. */
API void scheduler_set_policy(struct scheduler *scheduler, const struct policy *policy);

#endif
