#include "warm.h"

#include "arch/arch.h"
#include "context.h"
#include "glibc.h"
#include "green_lwp.h"
#include "park.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum order { STAY, RUN, END };

/* Of those in the pool and those that were admitted and are on their way there. */
static atomic_int lock;
static struct context *pool; /* last in, first out */
static int count;
static atomic_int most;      /* how many are to be kept; changed with the lock, read without where it only saves work */
static int generation = 1;   /* of processes, by fork: whose LWP sleeps on a context */
static pid_t process;
static __thread int outside; /* the calling LWP is a process of its own in our memory */

/* ---- what must be the same --------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t sum, const void *from, size_t size)
{
    const char *bytes = from;
    uint64_t word;

    for (size_t i = 0; i < size; i += sizeof word) {
        word = 0;
        memcpy(&word, bytes + i, size - i < sizeof word ? size - i : sizeof word);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15u; /* odd: nothing is lost */
        sum ^= sum >> 32;
    }
    return sum;
}

/* struct sched_attr of sched_setattr(2), as long as it was when it got the clamps (Linux 5.3). */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
};

/* Whether the calling thread has the process's descriptors and directories: unshare(2) may have given it its own. */
static int shares_files(void)
{
    pid_t tid = green_lwp_tid(*(pid_t *)glibc_field((void *)pthread_self(), glibc.tid), arch_thread_pointer());

    return tid == process
        || (syscall(SYS_kcmp, process, tid, KCMP_FILES, 0, 0) == 0 && syscall(SYS_kcmp, process, tid, KCMP_FS, 0, 0) == 0);
}

static uint64_t look(void)
{
    unsigned long cpus[1024 / sizeof(long)]; /* 8,192 processors, the most that the kernel can be built for */
    struct attributes attributes = {0};
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct capabilities[_LINUX_CAPABILITY_U32S_3] = {0};
    long size = syscall(SYS_sched_getaffinity, 0, sizeof cpus, cpus);

    if (size <= 0 || syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0
        || syscall(SYS_capget, &header, capabilities) != 0)
        return 0;
    if (attributes.policy == 6 /* SCHED_DEADLINE */ || (attributes.flags & 1 /* SCHED_FLAG_RESET_ON_FORK */))
        return 0; /* a new thread would not inherit it */
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0)
        return 0; /* which filters a thread has can't be seen, nor cheaply how many */
    if (!shares_files())
        return 0;
    long rest[] = {
        prctl(PR_GET_TIMERSLACK),
        prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
        syscall(SYS_ioprio_get, 1 /* IOPRIO_WHO_PROCESS: of a thread, in truth */, 0),
        syscall(SYS_setfsuid, -1), /* not an id: changes nothing, and tells what is (setfsuid(2)) */
        syscall(SYS_setfsgid, -1),
    };
    uint64_t sum = mix(0, cpus, (size_t)size);
    sum = mix(sum, &attributes, sizeof attributes);
    sum = mix(sum, capabilities, sizeof capabilities);
    return mix(sum, rest, sizeof rest) | 1;
}

uint64_t warm_settings(void)
{
    if (!atomic_load_explicit(&most, memory_order_relaxed) || outside)
        return 0;
    int saved = errno;
    uint64_t settings = look();
    errno = saved;
    return settings;
}

/* ---- asleep ------------------------------------------------------------------------------------------------------ */

void warm_lie_down(struct context *context, uint64_t settings)
{
    struct warm *warm = &context->warm;

    warm->settings = settings;
    atomic_store_explicit(&warm->order, STAY, memory_order_relaxed);
    if (!atomic_load_explicit(&warm->living, memory_order_relaxed)) {
        atomic_store_explicit(&warm->living, 1, memory_order_relaxed);
        syscall(SYS_set_tid_address, &warm->living);
    }
    warm->parked = generation;
}

