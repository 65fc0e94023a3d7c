/* Step 4: thread-local storage by hand.  cc 4_tls.c && ./a.out */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK (64 * 1024)
#define THREAD_FLAGS                                                                  \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM \
     | CLONE_CHILD_CLEARTID)

#if defined(__x86_64__)
#define READ_THREAD_POINTER "mov %%fs:0, %0"
#define TCB_DTV 1 /* the word of the TCB that points at the DTV */
#elif defined(__aarch64__)
#define READ_THREAD_POINTER "mrs %0, tpidr_el0"
#define TCB_DTV 0
#endif

static __thread int number = 42;

static struct {
    char *tp;
    int *where, *by_dtv;
    int number, error, mains_errno;
} seen;

static char *thread_pointer(void)
{
    char *tp;

    __asm__(READ_THREAD_POINTER : "=r"(tp));
    return tp;
}

struct dtv_entry {
    size_t value;
    void *to_free;
};

struct tls_index {
    size_t module, offset;
};
extern void *__tls_get_addr(struct tls_index *index);

static int run(void *mains_errno)
{
    struct tls_index first = {1, 0}; /* the first byte of module 1, which is the program */

    number++;
    close(-1); /* fails with EBADF, 9 */
    seen.tp = thread_pointer();
    seen.where = &number;
    seen.by_dtv = __tls_get_addr(&first);
    seen.number = number;
    seen.error = errno;
    seen.mains_errno = *(int *)mains_errno;
    return 0;
}

#define ROOM 16   /* for modules in the DTV */
#define SIDE 8192 /* bytes on each side of the new thread pointer */

static int copy_template(struct dl_phdr_info *module, size_t size, void *new_tp)
{
    struct dtv_entry *dtv = ((struct dtv_entry **)new_tp)[TCB_DTV];

    (void)size;
    for (int n = 0; n < module->dlpi_phnum; n++) {
        const ElfW(Phdr) *segment = &module->dlpi_phdr[n];
        if (segment->p_type != PT_TLS)
            continue;
        char *block = (char *)new_tp + ((char *)module->dlpi_tls_data - thread_pointer());
        memcpy(block, (char *)module->dlpi_addr + segment->p_vaddr, segment->p_filesz);
        dtv[module->dlpi_tls_modid].value = (size_t)block;
    }
    return 0;
}

static char *new_tls(void)
{
    static char memory[2 * SIDE] __attribute__((aligned(4096)));
    static struct dtv_entry dtv[1 + 1 + ROOM];
    size_t *tcb = (size_t *)(memory + SIDE), *mine = (size_t *)thread_pointer();

    dtv[0].value = ROOM;
    dtv[1].value = *(size_t *)mine[TCB_DTV]; /* the generation, as in the creator's DTV */
    tcb[TCB_DTV] = (size_t)&dtv[1];
#if defined(__x86_64__)
    tcb[0] = (size_t)tcb; /* fs:0 is how code reads the thread pointer */
    tcb[2] = (size_t)tcb; /* fs:16, pthread_self() */
    tcb[5] = mine[5];     /* fs:40, what the stack protector compares */
    tcb[6] = mine[6];     /* fs:48, with which glibc mangles pointers to functions */
#endif
    dl_iterate_phdr(copy_template, tcb);
    return (char *)tcb;
}

static void try(const char *name, int flags, char *tls)
{
    char *stack
        = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    int alive = 1;

    number = 42;
    errno = 0;
    if (stack == MAP_FAILED
        || clone(run, stack + STACK, THREAD_FLAGS | flags, &errno, NULL, tls, &alive) < 0) {
        perror("mmap or clone");
        exit(1);
    }
    while (__atomic_load_n(&alive, __ATOMIC_ACQUIRE))
        syscall(SYS_futex, &alive, FUTEX_WAIT, 1, NULL, NULL, 0);
    munmap(stack, STACK);

    printf("\n%-15s%-17s%-17s%-8s%-8s%s\n", name, "thread pointer", "&number", "offset", "number",
           "errno");
    printf("%-15s%-17p%-17p%-+8td%-8d%d\n", "main", thread_pointer(), &number,
           (char *)&number - thread_pointer(), number, seen.mains_errno);
    printf("%-15s%-17p%-17p%-+8td%-8d%d\n", "the thread", seen.tp, seen.where,
           (char *)seen.where - seen.tp, seen.number, seen.error);
    printf("%-15s%-17s%-17p\n", "by its DTV", "", seen.by_dtv);
}

int main(void)
{
    try("no SETTLS", 0, NULL);
    try("CLONE_SETTLS", CLONE_SETTLS, new_tls());
    return 0;
}
