/* Where the frames of the runtime's threads lie: see the head of chunks.c. */
#ifndef RUNTIME_PYTHON_CHUNKS_H
#define RUNTIME_PYTHON_CHUNKS_H

#include "python/python.h"

/* Called once, before the first thread. */
void chunks_init(void);

/* Makes that memory the calling thread's first chunk, for the frames of that state only. */
void chunks_begin_at(void *place, PyThreadState *tstate);

/* Gives all chunks of a state back that outlives its thread. */
API void chunks_end(PyThreadState *tstate);

#endif
