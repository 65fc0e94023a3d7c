#include "green/poller.h"

#include "kernel/base/park.h"
#include "kernel/base/poll.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A descriptor is registered in epoll in one of two ways.  With an owner: edge-triggered, for as long as it is open (poller_try()).
 * Without: for one event (EPOLLONESHOT), for all its waiters, and disarmed when it has none.  A waiter of either kind that finds the other
 * kind of registration changes it, and the kernel looks anew, so no event is lost; the waiters share one list.
 *
 * If a descriptor is closed the kernel drops it silently: so a registration must expect to find it or not, and the waiters learn of the
 * close from poller_closing().  That takes the registration out, too: if another process or a dup() keeps the file open, its events would
 * come for the next file of that number.
 * A waiter stays in its list until its thread runs again.  Between the event and that turn the descriptor may be closed, and its number
 * be another file's: then poller_closing() must still find the waiter.
 *
 * NO LOST EDGE.  `edges` counts the events that poller_poll() has received.  A thread reads it, makes its call, and gets EAGAIN: data that
 * comes after that makes a new edge in the kernel, and poller_poll() counts that edge.  So if the count is still the same the thread may
 * sleep; otherwise it tries again.  `drained` keeps what was read for the next call: as long as it equals `edges`, nothing has come.  Two
 * things end a short read before the stream is drained, or make no edge: the end of the stream, which may have come with the data, and
 * urgent data.  Both show in the event (EPOLLRDHUP, EPOLLPRI), and from then on a short read says nothing. */
struct fd_waiter {
    struct fd_waiter *next;
    atomic_int *shared; /* its thread sleeps at this word, which is 0 until one of several files has come; NULL: at `found` */
    unsigned events;
    atomic_int found; /* 0 until it is woken.  POLLNVAL: the descriptor is closed */
};

struct descriptor {
    struct fd_waiter *waiters;
    const void *owner;       /* NULL: armed for one event, or not registered */
    int registered;          /* since the number was closed last; it may be armed or not */
    unsigned events;         /* with an owner: registered for these */
    unsigned edges, drained; /* with an owner; 0 is no edge */
    int is_stream;           /* a short read says that nothing is left: TCP, in which a read crosses no boundary */
    unsigned closings;       /* calls of poller_closing() for this number */
};

struct poller {
    int epoll, waker;
    atomic_int lock; /* order: docs/architecture.md */
    atomic_int waiters; /* that have not been woken */
    atomic_int sleepers; /* LWPs in poller_poll() with a deadline, or on the way there */
    unsigned closings;   /* calls of poller_closing(), for any number */
    struct descriptor *of; /* by number */
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

static int register_fd(struct poller *p, int fd, struct epoll_event *event)
{
    if (epoll_ctl(p->epoll, EPOLL_CTL_MOD, fd, event) && (errno != ENOENT || epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, event)))
        return errno;
    p->of[fd].registered = 1;
    return 0;
}

static int arm_descriptor(struct poller *p, int fd)
{
    struct epoll_event event = {.events = EPOLLONESHOT, .data.fd = fd};

    for (struct fd_waiter *w = p->of[fd].waiters; w; w = w->next)
        if (!atomic_load(&w->found))
            event.events |= w->events;
    p->of[fd].owner = NULL;
    return register_fd(p, fd, &event);
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
    struct descriptor *of = realloc(p->of, (size_t)capacity * sizeof *of);
    if (!of)
        return ENOMEM;
    memset(of + p->capacity, 0, (size_t)(capacity - p->capacity) * sizeof *of);
    p->of = of;
    p->capacity = capacity;
    return 0;
}

