/* Python.h, and what every file of this folder uses of it. */
#ifndef RUNTIME_PYTHON_H
#define RUNTIME_PYTHON_H

#include "python/compat.h"

#include <stdint.h>
#include <structmember.h>

/* For PyMethodDef: a function with another signature than PyCFunction's. */
#define FAST(function) (PyCFunction)(void (*)(void)) function

/* Rows of a method table: a function whose arguments come as an array, without and with keywords. */
#define POSITIONAL(name, function, doc) {name, FAST(function), METH_FASTCALL, doc}
#define KEYWORDS(name, function, doc) {name, FAST(function), METH_FASTCALL | METH_KEYWORDS, doc}

PyAPI_FUNC(int) _PyOS_IsMainThread(void); /* internal/pycore_pylifecycle.h */

#endif
