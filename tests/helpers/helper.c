/* What the tests look at from C: run inside threads by ctypes, which lets go of the GIL.  Nothing here knows the runtime. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <resolv.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#undef p_type /* resolv.h's; an ELF program header has one too */

/* ---- malloc ------------------------------------------------------------------------------------------------------ */

/* Allocates and frees in all sizes, checking that nobody else writes in its blocks.  The number of damaged blocks. */
long hammer_malloc(long rounds, unsigned seed)
{
    enum { HELD = 64 };
    unsigned char *held[HELD] = {0};
    size_t sizes[HELD] = {0};
    long damaged = 0;

    for (long i = 0; i < rounds; i++) {
        unsigned slot = (unsigned)rand_r(&seed) % HELD;
        size_t size = (size_t)rand_r(&seed) % (i % 16 ? 512 : 20000) + 1;
        if (held[slot]) {
            for (size_t j = 0; j < sizes[slot]; j += sizes[slot] / 4 + 1)
                damaged += held[slot][j] != (unsigned char)(slot + 1);
            free(held[slot]);
        }
        sizes[slot] = size;
        if ((held[slot] = malloc(size)))
            memset(held[slot], (int)(slot + 1), size);
    }
    for (int i = 0; i < HELD; i++)
        free(held[i]);
    return damaged;
}

/* Leaves freed blocks in this thread's tcache. */
void fill_tcache(void)
{
    void *blocks[8];
    for (int i = 0; i < 8; i++)
        blocks[i] = malloc(900);
    for (int i = 0; i < 8; i++)
        free(blocks[i]);
}

/* ---- identity, stack --------------------------------------------------------------------------------------------- */

/* A frame of a KiB for each level, all of it written. */
__attribute__((noinline)) long recurse_for_ever(long level)
{
    volatile char frame[1000];

    for (size_t i = 0; i < sizeof frame; i++)
        frame[i] = (char)level;
    return level < 0 ? 0 : recurse_for_ever(level + 1) + frame[level % 1000];
}

/* What pthread_getattr_np says of the calling thread, and where its frame really is.  0 or errno. */
int stack_range(uintptr_t out[3])
{
    pthread_attr_t attr;
    void *low;
    size_t size;
    int error = pthread_getattr_np(pthread_self(), &attr);

    if (error)
        return error;
    pthread_attr_getstack(&attr, &low, &size);
    pthread_attr_destroy(&attr);
    out[0] = (uintptr_t)low;
    out[1] = (uintptr_t)low + size;
    out[2] = (uintptr_t)__builtin_frame_address(0);
    return 0;
}

/* The distance of a 16-byte aligned local from where it should be; with movaps on it, as compilers emit for spills. */
__attribute__((noinline)) unsigned stack_misalignment(void)
{
    volatile float spill[4] __attribute__((aligned(16))) = {1, 2, 3, 4};
    const volatile float *at = spill;

    __asm__ volatile("" : "+r"(at)); /* the compiler must not know what it points at */
#if defined(__x86_64__)
    if (((uintptr_t)at & 15) == 0)
        __asm__ volatile("movaps (%0), %%xmm0" : : "r"(at) : "xmm0", "memory");
#endif
    return (unsigned)((uintptr_t)at & 15);
}

