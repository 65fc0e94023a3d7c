#include "lwp.h"

#include "arch/arch.h"
#include "context.h"
#include "glibc.h"
#include "green_lwp.h"
#include "measure.h"
#include "park.h"
#include "sampler.h"
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
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 512 }; /* from so many LWPs on the futex hash is worth enlarging */

const unsigned long lwp_own_flags =
    CLONE_SETTLS             /* the thread pointer register: its own TLS block, errno, THREAD_SELF */
    | CLONE_PARENT_SETTID    /* the kernel writes the tid before the child runs: glibc's locks in the child need it */
    | CLONE_CHILD_CLEARTID;  /* at its end the kernel writes 0 to our word and wakes who waits there: join */

const unsigned long lwp_thread_flags =
    CLONE_VM                 /* one memory */
    | CLONE_FS               /* one working directory, root and umask */
    | CLONE_FILES            /* one table of file descriptors */
    | CLONE_SIGHAND          /* one table of signal handlers; the kernel demands CLONE_VM with it */
    | CLONE_THREAD           /* one process: same pid, signals to the process, no SIGCHLD; demands CLONE_SIGHAND */
    | CLONE_SYSVSEM          /* one list of System V semaphore adjustments, undone when the last thread ends */
    | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

/* The registry of all LWPs in states (2) to (5).  Lock order: registry_lock, then glibc's stack_lock. */
static struct lwp registry = {.newer = &registry, .older = &registry};
static atomic_int registry_lock;
static _Atomic(struct lwp *) ended;
static atomic_long started, alive, peak;

static void block_signals(uint64_t *old)
{
    /* The raw call: libc's hides its two signals, 32 (cancel) and 33 (setxid), which must be blocked here too. */
    static const uint64_t all = ~(uint64_t)0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, old, sizeof all);
}

static void set_signals(const uint64_t *mask)
{
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof *mask);
}

/* ---- the lists ------------------------------------------------------------------------------------------------------ */

static void drop(struct lwp *lwp)
{
    if (atomic_fetch_sub(&lwp->refs, 1) == 1)
        free(lwp);
}

/* (1) -> (2) */
static void list(struct lwp *lwp)
{
    struct glibc_list *link = glibc_field(lwp->context->pthread, glibc.list), *head = glibc.stack_user;

    atomic_fetch_add(&lwp->refs, 1);
    park_lock(&registry_lock);
    lwp->older = &registry;
    lwp->newer = registry.newer;
    registry.newer->older = lwp;
    registry.newer = lwp;
    park_unlock(&registry_lock);
    if (lwp->context->warm.parked) /* it has stayed on glibc's */
        return;

    park_lock(glibc.stack_lock);
    link->next = head->next;
    link->prev = head;
    head->next->prev = link;
    /* Last, and whole before it is seen: debuggers and a forked child walk the list forwards without the lock. */
    __atomic_store_n(&head->next, link, __ATOMIC_RELEASE);
    park_unlock(glibc.stack_lock);
    STEP(STEP_LIST, lwp->context->pthread, head);
}

static void leave_glibc(struct context *context)
{
    struct glibc_list *link = glibc_field(context->pthread, glibc.list);

    /* setxid holds this lock for its whole run (nptl/nptl_setxid.c): while we have it, none is waiting for our answer to
     * its signal, and the next won't find us.  The signal is not blocked here, else we could not answer the one before. */
    park_lock(glibc.stack_lock);
    link->prev->next = link->next;
    link->next->prev = link->prev;
    park_unlock(glibc.stack_lock);
    STEP(STEP_UNLIST, context->pthread, 0);
}

static void leave_registry(struct lwp *lwp)
{
    park_lock(&registry_lock);
    lwp->newer->older = lwp->older;
    lwp->older->newer = lwp->newer;
    park_unlock(&registry_lock);
}

/* Release: the reaper sees all that the thread wrote.  No ABA: the stack is only ever taken whole. */
static void push_ended(struct lwp *first, struct lwp *last)
{
    last->below = atomic_load_explicit(&ended, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&ended, &last->below, first, memory_order_release, memory_order_relaxed))
        ;
}

static void count_started(void)
{
    long now = atomic_fetch_add(&alive, 1) + 1, most = atomic_load(&peak);

    atomic_fetch_add(&started, 1);
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now))
        ;
    if (now == MANY)
        park_many();
}

/* ---- the child's life ------------------------------------------------------------------------------------------------ */

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

