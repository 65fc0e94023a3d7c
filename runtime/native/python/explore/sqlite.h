#ifndef RUNTIME_EXPLORE_SQLITE_H
#define RUNTIME_EXPLORE_SQLITE_H

#include "python/python.h"

/* Adds explore_sqlite(module): the SQLite that the extension module _sqlite3 calls lets other explored threads go on while it waits.  This
 * stays for good; in all other threads SQLite waits as before.  A SQLite whose call of pthread_mutex_lock() has no slot
 * (green/replace.h) stays as it is. */
int sqlite_add(PyObject *module);

#endif
