/* What the primitives share: how their objects are made, and what threading's own methods do. */
#ifndef RUNTIME_PRIMITIVES_COMMON_H
#define RUNTIME_PRIMITIVES_COMMON_H

#include "python/args.h"

#include <stdatomic.h>

/* A new object; the trace notes where it was made. */
PyObject *new_primitive(PyTypeObject *type);

/* tp_new that leaves all arguments to __init__(). */
PyObject *any_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* The same for classes that threading makes of its locks.  If a program has replaced these locks, a function in Python makes the
 * object: see common.c. */
PyObject *unless_replaced_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* Replaces a reference in an object while other threads may be reading it.  Such a reader goes on to use the former value, so a list at *former
 * keeps that value until the object goes.  -1 with an exception: nothing has changed. */
int replace_reference(PyObject *op, _Atomic(PyObject *) *at, PyObject *value, PyObject **former);

/* For the macro below: from the address of the first to that of the last. */
int references_visit(void *first, void *last, visitproc visit, void *arg);
void references_clear(void *first, void *last);

/* REFERENCE_SLOTS(of) for TYPE_SPEC: what a type needs that has references to other objects in its members `first` to `last`, in the
 * order of the struct, and nowhere else.  They are dropped from the last to the first. */
#define REFERENCES(of, object, first, last)                                                 \
    static int of##_traverse(PyObject *op, visitproc visit, void *arg)                      \
    {                                                                                       \
        Py_VISIT(Py_TYPE(op));                                                              \
        return references_visit(&((object *)op)->first, &((object *)op)->last, visit, arg); \
    }                                                                                       \
    static int of##_clear(PyObject *op)                                                     \
    {                                                                                       \
        references_clear(&((object *)op)->first, &((object *)op)->last);                    \
        return 0;                                                                           \
    }                                                                                       \
    static void of##_dealloc(PyObject *op)                                                  \
    {                                                                                       \
        PyObject_GC_UnTrack(op);                                                            \
        of##_clear(op);                                                                     \
        simple_dealloc(op);                                                                 \
    }
#define REFERENCE_SLOTS(of)                                         \
    {Py_tp_dealloc, of##_dealloc}, {Py_tp_traverse, of##_traverse}, \
    {                                                               \
        Py_tp_clear, of##_clear                                     \
    }

/* ---- derived classes ---------------------------------------------------------------------------------------------
 *
 * A class that a program derives from Event, Semaphore, Condition or Barrier has threading's methods, which come before those in C, and
 * keeps its state in attributes: runtime/sync.py.  The struct of its objects stays as tp_alloc() has made it. */

extern PyTypeObject *in_python_type; /* a base of all these classes */

/* For a new type of which classes may be derived.  A call that names the base, as `Event.set(self)`, finds the method in C: it is passed
 * on to threading's if the object is of a derived class. */
void make_derivable(PyTypeObject *type);

/* Getter and setter of private attributes that only objects of derived classes have: AttributeError.  Others would ignore what is set. */
PyObject *no_attribute(PyObject *op, void *name);
int takes_no_attribute(PyObject *op, PyObject *value, void *name);

#endif
