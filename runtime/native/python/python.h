/* Python.h, and what every file of this folder uses of it. */
#ifndef RUNTIME_PYTHON_H
#define RUNTIME_PYTHON_H

#include "api.h"
#include "python/compat.h"

#include <stdint.h>
#include <structmember.h>

/* For PyMethodDef: a function with another signature than PyCFunction's. */
#define FAST(function) (PyCFunction)(void (*)(void)) function

/* Rows of a method table: a function whose arguments come as an array, without and with keywords. */
#define POSITIONAL(name, function, doc) {name, FAST(function), METH_FASTCALL, doc}
#define KEYWORDS(name, function, doc) {name, FAST(function), METH_FASTCALL | METH_KEYWORDS, doc}

/* A function without arguments, and the getter of an attribute, whose result is an expression: of `op`, the object or the module. */
#define RETURNS(name, result)                                        \
    static PyObject *name(PyObject *op, PyObject *Py_UNUSED(unused)) \
    {                                                                \
        return result;                                               \
    }
#define GETTER(name, result)                                     \
    static PyObject *name(PyObject *op, void *Py_UNUSED(unused)) \
    {                                                            \
        return result;                                           \
    }

/* OF_spec for add_type(): a type called `called`, of struct `object`, with flags besides the usual ones and these slots. */
#define TYPE_SPEC(of, called, object, more, ...)                \
    static PyType_Slot of##_slots[] = {__VA_ARGS__, {0, NULL}}; \
    static PyType_Spec of##_spec = {                            \
        .name = called,                                         \
        .basicsize = sizeof(object),                            \
        .flags = Py_TPFLAGS_DEFAULT | (more),                   \
        .slots = of##_slots,                                    \
    }

PyAPI_FUNC(int) _PyOS_IsMainThread(void); /* internal/pycore_pylifecycle.h */

/* THE RULE for what stands in for functions of CPython, and for what CPython calls in the whole process, as an audit hook: it serves threads
 * that are in the main interpreter.  In a thread that is in a subinterpreter it does what stock does, and touches no object of ours, because
 * that thread has neither the GIL nor, from 3.12 on, the allocator that the object needs.
 *
 * The caller has the GIL of the interpreter that it is in. */
static inline int python_in_main(void)
{
    return PyThreadState_Get()->interp == PyInterpreterState_Main();
}

#endif
