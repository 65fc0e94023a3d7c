#include "kernel/lwp/process.h"

#include "kernel/base/park.h"
#include "kernel/lwp/registry.h"
#include "kernel/base/poll.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int process_alive(struct lwp *lwp)
{
    siginfo_t info = {0};

    if (lwp->wait_status != -1)
        return 0;
    return waitid(P_PID, (id_t)lwp->tid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid == 0;
}

int process_await(struct lwp *lwp, int64_t deadline)
{
    int fd = (int)syscall(SYS_pidfd_open, lwp->tid, 0);

    /* ESRCH: another thread has reaped it, and process_reap() will find that.  If no descriptor is free, and the process has left our
     * memory, process_reap() waits for it without a deadline: it is about to end, unless it has called exec. */
    if (fd < 0)
        return errno == ESRCH || (lwp->flags & CLONE_VM) ? 0 : errno;
    unsigned found;
    int error = park_poll(fd, POLLIN, deadline, &found); /* a pidfd is readable when the process has ended: pidfd_open(2) */
    close(fd);
    return error;
}

int process_reap(struct lwp *lwp)
{
    int status, error = 0;

    park_lock(&lwp->reaping);
    if (lwp->wait_status == -1) {
        if (waitpid(lwp->tid, &status, __WALL) == lwp->tid)
            lwp->wait_status = status;
        else if (errno == ECHILD)
            lwp->wait_status = -2; /* the program has called waitpid for it: the status is lost */
        else
            error = errno;
        if (!error && lwp->context && !atomic_load(&lwp->ending)) {
            registry_leave_glibc(lwp->context);
            registry_count_ended();
            registry_push_ended(lwp, lwp);
        }
    }
    park_unlock(&lwp->reaping);
    return error;
}

int process_wait_child(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return errno;
    return 0;
}