void lwp_say_begun(struct lwp *me)
{
    if (atomic_load_explicit(&me->begun, memory_order_relaxed) == LWP_BEGUN_AWAITED) {
        atomic_store_explicit(&me->begun, LWP_BEGUN, memory_order_release);
        park_wake(&me->begun, 1, PARK_PRIVATE);
    }
}

void lwp_await_begun(struct lwp *lwp)
{
    while (atomic_load_explicit(&lwp->begun, memory_order_acquire) == LWP_BEGUN_AWAITED)
        park_wait(&lwp->begun, LWP_BEGUN_AWAITED, PARK_FOREVER, PARK_PRIVATE);
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
    atomic_fetch_sub(&alive, 1);

    /* As start_thread does: the last thread takes the process with it, whoever made it.  A green one is not among the counted. */
    if (!green)
        atomic_fetch_add(&green_others_ending, 1);
    if (!green && (me->flags & CLONE_THREAD) && atomic_fetch_sub(glibc.thread_count, 1) == 1)
        exit(0);
}

static void leave_threads(struct context *context)
{
    atomic_fetch_or((atomic_int *)glibc_field(context->pthread, glibc.cancelhandling), glibc.exiting);
    leave_glibc(context);
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
    push_ended(me, me);
    if (green)
        green_end();
    atomic_fetch_sub(&green_others_ending, 1);
    arch_exit(status);
}

static void end_by_pthread_exit(void *me)
{
    wind_up(me);
    leave(me);
}

/* What the child may need from its first instruction on, and no module's TLS image holds. */
static void lay_out(struct context *context)
{
    *(struct __res_state **)(context->tp + glibc.resp) = &context->resolver;
    if (glibc.rseq && !context->warm.parked) { /* else the kernel knows it already */
        int *area = (int *)(context->tp + glibc.rseq); /* struct rseq: cpu_id_start, cpu_id, ... */
        memset(area, 0, glibc_rseq_area());
        /* Left zero it would say "cpu 0" for ever; -2 is glibc's word for "ask the kernel" (RSEQ_CPU_ID_REGISTRATION_FAILED). */
        area[1] = -2;
    }
}

static void register_with_kernel(struct context *context)
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

/* ---- the LWP outlives its thread, see warm.h ---------------------------------------------------------------------------
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
    push_ended(me, me);
    /* From here on `me` may be reaped, and the context be taken: nothing of them but what warm.h says.  Nothing is read to see
     * whether somebody sleeps on the word. */
    atomic_store(word, 0);
    park_wake_lwp(word, INT_MAX, PARK_SHARED);
    atomic_fetch_sub(&green_others_ending, 1);
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
    set_signals(&me->mask);
}

/* ---- the child's begin ------------------------------------------------------------------------------------------------- */

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

