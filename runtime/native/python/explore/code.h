/* Points between bytecodes: see code.c. */
#ifndef RUNTIME_EXPLORE_CODE_H
#define RUNTIME_EXPLORE_CODE_H

#include "python/python.h"

int code_add(PyObject *module);

#endif
