/* Locks in explored threads: see locks.c. */
#ifndef RUNTIME_EXPLORE_LOCKS_H
#define RUNTIME_EXPLORE_LOCKS_H

#include "python/explore/swap.h"

/* Has the methods of all locks come to points, and not any more.  -1 with an exception. */
int locks_swap_in(PyTypeObject *stock_lock, PyTypeObject *stock_rlock);
void locks_swap_out(void);

/* Whether the lock of the runtime that a thread is about to take is free. */
explore_can locks_can_take;

/* Frees a lock that no living thread can free. */
void locks_free(PyObject *lock);

#endif
