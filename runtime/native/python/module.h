/* The module runtime.native: what all rooms of this folder have for Python. */
#ifndef RUNTIME_PYTHON_MODULE_H
#define RUNTIME_PYTHON_MODULE_H

/* Adds the C types and functions to a module object.  0, or -1 with a Python exception set and printed by cffi's caller. */
int runtime_attach(void *module);

#endif
