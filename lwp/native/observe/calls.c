#include "observe/calls.h"

#include "kernel/base/number.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

uintptr_t calls_gil[2];

static const struct call {
    long number;
    const char *name;
} calls[] = {
    [CALLS_NONE] = {-1, "no system call"},
    [CALLS_GIL] = {-1, "waiting for the GIL"},
    [CALLS_OTHER] = {-1, "another system call"},
#define CALL(name) {SYS_##name, #name},
    /* clang-format off */
    CALL(futex) CALL(read) CALL(write) CALL(readv) CALL(writev) CALL(pread64) CALL(pwrite64) CALL(recvfrom) CALL(recvmsg) CALL(sendto)
    CALL(sendmsg) CALL(accept) CALL(accept4) CALL(connect) CALL(ppoll) CALL(pselect6) CALL(epoll_pwait) CALL(clock_nanosleep)
    CALL(nanosleep) CALL(wait4) CALL(waitid) CALL(fsync) CALL(fdatasync) CALL(flock) CALL(fcntl) CALL(openat) CALL(sendfile)
    CALL(rt_sigtimedwait) CALL(semtimedop) CALL(msgrcv) CALL(mq_timedreceive) CALL(getrandom) CALL(munmap) CALL(mmap)
#ifdef SYS_poll /* aarch64 has only the newer ones */
    CALL(poll) CALL(select) CALL(epoll_wait) CALL(pause) CALL(open)
#endif
    /* clang-format on */
};
enum { COUNT = sizeof calls / sizeof *calls };
_Static_assert((int)COUNT <= (int)CALLS_MOST, "there are more names than numbers");

int calls_read(const char *line)
{
    /* "running", or number and arguments, "0 0x7 ..."; number -1: it sleeps outside a system call, in a page fault. */
    if (line[0] < '0' || line[0] > '9')
        return CALLS_NONE;
    long number = (long)number_read(&line, 10);
    line += strncmp(line, " 0x", 3) ? 0 : 3;
    uintptr_t argument = number_read(&line, 16);
    if (number == SYS_futex && argument >= calls_gil[0] && argument < calls_gil[1])
        return CALLS_GIL;
    for (int i = CALLS_FIRST; i < COUNT; i++)
        if (calls[i].number == number)
            return i;
    return CALLS_OTHER;
}

int calls_of(const char *tid)
{
    char path[300], line[256];

    snprintf(path, sizeof path, "/proc/self/task/%s/syscall", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    line[length > 0 ? length : 0] = 0;
    return calls_read(line);
}

const char *calls_name(int number)
{
    return calls[number].name;
}
