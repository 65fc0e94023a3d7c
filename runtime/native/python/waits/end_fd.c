/* A descriptor for an LWP's end, which select, poll and event loops wait for. */
#include "python/waits/end_fd.h"

#include "kernel/base/fork.h"
#include "kernel/lwp/lwp.h"
#include "waits/any.h"
#include "green/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIDFD_OF_THREAD = O_EXCL }; /* PIDFD_THREAD, linux/pidfd.h: Linux 6.9 */

/* A pidfd, or an eventfd that the thread writes at its end: it then has the watch. */
struct end_fd {
    int fd, watches;
    int forks; /* the fork_generation that it belongs to: a child shares the eventfd with its parent, where the thread lives on */
    struct sync_any any;
    struct lwp_watch watch;
};

void end_fd_close(struct end_fd **at)
{
    struct end_fd *end = *at;

    if (!end)
        return;
    *at = NULL;
    if (end->watches)
        lwp_unwatch(&end->watch);
    close(end->fd);
    PyMem_Free(end);
}

/* The end comes. */
static void write_eventfd(struct sync_any *any)
{
    int saved = errno;

    eventfd_write(((struct end_fd *)((char *)any - offsetof(struct end_fd, any)))->fd, 1);
    errno = saved;
}

/* A pidfd of the LWP; -1: the kernel is older, or the LWP has ended; -2 with an exception. */
static int open_pidfd(struct lwp *lwp)
{
    int fd = (int)syscall(SYS_pidfd_open, atomic_load(&lwp->tid), lwp->flags & CLONE_THREAD ? PIDFD_OF_THREAD : 0);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -2;
    }
    if (fd < 0 || lwp_alive(lwp))
        return fd;
    close(fd); /* the tid may be another's */
    return -1;
}

static int fill_end_fd(struct end_fd *end, struct lwp *lwp)
{
    int is_thread = lwp->flags & CLONE_THREAD, alive = lwp_alive(lwp);

    *end = (struct end_fd){.fd = -1, .forks = fork_generation};
    if (alive && !green_of_lwp(lwp)->scheduler && (end->fd = open_pidfd(lwp)) != -1)
        return end->fd < 0 ? -1 : 0;
    if ((end->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    end->any = (struct sync_any){.open = 1, .forks = fork_generation, .wake = write_eventfd};
    end->watches = alive && is_thread && lwp_watch(lwp, &end->watch, &end->any);
    if (!end->watches)
        eventfd_write(end->fd, 1);
    return 0;
}

int end_fd_of(struct end_fd **at, struct lwp *lwp)
{
    if (*at && (*at)->forks != fork_generation)
        end_fd_close(at);
    if (*at)
        return (*at)->fd;
    struct end_fd *end = PyMem_Malloc(sizeof *end);
    if (!end) {
        PyErr_NoMemory();
        return -1;
    }
    if (fill_end_fd(end, lwp) < 0) {
        PyMem_Free(end);
        return -1;
    }
    *at = end;
    return end->fd;
}
