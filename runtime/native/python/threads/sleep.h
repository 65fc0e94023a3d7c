/* The one place where Python code sleeps: the GIL is given up, something sleeps, the GIL is taken back.
 *
 * GUARANTEES.  While a thread sleeps here, waits() lists it with the object that it waits for.  After EINTR or EAGAIN the thread will
 * sleep again, so it stays listed until it has the GIL back.  The wake-up that it has deferred is done before it sleeps.  A trace has
 * the times at which it slept, wanted the GIL and had it.
 * ASSUMPTIONS.  The caller has the GIL and a reference to that object.  `call` runs no Python.  It returns 0, or an errno; EAGAIN: the
 * caller sleeps again.  After EINTR signal handlers may be due: the caller runs them by python_interrupted(). */
#ifndef RUNTIME_PYTHON_SLEEP_H
#define RUNTIME_PYTHON_SLEEP_H

#include "python/python.h"
#include "waits/queue.h"

struct scheduler;

struct python_sleep {
    int (*call)(void *arg);
    void *arg;
    PyObject *object;          /* what the thread waits for, which waits() reports; NULL: nothing is reported */
    struct sync_place *place;  /* in the object's queue, or NULL */
    int64_t since, deadline;   /* as in kernel/base/park.h; since: the first of these sleeps began */
    struct sync_lock *give_up; /* released before the GIL is, unless NULL */
    const char *what;          /* if `object` is NULL: what the thread waits for, as a trace tells it; NULL: it isn't told */
    int no_point;              /* the caller will sleep again whatever this sleep returns, so don't end it for a cancellation */
};

/* Sleeps once.  Returns what `call` returned; to the main thread EINTR now and then, so that it looks for signals. */
API int python_sleep(const struct python_sleep *how);
/* Sleeps of the main thread that only looked for signals, so nothing moved (observe/watch.c). */
struct python_looks {
    atomic_long sleeps;
    atomic_int counts;  /* somebody watches: they cost a system call */
    atomic_int looking; /* from the end of a sleep until the next begins: not all are counted yet */
};
API extern struct python_looks python_looks;

/* Sleeps again after each EINTR.  Returns what `call` returned, or -1 with what a signal handler raised.  scheduler: as below. */
int python_sleep_on(const struct python_sleep *how, struct scheduler *scheduler);

/* Called after an EINTR. -1 with what a signal handler or a pending call raised, with Cancelled, or with Deadlock if that is why the
 * wait ended.
 * scheduler: the wait was for its threads; or NULL. object: what the wait was for, which the Deadlock names; or NULL. */
int python_interrupted(struct scheduler *scheduler, PyObject *object);

/* Functions of a higher floor that has threads under its control, as the explorer has those of a run.  NULL: none are. */
struct python_control {
    /* The Scheduler on which the calling thread must start others, borrowed.  NULL: the thread is not under control. */
    PyObject *(*scheduler)(void);
    /* 1: the run is over, so the calling thread is to be ended; raise: by an exception, which is set.  python_interrupted() asks this
     * first, because the exception ends the thread. */
    int (*unwinds)(int raise);
};
API extern const struct python_control *python_control;

/* Sets the function that raises Deadlock.  It takes no arguments. */
void python_set_describe_deadlock(PyObject *function);

/* ---- with the GIL, as long as nothing blocks --------------------------------------------------------------------- */

/* Called around each call that may take one of glibc's locks (kernel/glibc/glibc.h, LOCKS OF GLIBC): lwp_start(), a carrier's start,
 * pthread_create().  These locks are nearly always free, so the caller keeps the GIL.  If one is held, the caller gives the GIL up, and
 * takes it back at the end, and not as soon as it has the lock.  Once the interpreter has ended, taking the GIL ends the thread
 * (thread_run() in kernel/lwp/thread_main.c), and half a start would be left. */
API void python_give_up_begin(void);
API void python_give_up_end(void);

/* ---- in a queue -------------------------------------------------------------------------------------------------- */

enum outcome {
    LEFT,            /* the time was up */
    ENTITLED,        /* granted */
    RAISED,          /* a signal handler raised; not granted */
    RAISED_ENTITLED, /* a signal handler raised, but the grant had come: the caller must give it to another */
};

/* Sleeps in a queue of op's, which the caller has entered, until granted, the deadline, or an exception.  *baton: the caller has it, and
 * must pass it once it has what it needs to run; NULL: it is passed at once.  give_up: as above. */
enum outcome python_sleep_in_queue(PyObject *op, struct sync_queue *queue, struct sync_place *place, struct sync_lock *give_up,
                                   int64_t deadline, int *baton);

/* ---- who waits for what ------------------------------------------------------------------------------------------ */

/* Every thread has such a record, at the same distance from its ident, so that observe/waits.c finds them all.  The wait is written with
 * the GIL, except its end.  So an object that a reader with the GIL finds there is alive: the sleeper has a reference, and
 * needs the GIL to go on.  Without a GIL a sleeper waits at the end of its wait for readers: python_waits_read(). */
struct wait {
    _Atomic(PyObject *) object; /* NULL: the thread doesn't sleep.  Written last: a reader that sees it sees the rest */
    struct sync_place *place;
    int64_t since, deadline;
    atomic_ulong serial; /* the thread's number (python/sync/serial.h); 0: it has none yet */
    int locks;           /* the locks that it has taken, without those that it has released: at its end 0 if it holds none */
};
API extern __thread struct wait my_wait;
API extern ptrdiff_t wait_offset; /* of my_wait from the thread's ident */

/* With the GIL: writes the record.  python_sleep() does so itself. */
API void python_wait_begins(PyObject *object, struct sync_place *place, int64_t since, int64_t deadline);

/* Clears the record.  `call` does so itself if it then writes what shows the end of the wait, as a lock's owner: observe/waits.c must not
 * see that write and still find the wait. */
API void python_wait_ends(void);

/* Around reading the records of others, which is short and takes no lock that a sleeper may hold. */
API void python_waits_read(int on);

/* pthread_self(), without the call. */
static inline unsigned long my_ident(void)
{
    return (unsigned long)&my_wait - (unsigned long)wait_offset;
}

#endif
