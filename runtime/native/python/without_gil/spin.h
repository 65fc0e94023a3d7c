/* Without a GIL, a thread looks a few times more before it sleeps: see the head of spin.c. */
#ifndef RUNTIME_PYTHON_SPIN_H
#define RUNTIME_PYTHON_SPIN_H

/* Yields the processor between calls of look(arg), which returns 1 if the caller needn't sleep.  1: it has returned 1; 0: the caller
 * sleeps.  Where there is a GIL, and for a green thread, always 0, at once.  rarer: for what several threads may want. */
int spin_for(int (*look)(void *arg), void *arg, int rarer);

#endif
