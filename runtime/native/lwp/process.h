/* An LWP that is a process of its own: in our memory (CLONE_VM without CLONE_THREAD), or on a copy of it. */
#ifndef RUNTIME_PROCESS_H
#define RUNTIME_PROCESS_H

#include "lwp/lwp.h"

#include <sys/types.h>

/* Whether it is still to be waited for: it runs, and nobody has its exit status. */
int process_alive(struct lwp *lwp);

/* Sleeps until it is at its end, which may come long after it has left our memory by exec.  0, or an errno. */
int process_await(struct lwp *lwp, int64_t deadline);

/* Collects its exit status, once, whichever thread comes first.  0 or errno. */
int process_reap(struct lwp *lwp);

/* waitpid(2) for a child that is no LWP, again after each EINTR: 0 or errno. */
int process_wait_child(pid_t pid);

#endif
