#include "observe/sampler.h"

#include "kernel/base/events.h"
#include "kernel/base/fork.h"
#include "kernel/base/number.h"
#include "kernel/base/park.h"
#include "observe/aside.h"
#include "observe/calls.h"
#include "observe/trace.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/registry.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { PERIOD = 20000000, BUDGET = PERIOD / 300 }; /* ns: of a round, CPU time in it */

static atomic_int begun; /* there is a sampling thread: fork_generation + 1 */
static uint32_t texts[CALLS_MOST];

void sampler_forget_texts(void)
{
    memset(texts, 0, sizeof texts);
}

/* The number of the name's text in the trace. */
static uint32_t call_text(int call)
{
    if (call != CALLS_NONE && !texts[call])
        texts[call] = trace_text(calls_name(call), strlen(calls_name(call)));
    return texts[call];
}

/* Files of /proc stay open: to read one again takes a third of the time. */
struct open_file {
    int tid, fd; /* tid 0: it is not open */
};

static struct open_file memory, files[TRACE_WATCHED];

/* Reads the thread's file into a string; "": the thread is gone. */
static void read_again(struct open_file *file, int tid, const char *name, char *into, size_t capacity)
{
    char path[64];

    if (file->tid && file->tid != tid) {
        close(file->fd);
        file->tid = 0;
    }
    if (!file->tid) {
        snprintf(path, sizeof path, "/proc/self/task/%d/%s", tid, name);
        file->fd = open(path, O_RDONLY);
        file->tid = file->fd < 0 ? 0 : tid;
    }
    ssize_t length = file->tid ? pread(file->fd, into, capacity - 1, 0) : 0;
    if (file->tid && length <= 0) {
        close(file->fd);
        file->tid = 0;
    }
    into[length > 0 ? length : 0] = 0;
}

static void sample_thread(struct trace_watch *watch, struct open_file *file)
{
    char line[256];

    read_again(file, atomic_load(&watch->tid), "syscall", line, sizeof line);
    if (line[0])
        trace_note(TRACE_SEEN, 0, call_text(calls_read(line)), watch->track, PERIOD);
}

/* Looks at one thread, and at more until the sampler has used that CPU time. */
static void sample_round(int64_t now, int64_t until)
{
    static unsigned next;
    char line[256];
    const char *resident;

    read_again(&memory, gettid(), "statm", line, sizeof line);
    if ((resident = strchr(line, ' '))) {
        resident++;
        trace_note(TRACE_COUNTS, 0, 0, number_read(&resident, 10) * (uint64_t)sysconf(_SC_PAGESIZE), (uint64_t)registry_alive());
    }
    for (int i = 0; i < TRACE_WATCHED; i++) {
        unsigned which = next++ % TRACE_WATCHED;
        struct trace_watch *watch = &trace_watched[which];
        int64_t since = atomic_load_explicit(&watch->since, memory_order_acquire);
        if (!since || now - since < PERIOD)
            continue;
        sample_thread(watch, &files[which]);
        if (park_clock(CLOCK_THREAD_CPUTIME_ID) >= until)
            break;
    }
}

static void sample_on(void)
{
    static atomic_int never;
    int64_t before = park_clock(CLOCK_THREAD_CPUTIME_ID);

    while (events_read_by(EVENTS_TRACE)) {
        int64_t now = park_now();
        sample_round(now, before + BUDGET);
        before = park_clock(CLOCK_THREAD_CPUTIME_ID); /* before the sleep, so that its cost counts in the next round */
        while (park_now() < now + PERIOD)
            park_wait(&never, 0, now + PERIOD, PARK_PRIVATE);
        trace_end(park_now());
    }
}

static void *sampler_main(void *unused)
{
    prctl(PR_SET_NAME, "lwp-trace");
    if (aside_descriptors() != 0)
        return NULL;
    do {
        memset(&memory, 0, sizeof memory); /* what an earlier sampling thread had open is closed */
        memset(files, 0, sizeof files);
        sample_on();
        atomic_store(&begun, 0);
    } while (events_read_by(EVENTS_TRACE) && !atomic_exchange(&begun, fork_generation + 1)); /* sampler_begin() found it still there */
    return NULL;
}

void sampler_begin(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    if (atomic_exchange(&begun, fork_generation + 1) == fork_generation + 1)
        return;
    if (glibc_before_wait) /* pthread_create() may wait for glibc's locks: kernel/glibc/glibc.h */
        glibc_before_wait();
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    if (aside_create(&thread, &attributes, sampler_main) != 0)
        atomic_store(&begun, 0);
    pthread_attr_destroy(&attributes);
}
