/* What the primitives share: how their objects are made, and what threading's own methods do. */
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

/* ---- objects of derived classes ----------------------------------------------------------------------------------
 *
 * threading's methods keep an Event, Semaphore, Condition or Barrier in private attributes, which a derived class may replace.
 * So an object of a derived class has these in its __dict__ and runs threading's methods: `_lwp_stock` of its class, see
 * runtime/sync.py.  The C machine serves only objects whose __init__() has begun it, which is that of the class itself; in
 * one that tp_alloc() has zeroed it is not begun. */

PyObject *stock_method(PyObject *op, PyObject *name, PyObject *const *args, Py_ssize_t count, PyObject *names);
PyObject *stock_property(PyObject *op, PyObject *name);

/* For getters and setters that stand where threading has attributes: the interpreter asks them before the object's __dict__. */
PyObject *dict_attribute(PyObject *op, PyObject *name);
int set_dict_attribute(PyObject *op, PyObject *name, PyObject *value);

/* The same by text, for private attributes that an object of the class itself doesn't have: AttributeError.  Set in its __dict__ they
 * would be ignored. */
PyObject *get_private(PyObject *op, void *name);
int set_private(PyObject *op, int in_python, const char *name, PyObject *value);

#endif
