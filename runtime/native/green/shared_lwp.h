/* What belongs to an LWP, seen from the many threads that share one.  The kernel takes all green threads of a scheduler for the one LWP.
 * For each thing that belongs to the LWP, this is done about it:
 *
 *   tid             In struct pthread a green thread has a number that no LWP can have.  With the LWP's own, a recursive or
 *                   error-checking mutex would take all green threads for its owner.  pthread_kill() of a green thread is ESRCH.
 *                   The kernel looks at the number in robust and PI mutexes: these are not for green threads.
 *   setxid          glibc signals every thread that has an LWP, and the handler notes in the TCB that it has run: see green/shared_lwp.c.
 *   rseq            The kernel writes to the area that was registered by the thread whose LWP it is.  A green thread's own area
 *                   says "not registered", so that sched_getcpu() asks the kernel and no code begins a restartable sequence there.
 *   robust list     The LWP's own; see tid.
 *   signal mask, signal stack, name, affinity, priority, credentials of its own, timer slack: the LWP's, for all on it.
 *                   libc's pthread_getattr_np() hands the number in struct pthread to sched_getaffinity(2), and would fail with
 *                   ESRCH, though it knows the stack, and pthread_getschedparam() to sched_getparam(2).  Look-ups of these names
 *                   find functions that know green threads.
 *   thread count    The process must end with the last thread of the program, so __nptl_nthreads counts a green thread that LWPs made for
 *                   it run, and not these LWPs, nor helpers.  A green thread on an LWP that a thread lends isn't counted: it ends with
 *                   that LWP. */
#ifndef RUNTIME_SHARED_LWP_H
#define RUNTIME_SHARED_LWP_H

/* Called before the first scheduler, and not by two threads at one time.  NULL, or why there can't be green threads here. */
const char *green_lwp_init(void);

/* What stands in struct pthread as a green thread's tid: a number of its own, above all tids. */
int green_lwp_number(void);

/* The tid of the LWP of a thread with that number and thread pointer; 0: there is none yet.  A number that is no green thread's is
 * returned as it is. */
int green_lwp_tid(int number, void *tp);

/* Whether the process has a handler that could wake a sleeping thread: of a signal other than SIGINT and those that report an error of the
 * program itself. */
int green_lwp_has_handlers(void);

#endif
