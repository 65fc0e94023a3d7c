/* A sleep for descriptors that keeps the LWP. */
#ifndef RUNTIME_POLL_H
#define RUNTIME_POLL_H

#include "api.h"

#include <poll.h>
#include <stdint.h>
#include <time.h>

/* Sleeps until the descriptor has one of the events (poll(2)'s), or HUP or ERR: *found says which.  0, ETIMEDOUT or EINTR as park_wait();
 * EBADF: it is closed; ENOMEM. */
int park_poll(int fd, unsigned events, int64_t deadline, unsigned *found);

/* The same for several: `polled` has room for one more, and gets what was found.  EBADF isn't returned: POLLNVAL says so. */
API int park_poll_all(struct pollfd *polled, int count, int64_t deadline);

/* The same, and nothing cancels it. */
int park_poll_once(struct pollfd *polled, int count, int64_t deadline);

/* The time left until the deadline, for a system call that takes a duration: 0 if it has passed; NULL, no limit, for PARK_FOREVER. */
struct timespec *park_timeout(int64_t deadline, struct timespec *into);

#endif
