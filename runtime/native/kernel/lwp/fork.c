#include "kernel/lwp/lwp.h"

#include "kernel/base/fork.h"
#include "kernel/context/context.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/registry.h"
#include "kernel/lwp/thread_main.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static int only_thread(void)
{
    return atomic_load(glibc.thread_count) == 1 && registry_alive() == 0;
}

long lwp_copy(struct lwp *lwp, unsigned long flags, int exit_signal)
{
    long pid;

    if (flags == 0 && exit_signal == SIGCHLD)
        pid = fork();
    else {
        if (!only_thread())
            return -EBUSY;
        /* The caller is the only thread, so in the copy no lock is held by another.  Stack NULL: the child goes on with the copy of the
         * caller's.  CLONE_CHILD_SETTID writes the child's tid to its struct pthread, as glibc's fork() does. */
        int *tid = glibc_field((void *)pthread_self(), glibc.tid);
        pid = syscall(SYS_clone, flags | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | (unsigned)exit_signal, NULL, NULL,
#if defined(__x86_64__)
                      tid, NULL
#else
                      NULL, tid
#endif
        );
        if (pid == 0)
            syscall(SYS_set_robust_list, glibc_field((void *)pthread_self(), glibc.robust_head), 3 * sizeof(void *));
    }
    if (pid < 0)
        return -errno;
    atomic_store(&lwp->tid, pid ? (int)pid : getpid());
    lwp->flags = flags;
    lwp->exit_signal = exit_signal;
    lwp->started = 1;
    return pid;
}

static void before_fork(void)
{
    registry_before_fork();
    context_before_fork();
}

static void after_fork_in_parent(void)
{
    context_after_fork();
    registry_after_fork();
}

/* (2),(3),(4),(5) -> (6) */
static void reap_lost(struct lwp *lwp)
{
    struct context *context = lwp->context;

    lwp->context = NULL;
    lwp->arg = NULL; /* CPython frees the objects of lost threads */
    lwp->wait_status = lwp->flags & CLONE_THREAD ? -1 : -2; /* a process is the parent's child, not ours */
    atomic_store(&lwp->reaping, 0); /* its holder is lost */
    atomic_store(&lwp->alive, 0);
    context_put(context, 1);
    registry_drop(lwp);
}

/* The child has one thread, the caller.  glibc has emptied its own lists before (nptl/nptl-stack.c, __nptl_reclaim_stacks), and set
 * __nptl_nthreads to 1. */
static void after_fork_in_child(void)
{
    context_after_fork();
    struct lwp *me = registry_after_fork_in_child((uintptr_t)pthread_self(), reap_lost);
    atomic_store(&lwps_ending, 0);
    atomic_store(&lwps_beside_count, 0);
    if (!me)
        return;
    atomic_store(&me->tid, gettid());
    atomic_store(&me->watchers, NULL); /* lost threads, one of which may hold the lock */
    atomic_store(&me->watching, 0);
    me->flags |= CLONE_THREAD;
    me->counted = 1; /* so the process ends with it: thread_exit_hooks() */
    me->aside = 0;
    /* fork() had the kernel clear glibc's word at this thread's end; joiners sleep on `alive`. */
    syscall(SYS_set_tid_address, &me->alive);
}

static const struct fork_handlers fork_handlers = {before_fork, after_fork_in_parent, after_fork_in_child};

int lwp_init(void)
{
    fork_handle(FORK_LWP, &fork_handlers);
    return fork_init();
}
