/* A thread made, joined and woken by runtime/native/kernel/ alone: nothing else is linked, no Python and no green thread.
 *
 * It prints a line for each step; docs and tests read them. */
#include "kernel/glibc/glibc.h"
#include "kernel/lock/lock.h"
#include "kernel/lwp/lwp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 100000 };

static struct sync_lock lock;
static long count;
static __thread int own = 1;

static void work(void *arg)
{
    struct lwp *me = *(struct lwp **)arg;

    own += getpid() != gettid() && atomic_load(&me->tid) == gettid();
    for (int i = 0; i < ROUNDS; i++) {
        int64_t since = 0;
        while (!sync_lock_try(&lock) && sync_lock_wait(&lock, PARK_FOREVER, &since, 0) != 0)
            ;
        count += own - 1;
        sync_lock_release(&lock);
    }
}

int main(void)
{
    struct lwp *lwps[THREADS];
    char why[512];

    if (glibc_calibrate(why, sizeof why) != 0 || lwp_init() != 0) {
        dprintf(2, "%s\n", why);
        return 2;
    }
    printf("glibc %s is known\n", glibc.version);
    for (int i = 0; i < THREADS; i++) {
        if (!(lwps[i] = lwp_new(64 << 10)) || lwp_start(lwps[i], lwp_thread_flags, 0, work, &lwps[i]) != 0)
            return 3;
    }
    printf("%d threads are made\n", THREADS);
    for (int i = 0; i < THREADS; i++) {
        while (lwp_join(lwps[i], PARK_FOREVER) == EINTR)
            ;
        if (lwp_alive(lwps[i]))
            return 4;
        lwp_release(lwps[i]);
    }
    printf("they have ended; each has added %d, one at a time: %ld\n", ROUNDS, count);
    printf("this thread's own word is %d still\n", own);
    return count != (long)THREADS * ROUNDS || own != 1;
}
