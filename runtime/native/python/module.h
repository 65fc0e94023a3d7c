/* Entering and leaving the interpreter: the only room that includes Python.h. */
#ifndef RUNTIME_PYTHON_H
#define RUNTIME_PYTHON_H

/* Adds the C types and functions to a module object. 0, or -1 with a Python exception set and printed by cffi's caller. */
int runtime_attach(void *module);

#endif
