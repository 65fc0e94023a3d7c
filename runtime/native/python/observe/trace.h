/* The trace's records that name something of Python's.  All need the GIL; call them if TRACING(). */
#ifndef RUNTIME_PYTHON_TRACE_H
#define RUNTIME_PYTHON_TRACE_H

#include "base/trace.h"
#include "python/python.h"

/* A primitive was made. */
void trace_made(PyObject *op);

/* The calling thread is about to sleep for it; key: the lock or queue in it. */
void trace_blocked(PyObject *op, const void *key, unsigned long ticket);

/* ... for the thread with this thread pointer to end (TRACE_JOINS) or begin (TRACE_AWAITS). */
void trace_thread(enum trace_kind kind, uint64_t thread_pointer);

/* The calling thread is about to run a Thread, or a function. */
void trace_begins(PyObject *function, int is_thread);

#endif
