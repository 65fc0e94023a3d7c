#ifndef RUNTIME_EXPLORE_SQLITE_H
#define RUNTIME_EXPLORE_SQLITE_H

#include "python/python.h"

/* Adds explore_sqlite(module): the SQLite that the extension module _sqlite3 calls lets other explored threads go on while it waits.  For good: in all other threads it waits as before.  A SQLite that keeps its calls in another way than a shared library of the
 * system does stays as it is. */
int sqlite_add(PyObject *module);

#endif
