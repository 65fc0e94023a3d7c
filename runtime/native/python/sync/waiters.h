/* What a higher floor asks Semaphore and Condition. */
#ifndef RUNTIME_PRIMITIVES_WAITERS_H
#define RUNTIME_PRIMITIVES_WAITERS_H

#include "python/python.h"

API extern PyTypeObject *event_type, *semaphore_type, *condition_type, *barrier_type; /* once module.c has had their files add them */

/* Its count; 0 also if a thread sleeps in its queue. */
API long semaphore_count(PyObject *op);

/* Its lock, borrowed, if that is the runtime's; otherwise NULL. */
API PyObject *condition_lock(PyObject *op);

#endif
