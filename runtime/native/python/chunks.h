/* Where the frames of our threads lie: see the head of chunks.c. */
#ifndef RUNTIME_PYTHON_CHUNKS_H
#define RUNTIME_PYTHON_CHUNKS_H

#include "python/python.h"

/* Once, before the first thread. */
void chunks_init(void);

/* The first chunk of the calling thread, for that state's frames. */
void chunks_begin_at(void *place, PyThreadState *tstate);

#endif
