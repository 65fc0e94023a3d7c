#ifndef RUNTIME_PYTHON_FOREIGN_H
#define RUNTIME_PYTHON_FOREIGN_H

#include "green/foreign.h"
#include "python/python.h"

/* With the GIL: from now on C code of others that gives up the GIL leaves the LWP to other green threads (green/foreign.h). */
void python_watch_foreign(void);

/* "FUNCTION of LIBRARY", or the library alone if it doesn't export the function: a new str. */
API PyObject *python_foreign_name(const struct foreign_seen *place);

#endif
