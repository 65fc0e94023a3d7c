/* aarch64: the thread pointer is tpidr_el0.  Written from the ABI and glibc's sources; see docs/platforms.md for what ran. */
#if defined(__aarch64__)
#include "kernel/arch/arch.h"

#include <sys/syscall.h>

/* glibc's tcbhead_t (sysdeps/aarch64/nptl/tls.h), at tp.  The modules' blocks follow; struct pthread ends just below. */
struct tcb {
    void *dtv;
    void *unused;
};

/* The head of struct pthread, which is not part of the TCB here (nptl/descr.h).  The guards are globals on this processor. */
struct pthread_head {
    int multiple_threads;
    int gscope_flag;
};

void *arch_thread_pointer(void)
{
    void *tp;
    __asm__("mrs %0, tpidr_el0" : "=r"(tp));
    return tp;
}

long runtime_clone_aarch64(unsigned long flags, void *stack, int *parent_tid, int *child_tid, void *thread_pointer,
                           void (*entry)(void *), void *arg);
/* clang-format off */
__asm__(
    ".pushsection .text\n"
    ".hidden runtime_clone_aarch64\n"
    ".globl runtime_clone_aarch64\n"
    ".type runtime_clone_aarch64, %function\n"
    "runtime_clone_aarch64:\n"
    "	.cfi_startproc\n"
    "	hint	#34\n"                  /* bti c: indirect calls may land here */
    "	and	x1, x1, #-16\n"         /* sp must be 16-byte aligned whenever it is used */
    "	mov	x7, x3\n"               /* this processor's clone takes (flags, stack, parent_tid, tls, child_tid) */
    "	mov	x3, x4\n"
    "	mov	x4, x7\n"
    "	mov	x8, #220\n"             /* SYS_clone */
    "	svc	#0\n"
    "	cbz	x0, 1f\n"
    "	ret\n"                          /* parent: tid or -errno */
    "1:	.cfi_undefined x30\n"           /* child: unwinders end here */
    "	mov	x29, #0\n"              /* and frame-pointer walkers */
    "	mov	x30, #0\n"
    "	mov	x0, x6\n"               /* the kernel preserves every register but x0: arg and entry are still there */
    "	blr	x5\n"
    "	brk	#1\n"                   /* entry never returns */
    "	.cfi_endproc\n"
    ".size runtime_clone_aarch64, .-runtime_clone_aarch64\n"
    ".popsection\n");
/* clang-format on */

_Static_assert(SYS_clone == 220, "SYS_clone");

long arch_clone(unsigned long flags, void *stack, int *parent_tid, int *child_tid, void *thread_pointer, void (*entry)(void *),
                void *arg)
{
    return runtime_clone_aarch64(flags, stack, parent_tid, child_tid, thread_pointer, entry, arg);
}

_Noreturn void arch_exit(int status)
{
    register long x8 __asm__("x8") = SYS_exit;
    register long x0 __asm__("x0") = status;
    for (;;)
        __asm__ volatile("svc #0" : : "r"(x8), "r"(x0) : "memory");
}

const char *arch_swap_check(void)
{
    return NULL;
}

