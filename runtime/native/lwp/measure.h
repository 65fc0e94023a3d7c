/* What a thread cost, added up over all threads; off by default, then one load per thread. */
#ifndef RUNTIME_MEASURE_H
#define RUNTIME_MEASURE_H

#include "context/context.h"
#include "lwp/lwp.h"

/* The monotonic clock when measuring, else 0. */
int64_t measure_clock(void);

/* In the child, before its first own work and after its last. */
void measure_born(int64_t cloned_at);
void measure_end(const struct lwp *lwp);

void measure_read(struct lwp_statistics *out);

/* In a forked child: whoever had the lock is lost. */
void measure_after_fork(void);

#endif
