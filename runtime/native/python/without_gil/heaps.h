/* The end of a thread's PyThreadState: see the head of heaps.c. */
#ifndef RUNTIME_PYTHON_HEAPS_H
#define RUNTIME_PYTHON_HEAPS_H

#include "python/python.h"

/* PyThreadState_Clear() of the calling thread's own state. */
API void heaps_clear_state(PyThreadState *tstate);

#endif
