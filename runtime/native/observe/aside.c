#include "observe/aside.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CLOSE_UNSHARED = 2 }; /* CLOSE_RANGE_UNSHARE, linux/close_range.h */

/* pid << 32 | tid of each thread that runs.  A forked child has none of its parent's threads, and another pid. */
static _Atomic uint64_t running[ASIDES];

static int is_of_this_process(uint64_t one)
{
    return one >> 32 == (uint64_t)getpid();
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
    return error;
}

int aside_descriptors(void)
{
    return syscall(SYS_close_range, 0U, ~0U, CLOSE_UNSHARED) != 0 ? errno : 0;
}
