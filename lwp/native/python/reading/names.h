/* Names of threads. */
#ifndef RUNTIME_NAMES_H
#define RUNTIME_NAMES_H

#include "python/python.h"

/* Splits a usual name: of "Thread-N (function)" returns N and leaves the function's name in *name, of "Thread-N" N and NULL.  0 for other
 * names. */
uint32_t name_take_number(PyObject **name);

/* The name of a Thread, or of the function that a thread without one runs, as EVENT_TARGET tells it; a reference, or NULL.  It is split. */
uint32_t name_of_thread(PyObject *function, int is_thread, PyObject **name);

/* What threads of such a name have in common: "Thread-7 (work)" gives "work", "Thread-7" "Thread", "pool-0_3" "pool-0".  It takes over the
 * reference; NULL: there was no name, or there is no memory. */
PyObject *name_of_kind(PyObject *name);

#endif
