/* Locks, semaphores and CPython's SimpleQueue, whose methods are replaced while waits are counted: takings, holds, and waits that tell no
 * event. */
#ifndef RUNTIME_METHODS_H
#define RUNTIME_METHODS_H

#include "python/python.h"
#include "python/reading/held.h"

extern const struct held_reader methods_reader; /* of locks */

/* Of semaphores, and of queues of that type.  -1 with an exception. */
int methods_begin(PyTypeObject *simple_queue);
void methods_end(void);

/* Those are the queues in whose get() threads sleep, each as often as threads do. */
void methods_note_takers(PyObject *queues);

#endif
