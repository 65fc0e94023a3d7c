/* A function of C that stands in for one of CPython's. */
#ifndef RUNTIME_PYTHON_GREEN_STAND_IN_H
#define RUNTIME_PYTHON_GREEN_STAND_IN_H

#include "python/python.h"

/* A function that does what `run` does, and that a program takes for the stock function: name, module, __self__, signature.  NULL with
 * an exception. */
PyObject *stand_in_make(PyObject *stock, PyObject *function, vectorcallfunc run);

/* The stock function that this one stands in for, or the same function. */
API PyObject *stand_in_behind(PyObject *function);

/* For `run`, which gets the stand-in as its callable. */
PyObject *stand_in_stock(PyObject *callable);
PyObject *stand_in_function(PyObject *callable);

#endif
