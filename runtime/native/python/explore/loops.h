/* Loops of asyncio in explored threads: see loops.c. */
#ifndef RUNTIME_EXPLORE_LOOPS_H
#define RUNTIME_EXPLORE_LOOPS_H

#include "python/explore/swap.h"

int loops_add(PyObject *module);
void loops_swap_out(void);

#endif
