/* The way to the GIL for threads that begin: see the head of gil_queue.c. */
#ifndef RUNTIME_PYTHON_GIL_QUEUE_H
#define RUNTIME_PYTHON_GIL_QUEUE_H

#include "python/python.h"

/* Called before clone.  1: enough threads are on the way, and the start should wait until its thread has begun. */
int gil_queue_reserve(void);
/* Undoes gil_queue_reserve(), when the clone has failed. */
void gil_queue_unreserve(void);

/* Takes the GIL, in a thread whose creator has reserved. */
void gil_queue_enter(PyThreadState *tstate);

#endif
