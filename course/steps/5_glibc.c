/* Step 5: what glibc misses in such a thread.  cc -g 5_glibc.c && ./a.out */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <linux/futex.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK (64 * 1024)
#define THREAD_FLAGS                                                                  \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM \
     | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

/* What is done for the thread. */
enum { TLS = 1, GUARD = 2, CTYPE = 4, SECOND = 8, TID = 16, DTV = 32, LIST = 64, ALL = 127 };

/* glibc's own: for its parts, and for debuggers. */
extern char *_dl_allocate_tls(void *memory);
extern void __ctype_init(void);
extern const unsigned _thread_db_sizeof_pthread;
extern const unsigned _thread_db_pthread_tid[3], _thread_db_pthread_list[3],
    _thread_db_rtld_global__dl_stack_user[3];

struct dtv_entry {
    size_t value;
    void *to_free;
};
struct list {
    struct list *next, *prev;
};
struct tls_index {
    size_t module, offset;
};
extern void *__tls_get_addr(struct tls_index *index);

static __thread int number = 42;
static int done, alive, tid_of_nobody;
static int mains_turn, threads_turn;
static void (*work)(void);
static const char *outcome;

static void wait_while(int *word, int value)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
        syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void set(int *word)
{
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void let_main_look(void)
{
    set(&mains_turn);
    wait_while(&threads_turn, 0);
}

static int run(void *arg)
{
    (void)arg;
    if (done & CTYPE)
        __ctype_init();
    work();
    set(&mains_turn);
    return 0;
}

static void *return_at_once(void *arg)
{
    return arg;
}

static void link_to_glibcs_list(struct list *node)
{
    char *rtld = dlsym(RTLD_DEFAULT, "_rtld_global");
    struct list *head = (struct list *)(rtld + _thread_db_rtld_global__dl_stack_user[2]);

    *node = (struct list){head->next, head};
    head->next = head->next->prev = node;
}

static void start(void)
{
    static struct dtv_entry own_dtv[64];
    char *stack
        = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    char *tp = _dl_allocate_tls(NULL); /* a block as in step 4, and a struct pthread of zeros */
    size_t *tcb = (size_t *)tp;
    pthread_t second;
#if defined(__x86_64__)
    char *pthread = tp;
    struct dtv_entry **dtv = (struct dtv_entry **)&tcb[1];
    tcb[0] = tcb[2] = (size_t)tp;
    tcb[5] = ((size_t *)pthread_self())[5];
    if (done & GUARD)
        tcb[6] = ((size_t *)pthread_self())[6];
#elif defined(__aarch64__)
    char *pthread = tp - _thread_db_sizeof_pthread;
    struct dtv_entry **dtv = (struct dtv_entry **)&tcb[0];
#endif
    if (!(done & DTV)) {
        memcpy(own_dtv, *dtv - 1, 4 * sizeof **dtv);
        own_dtv[0].value = 2; /* room for two modules, the program and glibc */
        *dtv = own_dtv + 1;
    }
    if (done & LIST)
        link_to_glibcs_list((struct list *)(pthread + _thread_db_pthread_list[2]));
    if (done & SECOND && !pthread_create(&second, NULL, return_at_once, NULL))
        pthread_join(second, NULL);
    alive = 1;
    int *tid = done & TID ? (int *)(pthread + _thread_db_pthread_tid[2]) : &tid_of_nobody;
    int flags = THREAD_FLAGS | (done & TLS ? CLONE_SETTLS : 0);
    if (stack == MAP_FAILED || clone(run, stack + STACK, flags, NULL, tid, tp, &alive) < 0) {
        perror("mmap or clone");
        exit(1);
    }
}

/* printf() takes the lock of its FILE. */
static FILE *file;

static ssize_t write_slowly(void *cookie, const char *text, size_t size)
{
    (void)cookie, (void)text;
    let_main_look();
    return size;
}

static void print(void)
{
    fprintf(file, "%d", number);
}

static void enter_file(void)
{
    outcome = ftrylockfile(file) ? "main must wait" : "main gets in as well";
}

/* isalpha() looks into a table. */
static const unsigned short *mains_table;

static void classify(void)
{
    const int as_main = isalpha('a') && *__ctype_b_loc() == mains_table;

    outcome = as_main ? "the locale's table" : "not the locale's table";
}

/* malloc() takes the lock of a heap. */
static char *mains_memory;

static void allocate(void)
{
    const long apart = labs((char *)malloc(100) - mains_memory);

    outcome = apart < 1 << 20 ? "from main's heap" : "from a heap of its own";
}

/* A mutex knows its holder by the tid. */
static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void lock(void)
{
    pthread_mutex_lock(&mutex);
}

static void lock_too(void)
{
    outcome = pthread_mutex_trylock(&mutex) ? "main must wait" : "main locks it as well";
}

/* setlocale() takes a lock for writing. */
static void set_locale(void)
{
    setlocale(LC_ALL, "C");
}

static void set_locale_too(void)
{
    alarm(2);
    outcome = setlocale(LC_ALL, "C.UTF-8");
}

/* A library with thread-local variables is loaded while the thread runs. */
static struct tls_index later;

static void use_library(void)
{
    let_main_look();
    outcome = __tls_get_addr(&later) ? "has its variables" : "has none";
}

static void load_library(void)
{
    const char *names[] = {"libgcc_s.so.1", "libgomp.so.1", "libstdc++.so.6"};

    for (int n = 0; n < 3 && !later.module; n++) {
        void *library = dlopen(names[n], RTLD_NOW);
        if (library)
            dlinfo(library, RTLD_DI_TLS_MODID, &later.module);
    }
}

/* fork() takes its caller off a list. */
static void fork_in_it(void)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(0);
    waitpid(child, &status, 0);
    outcome = WIFSIGNALED(status) ? "its child crashes" : "its child lives";
}

