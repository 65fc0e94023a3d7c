#include "green/thread.h"

#include "green/shared_lwp.h"
#include "green/switch.h"
#include "kernel/base/events.h"
#include "kernel/base/fork.h"
#include "kernel/context/context.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/registry.h"
#include "kernel/lwp/thread_main.h"

#include <signal.h>
#include <stddef.h>

/* `leave` */
static void leave_lwp(struct lwp *lwp)
{
    /* Those that wait for this thread among several things learn of its end at (5): on an LWP beside this one they would only sleep
     * again until then.  An explored thread tells them here, before its run chooses who goes on. */
    if (green_of_lwp(lwp)->explored)
        lwp_tell_end(lwp);
    registry_push_ended(lwp, lwp);
    green_end();
}

static void clear_alive(struct green *green)
{
    lwp_clear_alive(lwp_of_green(green));
}

/* Registers nothing with the kernel: robust list, rseq area, signal stack and name belong to the LWP, which green threads share
 * (green/shared_lwp.h). */
static void green_main(void *arg)
{
    struct lwp *me = arg;

    EVENT(EVENT_BORN, __builtin_frame_address(0), me);
    atomic_store(&me->tid, atomic_load(&green_of_lwp(me)->tid));
    glibc.ctype_init();
    me->context->used = USED;
    EVENT(EVENT_GLIBC, me->context->tp + glibc.resp, 1);
    thread_run(me);
}

int lwp_start_green(struct lwp *lwp, struct scheduler *scheduler, void (*run)(void *), void *arg)
{
    struct context *context = lwp->context;
    int error = lwp_prepare(lwp, lwp_thread_flags, 0, run, arg);

    if (error)
        return error;
    *(int *)glibc_field(context->pthread, glibc.tid) = green_lwp_number();
    lwp->leave = leave_lwp;
    atomic_store(&lwp->tid, scheduler_tid(scheduler));
    lwp->counted = 0;
    if (scheduler_own_lwps(scheduler))
        lwp_count_green(lwp);
    lwp_begins(lwp);
    int waited = lwp->waited;
    lwp->waited = 0;
    green_begin(green_of_lwp(lwp), scheduler, context->stack_high, context->tp, green_main, lwp, clear_alive, waited);
    return 0;
}

/* ---- a forked child ---------------------------------------------------------------------------------------------- */

/* The forking green thread is the child's only thread, and has the LWP to itself from now on.  The LWP's rseq area and signal stack lie in
 * the memory of the thread that it came from, which other threads will reuse: the kernel would write into theirs.  glibc's fork() has
 * replaced the robust list and the tid. */
static void take_lwp(struct lwp *me, char *native)
{
    green_of_lwp(me)->scheduler = NULL;
    me->leave = NULL;
    if (thread_unregister_rseq(native))
        thread_register_with_kernel(me->context);
    sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
}

static void after_fork_in_child(void)
{
    struct lwp *me = park_green && park_green->gone == clear_alive ? lwp_of_green(park_green) : NULL;
    char *native = me ? green_native_tp() : NULL;

    green_after_fork();
    if (me)
        take_lwp(me, native);
}

void green_thread_init(void)
{
    static const struct fork_handlers handlers = {.in_child = after_fork_in_child};

    lwp_size = sizeof(struct green_thread);
    fork_handle(FORK_GREEN, &handlers);
}
