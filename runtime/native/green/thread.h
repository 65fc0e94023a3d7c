/* A green thread: the context of a struct lwp, run by a scheduler in place of an LWP of its own.
 *
 * Its life is that of kernel/lwp/lwp.h.  (2) -> (3): the scheduler's queue instead of clone(2).  (4): `leave` goes on in the next thread on
 * that LWP.  (4) -> (5): that thread has finished the switch, so nothing uses the stack any more, and it clears `alive` in the kernel's place. */
#ifndef RUNTIME_GREEN_THREAD_H
#define RUNTIME_GREEN_THREAD_H

#include "green/green.h"
#include "kernel/lwp/lwp.h"

/* Each struct lwp has a struct green behind it: a thread is made before it is known which kind it will be. */
struct green_thread {
    struct lwp lwp;
    struct green green; /* its scheduler is NULL when the thread has an LWP of its own */
};

static inline struct green *green_of_lwp(struct lwp *lwp)
{
    return &((struct green_thread *)lwp)->green;
}

static inline struct lwp *lwp_of_green(struct green *green)
{
    return &((struct green_thread *)((char *)green - offsetof(struct green_thread, green)))->lwp;
}

/* lwp_start() for a green thread of that scheduler.  The scheduler counts `waited` itself: scheduler_waited(). */
int lwp_start_green(struct lwp *lwp, struct scheduler *scheduler, void (*run)(void *), void *arg);

/* Before the first lwp_new(). */
void green_thread_init(void);

#endif
