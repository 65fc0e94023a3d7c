/* Names of threads. */
#ifndef RUNTIME_NAMES_H
#define RUNTIME_NAMES_H

#include "python/python.h"

/* Splits a usual name: of "Thread-N (function)" returns N and leaves the function's name in *name, of "Thread-N" N and NULL.  0 for other
 * names. */
uint32_t name_take_number(PyObject **name);

/* The name of a Thread, or of the function that a thread without one runs, as EVENT_TARGET tells it; a reference, or NULL.  It is split. */
uint32_t name_of_thread(PyObject *function, int is_thread, PyObject **name);

#endif
