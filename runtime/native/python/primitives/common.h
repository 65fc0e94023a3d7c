/* What the primitives share: how their objects are made, and what is left to stock's classes. */
#ifndef RUNTIME_PRIMITIVES_COMMON_H
#define RUNTIME_PRIMITIVES_COMMON_H

#include "python/python.h"

/* tp_dealloc of a type without references. */
void simple_dealloc(PyObject *op);

/* A new object; the trace notes where it was made. */
PyObject *new_primitive(PyTypeObject *type);

/* tp_new that leaves all arguments to __init__(). */
PyObject *any_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* The same for the classes that threading makes of its locks: another object if those locks are somebody else's by now. */
PyObject *unless_replaced_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* Adds a type to the module: NULL with an exception. */
PyTypeObject *add_primitive(PyObject *module, PyType_Spec *spec);

/* For an object whose class keeps in Python what ours keeps in C: the method or property of stock's class, its `_stock`. */
PyObject *stock_method(PyObject *op, const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *stock_property(PyObject *op, const char *name);

#endif
