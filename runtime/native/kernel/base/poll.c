#include "kernel/base/poll.h"

#include "kernel/base/park.h"

#include <errno.h>
#include <stddef.h>

struct timespec *park_timeout(int64_t deadline, struct timespec *into)
{
    int64_t left = deadline == PARK_FOREVER || deadline == 0 ? 0 : deadline - park_now();

    if (left < 0)
        left = 0;
    *into = (struct timespec){left / PARK_SECOND, left % PARK_SECOND};
    return deadline == PARK_FOREVER ? NULL : into;
}

int park_poll_once(struct pollfd *polled, int count, int64_t deadline)
{
    struct timespec left;
    int found = ppoll(polled, (nfds_t)count, park_timeout(deadline, &left), NULL);

    return found < 0 ? errno : found == 0 ? ETIMEDOUT : 0;
}

int park_poll_all(struct pollfd *polled, int count, int64_t deadline)
{
    int saved = errno;
    int result = (park_cancel && deadline != 0 ? park_cancel_ops->poll : park_poll_once)(polled, count, park_until(deadline));

    errno = saved;
    return park_result(result, deadline);
}

int park_poll(int fd, unsigned events, int64_t deadline, unsigned *found)
{
    struct pollfd polled[2] = {{.fd = fd, .events = (short)events}};
    int result = park_poll_all(polled, 1, deadline);

    *found = (unsigned)(unsigned short)polled[0].revents;
    return !result && *found & POLLNVAL ? EBADF : result;
}
