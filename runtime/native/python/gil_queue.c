/* The way to the GIL for threads that begin.  Who waits for the GIL does so for 5 ms at a time, then asks for it and waits on
 * (Python/ceval_gil.c, take_gil): a thousand threads that are started at once would all be woken again and again for nothing.
 * So a few at a time wait for the GIL, and who has got it lets the next one through; the others sleep until then.  Not one at
 * a time: a thread that computes gives the GIL up every 5 ms, and takes it back as soon as nobody else waits for it. */
#include "python/types.h"

#include "sync/queue.h"

#include <pthread.h>
#include <sched.h>

enum {
    FEW = 8,
    /* So many are started and have not got the GIL, then the next start waits until its thread has.  Threads that are let loose
     * by one that keeps the GIL ask for it, sleep, and are woken when it gives it up; those that find it free run to their end in
     * one go, often before the next needs a stack, and in the kernel too the next gets what the last has just given back.  One
     * start alone waits for nothing.  Where there is one processor no thread gets on before its creator sleeps; where there are
     * more, to wake a thread there takes long, and others are started meanwhile. */
    AHEAD = 4,
    AHEAD_ON_ONE = 1,
    LOOK_EVERY = 1024, /* starts: whether there is one processor */
};

static struct sync_queue line;
static int on_the_way;    /* under the line's lock */
static atomic_int coming; /* started, and without the GIL yet */

static void enter(void)
{
    struct sync_place place;

    sync_queue_lock(&line);
    if (on_the_way < FEW) {
        on_the_way++;
        sync_queue_unlock(&line);
        return;
    }
    sync_queue_enter(&line, &place, NULL);
    sync_queue_unlock(&line);
    while (sync_queue_wait(&place, PARK_FOREVER) != 0)
        ; /* signal handlers run in Python, later */
    sync_queue_pass_baton(&line); /* the entitled come one at a time as it is */
}

static void leave(void *unused)
{
    (void)unused;
    atomic_fetch_sub(&coming, 1);
    sync_queue_lock(&line);
    if (line.waiting)
        sync_queue_grant_unlock(&line, 1);
    else {
        on_the_way--;
        sync_queue_unlock(&line);
    }
}

void python_enter(PyThreadState *tstate)
{
    enter();
    pthread_cleanup_push(leave, NULL); /* once the interpreter has ended, taking the GIL is pthread_exit */
    PyEval_RestoreThread(tstate);
    pthread_cleanup_pop(1);
}

static int ahead(void)
{
    static atomic_uint starts;
    static atomic_int found = AHEAD;
    cpu_set_t processors;

    if (atomic_fetch_add_explicit(&starts, 1, memory_order_relaxed) % LOOK_EVERY == 0)
        found = sched_getaffinity(0, sizeof processors, &processors) == 0 && CPU_COUNT(&processors) == 1 ? AHEAD_ON_ONE : AHEAD;
    return found;
}

int python_entrance_announce(void)
{
    return atomic_fetch_add(&coming, 1) >= ahead();
}

void python_entrance_revoke(void)
{
    atomic_fetch_sub(&coming, 1);
}

void python_entrance_after_fork(void)
{
    on_the_way = 0; /* whoever was on the way is lost: the caller has the GIL */
    atomic_store(&coming, 0);
}
