/* runtime.wait(): sleeps until the first of several things is ready.  How, stands in waits/any.h.  For all of them
 * runtime/groups/waiting.py waits for one after the other.
 *
 * WHAT IS TAKEN.  Threads and events stay as they are when they are reported; a semaphore is taken.  For the first
 * of several, the first in order that is ready decides.  If it is taken, it comes alone, because a program that looks at another thing
 * first would lose it; otherwise all others come too that are ready and stay as they are.
 *
 * things.c makes a thing of what the program gives, and wait.c does all else. */
#ifndef RUNTIME_WAIT_H
#define RUNTIME_WAIT_H

#include "python/waits/waitable.h"

/* What the program gives, as a thing.  forever: there is no deadline.  0, or -1 with an exception; `object` is to be released either way. */
int wait_set_thing(struct thing *thing, PyObject *given, int forever);

#endif
