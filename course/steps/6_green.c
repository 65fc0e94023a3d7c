/* Step 6: many threads on one LWP.  cc 6_green.c && ./a.out */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK (64 * 1024)

/* Pushes what the ABI has a function preserve, and writes the stack pointer to *left; then
 * pops the same from the stack at sp. */
void swap(void **left, void *sp);
void begin(void);

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl swap, begin\n"
        "swap:  push %rbp\n"
        "       push %rbx\n"
        "       push %r12\n"
        "       push %r13\n"
        "       push %r14\n"
        "       push %r15\n"
        "       mov  %rsp, (%rdi)\n"
        "       mov  %rsi, %rsp\n" /* from here on it is the other thread's stack */
        "       pop  %r15\n"
        "       pop  %r14\n"
        "       pop  %r13\n"
        "       pop  %r12\n"
        "       pop  %rbx\n"
        "       pop  %rbp\n"
        "       ret\n"
        "begin: mov  %rbx, %rdi\n" /* a new thread's first return leads here */
        "       call main_of_thread\n");
enum { WORDS = 7, RETURN = 6, ARGUMENT = 4 }; /* of what swap() takes from a stack */
#define SET_THREAD_POINTER(tp) syscall(SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, tp)
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl swap, begin\n"
        "swap:  sub  sp, sp, #160\n"
        "       stp  x29, x30, [sp]\n"
        "       stp  x19, x20, [sp, #16]\n"
        "       stp  x21, x22, [sp, #32]\n"
        "       stp  x23, x24, [sp, #48]\n"
        "       stp  x25, x26, [sp, #64]\n"
        "       stp  x27, x28, [sp, #80]\n"
        "       stp  d8, d9, [sp, #96]\n"
        "       stp  d10, d11, [sp, #112]\n"
        "       stp  d12, d13, [sp, #128]\n"
        "       stp  d14, d15, [sp, #144]\n"
        "       mov  x9, sp\n"
        "       str  x9, [x0]\n"
        "       mov  sp, x1\n" /* from here on it is the other thread's stack */
        "       ldp  d14, d15, [sp, #144]\n"
        "       ldp  d12, d13, [sp, #128]\n"
        "       ldp  d10, d11, [sp, #112]\n"
        "       ldp  d8, d9, [sp, #96]\n"
        "       ldp  x27, x28, [sp, #80]\n"
        "       ldp  x25, x26, [sp, #64]\n"
        "       ldp  x23, x24, [sp, #48]\n"
        "       ldp  x21, x22, [sp, #32]\n"
        "       ldp  x19, x20, [sp, #16]\n"
        "       ldp  x29, x30, [sp]\n"
        "       add  sp, sp, #160\n"
        "       ret\n"
        "begin: mov  x0, x19\n" /* a new thread's first return leads here */
        "       bl   main_of_thread\n");
enum { WORDS = 20, RETURN = 1, ARGUMENT = 2 };
#define SET_THREAD_POINTER(tp) __asm__ volatile("msr tpidr_el0, %0" : : "r"(tp) : "memory")
#endif

extern char *_dl_allocate_tls(void *memory);

struct green {
    struct green *next; /* in the ring of all that can run */
    void *sp;
    char *tp, *stack;
    void (*work)(const char *name);
    const char *name;
    int ended;
};

static struct green main_thread = {.next = &main_thread};
static struct green *current = &main_thread;

static void run_next(void)
{
    struct green *from = current;

    current = from->next;
    SET_THREAD_POINTER(current->tp);
    swap(&from->sp, current->sp);
}

void main_of_thread(struct green *me)
{
    struct green *before = me;

    me->work(me->name);
    me->ended = 1;
    while (before->next != me)
        before = before->next;
    before->next = me->next;
    run_next(); /* and nothing comes back here */
}

static void spawn(struct green *thread, void (*work)(const char *name), const char *name)
{
    char *stack
        = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    void **sp = (void **)(stack + STACK) - WORDS;

    *thread = (struct green){current->next, sp, _dl_allocate_tls(NULL), stack, work, name, 0};
    sp[RETURN] = (void *)begin;
    sp[ARGUMENT] = thread;
#if defined(__x86_64__)
    size_t *tcb = (size_t *)thread->tp, *mine = (size_t *)main_thread.tp;
    tcb[0] = tcb[2] = (size_t)tcb;
    tcb[5] = mine[5]; /* run_next() begins in one thread, and returns in another */
    tcb[6] = mine[6];
#endif
    current->next = thread;
}

static void join(struct green *thread)
{
    while (!thread->ended)
        run_next();
    munmap(thread->stack, STACK);
}

static __thread int number = 42;

static void count(const char *name)
{
    for (int n = 0; n < 3; n++) {
        number++;
        printf("%s: number %d at %p, tid %d\n", name, number, (void *)&number, gettid());
        run_next();
    }
}

int main(void)
{
    struct green a, b;

    main_thread.tp = __builtin_thread_pointer();
    spawn(&a, count, "a");
    spawn(&b, count, "b");
    join(&a);
    join(&b);
    printf("main: number %d at %p, tid %d\n", number, (void *)&number, gettid());
    return 0;
}
