/* Thread objects. */
#ifndef RUNTIME_PYTHON_THREAD_H
#define RUNTIME_PYTHON_THREAD_H

#include "python/python.h"

/* current_thread() of the calling thread, which was not made for a Thread, is this one from now on; the caller keeps it alive. */
void thread_pass_for(PyObject *thread);

/* In the child. */
void thread_after_fork(void);

#endif
