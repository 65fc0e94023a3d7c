#include "kernel/lwp/lwp.h"

#include "kernel/arch/arch.h"
#include "kernel/base/park.h"
#include "kernel/base/events.h"
#include "kernel/context/context.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/registry.h"
#include "kernel/lwp/thread_main.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* runtime/clone.py says what each flag does, and takes both sets from here. */
const unsigned long lwp_own_flags = CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

const unsigned long lwp_thread_flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS
                                       | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

size_t lwp_size = sizeof(struct lwp);

/* ---- starting ---------------------------------------------------------------------------------------------------- */

struct lwp *lwp_blank(void)
{
    struct lwp *lwp = calloc(1, lwp_size);

    if (lwp) {
        atomic_init(&lwp->refs, 1);
        lwp->wait_status = -1;
    }
    return lwp;
}

struct lwp *lwp_new(size_t stack_size)
{
    lwp_reap();
    struct lwp *lwp = lwp_blank();
    if (!lwp)
        return NULL;
    struct context *c = lwp->context = context_get(stack_size);
    if (!c) {
        int error = errno;
        free(lwp);
        errno = error;
        return NULL;
    }
    lwp->stack_low = (uintptr_t)c->stack_low;
    lwp->stack_high = (uintptr_t)c->stack_high;
    lwp->guard_low = (uintptr_t)c->base;
    lwp->block_low = (uintptr_t)c->block_low;
    lwp->block_high = (uintptr_t)c->block_high;
    lwp->tp = (uintptr_t)c->tp;
    lwp->ident = (uintptr_t)c->pthread;
    return lwp;
}

void lwp_set_name(struct lwp *lwp, const char *name, int named)
{
    strncpy(lwp->name, name, sizeof lwp->name - 1);
    lwp->named = named;
}

/* (2) -> (1) */
static void undo_listing(struct lwp *lwp)
{
    lwp->started = 0;
    atomic_store(&lwp->alive, 0);
    park_wake(&lwp->alive, INT_MAX, PARK_SHARED); /* lwp_next_waited() may have given it to a thread that joins it now */
    lwp_tell_end(lwp);
    registry_leave_glibc(lwp->context);
    registry_unlist(lwp);
    registry_drop(lwp);
}

/* Words of libc's TLS that the child may need from its first instruction on, and that libc's TLS image doesn't have. */
static void init_libc_words(struct context *context)
{
    *(struct __res_state **)(context->tp + glibc.resp) = &context->resolver;
    if (glibc.rseq) {
        int *area = (int *)(context->tp + glibc.rseq); /* struct rseq: cpu_id_start, cpu_id, ... */
        memset(area, 0, glibc_rseq_area());
        /* Not 0: until the kernel writes it, and if it never does, glibc would read "cpu 0".  With -2,
         * RSEQ_CPU_ID_REGISTRATION_FAILED, it asks the kernel. */
        area[1] = -2;
    }
}

int lwp_prepare(struct lwp *lwp, unsigned long flags, int exit_signal, void (*run)(void *), void *arg)
{
    struct context *context = lwp->context;
    int error = context_blank(context);

    if (error)
        return error;
    lwp->flags = flags;
    lwp->exit_signal = exit_signal;
    lwp->run = run;
    lwp->arg = arg;
    registry_list(lwp);
    if ((error = context_load_tls(context)) != 0) {
        undo_listing(lwp);
        return error;
    }
    init_libc_words(context);
    return 0;
}

void lwp_begins(struct lwp *lwp)
{
    registry_count_started();
    atomic_store(&lwp->alive, 1);
    lwp->started = 1;
    EVENT(EVENT_STARTS, lwp->context->tp, lwp);
}

/* by: 1, or -1 if it has not come to be; a process of its own isn't counted.  The caller counts itself, so the count doesn't come to 0 here. */
static void count_lwp(struct lwp *lwp, unsigned long flags, int by)
{
    int is_thread = (flags & CLONE_THREAD) != 0;

    lwp->counted = by > 0 && is_thread && !lwp->aside;
    if (is_thread)
        atomic_fetch_add(lwp->aside ? &lwps_beside_count : glibc.thread_count, by);
}

