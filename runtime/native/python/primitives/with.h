/* `with lock` without its garbage: see the head of with.c. */
#ifndef RUNTIME_PRIMITIVES_WITH_H
#define RUNTIME_PRIMITIVES_WITH_H

#include "python/python.h"

/* Gives the type's __enter__ and __exit__, which must not look at their arguments, a quick way to be called.  -1 with an exception. */
int python_quick_with(PyTypeObject *type, PyCFunction enter, PyCFunction leave);

#endif
