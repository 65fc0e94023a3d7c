#include "green/shared_lwp.h"

#include "kernel/arch/arch.h"
#include "green/replace.h"
#include "kernel/glibc/glibc.h"
#include "green/scheduler.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- tid --------------------------------------------------------------------------------------------------------- */

enum { FIRST_NUMBER = 0x20000000, NUMBERS = 0x20000000 }; /* above PID_MAX_LIMIT, 2^22; below FUTEX_WAITERS and FUTEX_OWNER_DIED */

int green_lwp_number(void)
{
    static atomic_uint numbers;
    return (int)(FIRST_NUMBER + atomic_fetch_add(&numbers, 1) % NUMBERS);
}

int green_lwp_tid(int number, void *tp)
{
    if (number < FIRST_NUMBER)
        return number;
    struct green *green = *(struct green **)arch_tls_of(tp, &park_green);
    return green ? atomic_load(&green->tid) : 0;
}

/* ---- pthread_getattr_np ------------------------------------------------------------------------------------------- */

static int (*getattr_of_libc)(pthread_t, pthread_attr_t *);

/* libc's function asks sched_getaffinity(2) with the tid in struct pthread.  A green thread has no tid of its own.  So libc's function is
 * given a copy of the fields that it reads, with the tid 0: the kernel then returns the caller's affinity.  kernel/glibc/probe.c has
 * checked that these fields are enough. */
static int green_getattr(pthread_t thread, pthread_attr_t *attr)
{
    void *pthread = (void *)thread, *copy;
    int tid;

    memcpy(&tid, glibc_field(pthread, glibc.tid), sizeof tid);
    if (tid < FIRST_NUMBER)
        return getattr_of_libc(thread, attr);
    if (!(copy = calloc(1, glibc.pthread_size)))
        return ENOMEM;
    memcpy(glibc_field(copy, glibc.stackblock), glibc_field(pthread, glibc.stackblock), sizeof(void *));
    memcpy(glibc_field(copy, glibc.stackblock_size), glibc_field(pthread, glibc.stackblock_size), sizeof(size_t));
    if (glibc.joinstate)
        memcpy(glibc_field(copy, glibc.joinstate), glibc_field(pthread, glibc.joinstate), sizeof(int));
    int error = getattr_of_libc((pthread_t)copy, attr);
    free(copy);
    return error;
}

/* ---- pthread_getschedparam --------------------------------------------------------------------------------------- */

static int (*getschedparam_of_libc)(pthread_t, int *, struct sched_param *);

/* libc's function asks the kernel with that tid, too.  gRPC's locks call it whenever a thread waits for one, and print what fails. */
static int green_getschedparam(pthread_t thread, int *policy, struct sched_param *param)
{
    int number;

    memcpy(&number, glibc_field((void *)thread, glibc.tid), sizeof number);
    if (number < FIRST_NUMBER)
        return getschedparam_of_libc(thread, policy, param);
    int tid = green_lwp_tid(number, glibc_thread_pointer((void *)thread)), found = sched_getscheduler(tid);
    if (!tid || found < 0 || sched_getparam(tid, param) != 0)
        return ESRCH;
    *policy = found;
    return 0;
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static int (*pthread_sigmask_of_libc)(int, const sigset_t *, sigset_t *);
static int (*sigprocmask_of_libc)(int, const sigset_t *, sigset_t *);

#define UNKNOWN UINT64_MAX /* no mask has SIGKILL */

/* The kernel is asked for the mask when the thread leaves the LWP, and not before: a child of vfork(2) shares this memory with its parent, and
 * has a mask of its own. */
static void note_mask(const sigset_t *set)
{
    if (park_green && set)
        park_green->mask = UNKNOWN;
}

static int green_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    note_mask(set);
    return pthread_sigmask_of_libc(how, set, old);
}

static int green_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    note_mask(set);
    return sigprocmask_of_libc(how, set, old);
}

static void set_mask(const uint64_t *mask, uint64_t *old)
{
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, old, sizeof *mask);
}

uint64_t green_lwp_mask(void)
{
    uint64_t mask = 0;

    if (park_green && park_green->mask != UNKNOWN)
        return park_green->mask;
    set_mask(NULL, &mask);
    return mask;
}

