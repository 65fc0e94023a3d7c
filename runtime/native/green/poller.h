/* Which green thread waits for which file descriptor: over epoll(7), in which the LWP of a scheduler then sleeps, and not in a futex. */
#ifndef RUNTIME_POLLER_H
#define RUNTIME_POLLER_H

#include <stdint.h>
#include <sys/epoll.h>

struct poller;

/* NULL with errno set. */
struct poller *poller_new(void);
/* It must have no waiters, except in a forked child, where they are lost. */
void poller_free(struct poller *poller);

/* How often the number has been closed so far.  Read this before the first of several calls on one descriptor number.  If it has changed at
 * the next call, the number was closed in between and may now name another file.  Without memory 0, and the wait says ENOMEM. */
unsigned poller_closings(struct poller *poller, int fd);

/* Parks the calling thread until one of the events (poll.h's) is there, or HUP or ERR; *found says which.  0, ETIMEDOUT, EINTR, ENOMEM,
 * ENOSPC; EBADF: the descriptor is closed, or was closed meanwhile or since *closings was read (NULL: any file of the number will do);
 * EPERM: always ready, as files on a disk are (epoll_ctl(2)).  An LWP must poll meanwhile. */
int poller_wait(struct poller *poller, int fd, unsigned events, const unsigned *closings, int64_t deadline, unsigned *found);

/* Parks the calling thread until one of the files is ready, as poll(2) then says: as green_wait_fds(). */
struct pollfd;
int poller_wait_all(struct poller *poller, struct pollfd *files, int count, int64_t deadline);

/* A call on a socket that doesn't block (MSG_DONTWAIT), and the wait after it, with no system call for either while the descriptor is open.
 *
 *   1. poller_try(): 0, there is nothing, go to 3 at once; 1, make the call
 *   2. the call.  If it has taken all that was there (a short read of a stream): poller_drained().  EAGAIN: 3
 *   3. poller_wait_edge(): 0, go to 1; the rest as poller_wait()
 *
 * The descriptor is registered in the first wait, and stays so, edge-triggered, for its owner: an address that stands for the open file,
 * here the Python object of the socket.  The kernel doesn't say when a number becomes another file's.  So the caller must tell:
 * poller_closing() when the owner ends, and when the number is closed or overwritten (dup2), poller_disowned(). */
struct poller_try {
    const void *owner;
    int fd;
    unsigned edge, closings; /* when the attempt began */
};
int poller_try(struct poller *poller, struct poller_try *attempt);
void poller_drained(struct poller *poller, const struct poller_try *attempt);
int poller_wait_edge(struct poller *poller, const struct poller_try *attempt, unsigned events, int64_t deadline);

/* Called before and after a descriptor is closed, and wakes its waiters.  Before, because after the close the number may be another
 * file's.  After, because a thread may begin to wait between poller_closing() and the close. */
void poller_closing(struct poller *poller, int fd);
void poller_closed(struct poller *poller, int fd);
/* Called before the owner gives the descriptor up without closing it: its waiters wait on. */
void poller_disowned(struct poller *poller, int fd);

/* Whether something is there that poller_poll() would find. */
int poller_is_ready(struct poller *poller);

/* How many threads wait. */
int poller_waiters(struct poller *poller);

/* Announces a poll that may sleep.  Call this as soon as another thread may send you a wake-up: a second LWP that polls, even with a deadline
 * of 0, may consume the wake-up, and passes it on only while a sleep is announced. */
void poller_announce(struct poller *poller);

/* Sleeps until there are events, until the deadline (kernel/base/park.h), poller_wake(), or a signal: EINTR.  With a deadline of 0 it
 * doesn't sleep.  Call poller_deliver() after it, which wakes the waiters of the events. */
enum { POLLER_AT_ONCE = 64 };
struct poller_events {
    struct epoll_event list[POLLER_AT_ONCE];
    int count;
};
int poller_poll(struct poller *poller, int64_t deadline, struct poller_events *events);
void poller_deliver(struct poller *poller, const struct poller_events *events);
void poller_wake(struct poller *poller);

#endif