void runtime_swap_aarch64(void **left, void *sp, void *thread_pointer);
void runtime_swap_begin_aarch64(void);
/* clang-format off */
__asm__(
    ".pushsection .text\n"
    ".hidden runtime_swap_aarch64\n"
    ".globl runtime_swap_aarch64\n"
    ".type runtime_swap_aarch64, %function\n"
    "runtime_swap_aarch64:\n"
    "	.cfi_startproc\n"
    "	hint	#34\n"                  /* bti c */
    "	sub	sp, sp, #176\n"
    "	.cfi_adjust_cfa_offset 176\n"
    "	stp	x29, x30, [sp]\n"       /* what the ABI says a function preserves */
    "	.cfi_rel_offset x29, 0\n"
    "	.cfi_rel_offset x30, 8\n"
    "	stp	x19, x20, [sp, #16]\n"
    "	stp	x21, x22, [sp, #32]\n"
    "	stp	x23, x24, [sp, #48]\n"
    "	stp	x25, x26, [sp, #64]\n"
    "	stp	x27, x28, [sp, #80]\n"
    "	stp	d8, d9, [sp, #96]\n"
    "	stp	d10, d11, [sp, #112]\n"
    "	stp	d12, d13, [sp, #128]\n"
    "	stp	d14, d15, [sp, #144]\n"
    "	mrs	x9, fpcr\n"             /* rounding, which exceptions trap */
    "	str	x9, [sp, #160]\n"
    "	mov	x10, sp\n"
    "	str	x10, [x0]\n"
    "	msr	tpidr_el0, x2\n"        /* user code may write it */
    "	mov	sp, x1\n"               /* from here on the other's frame, which has the same shape */
    "	ldr	x9, [sp, #160]\n"
    "	msr	fpcr, x9\n"
    "	ldp	d14, d15, [sp, #144]\n"
    "	ldp	d12, d13, [sp, #128]\n"
    "	ldp	d10, d11, [sp, #112]\n"
    "	ldp	d8, d9, [sp, #96]\n"
    "	ldp	x27, x28, [sp, #80]\n"
    "	ldp	x25, x26, [sp, #64]\n"
    "	ldp	x23, x24, [sp, #48]\n"
    "	ldp	x21, x22, [sp, #32]\n"
    "	ldp	x19, x20, [sp, #16]\n"
    "	ldp	x29, x30, [sp]\n"
    "	add	sp, sp, #176\n"
    "	.cfi_adjust_cfa_offset -176\n"
    "	.cfi_restore x29\n"
    "	.cfi_restore x30\n"
    "	ret\n"
    "	.cfi_endproc\n"
    ".size runtime_swap_aarch64, .-runtime_swap_aarch64\n"
    ".hidden runtime_swap_begin_aarch64\n"
    ".globl runtime_swap_begin_aarch64\n"
    ".type runtime_swap_begin_aarch64, %function\n"
    "runtime_swap_begin_aarch64:\n"    /* where a new context's first `ret` leads: see arch_swap_begin() */
    "	.cfi_startproc\n"
    "	.cfi_undefined x30\n"          /* unwinders end here, there is no caller */
    "	hint	#36\n"                  /* bti j */
    "	mov	x0, x20\n"
    "	blr	x19\n"
    "	brk	#1\n"                   /* entry never returns */
    "	.cfi_endproc\n"
    ".size runtime_swap_begin_aarch64, .-runtime_swap_begin_aarch64\n"
    ".popsection\n");
/* clang-format on */

void arch_swap(void **left, void *sp, void *thread_pointer)
{
    runtime_swap_aarch64(left, sp, thread_pointer);
}

void *arch_swap_begin(void *stack_high, void (*entry)(void *), void *arg)
{
    struct { /* what runtime_swap_aarch64() loads */
        void *x29, *x30, *x19, *x20, *x21_to_x28[8];
        double d8_to_d15[8];
        unsigned long fpcr, unused;
    } *frame = (void *)(((uintptr_t)stack_high & ~(uintptr_t)15) - sizeof *frame);

    _Static_assert(sizeof *frame == 176, "the frame of runtime_swap_aarch64()");
    *frame = (__typeof__(*frame)){.x30 = (void *)runtime_swap_begin_aarch64, .x19 = (void *)entry, .x20 = arg};
    __asm__("mrs %0, fpcr" : "=r"(frame->fpcr)); /* from the creator: clone(2) does so too */
    return frame;
}

void arch_set_thread_pointer(void *tp)
{
    __asm__ volatile("msr tpidr_el0, %0" : : "r"(tp) : "memory");
}

void **arch_tcb_dtv(void *tp)
{
    return &((struct tcb *)tp)->dtv;
}

void arch_tcb_init(void *tp, void *pthread)
{
    struct pthread_head *head = pthread;

    (void)tp;
    head->multiple_threads = 1;
    head->gscope_flag = 0;
}

#define FIELD(where, name, users) {#name, offsetof(struct where, name), sizeof((struct where *)0)->name, #where[0] == 'p', users}

const struct arch_tcb_field arch_tcb_fields[] = {
    FIELD(tcb, dtv, "__tls_get_addr and the dynamic linker: where each module's block is"),
    FIELD(tcb, unused, "nobody: kept for the ABI"),
    FIELD(pthread_head, multiple_threads, "the dynamic linker: 0 lets it skip its locks"),
    FIELD(pthread_head, gscope_flag, "dlclose: it waits until no thread is inside a symbol lookup"),
};
const int arch_tcb_field_count = sizeof arch_tcb_fields / sizeof *arch_tcb_fields;

const char *arch_tcb_check(void *pthread)
{
    struct pthread_head *head = pthread;

    if (head->multiple_threads != 1)
        return "the first word of struct pthread is not 1 in a process with threads: not multiple_threads";
    return NULL;
}
#endif
