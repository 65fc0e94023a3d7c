/* Who waits in user space for which file descriptor: epoll(7) for the LWP of a scheduler, which would sleep in a futex else. */
#ifndef RUNTIME_POLLER_H
#define RUNTIME_POLLER_H

#include <stdint.h>

struct poller;

/* NULL with errno set. */
struct poller *poller_new(void);
/* In a forked child too: nobody waits. */
void poller_free(struct poller *poller);

/* Parks the calling thread until one of the events (poll.h's) is there, which *found says, or HUP or ERR.  0, ETIMEDOUT, EINTR,
 * EBADF: it is closed, or was meanwhile, EPERM: always ready, as files are (epoll_ctl(2)), ENOMEM, ENOSPC.  Somebody must poll meanwhile. */
int poller_wait(struct poller *poller, int fd, unsigned events, int64_t deadline, unsigned *found);

/* Before and after a descriptor is closed: who waits for it is woken.  Both, since one may come to wait between poller_closing() and
 * the closing itself; and not after it alone, since the number may be another file's by then. */
void poller_closing(struct poller *poller, int fd);
void poller_closed(struct poller *poller, int fd);

/* Whether something is there that poller_poll() would find. */
int poller_is_ready(struct poller *poller);

/* How many wait. */
int poller_waiters(struct poller *poller);

/* Before poller_poll() with another deadline than 0, by who can be woken from here on: somebody else who polls, perhaps only to
 * look, may find that wake-up before it sleeps, and hands it on to those that are announced. */
void poller_announce(struct poller *poller);

/* Wakes those whose events are there, or, if there are none yet, at the deadline (base/park.h), when poller_wake() is called, or a
 * signal handler has run: EINTR.  A deadline of 0 only looks. */
int poller_poll(struct poller *poller, int64_t deadline);
void poller_wake(struct poller *poller);

#endif
