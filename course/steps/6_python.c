/* Step 6: Python in it.  cc 6_python.c $(python3-config --includes) $(python3-config --embed --ldflags) && ./a.out */
#define _GNU_SOURCE
#include <Python.h>
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define STACK (8 * 1024 * 1024)
#define THREAD_FLAGS                                                                  \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM \
     | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

extern char *_dl_allocate_tls(void *memory);
extern void __ctype_init(void);
extern const unsigned _thread_db_sizeof_pthread;
extern const unsigned _thread_db_pthread_tid[3], _thread_db_pthread_list[3],
    _thread_db_rtld_global__dl_stack_user[3];

struct list {
    struct list *next, *prev;
};

struct thread {
    const char *program;
    struct list *link;
    char *stack;
    int alive;
};

static int run(void *arg)
{
    struct thread *me = arg;

    __ctype_init();
    PyThreadState *tstate = PyThreadState_New(PyInterpreterState_Main());
    PyEval_RestoreThread(tstate); /* waits for the GIL */
    PyRun_SimpleString(me->program);
    PyThreadState_Clear(tstate);
    PyThreadState_DeleteCurrent(); /* gives the GIL up */
    return 0;
}

static void *return_at_once(void *arg)
{
    return arg;
}

static void start(struct thread *thread, const char *program)
{
    struct list *head = (struct list *)((char *)dlsym(RTLD_DEFAULT, "_rtld_global")
                                        + _thread_db_rtld_global__dl_stack_user[2]);
    char *tp = _dl_allocate_tls(NULL), *pthread = tp;
#if defined(__x86_64__)
    size_t *tcb = (size_t *)tp, *mine = (size_t *)pthread_self();
    tcb[0] = tcb[2] = (size_t)tp;
    tcb[5] = mine[5];
    tcb[6] = mine[6];
#elif defined(__aarch64__)
    pthread -= _thread_db_sizeof_pthread;
#endif
    thread->link = (struct list *)(pthread + _thread_db_pthread_list[2]);
    *thread->link = (struct list){head->next, head};
    head->next = head->next->prev = thread->link;

    thread->program = program;
    thread->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    thread->alive = 1;
    if (clone(run, thread->stack + STACK, THREAD_FLAGS, thread, pthread + _thread_db_pthread_tid[2],
              tp, &thread->alive)
        < 0) {
        perror("clone");
        exit(1);
    }
}

static void join(struct thread *thread)
{
    Py_BEGIN_ALLOW_THREADS
    while (__atomic_load_n(&thread->alive, __ATOMIC_ACQUIRE))
        syscall(SYS_futex, &thread->alive, FUTEX_WAIT, 1, NULL, NULL, 0);
    Py_END_ALLOW_THREADS
    thread->link->prev->next = thread->link->next;
    thread->link->next->prev = thread->link->prev;
    munmap(thread->stack, STACK);
}

int main(void)
{
    struct thread threads[2];
    pthread_t second;

    if (!pthread_create(&second, NULL, return_at_once, NULL))
        pthread_join(second, NULL);
    Py_Initialize();
    PyRun_SimpleString(
        "import threading\n"
        "local, said = threading.local(), []\n"
        "def say(name):\n"
        "    local.name = name\n"
        "    number = sum(range(1_000_000))\n"
        "    said.append((local.name, hex(threading.get_ident()), threading.get_native_id(), number))\n");
    start(&threads[0], "say('first')");
    start(&threads[1], "say('second')");
    join(&threads[0]);
    join(&threads[1]);
    PyRun_SimpleString("say('main')\n"
                       "for line in said: print(*line)\n");
    return Py_FinalizeEx() < 0;
}
