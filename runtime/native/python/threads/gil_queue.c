/* The way to the GIL for threads that begin.  A thread that waits for the GIL wakes up every 5 ms to ask for it (Python/ceval_gil.c,
 * take_gil): a thousand threads that are started at once would all be woken again and again for nothing.  So a few at a time wait for
 * the GIL, and each lets the next one through when it has the GIL; the others sleep in a queue.
 *
 * REJECTED.  One thread at a time: a thread that computes gives the GIL up every 5 ms, and takes it back as soon as no other thread waits
 * for it.  A start that never waits for its thread (AHEAD, below): threads that start threads have the GIL most of the time, and their
 * number grew to the machine's limit; of a thousand that were started in a row 140 waited for the GIL at once, each on a stack of its
 * own, and a start and a join took 22 us, which take 11 now.  Three threads ahead on one processor: no faster.  The queue for threads
 * that come back from a socket: beside other load an echo to 4,000 connections took 4 to 20 times the processor time without it, but a
 * thread that has slept in the queue sleeps for the GIL once more, and without other load an echo to 1,000 connections took 25 us with
 * the queue, 17 without: gil_crowd.c. */
#include "python/threads/gil_queue.h"
#include "python/room.h"

#include "waits/queue.h"

#include <pthread.h>
#include <sched.h>

enum {
    FEW = 8, /* threads that wait for the GIL at one time */
    /* If as many threads have been started and don't have the GIL yet, the next start waits until its thread has it.  Otherwise the
     * creator keeps the GIL, and each of its threads asks for it, sleeps, and is woken when it is given up.  Threads that find the GIL free
     * run to their end in one go, often before the next needs a stack: then the next reuses the last one's stack, and the kernel its own
     * memory for a thread.  One start alone waits for nothing.  With one processor no thread runs before its creator sleeps; with more, waking
     * a thread takes long, so others are started meanwhile. */
    AHEAD = 4,
    AHEAD_ON_ONE = 1,
    LOOK_EVERY = 1024, /* starts after which the processors are counted again */
};

static struct sync_queue queue;
static int on_the_way; /* threads that wait for the GIL; under the queue's lock */
static atomic_int coming; /* threads that are started and don't have the GIL yet: those in the queue, too */

static void wait_for_turn(void)
{
    struct sync_place place;

    sync_queue_lock(&queue);
    if (on_the_way < FEW) {
        on_the_way++;
        sync_queue_unlock(&queue);
        return;
    }
    sync_queue_enter(&queue, &place, NULL);
    sync_queue_unlock(&queue);
    while (sync_queue_wait(&place, PARK_FOREVER) != 0)
        ; /* after a signal too: this thread runs no Python yet, so no handlers */
    sync_queue_pass_baton(&queue); /* at once: turns are granted one at a time anyway */
}

static void let_next_through(void *Py_UNUSED(unused))
{
    atomic_fetch_sub(&coming, 1);
    sync_queue_lock(&queue);
    if (queue.waiting)
        sync_queue_grant_unlock(&queue, 1);
    else {
        on_the_way--;
        sync_queue_unlock(&queue);
    }
}

void gil_queue_enter(PyThreadState *tstate)
{
    wait_for_turn();
    pthread_cleanup_push(let_next_through, NULL); /* once the interpreter has ended, taking the GIL is pthread_exit */
    PyEval_RestoreThread(tstate);
    pthread_cleanup_pop(1);
}

static int most_coming(void)
{
    static atomic_uint starts;
    static atomic_int found = AHEAD;
    cpu_set_t processors;

    if (atomic_fetch_add_explicit(&starts, 1, memory_order_relaxed) % LOOK_EVERY == 0)
        found = sched_getaffinity(0, sizeof processors, &processors) == 0 && CPU_COUNT(&processors) == 1 ? AHEAD_ON_ONE : AHEAD;
    return found;
}

int gil_queue_reserve(void)
{
    return atomic_fetch_add(&coming, 1) >= most_coming();
}

void gil_queue_unreserve(void)
{
    atomic_fetch_sub(&coming, 1);
}

static void gil_queue_after_fork(void)
{
    on_the_way = 0; /* the caller has the GIL; threads that were on the way are lost */
    atomic_store(&coming, 0);
}

const struct entries entries_gil_queue = {.after_fork = gil_queue_after_fork};
