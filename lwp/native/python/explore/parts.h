/* What the other files of this folder do for control.c: when exploring begins and ends, and in each run. */
#ifndef RUNTIME_EXPLORE_PARTS_H
#define RUNTIME_EXPLORE_PARTS_H

#include "explore/explore.h"
#include "python/reading/swap.h"

/* Methods come to points, and not any more.  -1 with an exception. */
int locks_swap_in(void);
void locks_swap_out(void);
int waiters_swap_in(PyTypeObject *simple_queue);
void waiters_swap_out(void);
int threads_swap_in(PyObject *time); /* the module */
void threads_swap_out(void);
/* system: the module that has urandom(); generator: the type of generators, _random.Random; shared: the one of the module random. */
int chance_swap_in(PyObject *system, PyTypeObject *generator, PyObject *shared);
void chance_swap_out(void);
void loops_swap_out(void); /* explore_loops() swaps them in */

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
