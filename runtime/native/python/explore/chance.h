/* Chance in explored threads: see chance.c. */
#ifndef RUNTIME_EXPLORE_CHANCE_H
#define RUNTIME_EXPLORE_CHANCE_H

#include "python/explore/swap.h"

/* system: the module that has urandom(); generator: the type of generators, _random.Random; shared: the one of the module random.
 * -1 with an exception. */
int chance_swap_in(PyObject *system, PyTypeObject *generator, PyObject *shared);
void chance_swap_out(void);

/* Before a run.  -1 with an exception. */
int chance_run_begins(void);

#endif
