/* What has no descriptor is found by looking at two threads made by pthread_create(), while they run and after their end. */
#include "kernel/glibc/finding.h"

#include "kernel/arch/arch.h"
#include "kernel/base/park.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <resolv.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PROBE_STACK = 256 * 1024, PROBE_GUARD = 5 * 64 * 1024 /* whole pages of any page size, and no default */ };

struct probe {
    char *stack;              /* that pthread_create was given, or NULL */
    unsigned char *copy;      /* its struct pthread while it ran */
    void *self;
    pid_t tid;
    void *robust_head;
    long robust_futex_offset;
    size_t robust_size;
    int count;                /* __nptl_nthreads while it ran */
    int rseq_cpu;
    void *frame;              /* a cleanup frame that was registered meanwhile */
    char *resolver;           /* its __resp */
    uint64_t mask;            /* its signal mask */
    const char *tcb;          /* arch_tcb_check()'s result in it */
    struct malloc_words words;
    char *local;
    atomic_int phase;         /* 1: its copy is made, 2: it may make a thread itself, 3: it has tried, and ends */
    int error;
};

/* glibc's own.  A sanitizer or another library that is loaded before libc may have its own, whose threads run a function of that
 * library. */
static struct {
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    int (*join)(pthread_t, void **);
} own_pthread;

static int find_own_pthread(void)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY);
    int missing;

    if (!libc)
        return glibc_not_loaded("libc.so.6");
    missing = glibc_symbol_in(libc, "pthread_create", &own_pthread.create) || glibc_symbol_in(libc, "pthread_join", &own_pthread.join);
    dlclose(libc);
    return missing ? -1 : 0;
}

static void *do_nothing(void *unused)
{
    return unused;
}

static void *probe_main(void *arg)
{
    struct probe *p = arg;
    char local;
    struct {
        void *list;
        long futex_offset;
        void *pending;
    } *head = NULL;

    glibc_find_malloc_words(&p->words); /* before any other call that may use malloc */
    p->self = (void *)pthread_self();
    p->tid = gettid();
    p->local = &local;
    p->count = atomic_load(glibc.thread_count);
    p->tcb = arch_tcb_check(p->self);
    if (syscall(SYS_get_robust_list, 0, &head, &p->robust_size) == 0 && head) {
        p->robust_head = head;
        p->robust_futex_offset = head->futex_offset;
    }
    if (glibc.rseq_size)
        p->rseq_cpu = ((int *)((char *)arch_thread_pointer() + glibc.rseq))[1]; /* struct rseq: cpu_id_start, cpu_id */
    memcpy(&p->resolver, (char *)arch_thread_pointer() + glibc.resp, sizeof p->resolver);
    (void)syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &p->mask, sizeof p->mask);
    __pthread_unwind_buf_t frame; /* what pthread_cleanup_push() makes and registers */
    p->frame = &frame;
    __pthread_register_cancel(&frame);
    memcpy(p->copy, p->self, glibc.pthread_size);
    __pthread_unregister_cancel(&frame);
    atomic_store(&p->phase, 1);
    park_wake(&p->phase, 1, PARK_PRIVATE);

    /* probe_locks() watches which locks this pthread_create takes. */
    while (atomic_load(&p->phase) < 2)
        park_wait(&p->phase, 1, PARK_FOREVER, PARK_PRIVATE);
    pthread_t other;
    p->error = own_pthread.create(&other, NULL, do_nothing, NULL);
    atomic_store(&p->phase, 3);
    if (p->error == 0)
        own_pthread.join(other, NULL);
    return NULL;
}

