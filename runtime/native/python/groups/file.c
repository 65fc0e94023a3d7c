/* Files among several things: a thread sleeps in ppoll(2) for them, a green thread in its scheduler's poller. */
#include "green/green.h"
#include "kernel/base/poll.h"
#include "python/groups/wait.h"

#include <errno.h>

/* ---- as a thing -------------------------------------------------------------------------------------------------- */

static int look_at_file(const struct thing *thing)
{
    return thing->found;
}

_Static_assert(offsetof(struct waiting, any) == 0, "enter_file() finds the wait by its sync_any");

/* Only runtime.wait() takes files, so `any` is that of a struct waiting. */
static int enter_file(struct thing *thing, struct sync_any *any)
{
    int result = park_green ? green_watch_fd(thing->fd, POLLIN, &thing->file, any) : 0;

    if (result && result != EPERM) /* what epoll(7) can't wait for is ready */
        ((struct waiting *)any)->error = result;
    return !result;
}

static int leave_file(struct thing *thing)
{
    if (park_green)
        thing->found = (int)green_unwatch_fd(thing->fd, &thing->file);
    return 0; /* the waiter has claimed it */
}

const struct waitable file_waitable = {.look = look_at_file, .enter = enter_file, .leave = leave_file};

/* ---- all of a wait ----------------------------------------------------------------------------------------------- */

void wait_fill_polled(struct waiting *w)
{
    struct pollfd *polled = w->polled;

    for (Py_ssize_t i = 0; i < w->count; i++)
        if (w->things[i].kind == &file_waitable) {
            w->things[i].found = 0;
            *polled++ = (struct pollfd){.fd = w->things[i].ready ? -1 : w->things[i].fd, .events = POLLIN};
        }
}

/* asleep: what has come counts for this sleep. */
static void note_polled(struct waiting *w, int asleep)
{
    struct pollfd *polled = w->polled;

    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing->kind != &file_waitable)
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

void wait_look_at_files(struct waiting *w)
{
    if (!w->files)
        return;
    wait_fill_polled(w);
    int result = park_poll_all(w->polled, w->files, 0);
    if (result == 0)
        note_polled(w, 0);
    else if (result != ETIMEDOUT && result != EINTR)
        w->error = result;
}

int wait_poll_files(struct waiting *w, int64_t until)
{
    int result = park_poll_all(w->polled, w->files + (w->any.fd >= 0), until);

    if (result == 0)
        note_polled(w, 1);
    return result;
}

void wait_claim_files(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++) {
        struct thing *thing = &w->things[i];
        if (thing->kind == &file_waitable && thing->entered && !thing->ready && atomic_load(&thing->file.found))
            wait_claim(w, thing);
    }
}
