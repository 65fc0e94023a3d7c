/* What the other files of this folder do for control.c: when exploring begins and ends, and in each run. */
#ifndef RUNTIME_EXPLORE_PARTS_H
#define RUNTIME_EXPLORE_PARTS_H

#include "explore/explore.h"
#include "python/reading/swap.h"

/* What comes to points while a program is explored: the methods of each file. */
struct part {
    const struct swap_table *tables;
    size_t count;
};
#define PART(tables) {tables, sizeof tables / sizeof *tables}
extern const struct part locks_part, waiters_part, threads_part, chance_part;

/* Before these are swapped in. */
void waiters_begin(PyTypeObject *simple_queue);
int threads_begin(PyObject *time); /* the module.  -1 with an exception */
/* system: the module that has urandom(); generator: the type of generators, _random.Random; shared: the one of the module random. */
void chance_begin(PyObject *system, PyTypeObject *generator, PyObject *shared);
/* After they are swapped out. */
void threads_end(void);
void loops_swap_out(void); /* explore_loops() swaps them in */

/* Deletes the PyThreadStates kept between runs that no thread is about to take: see the head of kept.c. */
void kept_drop(void);

/* Before a run. */
int chance_run_begins(void); /* -1 with an exception */
void threads_run_begins(void);

/* The Scheduler that explored threads are on. */
extern PyObject *threads_scheduler;

/* Whether the lock of the runtime that a thread is about to take is free. */
explore_can locks_can_take;

/* Frees a lock that no living thread can free. */
void locks_free(PyObject *lock);

/* Called by an explored thread, before its function. */
void code_thread_begins(void);

#endif
