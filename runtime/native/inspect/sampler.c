#include "inspect/sampler.h"

#include "base/events.h"
#include "base/number.h"
#include "base/park.h"
#include "base/trace.h"
#include "glibc/glibc.h"
#include "lwp/registry.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PERIOD = 20000000, BUDGET = PERIOD / 300 }; /* ns: of a round, CPU time in it */
enum { CLOSE_UNSHARED = 2 }; /* CLOSE_RANGE_UNSHARE, linux/close_range.h */

uintptr_t sampler_gil[2];

/* System calls that wait. */
static struct call {
    long number;
    const char *name;
    uint32_t text;
} calls[] = {
#define CALL(name) {SYS_##name, #name, 0},
    /* clang-format off */
    CALL(futex) CALL(read) CALL(write) CALL(readv) CALL(writev) CALL(pread64) CALL(pwrite64) CALL(recvfrom) CALL(recvmsg) CALL(sendto)
    CALL(sendmsg) CALL(accept) CALL(accept4) CALL(connect) CALL(ppoll) CALL(pselect6) CALL(epoll_pwait) CALL(clock_nanosleep)
    CALL(nanosleep) CALL(wait4) CALL(waitid) CALL(fsync) CALL(fdatasync) CALL(flock) CALL(fcntl) CALL(openat) CALL(sendfile)
    CALL(rt_sigtimedwait) CALL(semtimedop) CALL(msgrcv) CALL(mq_timedreceive) CALL(getrandom) CALL(munmap) CALL(mmap)
#ifdef SYS_poll /* aarch64 has only the newer ones */
    CALL(poll) CALL(select) CALL(epoll_wait) CALL(pause) CALL(open)
#endif
    /* clang-format on */
};
static uint32_t gil_text, other_text;

static uint32_t text_once(uint32_t *text, const char *name)
{
    if (!*text)
        *text = trace_text(name, strlen(name));
    return *text;
}

static uint32_t call_text(long number, uintptr_t argument)
{
    if (number == SYS_futex && argument >= sampler_gil[0] && argument < sampler_gil[1])
        return text_once(&gil_text, "waiting for the GIL");
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].number == number)
            return text_once(&calls[i].text, calls[i].name);
    return text_once(&other_text, "another system call");
}

/* Files of /proc that stay open: reading one again takes a third of the time. */
struct open_file {
    int tid, fd; /* tid 0: it is not open */
};

/* Of the thread, into a string; "": there is no such thread any more. */
static void read_again(struct open_file *file, int tid, const char *name, char *into, size_t room)
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
    ssize_t length = file->tid ? pread(file->fd, into, room - 1, 0) : 0;
    if (file->tid && length <= 0) {
        close(file->fd);
        file->tid = 0;
    }
    into[length > 0 ? length : 0] = 0;
}

static void look_at(struct trace_watch *watch, struct open_file *file)
{
    char line[256];
    uint32_t call = 0;

    read_again(file, atomic_load(&watch->tid), "syscall", line, sizeof line);
    if (!line[0])
        return;
    /* "running", or the number, six arguments ("0 0x7 ..."); -1: it sleeps, but in no system call (a page fault). */
    if (line[0] >= '0' && line[0] <= '9') {
        const char *at = line;
        long number = (long)number_read(&at, 10);
        at += strncmp(at, " 0x", 3) ? 0 : 3;
        call = call_text(number, number_read(&at, 16));
    }
    trace_note(TRACE_SEEN, 0, call, watch->track, PERIOD);
}

static int64_t cpu_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* At one thread at least, then at others up to that CPU time. */
static void look(int64_t now, int64_t until)
{
    static unsigned next;
    static struct open_file memory, files[TRACE_WATCHED];
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
        look_at(watch, &files[which]);
        if (cpu_time() >= until)
            break;
    }
}

static void *sample(void *unused)
{
    static atomic_int never;

    prctl(PR_SET_NAME, "lwp-trace");
    /* A table of descriptors of its own, empty: the program's next open() gets the number that it would have got. */
    if (syscall(SYS_close_range, 0U, ~0U, CLOSE_UNSHARED) != 0)
        return NULL;
    int64_t before = cpu_time();
    while (events_read_by(EVENTS_TRACE)) {
        int64_t now = park_now();
        look(now, before + BUDGET);
        before = cpu_time(); /* going to sleep and waking up belong to the next round */
        while (park_now() < now + PERIOD)
            park_wait(&never, 0, now + PERIOD, PARK_PRIVATE);
    }
    return NULL;
}

void sampler_begin(void)
{
    static atomic_int begun;
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;

    if (atomic_exchange(&begun, 1))
        return;
    if (glibc_before_wait) /* pthread_create() takes its locks without trying */
        glibc_before_wait();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    /* glibc's, so that what is counted of ours is the program's. */
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_create(&thread, &attributes, sample, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
