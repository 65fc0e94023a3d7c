/* What runtime.wait() asks of a thing.  Each kind of thing has a struct waitable, in the file of its type.  Its functions are called
 * with the GIL, except where that is said. */
#ifndef RUNTIME_WAITABLE_H
#define RUNTIME_WAITABLE_H

#include "python/python.h"
#include "waits/queue.h"
#include "waits/watch.h"

struct waitable;
struct thing {
    PyObject *given; /* by the program; borrowed from its list, which the caller keeps */
    PyObject *object; /* what is waited for: a new reference */
    const struct waitable *kind;
    int ready; /* it has come, and if it can be taken, it is taken */
    int entered;
    int forever; /* there is no deadline */
    struct sync_queue *baton; /* of this queue, which must be passed */
    union {
        struct sync_place place;
        struct lwp_watch watch;
    };
};

struct waitable {
    /* Whether it is ready now.  Another thread may take it before the caller does. */
    int (*look)(const struct thing *thing);
    /* Takes it; 0: another thread was faster.  NULL: nothing is taken, as of a thread. */
    int (*take)(struct thing *thing);
    void (*give_back)(struct thing *thing);
    /* Enters the thing's queue; 0: it has not entered, because the thing is ready. */
    int (*enter)(struct thing *thing, struct sync_any *any);
    /* Leaves the queue, and returns whether the thing was granted.  Without the GIL. */
    int (*leave)(struct thing *thing);
    /* After a grant, or NULL.  Without the GIL; short. */
    void (*finish)(struct thing *thing, struct sync_any *any);
    int shared; /* it is in a thread's list (waits/watch.h), not in a queue: its waiter is woken under that list's lock */
};

/* `leave` of what has a queue. */
static inline int thing_leave_queue(struct thing *thing, struct sync_queue *queue)
{
    int baton, granted = sync_queue_leave_any(queue, &thing->place, &baton);

    thing->baton = baton ? queue : NULL;
    return granted;
}

extern const struct waitable event_waitable, semaphore_waitable, lwp_waitable, future_waitable;

#endif
