/* Loops of asyncio in explored threads: see loops.c. */
#ifndef RUNTIME_EXPLORE_LOOPS_H
#define RUNTIME_EXPLORE_LOOPS_H

#include "python/explore/swap.h"

/* asyncio: the module that has _set_running_loop(), which is imported by then; note: called without arguments before a loop begins or ends.
 * -1 with an exception. */
int loops_swap_in(PyObject *asyncio, PyObject *note);
void loops_swap_out(void);

#endif
