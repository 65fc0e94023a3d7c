/* A thread looks a few times more before it sleeps: see the head of spin.c. */
#ifndef RUNTIME_PYTHON_SPIN_H
#define RUNTIME_PYTHON_SPIN_H

/* Without the GIL, before a sleep: whether to look at all.  If it returns 1, spin_for() must follow. */
int spin_may(void);

/* Calls look(arg) until it returns 1, or has been called in vain for long enough.  1: it has returned 1; 0: the caller sleeps.
 * rarer: for what several threads may want. */
int spin_for(int (*look)(void *arg), void *arg, int rarer);

/* Without the GIL, before it is taken back: looks until it seems to be free, for a while or not at all. */
void spin_for_gil(void);

/* With the GIL, which was just taken back. */
void spin_has_gil(void);

#endif
