/* The PyThreadStates that explore() keeps between runs: see the head of kept.c. */
#ifndef RUNTIME_PYTHON_KEPT_H
#define RUNTIME_PYTHON_KEPT_H

/* Deletes all that no thread is about to take. */
void kept_drop(void);

#endif
