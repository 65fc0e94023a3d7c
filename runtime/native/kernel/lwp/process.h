/* An LWP that is a process of its own, in our memory (CLONE_VM without CLONE_THREAD) or on a copy of it. */
#ifndef RUNTIME_PROCESS_H
#define RUNTIME_PROCESS_H

#include "kernel/lwp/lwp.h"

#include <sys/types.h>

/* Whether it runs: it has no exit status yet. */
int process_alive(struct lwp *lwp);

/* Sleeps until it has ended.  That may be long after it has left our memory by exec.  0 or errno. */
int process_await(struct lwp *lwp, int64_t deadline);

/* Sets wait_status, if no other thread has; waits for the end.  0 or errno. */
int process_reap(struct lwp *lwp);

/* waitpid(2) for a child that is no struct lwp, repeated after EINTR.  0 or errno. */
API int process_wait_child(pid_t pid);

#endif
