#include "placement/placement.h"

#include "kernel/base/number.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the kernel's words of a CPU mask, as bytes");

const char *const placement_names[PLACINGS] = {"cgroup", "affinity", "policy", "nice", "uclamp", "timer_slack"};

/* struct sched_attr and its flags, linux/sched/types.h and linux/sched.h, which headers before Linux 5.3 have in part. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t clamp_least, clamp_most;
};
enum { KEEP_POLICY = 8, KEEP_PARAMETERS = 16, CLAMP_LEAST = 32, CLAMP_MOST = 64 };

/* An LWP by its number, where 0 is the caller. */
static int is_own(int tid)
{
    return tid == 0 || tid == (int)syscall(SYS_gettid);
}

static int write_number(int fd, unsigned long number)
{
    char text[24];
    int length = snprintf(text, sizeof text, "%lu", number), error = 0;

    if (fd < 0)
        return errno;
    if (write(fd, text, (size_t)length) != length)
        error = errno;
    close(fd);
    return error;
}

/* Both files take a single thread, and "0" for the one that writes (kernel/cgroup/cgroup.c, cgroup_procs_write_start).  "tasks" is that of
 * version 1. */
static int join_cgroup(int tid, int directory)
{
    int fd = openat(directory, "cgroup.threads", O_WRONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        fd = openat(directory, "tasks", O_WRONLY | O_CLOEXEC);
    return write_number(fd, (unsigned long)tid);
}

/* Another's file is in /proc/TID alone, not in /proc/PID/task/TID (fs/proc/base.c, tgid_base_stuff). */
static int open_slack(int tid, int how)
{
    char path[48];

    snprintf(path, sizeof path, "/proc/%d/timerslack_ns", tid);
    return open(path, how | O_CLOEXEC);
}

static int set_slack(int tid, unsigned long slack)
{
    if (is_own(tid))
        return prctl(PR_SET_TIMERSLACK, slack) == 0 ? 0 : errno;
    return write_number(open_slack(tid, O_WRONLY), slack);
}

static int set_clamps(int tid, unsigned least, unsigned most)
{
    struct attributes attributes = {sizeof attributes, .flags = KEEP_POLICY | KEEP_PARAMETERS | CLAMP_LEAST | CLAMP_MOST,
                                    .clamp_least = least, .clamp_most = most};

    return syscall(SYS_sched_setattr, tid, &attributes, 0) == 0 ? 0 : errno;
}

static int place(int tid, const struct placement *p, enum placing what)
{
    struct sched_param parameters = {.sched_priority = p->priority};

    switch (what) {
    case PLACE_CGROUP:
        return join_cgroup(tid, p->cgroup);
    case PLACE_AFFINITY:
        return syscall(SYS_sched_setaffinity, tid, sizeof p->cpus, p->cpus) == 0 ? 0 : errno;
    case PLACE_POLICY: /* of one thread.  POSIX means the process, so that musl's function returns ENOSYS (src/sched/sched_setscheduler.c) */
        return syscall(SYS_sched_setscheduler, tid, p->policy, &parameters) == 0 ? 0 : errno;
    case PLACE_NICE: /* of one thread as well: setpriority(2), "C library/kernel differences" */
        return setpriority(PRIO_PROCESS, (id_t)tid, p->nice) == 0 ? 0 : errno;
    case PLACE_CLAMP:
        return set_clamps(tid, p->clamp_least, p->clamp_most);
    default:
        return set_slack(tid, p->slack);
    }
}

int placement_apply(int tid, const struct placement *placement, enum placing *refused)
{
    for (unsigned what = 0; what < PLACINGS; what++) {
        int error = placement->wanted >> what & 1 ? place(tid, placement, what) : 0;
        if (error) {
            *refused = what;
            return error;
        }
    }
    return 0;
}

struct placement_record placement_record(const struct placement *p)
{
    struct placement_record record = {0};
    int others = 0;

    memcpy(&record.cpus, p->cpus, sizeof record.cpus);
    for (size_t i = sizeof record.cpus; i < sizeof p->cpus; i++)
        others |= p->cpus[i] != 0;
    record.rest = p->wanted | (uint64_t)(uint8_t)p->policy << 8 | (uint64_t)(uint8_t)p->priority << 16
                  | (uint64_t)(uint8_t)p->nice << 24 | (uint64_t)others << 32;
    return record;
}

static atomic_long births[PLACINGS + 1];

int placement_at_birth(const struct placement *placement, enum placing *refused)
{
    int error = placement_apply(0, placement, refused);

    for (unsigned what = 0; !error && what <= PLACINGS; what++)
        if (what == PLACINGS || placement->wanted >> what & 1)
            atomic_fetch_add(&births[what], 1);
    return error;
}

void placement_births(long counts[PLACINGS + 1])
{
    for (unsigned what = 0; what <= PLACINGS; what++)
        counts[what] = atomic_load(&births[what]);
}

int placement_read_slack(int tid, unsigned long *slack)
{
    char text[24] = "";
    int fd, error = 0;

    if (is_own(tid)) {
        long found = syscall(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0); /* libc's function returns an int: 2 s at most */
        *slack = (unsigned long)found;
        return found < 0 ? errno : 0;
    }
    if ((fd = open_slack(tid, O_RDONLY)) < 0)
        return errno;
    if (read(fd, text, sizeof text - 1) < 0)
        error = errno;
    close(fd);
    const char *digits = text;
    *slack = number_read(&digits, 10);
    return error;
}

int placement_read_clamps(int tid, unsigned *least, unsigned *most)
{
    struct attributes attributes = {0};

    if (syscall(SYS_sched_getattr, tid, &attributes, sizeof attributes, 0) < 0)
        return errno;
    *least = attributes.clamp_least;
    *most = attributes.clamp_most;
    return 0;
}

/* The kernel intersects what is asked for with the cpuset and the CPUs that are online (kernel/sched/syscalls.c, __sched_setaffinity), and
 * tells that by no other call.  So the caller asks for all, looks what it has got, and takes back what it had. */
int placement_usable_cpus(unsigned char cpus[])
{
    unsigned char own[PLACEMENT_CPUS / 8] = {0}, all[sizeof own];
    int error = 0;

    memset(all, 0xff, sizeof all);
    memset(cpus, 0, sizeof own);
    if (syscall(SYS_sched_getaffinity, 0, sizeof own, own) < 0 || syscall(SYS_sched_setaffinity, 0, sizeof all, all) < 0)
        return errno;
    if (syscall(SYS_sched_getaffinity, 0, sizeof own, cpus) < 0)
        error = errno;
    syscall(SYS_sched_setaffinity, 0, sizeof own, own);
    return error;
}
