/* Step 2: what fork copies.  cc 2_fork.c && ./a.out */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STACK (64 * 1024)
#define MIB (1024 * 1024L)

static char *memory, *stack;
static long page_size;

static void *map(size_t size)
{
    char *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(start, size, MADV_NOHUGEPAGE); /* pages of 4 KiB, so that the counts are of these */
    return start;
}

static void dirty(long pages)
{
    for (long page = 0; page < pages; page++)
        memory[page * page_size]++;
}

static int child(void *pages)
{
    dirty((long)pages);
    return 0;
}

static struct rusage make_child(int flags, long pages)
{
    struct rusage used;
    int status;
    pid_t pid = clone(child, stack + STACK, flags | SIGCHLD, (void *)pages);

    if (pid < 0 || wait4(pid, &status, 0, &used) != pid || status != 0) {
        fprintf(stderr, "the child failed\n");
        exit(1);
    }
    return used;
}

static long faults(int flags, long pages)
{
    dirty(pages); /* in the parent, so that each page is there and may be written */
    return make_child(flags, pages).ru_minflt - make_child(flags, 0).ru_minflt;
}

static long faults_afterwards(int flags, long pages)
{
    struct rusage before, after;

    make_child(flags, 0);
    getrusage(RUSAGE_SELF, &before);
    dirty(pages);
    getrusage(RUSAGE_SELF, &after);
    return after.ru_minflt - before.ru_minflt;
}

static double microseconds(int flags)
{
    double best = 1e9;

    for (int n = 0; n < 11; n++) {
        struct timespec begin, end;

        clock_gettime(CLOCK_MONOTONIC, &begin);
        make_child(flags, 0);
        clock_gettime(CLOCK_MONOTONIC, &end);
        double took = (end.tv_sec - begin.tv_sec) * 1e6 + (end.tv_nsec - begin.tv_nsec) / 1e3;
        if (took < best)
            best = took;
    }
    return best;
}

static void count(const char *who, int flags, long counted(int flags, long pages))
{
    printf("%-29s%-10ld%-10ld%ld\n", who, counted(flags, 1), counted(flags, 10),
           counted(flags, 1000));
}

int main(void)
{
    page_size = sysconf(_SC_PAGESIZE);
    stack = map(STACK);

    printf("%-12s%12s%12s%12s\n", "memory", "fork", "vfork", "clone");
    for (long size = 0; size <= 512; size = size ? size * 4 : 8) {
        memory = size ? map(size * MIB) : NULL;
        dirty(size * MIB / page_size);
        printf("%6ld MiB  %9.0f µs%10.0f µs%10.0f µs\n", size, microseconds(0),
               microseconds(CLONE_VM | CLONE_VFORK), microseconds(CLONE_VM));
        if (size)
            munmap(memory, size * MIB);
    }

    memory = map(1000 * page_size);
    printf("\n%-29s%-10s%-10s%s\n", "page faults of", "1 page", "10 pages", "1000 pages");
    count("a child of fork", 0, faults);
    count("its parent afterwards", 0, faults_afterwards);
    count("a child of vfork", CLONE_VM | CLONE_VFORK, faults);
    count("a child of clone", CLONE_VM, faults);
    return 0;
}
