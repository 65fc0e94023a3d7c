/* What the files that include Python.h share. */
#ifndef RUNTIME_PYTHON_TYPES_H
#define RUNTIME_PYTHON_TYPES_H

#include <Python.h>

#include <stdint.h>
#include <structmember.h>

/* Seconds to a deadline on the monotonic clock (park.h); None waits for ever, 0 or less is now.  -1 with an exception set. */
int python_deadline(PyObject *timeout, int64_t *deadline);

/* How many LWPs are inside their Python function. */
long python_running(void);

/* Add the types of python_sync.c and python_local.c to the module. */
int python_add_sync(PyObject *module);
int python_add_local(PyObject *module);

/* python_chunks.c: keeps a few of the chunks that threads get for their frames. */
void python_keep_chunks(void);
void python_chunks_after_fork(void);

/* python_sync.c */
void python_sync_after_fork(void);

#endif