void warm_leave(struct context *context, atomic_int *word)
{
    if (atomic_load_explicit(&context->warm.living, memory_order_relaxed)) {
        syscall(SYS_set_tid_address, word);
        atomic_store_explicit(&context->warm.living, 0, memory_order_relaxed);
    }
}

struct lwp *warm_sleep(struct context *context)
{
    struct warm *warm = &context->warm;
    int order;

    /* Acquire: what the starter wrote is seen. */
    while ((order = atomic_load_explicit(&warm->order, memory_order_acquire)) == STAY)
        park_wait_lwp(&warm->order, STAY, PARK_FOREVER, PARK_PRIVATE);
    return order == RUN ? warm->lwp : NULL;
}

static void give(struct context *context, enum order order)
{
    atomic_store_explicit(&context->warm.order, order, memory_order_release);
    park_wake_lwp(&context->warm.order, 1, PARK_PRIVATE); /* contexts are never unmapped */
}

void warm_wake(struct context *context, struct lwp *lwp)
{
    context->warm.parked = 0;
    context->warm.lwp = lwp;
    give(context, RUN);
}

void warm_end(struct context *context)
{
    give(context, END);
    while (atomic_load_explicit(&context->warm.living, memory_order_acquire))
        park_wait_lwp(&context->warm.living, 1, PARK_FOREVER, PARK_SHARED); /* the kernel wakes it as a shared futex */
    context->warm.parked = 0;
}

void warm_lost(struct context *context)
{
    context->warm.parked = 0;
    atomic_store(&context->warm.living, 0);
}

int warm_is_here(struct context *context)
{
    if (!context->warm.parked)
        return 0;
    if (context->warm.parked == generation)
        return 1;
    warm_lost(context);
    context->used = VANISHED;
    return 0;
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

int warm_admit(void)
{
    park_lock(&lock);
    int admitted = count < atomic_load_explicit(&most, memory_order_relaxed);
    count += admitted;
    park_unlock(&lock);
    return admitted;
}

static void end_and_put(struct context *context)
{
    warm_end(context);
    context_put(context, 0);
}

void warm_put(struct context *context)
{
    context_trim(context);
    park_lock(&lock);
    int surplus = count > atomic_load_explicit(&most, memory_order_relaxed);
    if (surplus)
        count--;
    else {
        context->next = pool;
        pool = context;
    }
    park_unlock(&lock);
    if (surplus)
        end_and_put(context);
}

struct context *warm_get(size_t stack_size)
{
    struct context *found = NULL;

    if (!atomic_load_explicit(&most, memory_order_relaxed))
        return NULL;
    park_lock(&lock);
    for (struct context **at = &pool; *at && !found; at = &(*at)->next)
        if (context_is_of(*at, stack_size)) {
            found = *at;
            *at = found->next;
            count--;
            break;
        }
    park_unlock(&lock);
    return found;
}

void warm_limit(int limit)
{
    park_lock(&lock);
    atomic_store(&most, limit);
    park_unlock(&lock);
}

void warm_trim(void)
{
    for (;;) {
        park_lock(&lock);
        struct context *context = count > atomic_load(&most) ? pool : NULL;
        if (context) {
            pool = context->next;
            count--;
        }
        park_unlock(&lock);
        if (!context)
            return;
        end_and_put(context);
    }
}

int warm_count(void)
{
    park_lock(&lock);
    int now = count;
    park_unlock(&lock);
    return now;
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

void warm_init(void)
{
    process = getpid();
}

void warm_outside(void)
{
    outside = 1;
}

void warm_before_fork(void)
{
    park_lock(&lock);
}

void warm_after_fork(void)
{
    park_unlock(&lock);
}

void warm_after_fork_in_child(void)
{
    struct context *context, *next;

    for (context = pool; context; context = next) {
        next = context->next;
        warm_lost(context);
        context_put(context, 1);
    }
    pool = NULL;
    count = 0;
    generation++;
    process = getpid();
    outside = 0;
    atomic_store(&lock, 0);
}
