/* Green threads in C code of others that gives up the GIL: while it blocks, the other threads go on at once.
 *
 * THE DESIGN.  That a thread is in such code is told by the code itself, since it calls PyEval_SaveThread()
 * (python/green/foreign.c).  Most of these calls return at once; to hand the runner's place over for each would cost more than they
 * take.  Which of them block is learnt: after a call of more than BLOCKS in which others went on, or which kept one waiting, the
 * next calls from the same place in the code are expected to block, too.  For these the place is handed over before the call
 * (carrier_enters_c()): to a spare, if a thread could go on, or waits for a time or a file; otherwise the thread keeps the place,
 * as IDLE_IN_C, until another thread has made one ready.  A thread that comes back takes the place again if it is free, and
 * otherwise goes on beside the runner, on the LWP that it has kept (carrier_leaves_c()).  The runner's threads give the GIL to one
 * another, so it asks for the GIL at once, and not after CPython's switch interval.  A call that blocks unexpectedly keeps the others
 * waiting until the watcher looks, for a time slice at most.
 *
 * A WAIT IN SUCH CODE, by poll(2) or nanosleep(2), as psycopg, ZeroMQ and SQLite wait, needs no other LWP: the thread has a stack
 * of its own and no GIL, so it sleeps in the scheduler, and its LWP goes on with the others.  Its C code may come back on another
 * LWP.  A thread that wants a mutex which it holds meanwhile blocks there, as in any C code.
 *
 * REJECTED.  A watcher that looks every 50 us: an echo, which has no such code, took half as much processor time again.  To learn
 * how long a call takes on average: a call that blocks until another green thread has run looks short when that thread could run,
 * and takes a whole slice when it couldn't.  A turn in the queue for a thread that comes back, as if it had yielded: then each next call
 * hands the place to an LWP that has computed, which the kernel keeps waiting for a processor, and a timer is late
 * (docs/measured/green.md).  To expect as many calls to block as cost the time of the one that has: the processor time of ZeroMQ, SQLite
 * and psycopg stayed within 2 %.  To poll on the LWP when the place is lost already: ZeroMQ took 0.92 of stock's processor time, and
 * takes 0.81. */
#ifndef RUNTIME_FOREIGN_H
#define RUNTIME_FOREIGN_H

#include "green/green.h"

/* Called by a green thread when it has given up the GIL, and before it takes the GIL back.  code: where.  errno is preserved by all that
 * is called here, as PyEval_SaveThread() and PyEval_RestoreThread() preserve it.  foreign_leave() returns 1 if another LWP is the
 * runner, and in a thread: then the caller should ask for the GIL at once. */
void foreign_enter(const void *code);
int foreign_leave(void);

/* Whether the caller is a green thread in such code.  There, and without the GIL, foreign_wait() is green_wait_fds(). */
struct pollfd;
int foreign_is_in_c(void);
int foreign_wait(struct pollfd *files, int count, int64_t deadline);

/* Each place that has blocked: how often, and for how long in all. */
void foreign_blocked(void (*see)(const struct foreign_seen *place, long times, int64_t ns, void *arg), void *arg);

/* Since when the green thread with that thread pointer, which must not end meanwhile, is in such code, and where; 0: it is not. */
int64_t foreign_since(void *tp, struct foreign_seen *place);

#endif
