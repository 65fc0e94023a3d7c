/* Points between bytecodes: see code.c. */
#ifndef RUNTIME_EXPLORE_CODE_H
#define RUNTIME_EXPLORE_CODE_H

#include "python/python.h"

/* Called by an explored thread, before its function. */
void code_thread_begins(void);

/* Whether the calling thread has the GIL. */
int code_has_gil(void);

int code_add(PyObject *module);

#endif
