/* x86-64: the thread pointer is the fs segment's base. */
#if defined(__x86_64__)
#include "kernel/arch/arch.h"

#include <asm/prctl.h>
#include <setjmp.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

/* The head of glibc's tcbhead_t (sysdeps/x86_64/nptl/tls.h).  GCC's stack protector, the sanitizers and libgcc's split
 * stacks are compiled against these offsets, so glibc can't move the fields; arch_tcb_check() checks them all the same. */
struct tcb {
    void *self_tcb;             /* fs:0x00, equals tp: how code reads the thread pointer without a system call */
    void *dtv;                  /* fs:0x08 */
    void *self;                 /* fs:0x10, struct pthread, THREAD_SELF */
    int multiple_threads;       /* fs:0x18, ld.so takes its single-threaded short cuts while 0 */
    int gscope_flag;            /* fs:0x1c, 0: not inside a lookup of the dynamic linker */
    uintptr_t sysinfo;          /* fs:0x20, unused on x86-64 */
    uintptr_t stack_guard;      /* fs:0x28, GCC's stack protector canary */
    uintptr_t pointer_guard;    /* fs:0x30, mangles jmp_bufs, atexit and gconv pointers */
    unsigned long unused[2];
    unsigned int feature_1;     /* fs:0x48, CET: shadow stack and IBT in use */
};

void *arch_thread_pointer(void)
{
    void *tp;
    __asm__("mov %%fs:0, %0" : "=r"(tp));
    return tp;
}

/* This is assembly because two threads return from the system call, and the child's stack is empty: it holds no return address. */
long runtime_clone_x86_64(unsigned long flags, void *stack, int *parent_tid, int *child_tid, void *thread_pointer,
                          void (*entry)(void *), void *arg);
/* clang-format off */
__asm__(
    ".pushsection .text\n"
    ".hidden runtime_clone_x86_64\n"
    ".globl runtime_clone_x86_64\n"
    ".type runtime_clone_x86_64, @function\n"
    "runtime_clone_x86_64:\n"
    "	.cfi_startproc\n"
    "	endbr64\n"
    "	and	$-16, %rsi\n"           /* the ABI wants rsp 16-byte aligned at a call: SSE spills fault otherwise */
    "	sub	$16, %rsi\n"            /* a slot for arg, alignment kept */
    "	mov	8(%rsp), %rax\n"        /* seventh argument: arg ... */
    "	mov	%rax, (%rsi)\n"         /* ... travels on the child's stack; entry stays in r9 */
    "	mov	%rcx, %r10\n"           /* the kernel takes argument 4 in r10: the syscall instruction overwrites rcx */
    "	mov	$56, %eax\n"            /* SYS_clone(flags rdi, stack rsi, parent_tid rdx, child_tid r10, tls r8) */
    "	syscall\n"
    "	test	%eax, %eax\n"
    "	jz	1f\n"
    "	ret\n"                          /* parent: tid or -errno in rax */
    "1:	.cfi_undefined rip\n"           /* child: unwinders end here, there is no caller */
    "	xor	%ebp, %ebp\n"           /* and frame-pointer walkers too */
    "	mov	(%rsp), %rdi\n"
    "	call	*%r9\n"
    "	hlt\n"                          /* entry never returns */
    "	.cfi_endproc\n"
    ".size runtime_clone_x86_64, .-runtime_clone_x86_64\n"
    ".popsection\n");
/* clang-format on */

_Static_assert(SYS_clone == 56, "SYS_clone");

long arch_clone(unsigned long flags, void *stack, int *parent_tid, int *child_tid, void *thread_pointer, void (*entry)(void *),
                void *arg)
{
    return runtime_clone_x86_64(flags, stack, parent_tid, child_tid, thread_pointer, entry, arg);
}

_Noreturn void arch_exit(int status)
{
    for (;;)
        __asm__ volatile("syscall" : : "a"(SYS_exit), "D"(status) : "rcx", "r11", "memory");
}

/* Whether user code may write the fs base: bit 1 of AT_HWCAP2, HWCAP2_FSGSBASE, from Linux 5.9 on
 * (Documentation/arch/x86/x86_64/fsgs.rst).  If not, the instruction raises SIGILL, and arch_prctl(2) writes it. */
__attribute__((visibility("hidden"), used)) char runtime_has_wrfsbase;

const char *arch_swap_check(void)
{
    struct tcb *mine = arch_thread_pointer();

    runtime_has_wrfsbase = (getauxval(AT_HWCAP2) >> 1) & 1;
    /* The processor checks each return against the LWP's shadow stack, where a swapped-in context has no entries. */
    return mine->feature_1 & 2 ? "the processor's shadow stack (CET) is in use" : NULL;
}

