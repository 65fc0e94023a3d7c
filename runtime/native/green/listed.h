/* All threads on glibc's lists: pthreads, ours, and green ones. */
#ifndef RUNTIME_GREEN_LISTED_H
#define RUNTIME_GREEN_LISTED_H

#include "api.h"

#include <stdint.h>

/* Calls `see` with pthread_self() and tid of each thread in this process's memory; meanwhile none begins or ends, so `see` must not
 * block.  0: another thread holds the lock of glibc's lists, and nothing was called.  Then release the GIL, call listed_await(), which
 * sleeps until the lock is free, and try again: a thread must not wait for that lock with the GIL (kernel/glibc/glibc.h). */
API void listed_await(void);
API int listed_each(void (*see)(uintptr_t ident, int tid, void *arg), void *arg);

#endif
