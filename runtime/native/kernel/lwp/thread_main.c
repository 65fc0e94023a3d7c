#include "kernel/lwp/thread_main.h"

#include "kernel/arch/arch.h"
#include "kernel/base/park.h"
#include "kernel/base/events.h"
#include "kernel/context/context.h"
#include "kernel/glibc/glibc.h"
#include "kernel/lwp/registry.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __GLIBC_MINOR__ >= 35
#include <sys/rseq.h>
_Static_assert(ARCH_RSEQ_SIGNATURE == RSEQ_SIG, "the signature of rseq(2)");
#endif

void thread_block_signals(uint64_t *old)
{
    /* The raw call, because libc's leaves GLIBC_SIGCANCEL and GLIBC_SIGSETXID open, and their handlers must not run in the child yet. */
    static const uint64_t all = ~(uint64_t)0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, old, sizeof all);
}

void thread_set_signals(const uint64_t *mask)
{
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof *mask);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Destructors of pthread keys, in rounds, as POSIX requires (pthread_key_create(3)). */
static void run_key_destructors(void *self)
{
    char **blocks = glibc_field(self, glibc.specific);
    size_t per_block = glibc.keys_per_block, block_count = glibc.key_count / per_block;

    for (int round = 0, again = 1; again && round < PTHREAD_DESTRUCTOR_ITERATIONS; round++) {
        again = 0;
        for (size_t i = 0; i < block_count; i++) {
            char *data = blocks[i];
            for (size_t key = i * per_block; data && key < (i + 1) * per_block; key++, data += glibc.data_size) {
                const char *entry = glibc.keys + key * glibc.key_size;
                void **value = (void **)(data + glibc.data_value), *old = *value;
                if (!old)
                    continue;
                *value = NULL;
                /* A key that was deleted, or deleted and made anew, has another sequence number: no destructor for its old value. */
                void (*destructor)(void *) = *(void (*const *)(void *))(entry + glibc.key_destructor);
                if (*(uintptr_t *)(data + glibc.data_sequence) == *(const uintptr_t *)(entry + glibc.key_sequence) && destructor) {
                    destructor(old);
                    again = 1;
                }
            }
        }
    }
    for (size_t i = 1; i < block_count; i++) {
        if (!blocks[i])
            continue;
        free(blocks[i]); /* made by pthread_setspecific; block 0 is part of struct pthread */
        blocks[i] = NULL;
    }
}

/* Resets the state of libc that a recycled context keeps, or the next thread would begin with this thread's dlerror(), locale, resolver or
 * cancellation state. */
static void tidy_libc(struct context *context)
{
    if (dlerror())
        (void)dlerror(); /* the second call frees the text */
    uselocale(LC_GLOBAL_LOCALE);
    if (context->resolver.options || context->resolver.nscount) {
        res_nclose(&context->resolver);
        memset(&context->resolver, 0, sizeof context->resolver);
    }
    /* To glibc 2.35 both lie in the tail of struct pthread, which is kept. */
    (void)pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
}

/* The last thread ends the process, as in start_thread(), also after the main thread's pthread_exit. */
static void leave_count(struct lwp *me)
{
    if ((me->counted && me->leave) || (!me->counted && me->aside))
        atomic_fetch_add(&lwps_beside_count, me->leave ? 1 : -1); /* first: see lwp_count_green() */
    if (me->counted && atomic_fetch_sub(glibc.thread_count, 1) == 1)
        exit(0);
}

static void thread_exit_hooks(struct lwp *me)
{
    struct context *context = me->context;

    /* The order is that of glibc's start_thread() (nptl/pthread_create.c).  As there, a C++ thread_local that is first used by a key's
     * destructor is never destroyed, and its library stays loaded.  Don't run call_tls_dtors() again after the keys: a destructor would
     * then find the data of all keys gone, and no program expects that. */
    glibc.call_tls_dtors();
    run_key_destructors(context->pthread);
    tidy_libc(context);
    EVENT(EVENT_DESTRUCTORS, me, 0);
    registry_count_ended();
    if (!me->leave)
        atomic_fetch_add(&lwps_ending, 1);
    leave_count(me);
}

