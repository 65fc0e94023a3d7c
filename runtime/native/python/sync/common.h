/* What the primitives share: how their objects are made, and what threading's own methods do. */
#ifndef RUNTIME_PRIMITIVES_COMMON_H
#define RUNTIME_PRIMITIVES_COMMON_H

#include "python/python.h"

#include <stdatomic.h>

/* tp_dealloc of a type without references. */
void simple_dealloc(PyObject *op);

/* A new object; the trace notes where it was made. */
PyObject *new_primitive(PyTypeObject *type);

/* tp_new that leaves all arguments to __init__(). */
PyObject *any_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* The same for the classes that threading makes of its locks.  If a program has replaced those locks a
 * function in Python makes the object: see common.c. */
PyObject *unless_replaced_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* Replaces a reference in an object while other threads may be reading it.  Such a reader goes on to use the former value, so a list at *former
 * keeps that value until the object goes.  -1 with an exception: nothing has changed. */
int replace_reference(PyObject *op, _Atomic(PyObject *) *at, PyObject *value, PyObject **former);

/* Adds a type to the module: NULL with an exception. */
PyTypeObject *add_primitive(PyObject *module, PyType_Spec *spec);

/* ---- objects of derived classes ----------------------------------------------------------------------------------
 *
 * threading's methods keep the state of an Event, Semaphore, Condition or Barrier in private attributes, which a derived class may
 * replace.  So an object of a derived class has these attributes in its __dict__, and runs threading's methods: `_lwp_stock` of its
 * class, see runtime/sync.py.  It is "kept in Python".  Only an object of the class itself is kept in C: its __init__() says so, and
 * without that the zeroes of tp_alloc() mean that it is kept in Python. */

PyObject *stock_method(PyObject *op, PyObject *name, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *stock_property(PyObject *op, PyObject *name);

/* For getters and setters that are named as threading's attributes: the interpreter calls them before it looks into the object's
 * __dict__, so they must look there themselves. */
PyObject *dict_attribute(PyObject *op, PyObject *name);
int set_dict_attribute(PyObject *op, PyObject *name, PyObject *value);

/* The same by text, for private attributes that an object kept in C doesn't have: AttributeError.  If they could be set in its __dict__
 * they would be ignored. */
PyObject *get_private(PyObject *op, void *name);
int set_private(PyObject *op, int in_python, const char *name, PyObject *value);

#endif
