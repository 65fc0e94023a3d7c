/* What a file of these rooms brings: its ways in from Python, and what it does in a forked child.
 *
 * Such a file has one `const struct entries entries_NAME`.  build.py finds them, and module.c goes through them in the order of SOURCES,
 * lower floors first.  At import a type is there before those that derive from it (python/sync/common.c).  In a forked child the locks and
 * lists that a file uses are in order before the file's own function runs: contention.c walks lists for which sites.c has freed `naming`. */
#ifndef RUNTIME_PYTHON_ROOM_H
#define RUNTIME_PYTHON_ROOM_H

#include "python/python.h"

struct entries {
    int (*add)(PyObject *module); /* adds types and constants, and finds out what is found out once: 0, or -1 with an exception */
    PyMethodDef *functions;
    void (*after_fork)(void); /* of pthread_atfork(3), with the GIL: it runs no Python */
};

#endif
