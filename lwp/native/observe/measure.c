#include "observe/measure.h"

#include "kernel/base/events.h"
#include "kernel/base/fork.h"
#include "kernel/base/park.h"
#include "kernel/lwp/registry.h"
#include "observe/histogram.h"
#include "reading/inspect.h"

#include <string.h>
#include <sys/resource.h>

static atomic_int lock; /* order: docs/architecture.md */
static struct lwp_statistics sums;
static long histogram[HISTOGRAM_BUCKETS]; /* of start latencies */

static int64_t find_quantile(double q)
{
    long rank = (long)(q * (double)(sums.measured - 1)), seen = 0;

    for (int i = 8; i < HISTOGRAM_BUCKETS; i++)
        if ((seen += histogram[i]) > rank)
            return histogram_middle(i);
    return 0;
}

static void count_start(int64_t cloned_at)
{
    int at = histogram_bucket(park_now() - cloned_at);
    park_lock(&lock);
    histogram[at]++;
    sums.measured++;
    park_unlock(&lock);
}

static void count_end(const struct lwp *lwp)
{
    struct rusage used;

    /* The time comes from the clock, because rusage's is that of the last tick or switch: 0 for most threads of a few milliseconds. */
    if (getrusage(RUSAGE_THREAD, &used) != 0)
        return;
    int64_t cpu = park_clock(CLOCK_THREAD_CPUTIME_ID);
    size_t stack = inspect_stack_used(lwp->stack_low, lwp->stack_high);
    park_lock(&lock);
    sums.voluntary += used.ru_nvcsw;
    sums.involuntary += used.ru_nivcsw;
    sums.cpu_ns += cpu;
    if (stack > sums.stack_used)
        sums.stack_used = stack;
    park_unlock(&lock);
}

/* Counts LWPs that were started while this reader was on.  Green threads don't count: rusage is the LWP's, which they share. */
static void count_event(enum event event, uint64_t a, uint64_t b)
{
    struct lwp *lwp = (struct lwp *)(uintptr_t)(event == EVENT_DESTRUCTORS ? a : b);

    if (event == EVENT_STARTS)
        lwp->cloned_at = park_now();
    else if ((event == EVENT_BORN || event == EVENT_DESTRUCTORS) && lwp->cloned_at && !lwp->leave)
        event == EVENT_BORN ? count_start(lwp->cloned_at) : count_end(lwp);
}

/* In a forked child: the lock's holder may be lost. */
static void free_lock(void)
{
    atomic_store(&lock, 0);
}

/* The handler must be there before the lock is taken for the first time.  count_start() and count_end() take it only after lwp_measure(). */
static void take_lock(void)
{
    static const struct fork_handlers handlers = {.in_child = free_lock};

    fork_handle(FORK_MEASURE, &handlers);
    park_lock(&lock);
}

void lwp_measure(int on)
{
    if (!on) {
        events_end(EVENTS_STATISTICS);
        return;
    }
    take_lock();
    memset(&sums, 0, sizeof sums);
    memset(histogram, 0, sizeof histogram);
    park_unlock(&lock);
    events_begin(EVENTS_STATISTICS, count_event);
}

void lwp_read_statistics(struct lwp_statistics *out)
{
    struct registry_counts counts = registry_read();

    take_lock();
    *out = sums;
    out->started = counts.started;
    out->alive = counts.alive;
    out->peak = counts.peak;
    out->latency_p50_ns = find_quantile(0.5);
    out->latency_p99_ns = find_quantile(0.99);
    park_unlock(&lock);
}
