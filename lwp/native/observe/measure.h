/* The cost of threads, summed over all of them: a reader of events, between lwp_measure(1) and lwp_measure(0). */
#ifndef RUNTIME_MEASURE_H
#define RUNTIME_MEASURE_H

#include <stddef.h>
#include <stdint.h>

struct lwp_statistics {
    long started, alive, peak;
    /* since lwp_measure(1) */
    long measured, voluntary, involuntary;
    int64_t cpu_ns, latency_p50_ns, latency_p99_ns;
    size_t stack_used;
};
void lwp_measure(int on);
void lwp_read_statistics(struct lwp_statistics *out);

#endif
