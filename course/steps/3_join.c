/* Step 3: threads of one process, and a join by hand.  cc 3_join.c && ./a.out */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK (64 * 1024)
#define THREADS 3
#define THREAD_FLAGS                                                                  \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM \
     | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

struct thread {
    char *stack;
    int tid;   /* the kernel writes it before the thread's first instruction */
    int alive; /* 1, until the kernel writes 0 because the thread has ended */
    int own_pid, own_tid;
};

static int gate; /* 0: the threads wait here */

static void wait_while(int *word, int value)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
        syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static int run(void *arg)
{
    struct thread *me = arg;

    me->own_pid = getpid();
    me->own_tid = gettid();
    wait_while(&gate, 0);
    return 0;
}

static void start(struct thread *thread)
{
    thread->stack
        = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    thread->alive = 1;
    if (thread->stack == MAP_FAILED
        || clone(run, thread->stack + STACK, THREAD_FLAGS, thread, &thread->tid, NULL,
                 &thread->alive)
               < 0) {
        perror("mmap or clone");
        exit(1);
    }
}

static void join(struct thread *thread)
{
    wait_while(&thread->alive, 1);
    munmap(thread->stack, STACK);
}

static int count_tasks(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;

    for (struct dirent *entry; (entry = readdir(tasks));)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

int main(void)
{
    struct thread threads[THREADS] = {0};

    for (int n = 0; n < THREADS; n++)
        start(&threads[n]);
    printf("tasks in /proc/self/task: %d\n", count_tasks());
    printf("waitpid of the first: %s\n",
           waitpid(threads[0].tid, NULL, __WALL) < 0 ? strerrorname_np(errno) : "0");

    __atomic_store_n(&gate, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &gate, FUTEX_WAKE, THREADS, NULL, NULL, 0);
    for (int n = 0; n < THREADS; n++)
        join(&threads[n]);

    printf("%-10s%-10s%-10s%-10s%s\n", "", "getpid()", "gettid()", "tid", "alive");
    printf("%-10s%-10d%-10d\n", "main", getpid(), gettid());
    for (int n = 0; n < THREADS; n++)
        printf("thread %-3d%-10d%-10d%-10d%d\n", n, threads[n].own_pid, threads[n].own_tid,
               threads[n].tid, threads[n].alive);
    return 0;
}
