/* Threads of the process that are not the program's: they sample, watch, and answer questions.
 *
 * They are pthreads, because they must not be counted among the program's threads, nor depend on the runtime, which may have stopped
 * working.
 *
 * A PROCESS ENDS AS IF THEY WERE NOT THERE.  glibc ends a process when the last thread that __nptl_nthreads counts returns: the forking
 * thread in a forked child, the last thread after the main thread's pthread_exit().  So they are taken out of that count.  Each counts
 * while pthread_create() makes it and from its return on.  The thread that takes the count to 0, also at these two moments, ends
 * the process.
 *
 * They get no signals, so those find a thread of the program, of which there is one until the process ends.  (A thread that ends by the
 * bare exit(2), which nothing in glibc or CPython calls, goes past the count: after the last one's the process lives on.) */
#ifndef RUNTIME_ASIDE_H
#define RUNTIME_ASIDE_H

#include <pthread.h>

/* pthread_create() of such a thread; attributes may be NULL.  0 or errno. */
int aside_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *));

/* Writes the tids of those that run, and returns how many they are. */
enum { ASIDES = 8 };
int aside_tids(int *tids);

/* Gives the calling thread a table of descriptors of its own, which is empty, so that what it opens takes no number that the program's next
 * open() returns without it.  The table ends with the thread.  0 or errno. */
int aside_descriptors(void);

#endif