static void remove_waiter(struct poller *p, int fd, struct fd_waiter *waiter)
{
    struct fd_waiter **at = &p->of[fd].waiters;

    while (*at && *at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
    if (!atomic_load(&waiter->found))
        atomic_fetch_sub(&p->waiters, 1);
}

static void add_waiter(struct poller *p, int fd, struct fd_waiter *waiter)
{
    waiter->next = p->of[fd].waiters;
    p->of[fd].waiters = waiter;
    atomic_fetch_add(&p->waiters, 1);
}

/* Returns the events that have come. */
static unsigned stop_waiting(struct poller *p, int fd, struct fd_waiter *waiter)
{
    park_lock(&p->lock);
    remove_waiter(p, fd, waiter);
    park_unlock(&p->lock);
    return (unsigned)atomic_load(&waiter->found);
}

static int sleep_for_event(struct poller *p, int fd, struct fd_waiter *waiter, int64_t deadline, unsigned *found)
{
    int result = 0;

    while (!atomic_load(&waiter->found) && !result)
        result = park_wait(&waiter->found, 0, deadline, PARK_PRIVATE);
    *found = stop_waiting(p, fd, waiter);
    return *found & POLLNVAL ? EBADF : *found ? 0 : result;
}

unsigned poller_closings(struct poller *p, int fd)
{
    park_lock(&p->lock);
    unsigned closings = grow_table(p, fd) == 0 ? p->of[fd].closings : 0;
    park_unlock(&p->lock);
    return closings;
}

static int begin_waiting(struct poller *p, int fd, struct fd_waiter *waiter, const unsigned *closings)
{
    park_lock(&p->lock);
    int result = grow_table(p, fd);
    if (!result && closings && p->of[fd].closings != *closings)
        result = EBADF;
    if (!result) {
        add_waiter(p, fd, waiter);
        if ((result = arm_descriptor(p, fd)))
            remove_waiter(p, fd, waiter);
    }
    park_unlock(&p->lock);
    return result;
}

int poller_wait(struct poller *p, int fd, unsigned events, const unsigned *closings, int64_t deadline, unsigned *found)
{
    struct fd_waiter waiter = {.events = events};
    int result = begin_waiting(p, fd, &waiter, closings);

    return result ? result : sleep_for_event(p, fd, &waiter, deadline, found);
}

/* ---- several files ----------------------------------------------------------------------------------------------- */

/* 0, or an errno; `shared` is NULL in those that were not entered. */
static int watch_all(struct poller *p, struct pollfd *files, int count, struct fd_waiter *waiters, atomic_int *word)
{
    for (int i = 0; i < count; i++) {
        if (files[i].fd < 0) /* poll(2) leaves it out */
            continue;
        waiters[i] = (struct fd_waiter){.events = (unsigned short)files[i].events, .shared = word};
        int result = begin_waiting(p, files[i].fd, &waiters[i], NULL);
        if (!result)
            continue;
        waiters[i].shared = NULL;
        if (result == EBADF) {
            files[i].revents = POLLNVAL;
            atomic_store(word, 1);
        } else if (result != EPERM)
            return result;
    }
    return 0;
}

/* Whether a file was closed.  Only closed files have events then, because the other numbers may be closed too before the caller looks. */
static int unwatch_all(struct poller *p, struct pollfd *files, int count, struct fd_waiter *waiters)
{
    int closed = 0;

    for (int i = 0; i < count; i++) {
        if (waiters[i].shared && stop_waiting(p, files[i].fd, &waiters[i]) & POLLNVAL)
            files[i].revents = POLLNVAL;
        closed |= files[i].revents;
    }
    return closed;
}

static int sleep_for_one(struct poller *p, struct pollfd *files, int count, struct fd_waiter *waiters, int64_t deadline)
{
    atomic_int word = 0;

    memset(waiters, 0, (size_t)count * sizeof *waiters);
    int result = watch_all(p, files, count, waiters, &word);
    while (!result && !atomic_load(&word))
        result = park_wait(&word, 0, deadline, PARK_PRIVATE);
    if (unwatch_all(p, files, count, waiters))
        return 0;
    if (result && result != ETIMEDOUT)
        return result;
    /* The events say what was there, and another thread may have taken it since. */
    int now = park_poll_all(files, count, 0);
    return now == ETIMEDOUT && result == 0 ? EAGAIN : now;
}

int poller_wait_all(struct poller *p, struct pollfd *files, int count, int64_t deadline)
{
    struct fd_waiter *waiters = malloc((size_t)count * sizeof *waiters + 1);
    int result = ENOMEM;

    while (waiters && (result = sleep_for_one(p, files, count, waiters, deadline)) == EAGAIN)
        ;
    free(waiters);
    return result;
}

/* ---- edge-triggered ---------------------------------------------------------------------------------------------- */

int poller_try(struct poller *p, struct poller_try *attempt)
{
    int fd = attempt->fd, is_drained = 0;

    park_lock(&p->lock);
    attempt->closings = p->closings;
    attempt->edge = 0;
    if (fd >= 0 && fd < p->capacity && p->of[fd].owner == attempt->owner) {
        attempt->edge = p->of[fd].edges;
        is_drained = p->of[fd].drained == attempt->edge;
    }
    park_unlock(&p->lock);
    return !is_drained;
}

void poller_drained(struct poller *p, const struct poller_try *attempt)
{
    if (!attempt->edge)
        return;
    park_lock(&p->lock);
    struct descriptor *d = &p->of[attempt->fd];
    if (d->owner == attempt->owner && d->edges == attempt->edge && d->is_stream)
        d->drained = attempt->edge;
    park_unlock(&p->lock);
}

/* The kernel compares nothing: what is there already makes an event, now. */
static int register_owner(struct poller *p, const struct poller_try *attempt, unsigned events)
{
    struct descriptor *d = &p->of[attempt->fd];
    int fd = attempt->fd, fresh = d->owner != attempt->owner, protocol = 0;
    struct epoll_event event = {.data.fd = fd, .events = (fresh ? 0 : d->events) | events | EPOLLRDHUP | EPOLLPRI | EPOLLET};
    socklen_t size = sizeof protocol;

    if (fresh)
        for (struct fd_waiter *w = d->waiters; w; w = w->next)
            event.events |= w->events;
    else if ((d->events & events) == events)
        return 0;
    int result = register_fd(p, fd, &event);
    if (result)
        return result;
    d->events = event.events;
    if (!fresh)
        return 0;
    d->owner = attempt->owner;
    d->edges = 1;
    d->drained = 0;
    d->is_stream = getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == IPPROTO_TCP;
    return 0;
}

int poller_wait_edge(struct poller *p, const struct poller_try *attempt, unsigned events, int64_t deadline)
{
    struct fd_waiter waiter = {.events = events};
    unsigned found;

    park_lock(&p->lock);
    /* There was a close since the attempt began: the number may be another file's. */
    int result = grow_table(p, attempt->fd), again = p->closings != attempt->closings;
    if (!result && !again && p->of[attempt->fd].owner == attempt->owner)
        again = p->of[attempt->fd].edges != attempt->edge;
    if (!result && !again && !(result = register_owner(p, attempt, events)))
        add_waiter(p, attempt->fd, &waiter);
    park_unlock(&p->lock);
    return result || again ? result : sleep_for_event(p, attempt->fd, &waiter, deadline, &found);
}

static void note_edge(struct descriptor *d, unsigned found)
{
    if (++d->edges == 0)
        d->edges = 1;
    if (d->drained == d->edges) /* the count has come round */
        d->drained = 0;
    if (found & (EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        d->is_stream = d->drained = 0;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* Wakes the waiters of a descriptor whose events are there, the latest first.  Returns how many go on waiting. */
static int wake_ready(struct poller *p, int fd, unsigned found)
{
    int others = 0;

    for (struct fd_waiter *w = p->of[fd].waiters; w; w = w->next) {
        unsigned its = found & (w->events | POLLERR | POLLHUP | POLLNVAL);
        if (atomic_load(&w->found)) {
            if (found & POLLNVAL)
                atomic_store(&w->found, POLLNVAL);
        } else if (its) {
            atomic_fetch_sub(&p->waiters, 1);
            atomic_store(&w->found, (int)its);
            if (!w->shared)
                park_wake_greens(&w->found, 1);
            else if (!atomic_exchange(w->shared, 1))
                park_wake_greens(w->shared, 1);
        } else
            others++;
    }
    return others;
}

void poller_closing(struct poller *p, int fd)
{
    park_lock(&p->lock);
    p->closings++;
    if (fd >= 0 && fd < p->capacity) {
        if (p->of[fd].registered)
            epoll_ctl(p->epoll, EPOLL_CTL_DEL, fd, NULL);
        p->of[fd].registered = 0;
        p->of[fd].owner = NULL;
        p->of[fd].closings++;
        wake_ready(p, fd, POLLNVAL);
    }
    park_unlock(&p->lock);
}

void poller_closed(struct poller *p, int fd)
{
    park_lock(&p->lock);
    p->closings++;
    if (fd >= 0 && fd < p->capacity) {
        p->of[fd].owner = NULL;
        if (wake_ready(p, fd, 0) && arm_descriptor(p, fd) == EBADF)
            wake_ready(p, fd, POLLNVAL);
    }
    park_unlock(&p->lock);
}

void poller_disowned(struct poller *p, int fd)
{
    park_lock(&p->lock);
    p->closings++;
    if (fd >= 0 && fd < p->capacity && p->of[fd].owner)
        arm_descriptor(p, fd);
    park_unlock(&p->lock);
}

static int sleep_until(struct poller *p, struct epoll_event *events, int64_t deadline)
{
    struct timespec left, *timeout = park_timeout(deadline, &left);

#ifdef SYS_epoll_pwait2 /* Linux 5.11: nanoseconds */
    int count = (int)syscall(SYS_epoll_pwait2, p->epoll, events, POLLER_AT_ONCE, timeout, NULL, 0);
    if (count >= 0 || errno != ENOSYS)
        return count;
#endif
    return epoll_wait(p->epoll, events, POLLER_AT_ONCE, timeout ? (int)(left.tv_sec * 1000 + (left.tv_nsec + 999999) / 1000000) : -1);
}

void poller_announce(struct poller *p)
{
    atomic_fetch_add(&p->sleepers, 1);
}

int poller_poll(struct poller *p, int64_t deadline, struct poller_events *events)
{
    int saved = errno, result = 0;

    if ((events->count = sleep_until(p, events->list, deadline)) < 0) {
        result = errno;
        events->count = 0;
    }
    atomic_fetch_sub(&p->sleepers, deadline != 0);
    errno = saved;
    return result;
}

void poller_deliver(struct poller *p, const struct poller_events *events)
{
    int saved = errno, for_another = 0;

    if (events->count == 0)
        return;
    park_lock(&p->lock);
    for (int i = 0; i < events->count; i++) {
        unsigned found = events->list[i].events;
        int fd = events->list[i].data.fd;
        if (fd == p->waker) {
            for_another = atomic_load(&p->sleepers) > 0;
            continue;
        }
        if (p->of[fd].owner)
            note_edge(&p->of[fd], found);
        if (wake_ready(p, fd, found) && !p->of[fd].owner)
            arm_descriptor(p, fd);
    }
    park_unlock(&p->lock);
    if (for_another) /* an edge wakes one poller, and not always the one that it was meant for */
        poller_wake(p);
    errno = saved;
}

int poller_is_ready(struct poller *p)
{
    struct pollfd epoll = {.fd = p->epoll, .events = POLLIN};
    int saved = errno, is = poller_waiters(p) > 0 && poll(&epoll, 1, 0) > 0;

    errno = saved; /* a signal may have ended the call */
    return is;
}

void poller_wake(struct poller *p)
{
    int saved = errno;

    eventfd_write(p->waker, 1);
    errno = saved;
}