static void stop(void)
{
    raise(SIGTRAP);
}

static void run_trial(int what, void (*in_thread)(void), void (*in_main)(void))
{
    done = what;
    work = in_thread;
    start();
    wait_while(&mains_turn, 0);
    if (in_main)
        in_main();
    set(&threads_turn);
    wait_while(&alive, 1);
}

static void try(const char *name, const char *missing, int without, void (*in_thread)(void),
                void (*in_main)(void))
{
    int status;

    printf("%-11s%-18s", name, missing);
    for (int n = 0; n < 2; n++) {
        fflush(stdout);
        if (fork() == 0) {
            run_trial(n ? ALL : ALL & ~without, in_thread, in_main);
            printf("%-25s", outcome);
            fflush(stdout);
            _exit(0);
        }
        wait(&status);
        if (WIFSIGNALED(status))
            printf("%-25s", strsignal(WTERMSIG(status)));
    }
    printf("\n");
}

int main(int count, char **arguments)
{
    mains_memory = malloc(100);
    setlocale(LC_ALL, "C.UTF-8");
    mains_table = *__ctype_b_loc();
    file = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_slowly});
    setvbuf(file, NULL, _IONBF, 0);

    if (count > 1) { /* for a debugger */
        run_trial(atoi(arguments[1]), let_main_look, stop);
        return 0;
    }
    printf("%-11s%-18s%-25s%s\n", "call", "what is missing", "without it", "with it");
    try("printf", "CLONE_SETTLS", TLS, print, enter_file);
    try("printf", "pointer guard", GUARD, print, enter_file);
    try("isalpha", "__ctype_init", CTYPE, classify, NULL);
    try("malloc", "a pthread, once", SECOND, allocate, NULL);
    try("mutex", "tid", TID, lock, lock_too);
    try("setlocale", "tid", TID, set_locale, set_locale_too);
    try("dlopen", "DTV of malloc", DTV, use_library, load_library);
    try("fork", "glibc's list", LIST, fork_in_it, NULL);
    return 0;
}