void runtime_swap_x86_64(void **left, void *sp, void *thread_pointer);
void runtime_swap_begin_x86_64(void);
/* clang-format off */
__asm__(
    ".pushsection .text\n"
    ".hidden runtime_swap_x86_64\n"
    ".globl runtime_swap_x86_64\n"
    ".type runtime_swap_x86_64, @function\n"
    "runtime_swap_x86_64:\n"
    "	.cfi_startproc\n"
    "	endbr64\n"
    "	push	%rbp\n"                 /* what the ABI says a function preserves */
    "	.cfi_adjust_cfa_offset 8\n"
    "	.cfi_rel_offset rbp, 0\n"
    "	push	%rbx\n"
    "	.cfi_adjust_cfa_offset 8\n"
    "	.cfi_rel_offset rbx, 0\n"
    "	push	%r12\n"
    "	.cfi_adjust_cfa_offset 8\n"
    "	.cfi_rel_offset r12, 0\n"
    "	push	%r13\n"
    "	.cfi_adjust_cfa_offset 8\n"
    "	.cfi_rel_offset r13, 0\n"
    "	push	%r14\n"
    "	.cfi_adjust_cfa_offset 8\n"
    "	.cfi_rel_offset r14, 0\n"
    "	push	%r15\n"
    "	.cfi_adjust_cfa_offset 8\n"
    "	.cfi_rel_offset r15, 0\n"
    "	sub	$8, %rsp\n"
    "	.cfi_adjust_cfa_offset 8\n"
    "	stmxcsr	(%rsp)\n"              /* SSE: rounding, which exceptions trap */
    "	fnstcw	4(%rsp)\n"             /* x87: the same, and precision */
    "	mov	(%rsp), %eax\n"
    "	movzwl	4(%rsp), %ecx\n"
    "	mov	%rsp, (%rdi)\n"
    "	cmpb	$0, runtime_has_wrfsbase(%rip)\n"
    "	je	2f\n"
    "	wrfsbase %rdx\n"
    "	mov	%rsi, %rsp\n"          /* from here on the other's frame, which has the same shape */
    "	cmp	(%rsp), %eax\n"       /* loading the control words is slow, and they are mostly equal */
    "	jne	3f\n"
    "	cmp	4(%rsp), %cx\n"
    "	jne	3f\n"
    "4:	add	$8, %rsp\n"
    "	.cfi_adjust_cfa_offset -8\n"
    "	pop	%r15\n"
    "	.cfi_adjust_cfa_offset -8\n"
    "	.cfi_restore r15\n"
    "	pop	%r14\n"
    "	.cfi_adjust_cfa_offset -8\n"
    "	.cfi_restore r14\n"
    "	pop	%r13\n"
    "	.cfi_adjust_cfa_offset -8\n"
    "	.cfi_restore r13\n"
    "	pop	%r12\n"
    "	.cfi_adjust_cfa_offset -8\n"
    "	.cfi_restore r12\n"
    "	pop	%rbx\n"
    "	.cfi_adjust_cfa_offset -8\n"
    "	.cfi_restore rbx\n"
    "	pop	%rbp\n"
    "	.cfi_adjust_cfa_offset -8\n"
    "	.cfi_restore rbp\n"
    "	ret\n"
    "3:	.cfi_adjust_cfa_offset 56\n"
    "	ldmxcsr	(%rsp)\n"
    "	fldcw	4(%rsp)\n"
    "	jmp	4b\n"
    "2:	mov	%rsi, %r8\n"           /* the system call overwrites rcx, r11 and rax only */
    "	mov	%rdx, %rsi\n"
    "	mov	$0x1002, %edi\n"       /* arch_prctl(ARCH_SET_FS, thread_pointer) */
    "	mov	$158, %eax\n"
    "	syscall\n"
    "	mov	%r8, %rsp\n"
    "	jmp	3b\n"
    "	.cfi_endproc\n"
    ".size runtime_swap_x86_64, .-runtime_swap_x86_64\n"
    ".hidden runtime_swap_begin_x86_64\n"
    ".globl runtime_swap_begin_x86_64\n"
    ".type runtime_swap_begin_x86_64, @function\n"
    "runtime_swap_begin_x86_64:\n"     /* where a new context's first `ret` leads: see arch_swap_begin() */
    "	.cfi_startproc\n"
    "	.cfi_undefined rip\n"          /* unwinders end here, there is no caller */
    "	mov	%r13, %rdi\n"
    "	call	*%r12\n"
    "	hlt\n"                         /* entry never returns */
    "	.cfi_endproc\n"
    ".size runtime_swap_begin_x86_64, .-runtime_swap_begin_x86_64\n"
    ".popsection\n");
/* clang-format on */

_Static_assert(SYS_arch_prctl == 158 && ARCH_SET_FS == 0x1002, "arch_prctl");

