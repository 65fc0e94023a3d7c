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
 *   signal mask     Each thread has its own, as its creator's at first.  pthread_sigmask() and sigprocmask() note that it changes, and a switch
 *                   between threads whose masks differ sets it; others cost no system call.  An LWP that is in no thread keeps the last
 *                   one's, or blocks all signals: it would take a signal that every thread of the program blocks.
 *                   REJECTED.  A thread with a mask of its own keeps its LWP: it may keep it for long, and then the others lack an LWP.
 *   signal stack, name, affinity, priority, credentials of its own, timer slack: the LWP's, for all on it.
 *                   libc's pthread_getattr_np() hands the number in struct pthread to sched_getaffinity(2), and would fail with
 *                   ESRCH, though it knows the stack, and pthread_getschedparam() to sched_getparam(2).  Look-ups of these names
 *                   find functions that know green threads.
 *   thread count    The process must end with the last thread of the program, so __nptl_nthreads counts a green thread that LWPs made for
 *                   it run, and not these LWPs, nor helpers.  A green thread on an LWP that a thread lends isn't counted: it ends with
 *                   that LWP. */
#ifndef RUNTIME_SHARED_LWP_H
#define RUNTIME_SHARED_LWP_H

#include "api.h"

#include <stdint.h>

/* Called before the first scheduler, and not by two threads at one time.  NULL, or why there can't be green threads here. */
const char *green_lwp_init(void);

/* From now on a thread's mask is its own.  Takes the linker's locks. */
void green_lwp_watch_masks(void);

/* The signals that the calling thread blocks. */
struct green;
uint64_t green_lwp_mask(void);

/* For a switch, if the masks may differ: `from` remembers the LWP's, and the LWP gets that of `to`; or if it stays, `to` gets that of
 * `from`. */
void green_lwp_change_mask(struct green *from, struct green *to, int stays);

/* All except glibc's own, for which setuid(2) and its kin wait in every LWP. */
extern const uint64_t green_all_signals;

/* Called on an LWP that the scheduler has made, in its base: the LWP takes no signal. */
void green_lwp_block(struct green *me);

/* What stands in struct pthread as a green thread's tid: a number of its own, above all tids. */
int green_lwp_number(void);

/* The tid of the LWP of a thread with that number and thread pointer; 0: there is none yet.  A number that is no green thread's is
 * returned as it is. */
API int green_lwp_tid(int number, void *tp);

/* Whether the process has a handler that could wake a sleeping thread: of a signal other than SIGINT and those that report an error of the
 * program itself. */
int green_lwp_has_handlers(void);

#endif
