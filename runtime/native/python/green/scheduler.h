/* Green threads for Python. */
#ifndef RUNTIME_PYTHON_SCHEDULER_H
#define RUNTIME_PYTHON_SCHEDULER_H

#include "python/python.h"

struct scheduler;

/* The scheduler behind a Python object; NULL with a TypeError. */
struct scheduler *python_scheduler(PyObject *op);

/* sleep() of the module. */
PyObject *scheduler_sleep(PyObject *module, PyObject *seconds);

/* Makes the carriers that a scheduler with LWPs of its own is missing: 0 or errno. */
int python_spawn_carriers(struct scheduler *scheduler);

#endif