void arch_swap(void **left, void *sp, void *thread_pointer)
{
    runtime_swap_x86_64(left, sp, thread_pointer);
}

void *arch_swap_begin(void *stack_high, void (*entry)(void *), void *arg)
{
    struct { /* what runtime_swap_x86_64() pops */
        unsigned mxcsr;
        unsigned short x87, unused;
        void *r15, *r14, *r13, *r12, *rbx, *rbp, *rip;
    } *frame
        = (void *)(((uintptr_t)stack_high & ~(uintptr_t)15) - sizeof *frame); /* rsp is aligned before the call, as the ABI wants */

    *frame = (__typeof__(*frame)){.r13 = arg, .r12 = (void *)entry, .rip = (void *)runtime_swap_begin_x86_64};
    __asm__("stmxcsr %0" : "=m"(frame->mxcsr)); /* from the creator: clone(2) does so too */
    __asm__("fnstcw %0" : "=m"(frame->x87));
    return frame;
}

void arch_set_thread_pointer(void *tp)
{
    long result = SYS_arch_prctl;

    if (runtime_has_wrfsbase)
        __asm__ volatile("wrfsbase %0" : : "r"(tp) : "memory");
    else
        __asm__ volatile("syscall" : "+a"(result) : "D"(ARCH_SET_FS), "S"(tp) : "rcx", "r11", "memory");
}

void **arch_tcb_dtv(void *tp)
{
    return &((struct tcb *)tp)->dtv;
}

void arch_tcb_init(void *tp, void *pthread)
{
    struct tcb *tcb = tp, *mine = arch_thread_pointer();

    tcb->self_tcb = tp;
    tcb->self = pthread;
    tcb->multiple_threads = 1;
    tcb->gscope_flag = 0;
    tcb->stack_guard = mine->stack_guard;     /* a frame that spans the switch must find the canary it stored */
    tcb->pointer_guard = mine->pointer_guard; /* pointers mangled in one thread are demangled in others */
    tcb->feature_1 = mine->feature_1;         /* longjmp and the unwinder read here whether there is a shadow stack */
}

#define FIELD(name, users) {#name, offsetof(struct tcb, name), sizeof((struct tcb *)0)->name, 0, users}

const struct arch_tcb_field arch_tcb_fields[] = {
    FIELD(self_tcb, "compiled code: &variable in static TLS is this plus a constant"),
    FIELD(dtv, "__tls_get_addr and the dynamic linker: where each module's block is"),
    FIELD(self, "glibc's THREAD_SELF and pthread_self(): the ident that Python shows"),
    FIELD(multiple_threads, "the dynamic linker: 0 lets it skip its locks"),
    FIELD(gscope_flag, "dlclose: it waits until no thread is inside a symbol lookup"),
    FIELD(sysinfo, "nobody on x86-64; the vDSO's entry on i386"),
    FIELD(stack_guard, "the stack protector: each guarded frame keeps a copy and compares it when it returns"),
    FIELD(pointer_guard, "setjmp, atexit and iconv: code addresses in memory are xored with it"),
    FIELD(feature_1, "longjmp and the unwinder: whether a shadow stack (CET) is in use"),
};
const int arch_tcb_field_count = sizeof arch_tcb_fields / sizeof *arch_tcb_fields;

/* glibc's setjmp keeps rsp in jmp_buf word 6, xor pointer_guard, rotated left by 17 (sysdeps/x86_64/jmpbuf-offsets.h and
 * PTR_MANGLE in sysdeps/unix/sysv/linux/x86_64/pointer_guard.h).  Undoing that with the right guard gives a stack address. */
static int pointer_guard_is_right(uintptr_t guard)
{
    jmp_buf here;
    char *frame = __builtin_frame_address(0);

    if (setjmp(here) != 0)
        return 0;
    uintptr_t mangled = (uintptr_t)here->__jmpbuf[6];
    uintptr_t sp = ((mangled >> 17) | (mangled << 47)) ^ guard;
    return sp > (uintptr_t)frame - 8192 && sp <= (uintptr_t)frame + 8192;
}

const char *arch_tcb_check(void *pthread)
{
    struct tcb *mine = arch_thread_pointer();
    uintptr_t canary;

    if (mine->self_tcb != (void *)mine || mine->self != pthread)
        return "fs:0 and fs:0x10 do not point at the thread's own TCB";
    __asm__("mov %%fs:0x28, %0" : "=r"(canary));
    if (mine->stack_guard != canary)
        return "the stack guard is not at fs:0x28";
    if (!pointer_guard_is_right(mine->pointer_guard))
        return "the word at fs:0x30 does not demangle setjmp's stack pointer: not the pointer guard";
    if (mine->multiple_threads != 1)
        return "fs:0x18 is not 1 in a process with threads: not multiple_threads";
    return NULL;
}
#endif