void lwp_count_green(struct lwp *lwp)
{
    lwp->counted = 1;
    atomic_fetch_add(glibc.thread_count, 1); /* first, so that a look for a deadlock sees an LWP too many and not one too few */
    atomic_fetch_sub(&lwps_beside_count, 1);
}

int lwp_start(struct lwp *lwp, unsigned long flags, int exit_signal, void (*run)(void *), void *arg)
{
    struct context *context = lwp->context;
    int fresh = context->used != USED, error = lwp_prepare(lwp, flags, exit_signal, run, arg);

    if (error)
        return error;
    if (lwp->signal_stack)
        lwp->signal_stack = context_signal_stack(context) != NULL;
    count_lwp(lwp, flags, 1);
    lwp_begins(lwp);

    /* A setxid (setuid and its like) signals each thread on glibc's list, and holds this lock until all have answered.  We clone under
     * it.  So a setxid in another thread either is over, and the child inherits the new credentials, or comes later, and finds the
     * child's tid.  Lock first, then block signals: the lock's holder may be waiting for our answer.  Not with CLONE_VFORK: we sleep in
     * clone() until the child ends, and the child needs the lock to end. */
    int lock = !(flags & CLONE_VFORK);
    if (lock)
        glibc_lock_threads();
    /* Signals are blocked in a fresh child until it has called ctype_init(), because a handler would read through null ctype tables, and
     * only the thread itself can set those.  A recycled context has kept valid ones, so signals stay open.  (A handler may then run in us
     * while we hold the lock, as in glibc's allocate_stack.)  An LWP that is `aside` takes no signal from its first instruction on: all threads
     * of the program may have blocked it by the time that the LWP runs. */
    int masked = lwp->masked = fresh || lwp->aside;
    if (masked) {
        thread_block_signals(&lwp->mask);
        EVENT(EVENT_MASK, 1, 0);
    }
    EVENT(EVENT_CLONE, flags | (unsigned)exit_signal, context->stack_high);
    uint64_t mask = lwp->mask;
    if (lwp->aside)
        lwp->mask = GLIBC_ALL_OTHERS;
    int *tid = glibc_field(context->pthread, glibc.tid);
    long result
        = arch_clone(flags | (unsigned)exit_signal, context->stack_high, tid, (int *)&lwp->alive, context->tp, thread_main, lwp);
    /* Don't touch `context` from here on: the child may have ended and been reaped.  `lwp` stays, by the handle's ref. */
    if (lock)
        glibc_unlock_threads();
    if (masked) {
        thread_set_signals(&mask);
        EVENT(EVENT_MASK, 0, 0);
    }
    EVENT(EVENT_CLONED, result, 0);

    if (result < 0) {
        registry_count_not_started();
        count_lwp(lwp, flags, -1);
        undo_listing(lwp);
        return (int)-result;
    }
    atomic_store(&lwp->tid, (int)result); /* the child does so too: either side may need it first */
    return 0;
}

/* As the kernel does at the end of an LWP. */
void lwp_clear_alive(struct lwp *lwp)
{
    atomic_fetch_add(&lwp->refs, 1); /* once `alive` is 0 another thread may reap it, and drop the last ref */
    atomic_store(&lwp->alive, 0);
    if (atomic_load(&lwp->joiners)) /* a later joiner reads `alive` after it has counted itself: await_end() */
        park_wake(&lwp->alive, INT_MAX, PARK_SHARED);
    lwp_tell_end(lwp);
    registry_drop(lwp);
}

void lwp_release(struct lwp *lwp)
{
    if (!lwp->started && lwp->context)
        context_put(lwp->context, lwp->context->used == VANISHED);
    registry_drop(lwp);
}
