/* What a file of these rooms brings: its ways in from Python, and what it does in a forked child.
 *
 * Such a file has one `const struct entries entries_NAME`.  build.py finds them, and the shared object's module.c lists them in the order of
 * SOURCES, lower floors first.  At import a type is there before those that derive from it (python/sync/common.c).  In a forked child the
 * locks and lists that a file uses are in order before the file's own function runs: contention.c walks lists for which sites.c has freed
 * `naming`. */
#ifndef RUNTIME_PYTHON_ROOM_H
#define RUNTIME_PYTHON_ROOM_H

#include "python/python.h"

struct entries {
    PyType_Spec *spec;   /* of a type, or NULL */
    PyTypeObject **type; /* where the type is written, or NULL */
    int derivable;       /* make_derivable() */
    int (*add)(PyObject *module); /* adds constants, and finds out what is found out once: 0, or -1 with an exception */
    PyMethodDef *functions;
    void (*after_fork)(void); /* of pthread_atfork(3), with the GIL: it runs no Python */
};

/* All entries of one shared object: NAME[], which ends with NULL.  The compiler's command line has ENTRIES(of), which is of(NAME) for each. */
#define ALL_ENTRIES(name)    \
    ENTRIES(ENTRIES_DECLARE) \
    static const struct entries *const name[] = {ENTRIES(ENTRIES_ADDRESS) NULL}
#define ENTRIES_DECLARE(name) extern const struct entries entries_##name;
#define ENTRIES_ADDRESS(name) &entries_##name,

API void entries_after_fork(const struct entries *const *all);

/* Adds all types and functions to `module`, from a module that is made once and kept in *made, because their state belongs to the process:
 * a program that drops runtime.native from sys.modules and imports it again must get the same ones.  -1 with an exception. */
API int entries_attach(const struct entries *const *all, PyObject **made, PyObject *module);

/* The module that has all types and functions of the core, once it has been attached; borrowed. */
API extern PyObject *core_module;

/* CORE_BUILD of the core.  Another object that shares structures with it must be compiled with the same one. */
API extern const char core_build[];

#endif
