/* Makes chosen calls of the C core fail, for tests/runtime/native/test_faults.py.
 *
 * The core is built as always and linked with -Wl,--wrap=NAME for each name below: then its calls, and only its, come through
 * __wrap_NAME.  So what is tested are the objects of a normal build, in which nothing of this is.  Futexes and other calls
 * that go through syscall(2) have names of their own. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

static struct rule {
    const char *name;
    atomic_long calls, failed;
    long from, count; /* calls from, from + 1 ... from + count - 1 fail */
    int error; /* below 0: a signal that ends the process there */
} rules[] = {
    /* clang-format off */
    {"mmap"}, {"mprotect"}, {"madvise"}, {"mincore"},
    {"malloc"}, {"calloc"}, {"realloc"}, {TEXT(NEW_THREAD_STATE)}, {"PyMem_RawMalloc"},
    {"clone"}, {"fork"}, {"pthread_create"},
    {"prctl"}, {"waitpid"}, {"ppoll"},
    {"futex_wait"}, {"set_robust_list"}, {"rseq"}, {"pidfd_open"}, {"clone_copy"},
    /* clang-format on */
};
static atomic_long blocks, mapped; /* of the core's: from malloc and its kin, and bytes from mmap */

static struct rule *rule_of(const char *name)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].name, name) == 0)
            return &rules[i];
    __builtin_trap();
}

EXPORTED void faults_clear(void)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        rules[i].count = 0;
}

EXPORTED void faults_set(const char *name, long from, long count, int error)
{
    struct rule *rule = rule_of(name);
    atomic_store(&rule->calls, 0);
    atomic_store(&rule->failed, 0);
    rule->from = from;
    rule->error = error;
    rule->count = count;
}

EXPORTED long faults_failed(const char *name)
{
    return atomic_load(&rule_of(name)->failed);
}

EXPORTED long faults_blocks(void)
{
    return atomic_load(&blocks);
}

EXPORTED long faults_mapped(void)
{
    return atomic_load(&mapped);
}

static int fails(const char *name)
{
    struct rule *rule = rule_of(name);
    long call = atomic_fetch_add(&rule->calls, 1);

    if (call < rule->from || call - rule->from >= rule->count)
        return 0;
    atomic_fetch_add(&rule->failed, 1);
    if (rule->error < 0)
        kill(getpid(), -rule->error);
    errno = rule->error;
    return 1;
}

/* For what fails before anybody can ask for it, while the module is imported: "name from errno". */
__attribute__((constructor)) static void set_from_environment(void)
{
    const char *text = getenv("RUNTIME_FAULT");
    char name[32];
    long from;
    int error;

    if (text && sscanf(text, "%31s %ld %d", name, &from, &error) == 3)
        faults_set(name, from, 1, error);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

#define WRAP_AS(result, name, parameters, call, failure) \
    result __real_##name parameters;                     \
    result __wrap_##name parameters                      \
    {                                                    \
        return fails(#name) ? failure : call;            \
    }
#define WRAP(result, name, parameters, arguments, failure) WRAP_AS(result, name, parameters, __real_##name arguments, failure)

/* The same for a name that is a macro. */
#define WRAP_NAMED(result, name, parameters, arguments, failure) WRAP(result, name, parameters, arguments, failure)

void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    void *result = fails("mmap") ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
    if (result != MAP_FAILED)
        atomic_fetch_add(&mapped, (long)size);
    return result;
}

int __real_munmap(void *, size_t);
int __wrap_munmap(void *at, size_t size)
{
    atomic_fetch_sub(&mapped, (long)size);
    return __real_munmap(at, size);
}

WRAP(int, mprotect, (void *at, size_t size, int protection), (at, size, protection), -1)
WRAP(int, madvise, (void *at, size_t size, int advice), (at, size, advice), -1)
WRAP(int, mincore, (void *at, size_t size, unsigned char *out), (at, size, out), -1)

static void *counted(void *block)
{
    if (block)
        atomic_fetch_add(&blocks, 1);
    return block;
}

WRAP_AS(void *, malloc, (size_t size), counted(__real_malloc(size)), NULL)
WRAP_AS(void *, calloc, (size_t count, size_t size), counted(__real_calloc(count, size)), NULL)

void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *block, size_t size)
{
    if (fails("realloc"))
        return NULL;
    return block ? __real_realloc(block, size) : counted(__real_realloc(block, size));
}

void __real_free(void *);
void __wrap_free(void *block)
{
    if (block)
        atomic_fetch_sub(&blocks, 1);
    __real_free(block);
}

/* Of the interpreter's own, the two that the core asks for by themselves. */
WRAP_NAMED(void *, NEW_THREAD_STATE, (void *interpreter), (interpreter), NULL)
WRAP(void *, PyMem_RawMalloc, (size_t size), (size), NULL)

/* ---- threads and processes --------------------------------------------------------------------------------------- */

long __real_arch_clone(unsigned long, void *, int *, int *, void *, void (*)(void *), void *);
__attribute__((visibility("hidden"))) long __wrap_arch_clone(unsigned long flags, void *stack, int *parent_tid, int *child_tid,
                                                             void *tp, void (*entry)(void *), void *arg)
{
    int saved = errno;
    long result = fails("clone") ? -errno : __real_arch_clone(flags, stack, parent_tid, child_tid, tp, entry, arg);
    errno = saved;
    return result;
}

WRAP(pid_t, fork, (void), (), -1)
WRAP(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options), -1)
WRAP(int, ppoll, (struct pollfd * fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask), (fds, count, timeout, mask),
     -1)

WRAP(int, pthread_create, (pthread_t * thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg), (thread, attr, run, arg),
     errno)

/* The probes take glibc's own pthread_create from here. */
void *__real_dlsym(void *module, const char *name);
void *__wrap_dlsym(void *module, const char *name)
{
    return strcmp(name, "pthread_create") == 0 ? (void *)__wrap_pthread_create : __real_dlsym(module, name);
}

/* ---- variadic: a caller passes its words as it does to a function that takes six -------------------------------- */

static const char *name_of(long number, long second)
{
    switch (number) {
    case SYS_futex:
        switch (second & FUTEX_CMD_MASK) {
        case FUTEX_WAIT:
        case FUTEX_WAIT_BITSET:
            return "futex_wait";
        }
        return NULL; /* the kernel has no reason to refuse a wake-up, and nothing could make up for it */
    case SYS_set_robust_list:
        return "set_robust_list";
    case SYS_rseq:
        return "rseq";
    case SYS_pidfd_open:
        return "pidfd_open";
    case SYS_clone:
        return "clone_copy";
    }
    return NULL;
}

long __real_syscall(long, long, long, long, long, long, long);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    const char *name = name_of(number, b);
    return name && fails(name) ? -1 : __real_syscall(number, a, b, c, d, e, f);
}

WRAP(int, prctl, (int option, long a, long b, long c, long d), (option, a, b, c, d), -1)
