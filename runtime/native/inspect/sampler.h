/* What threads don't say by themselves while a trace is recorded: the system call that a thread sleeps in which is not known to
 * sleep, and how much memory and how many threads there are.  Looked at 50 times a second, by a thread that knows no Python, in a
 * three-hundredth of the time: what it doesn't come to in one round it begins with in the next. */
#ifndef RUNTIME_SAMPLER_H
#define RUNTIME_SAMPLER_H

#include <stdint.h>

/* Begins to look, once; until the trace ends. */
void sampler_begin(void);

/* Where the GIL's own words lie: who sleeps there waits for it. */
extern uintptr_t sampler_gil[2];

#endif
