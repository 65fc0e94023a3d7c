#include "lwp/measure.h"

#include "base/events.h"
#include "base/park.h"
#include "context/context.h"

#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* Start latencies in a histogram: four buckets a doubling, so a quantile is right to about a fifth at constant memory. */
enum { BUCKETS = 4 * 48 };

static atomic_int lock;
static struct lwp_statistics sums;
static long histogram[BUCKETS];

static int bucket(int64_t ns)
{
    int log = 63 - __builtin_clzll((unsigned long long)ns | 4);
    int at = 4 * log + (int)(ns >> (log - 2) & 3);
    return at < BUCKETS ? at : BUCKETS - 1;
}

static int64_t quantile(double q)
{
    long rank = (long)(q * (double)(sums.measured - 1)), seen = 0;

    for (int i = 8; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > rank) /* the middle of the bucket */
            return (int64_t)((4 + i % 4) * 2 + 1) << (i / 4 - 3 > 0 ? i / 4 - 3 : 0);
    }
    return 0;
}

static void born(int64_t cloned_at)
{
    int at = bucket(park_now() - cloned_at);
    park_lock(&lock);
    histogram[at]++;
    sums.measured++;
    park_unlock(&lock);
}

static void ended(const struct lwp *lwp)
{
    struct rusage used;
    struct timespec cpu;

    /* rusage's times are those of the last tick or switch: nothing yet for a thread of a few milliseconds. */
    if (getrusage(RUSAGE_THREAD, &used) != 0 || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu) != 0)
        return;
    size_t stack = context_stack_used(lwp->context);
    park_lock(&lock);
    sums.voluntary += used.ru_nvcsw;
    sums.involuntary += used.ru_nivcsw;
    sums.cpu_ns += (int64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec;
    if (stack > sums.stack_used)
        sums.stack_used = stack;
    park_unlock(&lock);
}

/* Only of LWPs that started since it is on; a green thread has none. */
static void hear(enum event event, uint64_t a, uint64_t b)
{
    struct lwp *lwp = (struct lwp *)(uintptr_t)(event == EVENT_DESTRUCTORS ? a : b);

    if (event == EVENT_STARTS)
        lwp->cloned_at = park_now();
    else if ((event == EVENT_BORN || event == EVENT_DESTRUCTORS) && lwp->cloned_at && !lwp->green.scheduler)
        event == EVENT_BORN ? born(lwp->cloned_at) : ended(lwp);
}

void lwp_measure(int on)
{
    if (!on) {
        events_end(EVENTS_STATISTICS);
        return;
    }
    park_lock(&lock);
    memset(&sums, 0, sizeof sums);
    memset(histogram, 0, sizeof histogram);
    park_unlock(&lock);
    events_begin(EVENTS_STATISTICS, hear);
}

void measure_read(struct lwp_statistics *out)
{
    park_lock(&lock);
    out->measured = sums.measured;
    out->voluntary = sums.voluntary;
    out->involuntary = sums.involuntary;
    out->cpu_ns = sums.cpu_ns;
    out->stack_used = sums.stack_used;
    out->latency_p50_ns = quantile(0.5);
    out->latency_p99_ns = quantile(0.99);
    park_unlock(&lock);
}

void measure_after_fork(void)
{
    atomic_store(&lock, 0);
}
