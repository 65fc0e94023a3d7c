#include "study/cost.h"

#include "kernel/base/park.h"
#include "kernel/lwp/lwp.h"
#include "kernel/lwp/process.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

enum { STACK = 64 * 1024 };

static void do_nothing(void *arg)
{
    (void)arg;
}

static int run_lwp(unsigned long flags, int exit_signal)
{
    struct lwp *lwp = lwp_new(STACK);

    if (!lwp)
        return errno;
    int error = lwp_start(lwp, flags, exit_signal, do_nothing, NULL);
    while (!error && (error = lwp_join(lwp, PARK_FOREVER)) == EINTR)
        error = 0;
    lwp_release(lwp);
    return error;
}

int64_t cost_once(int kind)
{
    int64_t from = park_now();
    pid_t pid;
    int error;

    switch (kind) {
    case COST_FORK:
        if ((pid = fork()) == 0)
            _exit(0);
        error = pid < 0 ? errno : process_wait_child(pid);
        break;
    case COST_VFORK:
        if ((pid = vfork()) == 0)
            _exit(0);
        error = pid < 0 ? errno : process_wait_child(pid);
        break;
    case COST_CLONE_VM:
        error = run_lwp(CLONE_VM | lwp_own_flags, SIGCHLD);
        break;
    case COST_THREAD:
        error = run_lwp(lwp_thread_flags, 0);
        break;
    default:
        error = EINVAL;
    }
    return error ? -error : park_now() - from;
}
