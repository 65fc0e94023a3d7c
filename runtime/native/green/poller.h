/* Which green thread waits for which file descriptor: over epoll(7), in which the LWP of a scheduler then sleeps, and not in a futex. */
#ifndef RUNTIME_POLLER_H
#define RUNTIME_POLLER_H

#include <stdint.h>

struct poller;

/* NULL with errno set. */
struct poller *poller_new(void);
/* It must have no waiters, but in a forked child, where they are lost. */
void poller_free(struct poller *poller);

/* Parks the calling thread until one of the events (poll.h's) is there, which *found says, or HUP or ERR.  0, ETIMEDOUT, EINTR,
 * EBADF: it is closed, or was meanwhile, EPERM: always ready, as files are (epoll_ctl(2)), ENOMEM, ENOSPC.  An LWP must
 * poll meanwhile. */
int poller_wait(struct poller *poller, int fd, unsigned events, int64_t deadline, unsigned *found);

/* Called before and after a descriptor is closed: its waiters are woken.  Before, since after it the number may be another file's; and
 * after, since a thread may begin to wait between poller_closing() and the close. */
void poller_closing(struct poller *poller, int fd);
void poller_closed(struct poller *poller, int fd);

/* Whether something is there that poller_poll() would find. */
int poller_is_ready(struct poller *poller);

/* How many wait. */
int poller_waiters(struct poller *poller);

/* Called before a poll that may sleep, as soon as the caller may be sent a wake-up.  Another poller, even one with a deadline of 0, may
 * consume that wake-up; it passes it on as long as one is announced. */
void poller_announce(struct poller *poller);

/* Wakes the waiters whose events are there.  If there are none it sleeps until there are, until the deadline (base/park.h),
 * poller_wake(), or a signal: EINTR.  With a deadline of 0 it doesn't sleep. */
int poller_poll(struct poller *poller, int64_t deadline);
void poller_wake(struct poller *poller);

#endif
