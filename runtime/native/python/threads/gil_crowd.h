/* Many threads that wait for the GIL: see the head of gil_crowd.c. */
#ifndef RUNTIME_PYTHON_GIL_CROWD_H
#define RUNTIME_PYTHON_GIL_CROWD_H

#include "api.h"

#include <stdatomic.h>

/* Functions of a higher floor, called around each sleep of a thread that waits for the GIL, with the GIL's mutex.  A thread may sleep
 * several times in one wait.  NULL: nobody counts waits. */
struct gil_reader {
    void (*sleeps)(void), (*slept)(void);
};
API extern const struct gil_reader *_Atomic gil_reader;

/* There are many threads, or one looks at the GIL before it sleeps for it.  Called again it does nothing.  0; -1: nothing could be replaced. */
API int gil_crowd_begins(void);

/* For the calling thread's next wait for the GIL, after gil_crowd_begins(): the thread asks for the GIL at once, and then as often as
 * others do.  wake.c and green/foreign.h have the reasons. */
void gil_crowd_ask_at_once(int on);

/* How many threads sleep for the GIL, of those that began to after gil_crowd_begins(); a guess. */
int gil_crowd_sleepers(void);

#endif