atomic_int lwps_ending, lwps_beside_count;
void (*_Atomic lwp_left)(void);

static _Noreturn void thread_exit(struct lwp *me)
{
    struct context *context = me->context;
    int status = me->exit_status;

    atomic_fetch_or((atomic_int *)glibc_field(context->pthread, glibc.cancelhandling), glibc.exiting);
    registry_leave_glibc(context);

    /* Signals may stay open: a handler that runs here, even after the push, has its stack and TLS until `alive` is cleared.
     * To block them would cost two calls. */
    EVENT(EVENT_EXIT, status, 0);
    atomic_store(&me->ending, 1);
    park_wake_greens(&me->ending, INT_MAX); /* green joiners, of which the kernel doesn't know: await_ending() */
    if (me->leave)
        me->leave(me);
    lwp_tell_end(me);
    registry_push_ended(me, me);
    atomic_fetch_sub(&lwps_ending, 1);
    void (*left)(void) = atomic_load(&lwp_left);
    if (left)
        left();
    arch_exit(status);
}

static _Noreturn void end_thread(void *me)
{
    thread_exit_hooks(me);
    thread_exit(me);
}

/* ---- the begin --------------------------------------------------------------------------------------------------- */

void thread_register_with_kernel(struct context *context)
{
    char *robust = glibc_field(context->pthread, glibc.robust_head), *area = context->tp + glibc.rseq;
    int registered = 0;

    /* At the thread's end the kernel walks this list of the robust mutexes that it holds, and wakes their waiters. */
    syscall(SYS_set_robust_list, robust, 3 * sizeof(void *));
    EVENT(EVENT_ROBUST, robust, 0);
    if (glibc.rseq && glibc.rseq_size)
        registered = syscall(SYS_rseq, area, glibc_rseq_area(), 0, ARCH_RSEQ_SIGNATURE) == 0;
    if (glibc.rseq)
        EVENT(EVENT_RSEQ, area, registered);
}

int thread_unregister_rseq(char *tp)
{
    enum { UNREGISTER = 1 }; /* RSEQ_FLAG_UNREGISTER, linux/rseq.h */

    return glibc.rseq && glibc.rseq_size && syscall(SYS_rseq, tp + glibc.rseq, glibc_rseq_area(), UNREGISTER, ARCH_RSEQ_SIGNATURE) == 0;
}

/* pthread_exit, by which CPython to 3.13 ends daemon threads at shutdown, and pthread_cancel unwind to this frame, and its cleanup
 * handler, end_thread(), ends the thread.  Without -fexceptions pthread_cleanup_push() leaves a jmp_buf in struct pthread, to which the
 * unwinder jumps (nptl/unwind.c, unwind_stop).  With -fexceptions it would be a destructor of this frame, which never returns. */
_Noreturn void thread_run(struct lwp *me)
{
    pthread_cleanup_push(end_thread, me);
    me->run(me->arg);
    pthread_cleanup_pop(0);
    end_thread(me);
}

void thread_main(void *arg)
{
    struct lwp *me = arg;
    struct context *context = me->context;

    EVENT(EVENT_BORN, __builtin_frame_address(0), me);
    atomic_store(&me->tid, *(int *)glibc_field(context->pthread, glibc.tid));
    glibc.ctype_init();
    context->used = USED; /* not before clone(2), which may fail: lwp_start() would leave the next thread's signals open */
    EVENT(EVENT_GLIBC, context->tp + glibc.resp, 1);
    thread_register_with_kernel(context);
    if (me->signal_stack)
        sigaltstack(&(stack_t){.ss_sp = context->signal_stack, .ss_size = context_signal_stack_size()}, NULL);
    if (me->named)
        prctl(PR_SET_NAME, me->name);
    if (me->masked) {
        EVENT(EVENT_UNMASK, me->mask, 0);
        thread_set_signals(&me->mask);
    }
    thread_run(me);
}

#ifdef __EXCEPTIONS
#error "compile with -fno-exceptions: see thread_run()"
#endif
