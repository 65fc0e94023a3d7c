/* A descriptor for an LWP's end. */
#ifndef RUNTIME_PYTHON_END_FD_H
#define RUNTIME_PYTHON_END_FD_H

#include "python/python.h"

#include "waits/watch.h"

struct end_fd;
struct lwp;

/* For an LWP that was started: the descriptor that can be read once it has ended.  It is made at the first call and kept at *at, which
 * was NULL; in a forked child it is made anew. -1 with an exception. */
int end_fd_of(struct end_fd **at, struct lwp *lwp);

/* Before the LWP is released. */
void end_fd_close(struct end_fd **at);

#endif
