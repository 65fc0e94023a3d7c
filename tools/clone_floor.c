/* What the kernel alone takes for many threads at once, without TLS, TCB, glibc or Python: the floor for any runtime.

       cc -O2 -o clone_floor tools/clone_floor.c && taskset -c 0 ./clone_floor

   Each thread sleeps on a word of its own.  Then the first is woken, and each wakes the next and ends: no wake-up is in
   vain, as in a runtime that hands a baton on.  Times are of start (clone, the first run, the wait) and of join (the
   wake-up, the end), for one thread each. */

#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_FUTEX_HASH
#define PR_FUTEX_HASH 78
#define PR_FUTEX_HASH_SET_SLOTS 1
#endif

enum { THREADS = 10000, ROUNDS = 5, STACK = 16 << 10 };

static _Atomic unsigned gate[THREADS + 1]; /* 1: go on */
static _Atomic unsigned alive[THREADS];    /* cleared by the kernel: CLONE_CHILD_CLEARTID */

/* The threads share our TLS, errno with it: nobody looks at errno. */
static void futex(_Atomic unsigned *word, int operation, unsigned value)
{
    syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static int body(void *argument)
{
    _Atomic unsigned *mine = argument;

    while (!*mine)
        futex(mine, FUTEX_WAIT_PRIVATE, 0);
    mine[1] = 1;
    futex(&mine[1], FUTEX_WAKE_PRIVATE, 1);
    return 0;
}

static double microseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

int main(void)
{
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;

    /* Since Linux 6.16 a process has a table of sleepers of its own: one that is large enough. */
    prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS, 32768, 0, 0);
    for (int round = 0; round < ROUNDS; round++) {
        char *stacks = mmap(NULL, (size_t)STACK * THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        double begin, all, end;
        unsigned left;

        if (stacks == MAP_FAILED) {
            perror("mmap");
            return EXIT_FAILURE;
        }
        begin = microseconds();
        for (int i = 0; i < THREADS; i++) {
            gate[i] = 0;
            alive[i] = 1;
            if (clone(body, stacks + (size_t)STACK * (i + 1), flags, (void *)&gate[i], NULL, NULL, &alive[i]) < 0) {
                perror("clone");
                return EXIT_FAILURE;
            }
        }
        sched_yield(); /* the last ones to sleep */
        all = microseconds();
        gate[0] = 1;
        futex(&gate[0], FUTEX_WAKE_PRIVATE, 1);
        for (int i = 0; i < THREADS; i++)
            while ((left = alive[i]) != 0)
                futex(&alive[i], FUTEX_WAIT, left); /* not PRIVATE: the kernel's wake-up isn't (kernel/fork.c, mm_release) */
        end = microseconds();
        printf("%d alive: start %.1f us each, join %.1f us each\n", THREADS, (all - begin) / THREADS, (end - all) / THREADS);
        munmap(stacks, (size_t)STACK * THREADS);
    }
    return EXIT_SUCCESS;
}