void green_lwp_change_mask(struct green *from, struct green *to, int stays)
{
    if (from->mask == UNKNOWN || !stays)
        set_mask(stays ? NULL : &to->mask, &from->mask);
    if (stays)
        to->mask = from->mask;
}

const uint64_t green_all_signals = GLIBC_ALL_OTHERS;

void green_lwp_block(struct green *me)
{
    if (me->mask != green_all_signals)
        set_mask(&green_all_signals, NULL);
    me->mask = green_all_signals;
}

static void watch_masks(void)
{
    (void)replace_everywhere((void *)pthread_sigmask, "pthread_sigmask", green_pthread_sigmask, &pthread_sigmask_of_libc);
    (void)replace_everywhere((void *)sigprocmask, "sigprocmask", green_sigprocmask, &sigprocmask_of_libc);
}

/* Several threads may make the first scheduler at one time, and each must find the functions replaced. */
void green_lwp_watch_masks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, watch_masks);
}

/* What the kernel keeps of a handler (its struct sigaction, not libc's).  A processor whose <asm/signal.h> has an SA_RESTORER keeps a
 * restorer, x86-64 and aarch64 do.  If a member were missing here, rt_sigaction(2) would write the mask over what follows on the caller's
 * stack. */
struct kernel_action {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

/* libc's sigaction() refuses its own signals. */
static int action_of(int signal, const struct kernel_action *new, struct kernel_action *old)
{
    return (int)syscall(SYS_rt_sigaction, signal, new, old, sizeof old->mask);
}

static void (*setxid_handler)(int, siginfo_t *, void *);

/* setuid() and its like signal every LWP.  The handler changes the LWP's credentials and notes that in the struct pthread of THREAD_SELF
 * (nptl/nptl_setxid.c, __nptl_setxid_sighandler).  If a green thread runs there, that is the wrong struct, and setuid() would signal the
 * LWP again and again.  So the handler runs with the thread pointer of the native thread. */
static void in_native_tcb(int signal, siginfo_t *info, void *context)
{
    void *tp = arch_thread_pointer(), *native = park_green ? park_green->carrier->base.tp : tp;

    if (native != tp)
        arch_set_thread_pointer(native);
    setxid_handler(signal, info, context);
    if (native != tp)
        arch_set_thread_pointer(tp);
}

/* Whether the kernel writes all of the struct, and nothing behind it. */
static int knows_action(void)
{
    struct {
        struct kernel_action action;
        uint64_t behind;
    } got;

    memset(&got, 0xff, sizeof got);
    return action_of(SIGCHLD, NULL, &got.action) == 0 && got.action.mask != UINT64_MAX && got.behind == UINT64_MAX;
}

static const char *wrap_setxid(void)
{
    struct kernel_action action;

    if (!knows_action())
        return "this kernel's struct sigaction is not the one that is known";
    if (action_of(GLIBC_SIGSETXID, NULL, &action) != 0 || !action.handler || !(action.flags & SA_SIGINFO))
        return "the C library has no handler for its signal that changes credentials";
    if (action.handler == in_native_tcb) /* it was tried before, or by the thread beside which this process was forked */
        return NULL;
    setxid_handler = action.handler;
    action.handler = in_native_tcb;
    return action_of(GLIBC_SIGSETXID, &action, NULL) != 0 ? "the handler that changes credentials can't be replaced" : NULL;
}

int green_lwp_has_handlers(void)
{
    static const int others[]
        = {SIGINT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGPIPE, GLIBC_SIGCANCEL, GLIBC_SIGSETXID};
    struct kernel_action action;

    for (int signal = 1; signal <= 64; signal++) {
        size_t i = 0;
        while (i < sizeof others / sizeof *others && others[i] != signal)
            i++;
        if (i == sizeof others / sizeof *others && action_of(signal, NULL, &action) == 0
            && (uintptr_t)action.handler > (uintptr_t)SIG_IGN)
            return 1;
    }
    return 0;
}

const char *green_lwp_init(void)
{
    static int done;
    const char *why = done ? NULL : arch_swap_check();

    if (!why && !done) {
        why = wrap_setxid();
        (void)libc_replace("pthread_getattr_np", green_getattr, &getattr_of_libc); /* if not, the answer is ESRCH */
        (void)libc_replace("pthread_getschedparam", green_getschedparam, &getschedparam_of_libc); /* the same */
    }
    done = !why;
    return why;
}
