/* runtime.wait(): sleeps until the first of several things is ready.  How, stands in waits/any.h.  For all of them
 * runtime/groups/waiting.py waits for one after the other.
 *
 * WHAT IS TAKEN.  Threads, events and files stay as they are when they are reported; a semaphore and a lock are taken.  For the first of
 * several, the first in order that is ready decides: if it is one that is taken, it comes alone, since a program that looks for another
 * one first would lose it; else all others come that are ready and stay as they are.
 *
 * things.c makes a thing of what the program gives, and looks at those that are files; wait.c sleeps. */
#ifndef RUNTIME_WAIT_H
#define RUNTIME_WAIT_H

#include "python/waits/waitable.h"

#include <poll.h>

struct waiting {
    struct sync_any any;
    struct thing *things;
    Py_ssize_t count;
    int files; /* how many of them are */
    int keeps; /* it refuses what would be acquired */
    int looks; /* it sleeps for a short time only, and then looks for signals */
    int64_t since, deadline;
    struct pollfd *polled; /* the files, and one more for the eventfd, and one for park_poll_all(); in the order of `things` */
    int uses_fd; /* it sleeps in ppoll(2) */
    int again; /* don't sleep: a thing has become ready since the wait looked */
    int error; /* of a file */
    PyObject *given; /* a tuple */
};

/* Whether it has come. */
int thing_look(const struct thing *thing);
int thing_is_file(const struct thing *thing);

/* What stays as it is, and is there, is claimed by the waiter itself. */
void wait_claim(struct waiting *w, struct thing *thing);

/* Looks at all files, and doesn't sleep. */
void wait_look_at_files(struct waiting *w);

/* The files that have not come, for a thread that sleeps in ppoll(2); and what that has found: asleep: what has come counts for this
 * sleep. */
void wait_fill_polled(struct waiting *w);
void wait_note_polled(struct waiting *w, int asleep);

/* By a green thread, as the functions of a struct waitable; and by one that was poked. */
int wait_enter_file(struct waiting *w, struct thing *thing);
int wait_leave_file(struct waiting *w, struct thing *thing);
void wait_claim_files(struct waiting *w);

#endif
