#ifndef RUNTIME_CURRENT_FRAMES_H
#define RUNTIME_CURRENT_FRAMES_H

#include "python/python.h"

/* By its ident, the innermost frame of each thread that runs Python in the main interpreter: a new dict.  NULL with an exception. */
PyObject *current_frames(void);

/* Takes over the references to key and value, which may be NULL with an exception.  0, or -1 with an exception. */
int dict_take_item(PyObject *dict, PyObject *key, PyObject *value);

#endif