struct walk {
    int frames;
    uintptr_t top, pc;
};

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg)
{
    struct walk *walk = arg;
    walk->top = _Unwind_GetCFA(context);
    walk->pc = _Unwind_GetIP(context);
    return ++walk->frames < 10000 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

/* Walks the stack to its end.  The unwinder's code: 5, _URC_END_OF_STACK, when it stopped because there is no caller; the
 * number of frames, the top of the last one and its program counter, 0 when the frame before said that it has no caller. */
int unwind_to_end(uintptr_t out[3])
{
    struct walk walk = {0};
    int code = _Unwind_Backtrace(count_frame, &walk);
    out[0] = (uintptr_t)walk.frames;
    out[1] = walk.top;
    out[2] = walk.pc;
    return code;
}

/* glibc's backtrace(3): the number of frames. */
int backtrace_frames(void)
{
    void *frames[1000];
    return backtrace(frames, 1000);
}

/* Writes `bytes` of stack, lets others run, and counts the bytes that are not what was written. */
__attribute__((noinline)) int stack_damage(size_t bytes, int value)
{
    volatile unsigned char *area = __builtin_alloca(bytes);
    int wrong = 0;

    for (size_t i = 0; i < bytes; i++)
        area[i] = (unsigned char)value;
    sched_yield();
    for (size_t i = 0; i < bytes; i++)
        wrong += area[i] != (unsigned char)value;
    return wrong;
}

/* GCC's stack protector word.  Code compiled with it compares this with what it stored when its function was entered. */
uintptr_t stack_guard(void)
{
#if defined(__x86_64__)
    uintptr_t guard;
    __asm__("mov %%fs:0x28, %0" : "=r"(guard));
    return guard;
#else
    return 0; /* a global */
#endif
}

/* The table that isalpha and its like read in this thread: its locale's. */
const void *ctype_table(void)
{
    return *__ctype_b_loc();
}

/* How many letters the macro finds in ASCII. */
int count_letters(void)
{
    int letters = 0;
    for (int c = 0; c < 128; c++)
        letters += isalpha(c) != 0;
    return letters;
}

/* ---- what runs at a thread's end --------------------------------------------------------------------------------- */

static pthread_key_t key;
static atomic_int rounds, keep_setting, events, cxa_at, key_at;

static void key_destructor(void *value)
{
    atomic_fetch_add(&rounds, 1);
    if (!key_at)
        key_at = atomic_fetch_add(&events, 1) + 1;
    if (atomic_load(&keep_setting))
        pthread_setspecific(key, value);
}

static void cxa_destructor(void *value)
{
    (void)value;
    cxa_at = atomic_fetch_add(&events, 1) + 1;
}

int key_create(int again)
{
    keep_setting = again;
    rounds = events = cxa_at = key_at = 0;
    return pthread_key_create(&key, key_destructor);
}

int key_set(void)
{
    return pthread_setspecific(key, &key);
}

void *key_get(void)
{
    return pthread_getspecific(key);
}

int key_delete(void)
{
    return pthread_key_delete(key);
}

int key_rounds(void)
{
    return rounds;
}

extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso);
extern void *__dso_handle;

/* What a C++ compiler emits for a thread_local with a destructor. */
int cxa_register(void)
{
    return __cxa_thread_atexit_impl(cxa_destructor, NULL, &__dso_handle);
}

