/* runtime.wait(): sleeps until the first of several things is ready.  How, stands in waits/any.h.  For all of them
 * runtime/groups/waiting.py waits for one after the other.
 *
 * WHAT IS TAKEN.  Threads, events and files stay as they are when they are reported; a semaphore and a lock are taken.  For the first
 * of several, the first in order that is ready decides.  If it is taken, it comes alone, because a program that looks at another thing
 * first would lose it; otherwise all others come too that are ready and stay as they are.
 *
 * things.c makes a thing of what the program gives; file.c knows how files are waited for, and wait.c all else. */
#ifndef RUNTIME_WAIT_H
#define RUNTIME_WAIT_H

#include "python/waits/waitable.h"

#include <poll.h>

struct waiting {
    struct sync_any any;
    struct thing *things;
    Py_ssize_t count;
    int files; /* how many of them are */
    int keeps; /* it refuses things that would be acquired */
    int64_t since, deadline;
    struct pollfd *polled; /* the files, and one more for the eventfd, and one for park_poll_all(); in the order of `things` */
    int uses_fd; /* it sleeps in ppoll(2) */
    int again; /* don't sleep: a thing has become ready since the wait looked */
    int error; /* of a file */
    PyObject *given; /* a tuple */
};

/* The waiter itself claims a thing that is ready and stays as it is. */
static inline void wait_claim(struct waiting *w, struct thing *thing)
{
    thing->ready = sync_any_claim(&w->any);
    if (thing->ready)
        atomic_store(&w->any.word, SYNC_WOKEN);
}

/* Looks at all files, and doesn't sleep. */
void wait_look_at_files(struct waiting *w);

/* For a thread that sleeps in ppoll(2): fills `polled` with the files that have not come, and sleeps for them and the eventfd, as
 * park_poll_all(); what has come is claimed. */
void wait_fill_polled(struct waiting *w);
int wait_poll_files(struct waiting *w, int64_t until);

/* By a green thread that was poked: claims what the poller has found. */
void wait_claim_files(struct waiting *w);

#endif