static void born(void *arg)
{
    struct lwp *me = arg;
    struct context *context = me->context;

    STEP(STEP_BORN, __builtin_frame_address(0), arch_thread_pointer());
    TRACE(TRACE_BORN, me->ident, 0);
    atomic_store(&me->tid, *(int *)glibc_field(context->pthread, glibc.tid));
    glibc.ctype_init();
    STEP(STEP_GLIBC, context->tp + glibc.resp, 1);
    register_with_kernel(context);
    measure_born(me->cloned_at);
    if (!(me->flags & CLONE_THREAD))
        warm_outside();
    if (me->signal_stack)
        sigaltstack(&(stack_t){.ss_sp = context->signal_stack, .ss_size = context_signal_stack_size()}, NULL);
    if (me->name[0])
        prctl(PR_SET_NAME, me->name);
    if (me->masked) {
        STEP(STEP_UNMASK, me->mask, 0);
        set_signals(&me->mask);
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
static void born_green(void *arg)
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

/* ---- starting -------------------------------------------------------------------------------------------------------- */

struct lwp *lwp_copied(void)
{
    struct lwp *lwp = calloc(1, sizeof *lwp);

    if (lwp) {
        atomic_init(&lwp->refs, 1);
        lwp->wait_status = -1;
    }
    return lwp;
}

struct lwp *lwp_new(size_t stack_size)
{
    lwp_reap();
    struct lwp *lwp = lwp_copied();
    if (!lwp)
        return NULL;
    struct context *c = lwp->context = warm_get(stack_size);
    if (!c)
        c = lwp->context = context_get(stack_size);
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

/* (2) -> (1) */
static void unstart(struct lwp *lwp)
{
    lwp->started = 0;
    atomic_store(&lwp->alive, 0);
    park_wake(&lwp->alive, INT_MAX, PARK_SHARED); /* lwp_next_waited() may have told of it */
    if (!lwp->context->warm.parked)
        leave_glibc(lwp->context);
    leave_registry(lwp);
    drop(lwp);
}

/* (2) -> (3) without clone. */
static void wake_up(struct lwp *lwp)
{
    struct context *context = lwp->context;
    char *name = context->warm.name;

    atomic_store(&lwp->tid, *(int *)glibc_field(context->pthread, glibc.tid));
    if (lwp->name[0])
        memcpy(name, lwp->name, sizeof lwp->name);
    else
        prctl(PR_GET_NAME, name);
    fegetenv(&context->warm.arithmetic);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &lwp->mask, sizeof lwp->mask);
    STEP(STEP_WOKEN, *(int *)glibc_field(context->pthread, glibc.tid), 0);
    warm_wake(context, lwp);
}

/* Whether an LWP sleeps on the context that can be its thread's; one that can't is ended. */
static int can_wake(struct lwp *lwp)
{
    struct context *context = lwp->context;

    if (!warm_is_here(context))
        return 0;
    if (lwp->settings && lwp->settings == context->warm.settings)
        return 1;
    warm_end(context);
    return 0;
}

/* (1) -> (2), with all that a thread needs in its memory; warm: an LWP sleeps there.  0 or errno. */
static int prepare(struct lwp *lwp, int warm, unsigned long flags, int exit_signal, void (*run)(void *), void *arg)
{
    struct context *context = lwp->context;
    int error;

    if (warm) {
        park_lock(glibc.stack_lock);
        context_blank_around(context);
        park_unlock(glibc.stack_lock);
    } else if ((error = context_blank(context)) != 0)
        return error;
    if (TRACING()) { /* here, before glibc's lock is taken: it makes a pthread */
        sampler_begin();
        trace_note(TRACE_STARTS, 0, 0, lwp->ident, 0);
    }
    lwp->flags = flags;
    lwp->exit_signal = exit_signal;
    lwp->run = run;
    lwp->arg = arg;
    list(lwp);
    if ((error = context_load_tls(context)) != 0) {
        unstart(lwp);
        return error;
    }
    lay_out(context);
    return 0;
}

int lwp_start(struct lwp *lwp, unsigned long flags, int exit_signal, void (*run)(void *), void *arg)
{
    struct context *context = lwp->context;

    lwp->settings = flags == lwp_thread_flags ? warm_settings() : 0;
    int warm = can_wake(lwp), fresh = context->used != USED, error = prepare(lwp, warm, flags, exit_signal, run, arg);

    if (error)
        return error;
    if (lwp->signal_stack)
        lwp->signal_stack = context_signal_stack(context) != NULL;
    if (flags & CLONE_THREAD)
        atomic_fetch_add(glibc.thread_count, 1);
    count_started();
    atomic_store(&lwp->alive, 1);
    lwp->started = 1;
    lwp->cloned_at = measure_clock();
    if (warm) {
        wake_up(lwp);
        return 0;
    }

    /* A setxid in another thread must find this one either not there, so that it inherits our credentials, or there with its
     * tid, so that it gets the signal: setxid holds the same lock.  Taken before signals are blocked, for we may have to
     * answer that signal while we wait.  With CLONE_VFORK we would sleep in clone() with it: the child needs it to end. */
    int lock = !(flags & CLONE_VFORK);
    if (lock)
        park_lock(glibc.stack_lock);
    /* A handler must not run on a child that is half set up.  All is there before the first instruction but the ctype tables,
     * which only the thread itself can ask for; a block that served before has them, so there signals may stay open.  (Then a
     * handler may run in us while we hold that lock; so it may in glibc's allocate_stack.) */
    lwp->masked = fresh;
    if (fresh) {
        block_signals(&lwp->mask);
        STEP(STEP_MASK, 1, 0);
    }
    STEP(STEP_CLONE, flags | (unsigned)exit_signal, context->stack_high);
    uint64_t mask = lwp->mask;
    int *tid = glibc_field(context->pthread, glibc.tid);
    long result = arch_clone(flags | (unsigned)exit_signal, context->stack_high, tid, (int *)&lwp->alive, context->tp, born, lwp);
    /* From here on the child may have ended and been reaped: `context` is not ours any more, `lwp` is, by the handle's ref. */
    if (lock)
        park_unlock(glibc.stack_lock);
    if (fresh) {
        set_signals(&mask);
        STEP(STEP_MASK, 0, 0);
    }
    STEP(STEP_CLONED, result, 0);

    if (result < 0) {
        atomic_fetch_sub(&alive, 1);
        atomic_fetch_sub(&started, 1);
        if (flags & CLONE_THREAD)
            atomic_fetch_sub(glibc.thread_count, 1);
        unstart(lwp);
        return (int)-result;
    }
    atomic_store(&lwp->tid, (int)result); /* the child does the same: whoever asks first finds it */
    return 0;
}

/* (4) -> (5): the kernel's part at the end of an LWP. */
static void gone(struct green *green)
{
    struct lwp *lwp = (struct lwp *)((char *)green - offsetof(struct lwp, green));

    atomic_fetch_add(&lwp->refs, 1); /* when `alive` is cleared it may be reaped */
    atomic_store(&lwp->alive, 0);
    if (atomic_load(&lwp->joiners)) /* who comes now sees the end: await_end() */
        park_wake(&lwp->alive, INT_MAX, PARK_SHARED);
    drop(lwp);
}

int lwp_start_green(struct lwp *lwp, struct scheduler *scheduler, void (*run)(void *), void *arg)
{
    struct context *context = lwp->context;

    if (warm_is_here(context)) /* it has no use for an LWP */
        warm_end(context);
    int error = prepare(lwp, 0, lwp_thread_flags, 0, run, arg);

    if (error)
        return error;
    *(int *)glibc_field(context->pthread, glibc.tid) = green_lwp_number();
    count_started();
    atomic_store(&lwp->tid, scheduler_tid(scheduler));
    atomic_store(&lwp->alive, 1);
    lwp->started = 1;
    int waited = lwp->waited;
    lwp->waited = 0;
    green_begin(&lwp->green, scheduler, context->stack_high, context->tp, born_green, lwp, gone, waited);
    return 0;
}

/* To where contexts come from, with the LWP that sleeps on it if there is one. */
static void put_back(struct context *context, int vanished)
{
    if (!vanished && warm_is_here(context))
        warm_put(context);
    else
        context_put(context, vanished);
}

void lwp_release(struct lwp *lwp)
{
    if (!lwp->started && lwp->context) {
        if (warm_is_here(lwp->context) && !warm_admit()) /* warm_get() has uncounted it */
            warm_end(lwp->context);
        put_back(lwp->context, lwp->context->used == VANISHED);
    }
    drop(lwp);
}

/* ---- joining and reaping --------------------------------------------------------------------------------------------- */

void lwp_reap(void)
{
    if (!atomic_load_explicit(&ended, memory_order_relaxed))
        return;
    struct lwp *due = atomic_exchange_explicit(&ended, NULL, memory_order_acquire), *next, *first = NULL, *last = NULL;

    for (; due; due = next) {
        next = due->below;
        if (atomic_load_explicit(&due->alive, memory_order_acquire)) { /* (4): the kernel still uses its stack */
            due->below = first;
            first = due;
            if (!last)
                last = due;
            continue;
        }
        leave_registry(due);
        struct context *context = due->context;
        due->context = NULL;
        put_back(context, !atomic_load(&due->ending));
        drop(due);
    }
    if (first)
        push_ended(first, last);
}

/* The oldest that is so, with a ref; NULL: none. */
static struct lwp *oldest(int (*is_so)(struct lwp *lwp))
{
    struct lwp *lwp;

    park_lock(&registry_lock);
    for (lwp = registry.older; lwp != &registry; lwp = lwp->older)
        if (is_so(lwp))
            break;
    if (lwp == &registry)
        lwp = NULL;
    else
        atomic_fetch_add(&lwp->refs, 1);
    park_unlock(&registry_lock);
    return lwp;
}

static int on_its_way_to_sleep(struct lwp *lwp)
{
    return atomic_load(&lwp->parking) && atomic_load(&lwp->alive);
}

static int is_waited(struct lwp *lwp)
{
    return lwp->waited && atomic_load(&lwp->alive) && lwp->ident != (uintptr_t)pthread_self();
}

static int await_end(struct lwp *lwp, int64_t deadline);

void lwp_keep_warm(int limit)
{
    struct lwp *lwp;

    warm_limit(limit);
    while ((lwp = oldest(on_its_way_to_sleep))) { /* a few instructions are left of it */
        await_end(lwp, PARK_FOREVER);
        drop(lwp);
    }
    lwp_reap();
    warm_trim();
}

struct lwp *lwp_next_waited(void)
{
    return oldest(is_waited);
}

int lwp_alive(struct lwp *lwp)
{
    if (!lwp->started)
        return 0;
    if ((lwp->flags & CLONE_VM) && atomic_load_explicit(&lwp->alive, memory_order_acquire) != 0)
        return 1;
    if (lwp->flags & CLONE_THREAD)
        return 0;
    siginfo_t info = {0};
    if (lwp->wait_status != -1)
        return 0;
    return waitid(P_PID, (id_t)lwp->tid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid == 0;
}

/* Collects the exit status of a process that is at its end, once, whoever comes first. */
static int reap_process(struct lwp *lwp)
{
    int status, error = 0;

    park_lock(&lwp->reaping);
    if (lwp->wait_status == -1) {
        if (waitpid(lwp->tid, &status, __WALL) == lwp->tid)
            lwp->wait_status = status;
        else if (errno == ECHILD)
            lwp->wait_status = -2; /* somebody else has waited for it: the status is lost */
        else
            error = errno;
        if (!error && lwp->context && !atomic_load(&lwp->ending)) {
            leave_glibc(lwp->context);
            atomic_fetch_sub(&alive, 1);
            push_ended(lwp, lwp);
        }
    }
    park_unlock(&lwp->reaping);
    return error;
}

/* Of a thread with an LWP, by one that is on a scheduler: the kernel, which clears the word, knows nothing of those, so the
 * thread wakes them itself, shortly before. */
static int await_ending(struct lwp *lwp, int64_t deadline)
{
    int error = 0;

    while (!atomic_load(&lwp->ending) && !error)
        error = park_wait(&lwp->ending, 0, deadline, PARK_PRIVATE);
    return error;
}

/* Sleeps until the kernel has cleared the word: (5). */
static int await_end(struct lwp *lwp, int64_t deadline)
{
    int word, error = 0; /* word: 1, or the tid if CLONE_CHILD_SETTID was asked for */
    int unlike = park_green && !lwp->green.scheduler;

    if (unlike && (lwp->flags & CLONE_THREAD) && (error = await_ending(lwp, deadline)) != 0)
        return error;
    atomic_fetch_add(&lwp->joiners, 1);
    while ((word = atomic_load_explicit(&lwp->alive, memory_order_acquire)) != 0 && !error)
        error = (unlike ? park_wait_lwp : park_wait)(&lwp->alive, word, deadline, PARK_SHARED); /* the kernel wakes it as a shared futex */
    /* The kernel wakes one sleeper (kernel/fork.c, mm_release); whoever sees the end first wakes the others. */
    if (atomic_fetch_sub(&lwp->joiners, 1) > 1 && !word)
        park_wake(&lwp->alive, INT_MAX, PARK_SHARED);
    return word ? error : 0;
}

/* Sleeps until the process is at its end: it may have left our memory by exec long before. */
static int await_process(struct lwp *lwp, int64_t deadline)
{
    int fd = (int)syscall(SYS_pidfd_open, lwp->tid, 0);

    /* ESRCH: somebody has reaped it; reap_process() finds that out.  It also waits, without regard to the deadline, for one that
     * has left our memory when there is no descriptor to be had: that is at its end, but for exec. */
    if (fd < 0)
        return errno == ESRCH || (lwp->flags & CLONE_VM) ? 0 : errno;
    int error = park_process(fd, deadline);
    close(fd);
    return error;
}

int lwp_join(struct lwp *lwp, int64_t deadline)
{
    int error;

    if (lwp->flags & CLONE_VM) {
        STEP(STEP_JOIN, &lwp->alive, atomic_load(&lwp->alive));
        if ((error = await_end(lwp, deadline)) != 0)
            return error;
        STEP(STEP_CLEARED, &lwp->alive, 0);
    }
    if (lwp->flags & CLONE_THREAD) {
        lwp_reap();
        return 0;
    }
    if (lwp->wait_status == -1 && (error = await_process(lwp, deadline)) != 0)
        return error;
    error = reap_process(lwp);
    lwp_reap();
    return error;
}

/* ---- fork ------------------------------------------------------------------------------------------------------------ */

static int only_thread(void)
{
    return atomic_load(glibc.thread_count) == 1 && atomic_load(&alive) == 0;
}

long lwp_copy(struct lwp *lwp, unsigned long flags, int exit_signal)
{
    long pid;

    if (flags == 0 && exit_signal == SIGCHLD)
        pid = fork();
    else {
        if (!only_thread())
            return -EBUSY;
        /* Alone, the caller finds every lock free in the copy.  The stack is the caller's, copied: NULL.  CHILD_SETTID
         * keeps the descriptor's tid right, as glibc's fork does. */
        int *tid = glibc_field((void *)pthread_self(), glibc.tid);
        pid = syscall(SYS_clone, flags | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | (unsigned)exit_signal, NULL, NULL,
#if defined(__x86_64__)
                      tid, NULL
#else
                      NULL, tid
#endif
        );
        if (pid == 0) {
            warm_after_fork_in_child();
            syscall(SYS_set_robust_list, glibc_field((void *)pthread_self(), glibc.robust_head), 3 * sizeof(void *));
        }
    }
    if (pid < 0)
        return -errno;
    atomic_store(&lwp->tid, pid ? (int)pid : getpid());
    lwp->flags = flags;
    lwp->exit_signal = exit_signal;
    lwp->started = 1;
    return pid;
}

static void before_fork(void)
{
    park_lock(&registry_lock);
    warm_before_fork();
    context_before_fork();
}

static void after_fork_in_parent(void)
{
    context_after_fork();
    warm_after_fork();
    park_unlock(&registry_lock);
}

/* A green thread that has forked is the only thread of the child.  What the LWP has registered with the kernel lies in another
 * thread's memory, which will serve others; glibc's fork() has seen to the robust list and the tid. */
static void take_lwp(struct lwp *me, char *native)
{
    struct context *context = me->context;

    me->green.scheduler = NULL;
    if (glibc.rseq && glibc.rseq_size
        && syscall(SYS_rseq, native + glibc.rseq, glibc_rseq_area(), 1 /* RSEQ_FLAG_UNREGISTER */, 0x53053053) == 0)
        register_with_kernel(context);
    sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
}

/* (2),(3),(4),(5) -> (6): the child has one thread, the caller.  glibc has emptied its own lists by now
 * (nptl/nptl-stack.c, __nptl_reclaim_stacks), and made the caller's __nptl_nthreads 1. */
static void after_fork_in_child(void)
{
    struct lwp *me = NULL, *lwp = registry.newer, *next;

    context_after_fork();
    measure_after_fork();
    warm_after_fork_in_child();
    atomic_store(&registry_lock, 0);
    atomic_store(&ended, NULL);
    registry.newer = registry.older = &registry;
    for (; lwp != &registry; lwp = next) {
        next = lwp->newer;
        if (lwp->ident == (uintptr_t)pthread_self()) {
            me = lwp;
            continue;
        }
        struct context *context = lwp->context;
        lwp->context = NULL;
        warm_lost(context);
        lwp->arg = NULL; /* CPython frees what belongs to lost threads */
        lwp->wait_status = lwp->flags & CLONE_THREAD ? -1 : -2; /* a process-style one is not our child */
        atomic_store(&lwp->reaping, 0); /* who waits for it by waitpid() is lost */
        atomic_store(&lwp->alive, 0);
        context_put(context, 1);
        drop(lwp);
    }
    char *native = me && me->green.scheduler ? green_native() : NULL;
    green_after_fork();
    atomic_store(&green_others_ending, 0);
    atomic_store(&alive, me != NULL);
    if (me) {
        registry.newer = registry.older = me;
        me->newer = me->older = &registry;
        if (native)
            take_lwp(me, native);
        atomic_store(&me->tid, gettid());
        me->settings = 0; /* its LWP, the process's first, is not kept */
        me->before = (struct measured){0}; /* that LWP is a new one */
        warm_lost(me->context);
        me->flags |= CLONE_THREAD; /* the child's main thread, and its last: when it ends, the process does */
        /* fork() told the kernel to clear glibc's word at our end; joiners look at ours. */
        syscall(SYS_set_tid_address, &me->alive);
    }
}

void lwp_read_statistics(struct lwp_statistics *out)
{
    *out = (struct lwp_statistics){
        .warm = warm_count(), .started = atomic_load(&started), .alive = atomic_load(&alive), .peak = atomic_load(&peak)};
    measure_read(out);
}

int lwp_guard(uintptr_t ident, uintptr_t guard[2])
{
    int found = 0;

    park_lock(&registry_lock);
    for (struct lwp *lwp = registry.newer; lwp != &registry && !found; lwp = lwp->newer)
        if ((found = lwp->ident == ident)) {
            guard[0] = lwp->guard_low;
            guard[1] = lwp->stack_low;
        }
    park_unlock(&registry_lock);
    return found;
}

int lwp_init(void)
{
    static int done;

    if (done)
        return 0;
    warm_init();
    int error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    done = error == 0;
    return error;
}
