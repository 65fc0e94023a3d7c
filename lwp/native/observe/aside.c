#include "observe/aside.h"

#include "kernel/glibc/glibc.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CLOSE_UNSHARED = 2 }; /* CLOSE_RANGE_UNSHARE, linux/close_range.h */

/* pid << 32 | tid of each thread that runs.  A forked child has none of its parent's threads, and another pid. */
static _Atomic uint64_t running[ASIDES];

static int is_of_this_process(uint64_t one)
{
    return one >> 32 == (uint64_t)getpid();
}

/* The last counted thread ends the process, as in start_thread() (nptl/pthread_create.c): while pthread_create() had this thread counted, the
 * last thread of the program may have ended, and have left that to it. */
static void leave_count(void)
{
    if (atomic_fetch_sub(glibc.thread_count, 1) == 1)
        exit(0);
}

/* Before start_thread() takes this thread from the count, and ends the process if the program's last thread has ended meanwhile. */
static void return_to_count(void)
{
    int count = atomic_load(glibc.thread_count);

    do {
        while (count == 0) /* the last thread is in exit(3) */
            pause();
    } while (!atomic_compare_exchange_weak(glibc.thread_count, &count, count + 1));
}

static void *run_listed(void *run)
{
    uint64_t me = (uint64_t)getpid() << 32 | (uint32_t)gettid(), there;
    int at = 0;

    for (; at < ASIDES; at++) {
        there = atomic_load(&running[at]);
        if (!is_of_this_process(there) && atomic_compare_exchange_strong(&running[at], &there, me))
            break;
    }
    void *result = ((void *(*)(void *))run)(NULL);
    if (at < ASIDES)
        atomic_store(&running[at], 0);
    return_to_count();
    return result;
}

int aside_tids(int *tids)
{
    int count = 0;

    for (int i = 0; i < ASIDES; i++) {
        uint64_t one = atomic_load(&running[i]);
        if (is_of_this_process(one))
            tids[count++] = (int)(uint32_t)one;
    }
    return count;
}

int aside_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *))
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a thread begins with its creator's */
    int error = pthread_create(thread, attributes, run_listed, (void *)run);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        leave_count();
    return error;
}

int aside_descriptors(void)
{
    return syscall(SYS_close_range, 0U, ~0U, CLOSE_UNSHARED) != 0 ? errno : 0;
}
