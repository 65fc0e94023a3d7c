#include "observe/aside.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CLOSE_UNSHARED = 2 }; /* CLOSE_RANGE_UNSHARE, linux/close_range.h */

int aside_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *))
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a thread begins with its creator's */
    int error = pthread_create(thread, attributes, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int aside_descriptors(void)
{
    return syscall(SYS_close_range, 0U, ~0U, CLOSE_UNSHARED) != 0 ? errno : 0;
}
