/* The start and end of threads, and time, in explored threads: see threads.c. */
#ifndef RUNTIME_EXPLORE_THREADS_H
#define RUNTIME_EXPLORE_THREADS_H

#include "python/explore/swap.h"

/* The Scheduler that explored threads are on. */
extern PyObject *threads_scheduler;

/* module: runtime.native's functions; time: the module.  -1 with an exception. */
int threads_swap_in(PyObject *module, PyObject *time);
void threads_swap_out(void);

/* Adds to the module what numbers threads and futures. */
int threads_add(PyObject *module);
void threads_run_begins(void);

#endif
