/* What the calling thread waits for, and for how long: what that adds to the rows of delays.h.
 *
 * A wait of the runtime is what lies between EVENT_BLOCKED and EVENT_WANTS_GIL; one for a lock of CPython's, or for its SimpleQueue, is a
 * call of its method, tried first without waiting (methods.c).
 *
 * Between sites_quiet() and sites_go_on(), except where it says otherwise. */
#ifndef RUNTIME_WAITING_H
#define RUNTIME_WAITING_H

#include "python/python.h"

#include <stdatomic.h>

struct delays;

extern atomic_int waiting_counts; /* whether anything is counted; written by waiting_begin_anew() and by the end of the counting */
extern int64_t waiting_begun;

/* Waits count from now on, and those that are under way as if they began now.  waited_for: ident -> what the thread waits for; NULL: no
 * waits count.  Returns what it was before, a reference for the caller to give back. */
PyObject *waiting_begin_anew(PyObject *waited_for);

/* What the calling thread knows is of this counting.  sleeps: it is waking up. */
void waiting_be_current(int sleeps);

/* The calling thread is new.  Anywhere. */
void waiting_new_thread(void);

/* A call that waits for an object begins, and has ended; it began at `since`. */
void waiting_begin(PyObject *object);
void waiting_end_call(int64_t since);

/* The thread has taken what the row is of.  The end of its wait may have counted that already. */
void waiting_count_taking(struct delays *row);

/* ---- events, heard anywhere -------------------------------------------------------------------------------------- */

void waiting_falls_asleep(PyObject *object); /* EVENT_BLOCKED */
void waiting_wants_gil(int result);          /* EVENT_WANTS_GIL: its sleep has ended so */
void waiting_is_awake(void);                 /* EVENT_HAS_GIL */
int64_t waiting_wanted_gil(void);            /* since when it wanted the GIL, at that event */

#endif
