/* What was counted, as lists and tuples for lwp/observe/locks.py.  NULL with an exception. */
#ifndef RUNTIME_TOLD_H
#define RUNTIME_TOLD_H

#include "python/python.h"

/* Between sites_quiet() and sites_go_on(). */
PyObject *told_rows(void);
PyObject *told_stacks(void);

/* The waits for the GIL. */
PyObject *told_gil(void);

#endif
