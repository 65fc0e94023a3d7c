/* Where and how urgently an LWP runs.
 *
 * THE DESIGN.  clone(2) gives a new thread its creator's affinity, policy, nice value, slack and cgroup.  To have others from its first line
 * of Python on, the thread asks for them itself, before it makes its PyThreadState: take_place() in python/threads/boot.c.  Its creator waits; if the
 * kernel refuses one of them, the thread ends and the start fails.  The order is such that no call undoes an earlier one: a cgroup's
 * cpuset sets the affinity anew, and a policy the slack.
 *
 * REJECTED.  That the creator makes the calls, with the thread's tid: the thread would run meanwhile, anywhere.  And CLONE_INTO_CGROUP
 * (clone3(2), Linux 5.7).  A thread, too, is made in another cgroup by it, if both are of one threaded domain (kernel/cgroup/cgroup.c,
 * cgroup_css_set_fork).  But version 1 doesn't have it, and seccomp filters hide clone3 (ENOSYS), so that there would be two ways. */
#ifndef RUNTIME_PLACEMENT_H
#define RUNTIME_PLACEMENT_H

#include <stdint.h>

enum placing { PLACE_CGROUP, PLACE_AFFINITY, PLACE_POLICY, PLACE_NICE, PLACE_CLAMP, PLACE_SLACK, PLACINGS };
extern const char *const placement_names[PLACINGS]; /* as Thread's arguments are called */

enum { PLACEMENT_CPUS = 8192 }; /* the largest NR_CPUS of the kernel's (arch/x86/Kconfig, NR_CPUS_RANGE_END) */

struct placement {
    unsigned wanted;                         /* of the others, 1 << PLACE_... */
    int cgroup;                              /* a descriptor of its directory */
    unsigned char cpus[PLACEMENT_CPUS / 8];  /* as sched_setaffinity(2) takes them, on little-endian machines */
    int policy, priority;                    /* SCHED_OTHER ...; 1 to 99 with SCHED_FIFO and SCHED_RR, else 0 */
    int nice;                                /* -20 to 19 */
    unsigned clamp_least, clamp_most;        /* of a core's capacity, 0 to 1024: sched_setattr(2) */
    unsigned long slack;                     /* ns, 0: the LWP's default.  PR_SET_TIMERSLACK(2const) */
};

/* Places the LWP with this tid, 0: the caller.  0, or errno: then *refused is what the kernel has refused, and those before it hold. */
int placement_apply(int tid, const struct placement *placement, enum placing *refused);

/* placement_apply() of the calling thread, counted if all is granted. */
int placement_at_birth(const struct placement *placement, enum placing *refused);
/* How many threads have been placed so: for each thing that may be wanted, and, as the last, all. */
void placement_births(long counts[PLACINGS + 1]);

/* As TRACE_PLACED has it (observe/trace.h). */
struct placement_record {
    uint64_t cpus, rest;
} placement_record(const struct placement *placement);

/* The timer slack and the clamps of that LWP.  0 or errno. */
int placement_read_slack(int tid, unsigned long *slack);
int placement_read_clamps(int tid, unsigned *least, unsigned *most);

/* The CPUs that the kernel lets the caller have: those of its cpuset that are online.  0 or errno. */
int placement_usable_cpus(unsigned char cpus[]);

#endif
