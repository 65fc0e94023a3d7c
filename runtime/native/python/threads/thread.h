/* Thread objects. */
#ifndef RUNTIME_PYTHON_THREAD_H
#define RUNTIME_PYTHON_THREAD_H

#include "python/python.h"

/* Makes this Thread the current_thread() of the calling thread, which was not made for one. The caller keeps it alive. */
API void thread_pass_for(PyObject *thread);

#endif
