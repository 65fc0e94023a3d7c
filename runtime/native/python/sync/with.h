/* `with lock` without its garbage: see the head of with.c. */
#ifndef RUNTIME_PRIMITIVES_WITH_H
#define RUNTIME_PRIMITIVES_WITH_H

#include "python/python.h"

/* Makes calls of the type's __enter__ and __exit__ quick.  They are called without their arguments.  -1 with an exception. */
int python_quick_with(PyTypeObject *type, PyCFunction enter, PyCFunction leave);

/* Has `with` call another function for that method of the type; the former one is in *former before, unless that is NULL.  0: the type has no
 * such method. */
API int python_quick_replace(PyTypeObject *type, const char *name, PyCFunction run, PyCFunction *former);
/* The method descriptor that stands behind it. */
API PyObject *python_quick_ordinary(PyObject *method);

#endif
