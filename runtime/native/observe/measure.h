/* The cost of threads, summed over all of them: a reader of events, between lwp_measure(1) and lwp_measure(0). */
#ifndef RUNTIME_MEASURE_H
#define RUNTIME_MEASURE_H

#include "kernel/lwp/lwp.h"

void measure_read(struct lwp_statistics *out);

/* In a forked child: frees the lock, whose holder may be lost. */
void measure_after_fork(void);

#endif
