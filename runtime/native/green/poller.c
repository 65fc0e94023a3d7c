#include "green/poller.h"

#include "base/park.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { AT_ONCE = 64 };

struct fd_waiter {
    struct fd_waiter *next;
    unsigned events;
    atomic_int found; /* what it sleeps on: 0 until it is woken.  POLLNVAL: the descriptor is closed */
};

/* epoll has a descriptor armed for one event (EPOLLONESHOT), for all its waiters, and keeps it disarmed when it has none.  If the
 * descriptor is closed the kernel drops it silently: so arming must expect to find it or not, and the waiters learn of the close from
 * poller_closing().
 * A waiter stays in its list until its thread runs again.  Between the event and that turn the descriptor may be closed, and its number
 * be another file's: then poller_closing() must still find the waiter. */
struct poller {
    int epoll, waker;
    atomic_int lock; /* order: docs/architecture.md */
    atomic_int waiters; /* that have not been woken */
    atomic_int sleepers; /* LWPs in poller_poll() with a deadline, or on the way there */
    struct fd_waiter **of; /* by descriptor */
    int capacity;
};

struct poller *poller_new(void)
{
    struct poller *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->waker = p->epoll < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = p->waker}; /* edge-triggered: it is never read */
    if (p->waker >= 0 && epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->waker, &event) == 0)
        return p;
    int error = errno;
    poller_free(p);
    errno = error;
    return NULL;
}

void poller_free(struct poller *p)
{
    if (p->epoll >= 0)
        close(p->epoll);
    if (p->waker >= 0)
        close(p->waker);
    free(p->of);
    free(p);
}

int poller_waiters(struct poller *p)
{
    return atomic_load(&p->waiters);
}

static int arm_descriptor(struct poller *p, int fd)
{
    struct epoll_event event = {.events = EPOLLONESHOT, .data.fd = fd};

    for (struct fd_waiter *w = p->of[fd]; w; w = w->next)
        if (!atomic_load(&w->found))
            event.events |= w->events;
    if (epoll_ctl(p->epoll, EPOLL_CTL_MOD, fd, &event) == 0)
        return 0;
    return errno == ENOENT && epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

static int grow_table(struct poller *p, int fd)
{
    int capacity = p->capacity ? p->capacity : 64;

    if (fd < 0)
        return EBADF;
    if (fd < p->capacity)
        return 0;
    while (capacity <= fd)
        capacity *= 2;
    struct fd_waiter **of = realloc(p->of, (size_t)capacity * sizeof *of);
    if (!of)
        return ENOMEM;
    memset(of + p->capacity, 0, (size_t)(capacity - p->capacity) * sizeof *of);
    p->of = of;
    p->capacity = capacity;
    return 0;
}

static void remove_waiter(struct poller *p, int fd, struct fd_waiter *waiter)
{
    struct fd_waiter **at = &p->of[fd];

    while (*at && *at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
    if (!atomic_load(&waiter->found))
        atomic_fetch_sub(&p->waiters, 1);
}

int poller_wait(struct poller *p, int fd, unsigned events, int64_t deadline, unsigned *found)
{
    struct fd_waiter waiter = {.events = events};

    park_lock(&p->lock);
    int result = grow_table(p, fd);
    if (!result) {
        waiter.next = p->of[fd];
        p->of[fd] = &waiter;
        atomic_fetch_add(&p->waiters, 1);
        if ((result = arm_descriptor(p, fd)))
            remove_waiter(p, fd, &waiter);
    }
    park_unlock(&p->lock);
    if (result)
        return result;
    while (!atomic_load(&waiter.found) && !result)
        result = park_wait(&waiter.found, 0, deadline, PARK_PRIVATE);
    park_lock(&p->lock);
    remove_waiter(p, fd, &waiter);
    park_unlock(&p->lock);
    *found = (unsigned)atomic_load(&waiter.found);
    return *found & POLLNVAL ? EBADF : *found ? 0 : result;
}

/* Wakes the waiters of a descriptor whose events are there, the latest first.  Returns how many go on waiting. */
static int wake_ready(struct poller *p, int fd, unsigned found)
{
    int others = 0;

    for (struct fd_waiter *w = p->of[fd]; w; w = w->next) {
        unsigned its = found & (w->events | POLLERR | POLLHUP | POLLNVAL);
        if (atomic_load(&w->found)) {
            if (found & POLLNVAL)
                atomic_store(&w->found, POLLNVAL);
        } else if (its) {
            atomic_fetch_sub(&p->waiters, 1);
            atomic_store(&w->found, (int)its);
            park_wake_greens(&w->found, 1);
        } else
            others++;
    }
    return others;
}

void poller_closing(struct poller *p, int fd)
{
    park_lock(&p->lock);
    if (fd >= 0 && fd < p->capacity)
        wake_ready(p, fd, POLLNVAL);
    park_unlock(&p->lock);
}

void poller_closed(struct poller *p, int fd)
{
    park_lock(&p->lock);
    if (fd >= 0 && fd < p->capacity && wake_ready(p, fd, 0) && arm_descriptor(p, fd) == EBADF)
        wake_ready(p, fd, POLLNVAL);
    park_unlock(&p->lock);
}

static int sleep_until(struct poller *p, struct epoll_event *events, int64_t deadline)
{
    struct timespec left, *timeout = park_timeout(deadline, &left);

#ifdef SYS_epoll_pwait2 /* Linux 5.11: nanoseconds */
    int count = (int)syscall(SYS_epoll_pwait2, p->epoll, events, AT_ONCE, timeout, NULL, 0);
    if (count >= 0 || errno != ENOSYS)
        return count;
#endif
    return epoll_wait(p->epoll, events, AT_ONCE, timeout ? (int)(left.tv_sec * 1000 + (left.tv_nsec + 999999) / 1000000) : -1);
}

void poller_announce(struct poller *p)
{
    atomic_fetch_add(&p->sleepers, 1);
}

int poller_poll(struct poller *p, int64_t deadline)
{
    struct epoll_event events[AT_ONCE];
    int sleeps = deadline != 0, for_another = 0;

    int saved = errno, count = sleep_until(p, events, deadline), result = count < 0 ? errno : 0;
    atomic_fetch_sub(&p->sleepers, sleeps);
    park_lock(&p->lock);
    for (int i = 0; i < count; i++)
        if (events[i].data.fd != p->waker) {
            if (wake_ready(p, events[i].data.fd, events[i].events))
                arm_descriptor(p, events[i].data.fd);
        } else
            for_another = atomic_load(&p->sleepers) > 0;
    park_unlock(&p->lock);
    if (for_another) /* an edge wakes one poller, and not always the one that it was meant for */
        poller_wake(p);
    errno = saved;
    return result;
}

int poller_is_ready(struct poller *p)
{
    struct pollfd epoll = {.fd = p->epoll, .events = POLLIN};

    return poller_waiters(p) > 0 && poll(&epoll, 1, 0) > 0;
}

void poller_wake(struct poller *p)
{
    int saved = errno;

    eventfd_write(p->waker, 1);
    errno = saved;
}