static int start_probe(struct probe *p, pthread_t *thread, int own_stack)
{
    pthread_attr_t attr;
    int error;

    p->copy = malloc(glibc.pthread_size);
    p->words.before = malloc(glibc.libc_block_size);
    if (!p->copy || !p->words.before)
        return glibc_failed("malloc", ENOMEM);
    pthread_attr_init(&attr);
    if (own_stack) {
        p->stack = mmap(NULL, PROBE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (p->stack == MAP_FAILED) {
            error = errno;
            p->stack = NULL;
            pthread_attr_destroy(&attr);
            return glibc_failed("mmap", error);
        }
        (void)pthread_attr_setstack(&attr, p->stack, PROBE_STACK);
        sigset_t mask; /* differs from the other probe's mask */
        pthread_sigmask(SIG_BLOCK, NULL, &mask);
        sigaddset(&mask, SIGURG);
        (void)pthread_attr_setsigmask_np(&attr, &mask);
    } else { /* the size too: with a small RLIMIT_STACK the guard would not fit into the default */
        pthread_attr_setstacksize(&attr, PROBE_STACK + PROBE_GUARD);
        pthread_attr_setguardsize(&attr, PROBE_GUARD);
    }
    error = own_pthread.create(thread, &attr, probe_main, p);
    pthread_attr_destroy(&attr);
    if (error)
        return glibc_failed("pthread_create", error);
    while (atomic_load(&p->phase) == 0)
        park_wait(&p->phase, 0, PARK_FOREVER, PARK_PRIVATE);
    return 0;
}

static void end_probe(struct probe *p, pthread_t thread)
{
    atomic_store(&p->phase, 2);
    park_wake(&p->phase, 1, PARK_PRIVATE);
    own_pthread.join(thread, NULL);
}

static void *word_at(const unsigned char *copy, size_t offset)
{
    void *value;
    memcpy(&value, copy + offset, sizeof value);
    return value;
}

/* It returns what sched_getaffinity(2) has failed with, except ENOSYS (nptl/pthread_getattr_np.c). */
static const char getattr_call[] = "pthread_getattr_np, which calls sched_getaffinity,";

/* stackblock and stackblock_size have no descriptor: a thread on our stack holds its address and size there. */
static int find_stack_fields(const struct probe *own, const struct probe *other)
{
    int found = 0;
    pthread_attr_t attr;
    void *base, *fake;
    size_t size;

    for (size_t at = glibc.start_routine; at + 2 * sizeof(void *) <= glibc.pthread_size; at += sizeof(void *))
        if (word_at(own->copy, at) == own->stack && (size_t)word_at(own->copy, at + sizeof(void *)) == PROBE_STACK) {
            glibc.stackblock = at;
            glibc.stackblock_size = at + sizeof(void *);
            found++;
        }
    if (found != 1)
        return glibc_refuse("stackblock: %d places in struct pthread hold the probe's stack, expected 1", found);

    /* Second side: the thread on glibc's own stack has its frame inside what it holds there ... */
    base = word_at(other->copy, glibc.stackblock);
    size = (size_t)word_at(other->copy, glibc.stackblock_size);
    if (other->local < (char *)base || other->local >= (char *)base + size)
        return glibc_refuse("stackblock: %p + %zu does not hold the other probe's frame %p", base, size, (void *)other->local);
    /* ... and third: glibc reads our values back from a descriptor that has nothing else. */
    if (!(fake = calloc(1, glibc.pthread_size)))
        return glibc_failed("calloc", ENOMEM);
    memcpy(glibc_field(fake, glibc.stackblock), &own->stack, sizeof own->stack);
    size = PROBE_STACK;
    memcpy(glibc_field(fake, glibc.stackblock_size), &size, sizeof size);
    int error = pthread_getattr_np((pthread_t)fake, &attr);
    free(fake);
    if (error)
        return glibc_failed(getattr_call, error);
    (void)pthread_attr_getstack(&attr, &base, &size);
    pthread_attr_destroy(&attr);
    if (base != own->stack || size != PROBE_STACK)
        return glibc_refuse("pthread_getattr_np reads %p + %zu from stackblock, expected %p + %d", base, size, (void *)own->stack,
                            PROBE_STACK);
    return 0;
}

/* user_stack (bool, to 2.41) or stack_mode (enum, 2.42): the one byte near report_events that differs between the probes. */
static int find_user_stack(const struct probe *own, const struct probe *other)
{
    int found = 0;

    for (size_t at = glibc.report_events - 8; at < glibc.report_events + 16; at++)
        if (own->copy[at] != other->copy[at]) {
            glibc.user_stack = at;
            glibc.user_stack_value = own->copy[at];
            found++;
        }
    if (found != 1 || glibc.user_stack_value < 1 || glibc.user_stack_value > 2 || other->copy[glibc.user_stack] > 1)
        return glibc_refuse("user_stack: %d bytes near report_events differ between a thread on its own stack and one on glibc's",
                            found);
    return 0;
}

/* joinstate, from 2.43 on.  A running thread must not have 0 there, as its predecessor joinid mostly had: 0 says that the thread has
 * ended, and pthread_detach() would free it.  2 is a joinable thread.  3 is a detached thread.  The place is found by that:
 * pthread_getattr_np reports "detached" of a descriptor that holds only this 3 and a stack. */
static int find_joinstate(const struct probe *own, const struct probe *other, int minor)
{
    enum { JOINABLE = 2, DETACHED = 3 }; /* nptl/descr.h */
    char *fake = calloc(1, glibc.pthread_size);
    size_t size = PROBE_STACK;
    int found = 0, error = 0;

    if (!fake)
        return glibc_failed("calloc", ENOMEM);
    memcpy(glibc_field(fake, glibc.stackblock), &own->stack, sizeof own->stack);
    memcpy(glibc_field(fake, glibc.stackblock_size), &size, sizeof size);
    for (size_t at = (glibc.user_stack + 3) & ~(size_t)3; at < glibc.start_routine && !error; at += sizeof(int)) {
        int one, two, state = DETACHED, reported = PTHREAD_CREATE_JOINABLE;
        pthread_attr_t attr;

        memcpy(&one, own->copy + at, sizeof one);
        memcpy(&two, other->copy + at, sizeof two);
        if (one != JOINABLE || two != JOINABLE)
            continue;
        memcpy(fake + at, &state, sizeof state);
        if ((error = pthread_getattr_np((pthread_t)fake, &attr)) == 0) {
            (void)pthread_attr_getdetachstate(&attr, &reported);
            pthread_attr_destroy(&attr);
        }
        memset(fake + at, 0, sizeof state);
        if (reported == PTHREAD_CREATE_DETACHED) {
            glibc.joinstate = at;
            glibc.joinable = JOINABLE;
            found++;
        }
    }
    free(fake);
    if (error)
        return glibc_failed(getattr_call, error);
    int expected = minor >= 43;
    if (found != expected)
        return glibc_refuse("joinstate: pthread_getattr_np reads whether a thread is detached at %d places, expected %d", found,
                            expected);
    return 0;
}

static size_t count_matches(const struct probe *p, size_t from, const void *value, size_t *last)
{
    size_t found = 0;

    for (size_t at = from; at + sizeof(void *) <= glibc.pthread_size; at += sizeof(void *))
        if (word_at(p->copy, at) == value) {
            *last = at;
            found++;
        }
    return found;
}

/* Fields that are only shown.  A field that isn't found stays 0. */
static void find_for_inspection(const struct probe *own, const struct probe *other, int minor)
{
    size_t at = 0, again = 0;
    int one, two;

    /* struct pthread_attr's flags, copied by pthread_create, stand beside cancelhandling; a given stack is a bit in them. */
    memcpy(&one, own->copy + glibc.cancelhandling + sizeof one, sizeof one);
    memcpy(&two, other->copy + glibc.cancelhandling + sizeof two, sizeof two);
    if (__builtin_popcount((unsigned)(one ^ two)) == 1 && (one & ~two))
        glibc.flags = glibc.cancelhandling + sizeof one;
    if (count_matches(own, 0, own->frame, &at) == 1 && count_matches(other, 0, other->frame, &again) == 1 && at == again)
        glibc.cleanup_jmp_buf = at;
    /* Two sizes: what was asked for, and what pthread_getattr_np returns.  A stack that the program gave has neither. */
    if (count_matches(other, glibc.stackblock_size, (void *)(uintptr_t)PROBE_GUARD, &at) == 2
        && word_at(other->copy, at - sizeof(void *)) == (void *)(uintptr_t)PROBE_GUARD && !word_at(own->copy, at)) {
        glibc.guardsize = at - sizeof(void *);
        glibc.reported_guardsize = at;
    }
    /* The mask that a thread begins with follows the resolver's state.  Up to 2.35 it is a sigset_t, of which the kernel fills a word;
     * the rest is what lay on pthread_create's stack. */
    at = (size_t)(own->resolver - (char *)own->self) + sizeof(struct __res_state);
    again = (size_t)(other->resolver - (char *)other->self) + sizeof(struct __res_state);
    if (at == again && at <= glibc.pthread_size - sizeof own->mask && own->mask != other->mask
        && memcmp(own->copy + at, &own->mask, sizeof own->mask) == 0
        && memcmp(other->copy + at, &other->mask, sizeof other->mask) == 0) {
        glibc.sigmask = at;
        glibc.sigmask_size = minor < 36 ? sizeof(sigset_t) : sizeof own->mask;
    }
}

/* Some kernels have no robust lists (qemu-user, some sandboxes). glibc makes an empty one all the same.  Behind tid, two words,
 * robust_prev and the head, point at the head (nptl/allocatestack.c), and the futex's offset follows. */
static int find_robust_head(struct probe *p)
{
    enum { WORD = sizeof(void *) };

    for (size_t at = (glibc.tid + 2 * WORD - 1) & -WORD; at <= glibc.tid + 64 && at + 2 * WORD <= glibc.pthread_size; at += WORD)
        if (word_at(p->copy, at) == (char *)p->self + at && word_at(p->copy, at - WORD) == (char *)p->self + at) {
            p->robust_head = (char *)p->self + at;
            p->robust_futex_offset = (long)word_at(p->copy, at + WORD);
            return 0;
        }
    return glibc_refuse("robust_head: get_robust_list(2) returns none, and no empty list lies behind tid");
}

static int examine_probes(struct probe *own, struct probe *other, int minor)
{
    struct probe *both[] = {own, other};

    glibc.robust_from_kernel = own->robust_head && other->robust_head;
    for (int i = 0; i < 2; i++)
        if (!glibc.robust_from_kernel && find_robust_head(both[i]))
            return -1;
    glibc.robust_head = (size_t)((char *)own->robust_head - (char *)own->self);
    glibc.robust_futex_offset = own->robust_futex_offset;
    for (int i = 0; i < 2; i++) {
        const struct probe *p = both[i];
        pid_t tid;

        if (p->tcb)
            return glibc_refuse("%s", p->tcb);
        memcpy(&tid, p->copy + glibc.tid, sizeof tid);
        if (tid != p->tid)
            return glibc_refuse("tid: struct pthread holds %d at offset %zu, gettid says %d", tid, glibc.tid, p->tid);
        if (word_at(p->copy, glibc.start_routine) != (void *)probe_main || word_at(p->copy, glibc.start_routine + sizeof(void *)) != p)
            return glibc_refuse("start_routine is not at offset %zu", glibc.start_routine);
        if ((char *)p->robust_head - (char *)p->self != (ptrdiff_t)glibc.robust_head
            || word_at(p->copy, glibc.robust_head) != p->robust_head
            || word_at(p->copy, glibc.robust_head - sizeof(void *)) != p->robust_head)
            return glibc_refuse("robust_head: the kernel was told offset %td, but no empty list with its robust_prev is there",
                                (char *)p->robust_head - (char *)p->self);
        if (word_at(p->copy, glibc.specific) != (char *)p->self + glibc.specific - glibc.keys_per_block * glibc.data_size)
            return glibc_refuse("specific[0] at offset %zu does not point at the block before it", glibc.specific);
        if (p->count < 2)
            return glibc_refuse("__nptl_nthreads is %d with two threads", p->count);
        if (glibc.rseq_size && p->rseq_cpu < 0)
            return glibc_refuse("rseq: the area at tp%+td holds cpu_id %d in a registered thread", glibc.rseq, p->rseq_cpu);
    }
    if (glibc.robust_head < glibc.tid || glibc.robust_head - glibc.tid > 64 || glibc.cancelhandling < glibc.robust_head)
        return glibc_refuse("tid, robust_head and cancelhandling are at %zu, %zu, %zu: not in that order", glibc.tid, glibc.robust_head,
                            glibc.cancelhandling);
    if (find_stack_fields(own, other) || find_user_stack(own, other) || find_joinstate(own, other, minor)
        || glibc_find_kept_words(&own->words, &other->words))
        return -1;
    find_for_inspection(own, other, minor);
    return 0;
}

/* Whether a thread sleeps on the lock.  2 says so in a mutex as well as in the lists' lock (kernel/base/park.h). */
static int has_sleepers(const void *lock)
{
    return __atomic_load_n((const int *)lock, __ATOMIC_ACQUIRE) == 2;
}

/* Whether the two locks are the right ones: a pthread_create must wait for both. */
static int probe_locks(struct probe *own)
{
    int64_t deadline = park_now() + 2000000000;
    int value = atomic_load(glibc.stack_lock), lists = 0, linker = 0;

    if (value < 0 || value > 2)
        return glibc_refuse("_dl_stack_cache_lock: the word after the stack lists is %d", value);
    pthread_mutex_lock(glibc.linker_lock);
    park_lock(glibc.stack_lock);
    atomic_store(&own->phase, 2);
    park_wake(&own->phase, 1, PARK_PRIVATE);
    while (!(lists && linker) && atomic_load(&own->phase) != 3 && park_now() < deadline) {
        if (!lists && (lists = has_sleepers(glibc.stack_lock)))
            park_unlock(glibc.stack_lock);
        if (!linker && (linker = has_sleepers(&glibc.linker_lock->__data.__lock)))
            pthread_mutex_unlock(glibc.linker_lock);
        sched_yield();
    }
    if (!lists)
        park_unlock(glibc.stack_lock);
    if (!linker)
        pthread_mutex_unlock(glibc.linker_lock);
    if (!lists)
        return glibc_refuse("_dl_stack_cache_lock: pthread_create does not take the word after the stack lists");
    if (!linker)
        return glibc_refuse("_dl_load_tls_lock: pthread_create does not take the mutex beside _dl_load_write_lock");
    return 0;
}

static int on_list(const struct glibc_list *list, const void *pthread)
{
    int found = 0, steps = 0;

    park_lock(glibc.stack_lock);
    for (struct glibc_list *at = list->next; at != list && steps < 1000000; at = at->next, steps++)
        found |= (char *)at == (char *)pthread + glibc.list;
    park_unlock(glibc.stack_lock);
    return found;
}

int glibc_probe(int minor)
{
    struct probe own = {0}, other = {0};
    pthread_t own_thread = 0, other_thread = 0;
    int result = -1, ending;

    if (find_own_pthread())
        return -1;
    if (start_probe(&own, &own_thread, 1) == 0) {
        if (start_probe(&other, &other_thread, 0) == 0) {
            result = examine_probes(&own, &other, minor);
            if (result == 0 && !on_list(glibc.stack_used, other.self))
                result = glibc_refuse("list: a thread on glibc's stack is not on _dl_stack_used at offset %zu", glibc.list);
            end_probe(&other, other_thread);
        }
        if (result == 0 && !on_list(glibc.stack_user, own.self))
            result = glibc_refuse("list: a thread on its own stack is not on _dl_stack_user at offset %zu", glibc.list);
        if (result != 0)
            end_probe(&own, own_thread);
        else {
            result = probe_locks(&own);
            end_probe(&own, own_thread);
            if (own.error) /* then it has perhaps not come to the locks */
                result = glibc_failed("pthread_create", own.error);
        }
        if (result == 0) {
            /* Its descriptor lay on our stack and is still there: EXITING is what the exit left in cancelhandling. */
            memcpy(&ending, (char *)own.self + glibc.cancelhandling, sizeof ending);
            glibc.exiting = 1 << 4; /* EXITING_BITMASK, nptl/descr.h, the same since 2.34 */
            if (!(ending & glibc.exiting))
                result = glibc_refuse("cancelhandling is %#x after a thread's end, without the bit EXITING", ending);
        }
    }
    if (result == 0 && *(char *)dlsym(RTLD_DEFAULT, "__libc_single_threaded"))
        result = glibc_refuse("__libc_single_threaded is still set after a thread was made");
    free(own.copy);
    free(other.copy);
    free(own.words.before);
    free(other.words.before);
    if (own.stack)
        munmap(own.stack, PROBE_STACK);
    return result;
}
