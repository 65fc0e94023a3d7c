/* Many threads that wait for the GIL.  Each wakes up after the switch interval, 5 ms, to ask the thread that has the GIL to give it up
 * (Python/ceval_gil.c, take_gil).  A thousand threads make 200,000 wake-ups a second: the threads of a busy server do little else.  One
 * thread that asks is enough.  So FEW at a time sleep for the interval, as CPython wants it, and the others sleep the longer the more
 * of them there are: all together wake up twice as often as FEW would.
 *
 * THE DESIGN.  take_gil() sleeps in pthread_cond_timedwait().  When so many threads live for the first time, or another file first asks
 * for that, libpython's address of it is replaced, for good, by that of a function here, which moves the deadline.  CPython takes a
 * longer sleep for a timer that is late, as the kernel's may be.  A thread that is woken because the GIL is free is woken as before.
 *
 * WHAT IS LOST.  When all of the FEW have had the GIL, none came after them, and a thread then computes, that thread is asked late:
 * when the first of the others wakes up, at the latest after one more interval for each FEW of them.
 *
 * REJECTED.  A longer interval: sys.getswitchinterval() would tell it, and each thread that computes would keep the GIL as long.  A queue
 * before the GIL: a thread in it sleeps twice (gil_queue.c has the figures). */
#include "python/threads/gil_crowd.h"

#include "kernel/base/park.h"
#include "green/replace.h"
#include "kernel/glibc/glibc.h"
#include "python/threads/gil_state.h"
#include "python/python.h"
#include "python/room.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { FEW = 16 };

const struct gil_reader *_Atomic gil_reader;
static struct libc_slot slot;
static const unsigned long *interval; /* in microseconds; a program may set it */
static uintptr_t gil[2];
static __thread int asks_at_once;
static atomic_int few, others; /* that wait for the GIL; only counts, so relaxed */

static struct timespec later(const struct timespec *deadline, int64_t ns)
{
    ns += deadline->tv_nsec;
    return (struct timespec){deadline->tv_sec + ns / PARK_SECOND, ns % PARK_SECOND};
}

/* In place of pthread_cond_timedwait(), for libpython. */
static int wait_for_gil(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *deadline)
{
    struct timespec moved = *deadline;
    atomic_int *counted = &few;

    if ((uintptr_t)cond - gil[0] >= gil[1] - gil[0]) /* the GIL of a subinterpreter */
        return pthread_cond_timedwait(cond, mutex, deadline);
    if (asks_at_once) {
        asks_at_once = 0;
        return ETIMEDOUT;
    }
    if (atomic_fetch_add_explicit(&few, 1, memory_order_relaxed) >= FEW) {
        atomic_fetch_sub_explicit(&few, 1, memory_order_relaxed);
        counted = &others;
        int before = atomic_fetch_add_explicit(&others, 1, memory_order_relaxed);
        moved = later(deadline, (int64_t)(before / FEW) * (int64_t)*interval * 1000);
    }
    const struct gil_reader *reader = atomic_load_explicit(&gil_reader, memory_order_relaxed);
    if (reader)
        reader->sleeps();
    int result = pthread_cond_timedwait(cond, mutex, &moved);
    if (reader)
        reader->slept();
    atomic_fetch_sub_explicit(counted, 1, memory_order_relaxed);
    return result;
}

/* Finds what is to be replaced. */
static int add_gil_crowd(PyObject *Py_UNUSED(module))
{
    slot = libc_slot_of((void *)PyEval_RestoreThread, "pthread_cond_timedwait");
    interval = gil_switch_interval();
    gil_place(gil);
    return 0;
}

int gil_crowd_begins(void)
{
    static atomic_int begun, failed;

    if (!atomic_load_explicit(&begun, memory_order_relaxed) && !atomic_exchange(&begun, 1))
        atomic_store(&failed, libc_fill_slot(&slot, wait_for_gil)); /* then all wake up as often as stock threads */
    return atomic_load_explicit(&failed, memory_order_relaxed);
}

void gil_crowd_ask_at_once(int on)
{
    asks_at_once = on;
}

int gil_crowd_sleepers(void)
{
    return atomic_load_explicit(&few, memory_order_relaxed) + atomic_load_explicit(&others, memory_order_relaxed);
}

static void gil_crowd_after_fork(void)
{
    atomic_store(&few, 0); /* the threads that waited are lost */
    atomic_store(&others, 0);
}

const struct entries entries_gil_crowd = {.add = add_gil_crowd, .after_fork = gil_crowd_after_fork};
