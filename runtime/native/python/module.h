/* The module runtime.native: the types and functions of all files in this folder. */
#ifndef RUNTIME_PYTHON_MODULE_H
#define RUNTIME_PYTHON_MODULE_H

/* Adds the C types and functions to a module object.  0, or -1 when an exception has been printed. */
int runtime_attach(void *module);

#endif
