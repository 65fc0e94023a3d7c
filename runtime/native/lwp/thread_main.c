#include "lwp/thread_main.h"

#include "arch/arch.h"
#include "base/park.h"
#include "base/events.h"
#include "context/context.h"
#include "glibc/glibc.h"
#include "green/shared_lwp.h"
#include "lwp/registry.h"

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

void thread_block_signals(uint64_t *old)
{
    /* The raw call: libc's hides its two signals, 32 (cancel) and 33 (setxid), which must be blocked here too. */
    static const uint64_t all = ~(uint64_t)0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, old, sizeof all);
}

void thread_set_signals(const uint64_t *mask)
{
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof *mask);
}

/* ---- its end ----------------------------------------------------------------------------------------------------- */

/* Destructors of pthread keys, in rounds, as POSIX asks (pthread_key_create(3)). */
static void run_key_destructors(void *self)
{
    char **blocks = glibc_field(self, glibc.specific);
    size_t per_block = glibc.keys_per_block;

    for (int round = 0, again = 1; again && round < PTHREAD_DESTRUCTOR_ITERATIONS; round++) {
        again = 0;
        for (size_t key = 0; key < glibc.key_count; key++) {
            char *block = blocks[key / per_block];
            if (!block) {
                key += per_block - 1;
                continue;
            }
            char *data = block + key % per_block * glibc.data_size;
            const char *entry = glibc.keys + key * glibc.key_size;
            void **value = (void **)(data + glibc.data_value), *old = *value;
            if (!old)
                continue;
            *value = NULL;
            /* A key deleted since, or deleted and made anew, has another sequence number: its value is nobody's. */
            void (*destructor)(void *) = *(void (*const *)(void *))(entry + glibc.key_destructor);
            if (*(uintptr_t *)(data + glibc.data_sequence) == *(const uintptr_t *)(entry + glibc.key_sequence) && destructor) {
                destructor(old);
                again = 1;
            }
        }
    }
    for (size_t i = 1; i < glibc.key_count / per_block; i++) {
        free(blocks[i]); /* made by pthread_setspecific; block 0 is part of struct pthread */
        blocks[i] = NULL;
    }
}

/* What libc's block and our record keep for the next thread must not tell of this one. */
static void tidy_libc(struct context *context)
{
    if (dlerror())
        (void)dlerror(); /* the second call frees the text */
    uselocale(LC_GLOBAL_LOCALE);
    if (context->resolver.options || context->resolver.nscount) {
        res_nclose(&context->resolver);
        memset(&context->resolver, 0, sizeof context->resolver);
    }
    (void)pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL); /* to 2.35 these two lie in the tail of struct pthread */
    (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
}

static void thread_exit_hooks(struct lwp *me)
{
    struct context *context = me->context;

    lwp_say_begun(me); /* pthread_exit may have come before */
    /* In this order, as start_thread() (nptl/pthread_create.c).  A C++ thread_local that is touched first by the destructor of a key
     * is never destroyed, and its library stays loaded: so it is in glibc's threads.  To destroy it here would be to do so when the
     * data of all keys is gone, which programs for glibc have never met. */
    glibc.call_tls_dtors();
    run_key_destructors(context->pthread);
    tidy_libc(context);
    EVENT(EVENT_DESTRUCTORS, me, 0);
    int green = me->green.scheduler != NULL;
    registry_count_ended();

    /* As start_thread does: the last thread takes the process with it, whoever made it.  A green one is not among the counted. */
    if (!green)
        atomic_fetch_add(&green_others_ending, 1);
    if (!green && (me->flags & CLONE_THREAD) && atomic_fetch_sub(glibc.thread_count, 1) == 1)
        exit(0);
}

static _Noreturn void leave(struct lwp *me)
{
    struct context *context = me->context;
    int status = me->exit_status, green = me->green.scheduler != NULL;

    atomic_fetch_or((atomic_int *)glibc_field(context->pthread, glibc.cancelhandling), glibc.exiting);
    registry_leave_glibc(context);

    /* Signals stay open: a handler that runs here, even after the push, has its stack and TLS until `alive` is cleared. */
    EVENT(EVENT_EXIT, status, 0);
    atomic_store(&me->ending, 1);
    park_wake_greens(&me->ending, INT_MAX); /* who joins: await_end() */
    registry_push_ended(me, me);
    if (green)
        green_end();
    green_other_ended();
    arch_exit(status);
}

static _Noreturn void end(void *me)
{
    thread_exit_hooks(me);
    leave(me);
}

/* ---- its begin --------------------------------------------------------------------------------------------------- */

void lwp_say_begun(struct lwp *me)
{
    if (atomic_load_explicit(&me->begun, memory_order_relaxed) == LWP_BEGUN_AWAITED) {
        atomic_store_explicit(&me->begun, LWP_BEGUN, memory_order_release);
        park_wake(&me->begun, 1, PARK_PRIVATE);
    }
}

void thread_register_with_kernel(struct context *context)
{
    char *robust = glibc_field(context->pthread, glibc.robust_head), *area = context->tp + glibc.rseq;
    int registered = 0;

    /* Robust mutexes: the kernel walks this list when the thread dies and wakes their waiters. */
    syscall(SYS_set_robust_list, robust, 3 * sizeof(void *));
    EVENT(EVENT_ROBUST, robust, 0);
    if (glibc.rseq && glibc.rseq_size)
        registered = syscall(SYS_rseq, area, glibc_rseq_area(), 0, 0x53053053 /* RSEQ_SIG, checked before abort handlers */) == 0;
    if (glibc.rseq)
        EVENT(EVENT_RSEQ, area, registered);
}

/* pthread_exit and pthread_cancel unwind to this frame and end the thread in the handler.  CPython ends daemon threads so when
 * the interpreter shuts down.  In C without -fexceptions this is a jmp_buf that the unwinder finds in struct pthread
 * (nptl/unwind.c, unwind_stop), with exceptions it would be a frame with a destructor. */
static _Noreturn void run(struct lwp *me)
{
    pthread_cleanup_push(end, me);
    me->run(me->arg);
    pthread_cleanup_pop(0);
    end(me);
}

void thread_main(void *arg)
{
    struct lwp *me = arg;
    struct context *context = me->context;

    EVENT(EVENT_BORN, __builtin_frame_address(0), me);
    atomic_store(&me->tid, *(int *)glibc_field(context->pthread, glibc.tid));
    glibc.ctype_init();
    EVENT(EVENT_GLIBC, context->tp + glibc.resp, 1);
    thread_register_with_kernel(context);
    if (me->signal_stack)
        sigaltstack(&(stack_t){.ss_sp = context->signal_stack, .ss_size = context_signal_stack_size()}, NULL);
    if (me->name[0])
        prctl(PR_SET_NAME, me->name);
    if (me->masked) {
        EVENT(EVENT_UNMASK, me->mask, 0);
        thread_set_signals(&me->mask);
    }
    run(me);
}

/* Kernel-side there is nothing to set up: the LWP, its robust list, rseq area, signal mask and stack, and name are there already,
 * and not this thread's alone (green/green.h). */
void thread_main_green(void *arg)
{
    struct lwp *me = arg;

    EVENT(EVENT_BORN, __builtin_frame_address(0), me);
    atomic_store(&me->tid, atomic_load(&me->green.tid));
    glibc.ctype_init();
    EVENT(EVENT_GLIBC, me->context->tp + glibc.resp, 1);
    run(me);
}

#ifdef __EXCEPTIONS
#error "compile with -fno-exceptions: see run()"
#endif
