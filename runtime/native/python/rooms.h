/* What each file adds to the module: its types and functions.  0, or -1 with an exception.  module.c calls them in this order. */
#ifndef RUNTIME_PYTHON_ROOMS_H
#define RUNTIME_PYTHON_ROOMS_H

#include "python/python.h"

int python_add_common(PyObject *module);
int python_add_lock(PyObject *module);
int python_add_event(PyObject *module);
int python_add_semaphore(PyObject *module);
int python_add_condition(PyObject *module);
int python_add_barrier(PyObject *module);
int python_add_scheduler(PyObject *module);
int python_add_sockets(PyObject *module);
int python_add_boot(PyObject *module);
int python_add_lwp(PyObject *module);
int python_add_helpers(PyObject *module);
int python_add_thread(PyObject *module);
int python_add_waits(PyObject *module);
int python_add_watch(PyObject *module);
int python_add_trace(PyObject *module);
int python_add_explore(PyObject *module);

/* A call of python_sleep (python/sleep.h): sleeps until the deadline, an int64_t.  0, or EINTR. */
int scheduler_sleep_until(void *deadline);

#endif
