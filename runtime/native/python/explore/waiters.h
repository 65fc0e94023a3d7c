/* Primitives that are no locks, in explored threads: see waiters.c. */
#ifndef RUNTIME_EXPLORE_WAITERS_H
#define RUNTIME_EXPLORE_WAITERS_H

#include "python/explore/swap.h"

/* Has their methods come to points, and not any more.  -1 with an exception. */
int waiters_swap_in(PyObject *module, PyTypeObject *simple_queue);
void waiters_swap_out(void);

#endif
