/* Times in a histogram with four buckets a doubling: constant memory, and quantiles right to about a fifth. */
#ifndef RUNTIME_HISTOGRAM_H
#define RUNTIME_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 4 * 48 };

static inline int histogram_bucket(int64_t ns)
{
    int log = 63 - __builtin_clzll((unsigned long long)ns | 4);
    int at = 4 * log + (int)(ns >> (log - 2) & 3);
    return at < HISTOGRAM_BUCKETS ? at : HISTOGRAM_BUCKETS - 1;
}

/* The middle of the bucket, in ns.  No time is in the first eight. */
static inline int64_t histogram_middle(int bucket)
{
    return (int64_t)((4 + bucket % 4) * 2 + 1) << (bucket / 4 - 3 > 0 ? bucket / 4 - 3 : 0);
}

#endif
