/* The files among the things: a thread sleeps in ppoll(2) for them, a green thread in its scheduler's poller. */
#include "python/waits/wait.h"

#include "green/green.h"
#include "kernel/base/poll.h"

#include <errno.h>

void wait_fill_polled(struct waiting *w)
{
    struct pollfd *polled = w->polled;

    for (Py_ssize_t i = 0; i < w->count; i++)
        if (thing_is_file(&w->things[i])) {
            w->things[i].found = 0;
            *polled++ = (struct pollfd){.fd = w->things[i].ready ? -1 : w->things[i].fd, .events = POLLIN};
        }
}

/* asleep: what has come counts for this sleep. */
void wait_note_polled(struct waiting *w, int asleep)
{
    struct pollfd *polled = w->polled;

    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (!thing_is_file(thing))
            continue;
        if (polled->revents & POLLNVAL)
            w->error = EBADF;
        else if (polled->revents) {
            polled->fd = -1; /* poll(2) passes it over from now on */
            thing->found = 1;
            if (asleep)
                wait_claim(w, thing);
        }
        polled++;
    }
}

/* Looks, and doesn't sleep. */
void wait_look_at_files(struct waiting *w)
{
    if (!w->files)
        return;
    wait_fill_polled(w);
    int result = park_poll_all(w->polled, w->files, 0);
    if (result == 0)
        wait_note_polled(w, 0);
    else if (result != ETIMEDOUT && result != EINTR)
        w->error = result;
}

int wait_enter_file(struct waiting *w, struct thing *thing)
{
    if (!park_green)
        return 1; /* it is among those that are polled */
    int result = green_watch_fd(thing->fd, POLLIN, &thing->file, &w->any);
    if (result && result != EPERM) /* what epoll(7) can't wait for is ready */
        w->error = result;
    return !result;
}

int wait_leave_file(struct waiting *w, struct thing *thing)
{
    if (!park_green)
        return 0;
    unsigned found = green_unwatch_fd(thing->fd, &thing->file);
    if (found & POLLNVAL)
        w->error = EBADF;
    thing->found = found != 0;
    return 0; /* the waiter has claimed it */
}

/* By a green thread that was poked. */
void wait_claim_files(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing_is_file(thing) && thing->entered && !thing->ready && atomic_load(&thing->file.found))
            wait_claim(w, thing);
    }
}
