/* Many threads that wait for the GIL: see the head of gil_crowd.c. */
#ifndef RUNTIME_PYTHON_GIL_CROWD_H
#define RUNTIME_PYTHON_GIL_CROWD_H

/* With the GIL of the main interpreter, once: finds what is to be replaced. */
void gil_crowd_init(void);

/* With the GIL: there are many threads.  Called again it does nothing.  0; -1: nothing could be replaced. */
int gil_crowd_begins(void);

/* For the calling thread's next wait for the GIL, after gil_crowd_begins(): it has waited for the switch interval already, elsewhere, so
 * it asks for the GIL at once, and then as often as others do. */
void gil_crowd_ask_at_once(int on);

void gil_crowd_after_fork(void);

#endif
