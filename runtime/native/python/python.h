/* Python.h, and what every file of this folder uses of it. */
#ifndef RUNTIME_PYTHON_H
#define RUNTIME_PYTHON_H

#include <Python.h>

#include <stdint.h>
#include <structmember.h>

/* For PyMethodDef: a function with another signature than PyCFunction's. */
#define FAST(function) (PyCFunction)(void (*)(void)) function

#endif
