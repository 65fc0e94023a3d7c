/* What a thread cost, added up over all threads: a reader of events, on after lwp_measure(1). */
#ifndef RUNTIME_MEASURE_H
#define RUNTIME_MEASURE_H

#include "lwp/lwp.h"

void measure_read(struct lwp_statistics *out);

/* In a forked child: the holder of the lock may be lost. */
void measure_after_fork(void);

#endif
