#include "life.h"

#include "arch/arch.h"
#include "context.h"
#include "glibc.h"
#include "green_lwp.h"
#include "measure.h"
#include "park.h"
#include "registry.h"
#include "steps.h"
#include "trace.h"
#include "warm.h"

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

void life_block_signals(uint64_t *old)
{
    /* The raw call: libc's hides its two signals, 32 (cancel) and 33 (setxid), which must be blocked here too. */
    static const uint64_t all = ~(uint64_t)0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, old, sizeof all);
}

void life_set_signals(const uint64_t *mask)
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
    errno = 0;
    h_errno = 0;
}

/* What is done at a thread's end, whatever becomes of its LWP. */
static void wind_up(struct lwp *me)
{
    struct context *context = me->context;

    lwp_say_begun(me); /* pthread_exit may have come before */
    glibc.call_tls_dtors();
    run_key_destructors(context->pthread);
    tidy_libc(context);
    STEP(STEP_DESTRUCTORS, 0, 0);
    int green = me->green.scheduler != NULL;
    if (!green)
        measure_end(me);
    registry_count_ended();

    /* As start_thread does: the last thread takes the process with it, whoever made it.  A green one is not among the counted. */
    if (!green)
        atomic_fetch_add(&green_others_ending, 1);
    if (!green && (me->flags & CLONE_THREAD) && atomic_fetch_sub(glibc.thread_count, 1) == 1)
        exit(0);
}

static void leave_threads(struct context *context)
{
    atomic_fetch_or((atomic_int *)glibc_field(context->pthread, glibc.cancelhandling), glibc.exiting);
    registry_leave_glibc(context);
}

static void tell_end(struct lwp *me)
{
    if (TRACING()) {
        trace_note(TRACE_ENDS, 0, 0, me->ident, 0);
        trace_leave();
    }
}

static _Noreturn void leave(struct lwp *me)
{
    int status = me->exit_status, green = me->green.scheduler != NULL;

    leave_threads(me->context);
    warm_leave(me->context, &me->alive);

    /* Signals stay open: a handler that runs here, even after the push, has its stack and TLS until `alive` is cleared. */
    STEP(STEP_EXIT, status, 0);
    tell_end(me);
    atomic_store(&me->ending, 1);
    park_wake_greens(&me->ending, INT_MAX); /* who joins: await_end() */
    registry_push_ended(me, me);
    if (green)
        green_end();
    green_other_ended();
    arch_exit(status);
}

static void end_by_pthread_exit(void *me)
{
    wind_up(me);
    leave(me);
}

/* ---- the LWP outlives its thread, see warm.h -----------------------------------------------------------------------------
 *
 * What a thread may have changed for itself, and what is done so that the next one finds it as if new:
 *
 *   errno, locale, resolver, dlerror        tidy_libc(), as for a recycled context
 *   C++ thread_local, pthread keys          their destructors run at the thread's end, as ever
 *   TLS blocks, struct pthread              written anew by the starter: context_blank_around(), context_load_tls()
 *   ctype tables, signal stack, name,       set by resume(); what is inherited the starter has read in itself
 *     signal mask, rounding mode
 *   what is in warm_settings()              must be at the end as it was, and in the next one's creator too
 *   pthread_exit(), cancellation            pthread_exit() never gets to keep(); a cancel bit that is set forbids it
 *   robust mutexes still held               forbid it: the kernel has to tell those who wait for them
 *   rseq                                    the kernel goes on knowing the area; a thread that has withdrawn it is not kept
 *   pending signals                         forbid it
 *   working directory, descriptors          only LWPs that share them all are kept: lwp_thread_flags, and see warm_settings()
 *
 * What can't be seen at that price is in the docstring of scheduler.keep_warm(). */

enum { SIGSETXID = 33 }; /* glibc's (sysdeps/unix/sysv/linux/internal-signals.h); its own functions let nobody block it */

/* Whether `me`, which is wound up, leaves its LWP as it found it.  Has all signals blocked, but setxid's, if so. */
static int is_clean(struct lwp *me)
{
    struct context *context = me->context;
    void **robust = glibc_field(context->pthread, glibc.robust_head);
    int *rseq = (int *)(context->tp + glibc.rseq);
    uint64_t mask, pending = 0;
    static const uint64_t quiet = ~((uint64_t)1 << (SIGSETXID - 1));

    if (atomic_load((atomic_int *)glibc_field(context->pthread, glibc.cancelhandling)) != 0 || robust[0] != robust || robust[2]
        || (glibc.rseq && rseq[1] == -1 /* RSEQ_CPU_ID_UNINITIALIZED */) || warm_settings() != me->settings)
        return 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &quiet, &mask, sizeof mask);
    if (mask) /* else none was held back.  One for the process is none of ours, but can't be told from ours */
        syscall(SYS_rt_sigpending, &pending, sizeof pending);
    return !(pending & mask);
}

static int keep(struct lwp *me)
{
    if (!me->settings || me->exit_status || park_green)
        return 0;
    atomic_store(&me->parking, 1); /* before it is counted: see lwp_keep_warm() */
    if (is_clean(me) && warm_admit())
        return 1;
    atomic_store(&me->parking, 0);
    return 0;
}

