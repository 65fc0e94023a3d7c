/* Python.h, and what every file of this folder uses of it. */
#ifndef RUNTIME_PYTHON_H
#define RUNTIME_PYTHON_H

#include <Python.h>

#include <stdint.h>
#include <structmember.h>

/* For PyMethodDef: a function with another signature than PyCFunction's. */
#define FAST(function) (PyCFunction)(void (*)(void)) function

/* Rows of a method table: a function whose arguments come as an array, without and with keywords. */
#define POSITIONAL(name, function, doc) {name, FAST(function), METH_FASTCALL, doc}
#define KEYWORDS(name, function, doc) {name, FAST(function), METH_FASTCALL | METH_KEYWORDS, doc}

PyAPI_FUNC(int) _PyOS_IsMainThread(void); /* internal/pycore_pylifecycle.h */

/* What 3.13 has for threads without a GIL.  PyDict_GetItemRef(): 1 with a new reference, 0 with NULL, -1 with an exception. */
#if PY_VERSION_HEX < 0x030d0000
#define Py_BEGIN_CRITICAL_SECTION(op) {
#define Py_END_CRITICAL_SECTION() }

static inline int PyDict_GetItemRef(PyObject *dict, PyObject *key, PyObject **value)
{
    *value = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    return *value ? 1 : PyErr_Occurred() ? -1 : 0;
}
#endif

#endif