/* When the C++ and the key destructor ran: 1 first, 2 second, 0 not. */
void destructor_order(int out[2])
{
    out[0] = cxa_at;
    out[1] = key_at;
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static uintptr_t avoid_low, avoid_high;
static atomic_int collisions;

static void *see_stack(void *barrier)
{
    char *frame = __builtin_frame_address(0);
    if ((uintptr_t)frame >= avoid_low && (uintptr_t)frame < avoid_high)
        atomic_fetch_add(&collisions, 1);
    pthread_barrier_wait(barrier);
    return NULL;
}

/* Makes several pthreads alive at once; how many of them run on [avoid_low, avoid_high). */
static int pthreads_on_it(void)
{
    enum { N = 8 };
    pthread_t threads[N];
    pthread_barrier_t barrier;

    pthread_barrier_init(&barrier, NULL, N);
    for (int i = 0; i < N; i++)
        if (pthread_create(&threads[i], NULL, see_stack, &barrier) != 0)
            return 99;
    for (int i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    return atomic_load(&collisions);
}

static int wait_for(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 98;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static void *fork_again(void *unused)
{
    pid_t pid = fork();
    (void)unused;
    if (pid == 0)
        _exit(pthreads_on_it()); /* here the thread that owns the stack is gone: glibc may think the stack free */
    return (void *)(intptr_t)wait_for(pid);
}

/* Forks; in the child makes pthreads, one of which forks again and makes pthreads there.  How many ran on the given range, or
 * 98 and up: something failed. */
int fork_and_look(uintptr_t low, uintptr_t high)
{
    avoid_low = low;
    avoid_high = high;
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        void *result = (void *)97;
        int here = pthreads_on_it();
        if (here)
            _exit(here);
        if (pthread_create(&thread, NULL, fork_again, NULL) == 0)
            pthread_join(thread, &result);
        _exit((int)(intptr_t)result);
    }
    return wait_for(pid);
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static atomic_int handled, strange, expected_cpu;
static __thread int handled_here __attribute__((tls_model("initial-exec"))); /* elsewhere the first use may call malloc */

static void count_signal(int number)
{
    int saved = errno;
    (void)number;
    errno = EXDEV;
    /* On a block that is half made, errno and our variable are another's, rseq's area or the ctype tables aren't there yet. */
    handled_here++;
    if (errno != EXDEV || handled_here <= 0 || !isalpha('a'))
        atomic_fetch_add(&strange, 1);
    if (expected_cpu >= 0 && sched_getcpu() != expected_cpu)
        atomic_fetch_add(&strange, 1);
    atomic_fetch_add(&handled, 1);
    errno = saved;
}

/* Installs the handler.  It runs only in threads that are bound to `cpu`, or -1: anywhere. */
int count_signals(int number, int cpu)
{
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    handled = strange = 0;
    expected_cpu = cpu;
    return sigaction(number, &action, NULL);
}

int signals_handled(void)
{
    return handled;
}

int signals_strange(void)
{
    return strange;
}

/* Sends a signal to this process as fast as it goes, from a process of its own, until storm_end(). */
pid_t storm_begin(int number)
{
    pid_t target = getpid();
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            if (syscall(SYS_kill, target, number) != 0)
                syscall(SYS_exit_group, 1);
    }
    return pid;
}

int storm_end(pid_t pid)
{
    kill(pid, SIGKILL);
    return waitpid(pid, NULL, 0) == pid;
}

/* The kernel's 64 bits of this thread's mask: libc's functions hide 32 and 33. */
uint64_t signal_mask(void)
{
    uint64_t mask = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof mask);
    return mask;
}

/* ---- holding a thread at its end --------------------------------------------------------------------------------- */

/* A process that stops the thread `tid` of ours in the kernel's do_exit(), before its memory is let go and its word cleared.
 * Says 's' on `out` when it watches, 'x' when the thread hangs there, 'e' on failure, and lets it go when `in` has a byte. */
pid_t hold(pid_t tid, int in, int out)
{
    int go[2], status;
    char byte = 0;

    if (pipe(go) != 0)
        return -1;
    /* Not libc's fork, with its locks and handlers: the child makes system calls only. */
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid != 0) {
        prctl(PR_SET_PTRACER, pid, 0, 0, 0); /* where Yama restricts tracing to parents */
        (void)!write(go[1], "g", 1);
        close(go[0]);
        close(go[1]);
        return pid;
    }
    (void)!read(go[0], &byte, 1);
    if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXIT) != 0)
        goto failed;
    (void)!write(out, "s", 1);
    for (;;) {
        if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status))
            goto failed;
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
            break;
        ptrace(PTRACE_CONT, tid, 0, status >> 16 ? 0 : WSTOPSIG(status));
    }
    (void)!write(out, "x", 1);
    (void)!read(in, &byte, 1);
    ptrace(PTRACE_DETACH, tid, 0, 0);
    syscall(SYS_exit_group, 0);
failed:
    (void)!write(out, "e", 1);
    syscall(SYS_exit_group, 1);
    return -1;
}

/* ---- TLS --------------------------------------------------------------------------------------------------------- */

struct tls_module {
    uintptr_t id, image, image_size, size, align;
    uintptr_t here; /* the calling thread's block, 0 when it has none yet */
};

struct modules {
    struct tls_module *out;
    int room, count;
};

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct modules *modules = arg;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum && modules->count < modules->room; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_tls_modid)
            modules->out[modules->count++]
                = (struct tls_module){info->dlpi_tls_modid,        info->dlpi_addr + info->dlpi_phdr[i].p_vaddr,
                                      info->dlpi_phdr[i].p_filesz, info->dlpi_phdr[i].p_memsz,
                                      info->dlpi_phdr[i].p_align,  (uintptr_t)info->dlpi_tls_data};
    return 0;
}

/* Every module with TLS, as dl_iterate_phdr(3) tells. */
int tls_modules(struct tls_module *out, int room)
{
    struct modules modules = {out, room, 0};
    dl_iterate_phdr(add_module, &modules);
    return modules.count;
}

void *thread_pointer(void)
{
#if defined(__x86_64__)
    void *tp;
    __asm__("mov %%fs:0, %0" : "=r"(tp));
    return tp;
#else
    return __builtin_thread_pointer();
#endif
}

void *resolver_state(void)
{
    return __res_state();
}

static __thread int counter;

void *counter_address(void)
{
    return &counter;
}

void *errno_address(void)
{
    return &errno;
}