/* (3) -> (4) -> (5) without the kernel.  The next thread, or NULL. */
static struct lwp *sleep_warm(struct lwp *me)
{
    struct context *context = me->context;
    atomic_int *word = &me->alive;

    warm_lie_down(context, me->settings);
    if (glibc.rseq)
        *(uint64_t *)(context->tp + glibc.rseq + 8) = 0; /* rseq_cs, the last critical section: its library may be unloaded */
    STEP(STEP_PARKED, 0, 0);
    tell_end(me);
    atomic_store(&me->ending, 1);
    park_wake_greens(&me->ending, INT_MAX);
    registry_push_ended(me, me);
    /* From here on `me` may be reaped, and the context be taken: nothing of them but what warm.h says.  Nothing is read to see
     * whether somebody sleeps on the word. */
    atomic_store(word, 0);
    park_wake_lwp(word, INT_MAX, PARK_SHARED);
    green_other_ended();
    return warm_sleep(context);
}

/* What the thread itself has to do to be like new. */
static void resume(struct lwp *me)
{
    struct context *context = me->context;
    stack_t stack = {.ss_flags = SS_DISABLE};

    STEP(STEP_RESUMED, __builtin_frame_address(0), arch_thread_pointer());
    TRACE(TRACE_BORN, me->ident, 0);
    glibc.ctype_init(); /* setlocale may have been called meanwhile */
    if (me->signal_stack)
        stack = (stack_t){.ss_sp = context->signal_stack, .ss_size = context_signal_stack_size()};
    sigaltstack(&stack, NULL);
    prctl(PR_SET_NAME, context->warm.name);
    fesetenv(&context->warm.arithmetic);
    measure_resumed(me);
    life_set_signals(&me->mask);
}

/* ---- its begin --------------------------------------------------------------------------------------------------- */

void lwp_say_begun(struct lwp *me)
{
    if (atomic_load_explicit(&me->begun, memory_order_relaxed) == LWP_BEGUN_AWAITED) {
        atomic_store_explicit(&me->begun, LWP_BEGUN, memory_order_release);
        park_wake(&me->begun, 1, PARK_PRIVATE);
    }
}

void life_register_with_kernel(struct context *context)
{
    char *robust = glibc_field(context->pthread, glibc.robust_head), *area = context->tp + glibc.rseq;
    int registered = 0;

    /* Robust mutexes: the kernel walks this list when the thread dies and wakes their waiters. */
    syscall(SYS_set_robust_list, robust, 3 * sizeof(void *));
    STEP(STEP_ROBUST, robust, 0);
    if (glibc.rseq && glibc.rseq_size)
        registered = syscall(SYS_rseq, area, glibc_rseq_area(), 0, 0x53053053 /* RSEQ_SIG, checked before abort handlers */) == 0;
    if (glibc.rseq)
        STEP(STEP_RSEQ, area, registered);
}

/* pthread_exit and pthread_cancel unwind to this frame and end the thread in the handler.  CPython ends daemon threads so when
 * the interpreter shuts down.  In C without -fexceptions this is a jmp_buf that the unwinder finds in struct pthread
 * (nptl/unwind.c, unwind_stop), with exceptions it would be a frame with a destructor. */
static void run(struct lwp *me)
{
    pthread_cleanup_push(end_by_pthread_exit, me);
    me->run(me->arg);
    pthread_cleanup_pop(0);
    wind_up(me);
}

void life_born(void *arg)
{
    struct lwp *me = arg;
    struct context *context = me->context;

    STEP(STEP_BORN, __builtin_frame_address(0), arch_thread_pointer());
    TRACE(TRACE_BORN, me->ident, 0);
    atomic_store(&me->tid, *(int *)glibc_field(context->pthread, glibc.tid));
    glibc.ctype_init();
    STEP(STEP_GLIBC, context->tp + glibc.resp, 1);
    life_register_with_kernel(context);
    measure_born(me->cloned_at);
    if (!(me->flags & CLONE_THREAD))
        warm_outside();
    if (me->signal_stack)
        sigaltstack(&(stack_t){.ss_sp = context->signal_stack, .ss_size = context_signal_stack_size()}, NULL);
    if (me->name[0])
        prctl(PR_SET_NAME, me->name);
    if (me->masked) {
        STEP(STEP_UNMASK, me->mask, 0);
        life_set_signals(&me->mask);
    }
    run(me);
    while (keep(me)) {
        if (!(me = sleep_warm(me))) { /* told to end */
            leave_threads(context);
            arch_exit(0);
        }
        resume(me);
        run(me);
    }
    leave(me);
}

/* Kernel-side there is nothing to set up: the LWP, its robust list, rseq area, signal mask and stack, and name are there already,
 * and not this thread's alone (green.h). */
void life_born_green(void *arg)
{
    struct lwp *me = arg;

    STEP(STEP_BORN, __builtin_frame_address(0), arch_thread_pointer());
    TRACE(TRACE_BORN, me->ident, 0);
    atomic_store(&me->tid, atomic_load(&me->green.tid));
    glibc.ctype_init();
    STEP(STEP_GLIBC, me->context->tp + glibc.resp, 1);
    run(me);
    leave(me);
}

#ifdef __EXCEPTIONS
#error "compile with -fno-exceptions: see run()"
#endif

