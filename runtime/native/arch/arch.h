/* Registers: what differs between processors, and nothing else.  Each architecture's file defines the same functions.
 *
 * Thread-local storage is found from one register, the thread pointer (tp).  The ELF TLS ABI has two layouts:
 *
 *   variant II (x86-64)                          variant I (aarch64)
 *
 *   low  +--------------------------+            low  +--------------------------+
 *        | static TLS, last module  |                 | struct pthread (glibc's) |
 *        | ...                      |            tp-> +--------------------------+
 *        | static TLS, first module |                 | TCB: dtv, unused         |
 *   tp-> +--------------------------+                 | static TLS, first module |
 *        | TCB = struct pthread     |                 | ...                      |
 *   high +--------------------------+            high +--------------------------+
 *
 * A module's block is at tp - offset in variant II and at tp + offset in variant I. */
#ifndef RUNTIME_ARCH_H
#define RUNTIME_ARCH_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__LP64__)
#define ARCH_NAME "x86_64"
#define ARCH_TLS_BELOW_TP 1 /* variant II */
#elif defined(__aarch64__) && defined(__LP64__)
#define ARCH_NAME "aarch64"
#define ARCH_TLS_BELOW_TP 0 /* variant I */
#else
#error "runtime has no architecture file for this processor; see runtime/native/arch/"
#endif

/* The calling thread's thread pointer. */
void *arch_thread_pointer(void);

/* clone(2) with a new stack: the child starts at entry(arg) on `stack` with `thread_pointer` and never returns here.
 * Returns the child's tid, or -errno.  errno itself is untouched: the parent may be in the middle of anything. */
long arch_clone(unsigned long flags, void *stack, int *parent_tid, int *child_tid, void *thread_pointer, void (*entry)(void *),
                void *arg);

/* exit(2), this LWP only: no atexit handler, no other thread. */
_Noreturn void arch_exit(int status);

/* NULL when a context can be left in user space for another one, else why not. */
const char *arch_swap_check(void);

/* A new context's stack as arch_swap() wants to find it: who goes on there calls entry(arg), which never returns. */
void *arch_swap_begin(void *stack_high, void (*entry)(void *), void *arg);

/* Leaves the calling context and goes on in the one that was left at `sp`, under its thread pointer.  Where the caller was left
 * is written to *left; the call returns when somebody goes on there.  What the ABI says a function preserves is kept: registers
 * and the control words of floating point.  To the kernel it is the same LWP before and after. */
void arch_swap(void **left, void *sp, void *thread_pointer);

/* For a moment: code that must see another context's TCB. */
void arch_set_thread_pointer(void *tp);

/* The words that compiled code and glibc read relative to the thread pointer, written for a new thread.  `pthread` is its
 * struct pthread (equal to tp in variant II).  What must be the same in all threads is copied from the caller's TCB. */
void arch_tcb_init(void *tp, void *pthread);

/* Where the TCB keeps the pointer to the DTV. */
void **arch_tcb_dtv(void *tp);

/* What the TCB holds, for those who look at a thread.  offset: from tp, in variant I of struct pthread's head from that. */
struct arch_tcb_field {
    const char *name;
    size_t offset, size;
    int in_pthread;
    const char *users; /* who reads it */
};
extern const struct arch_tcb_field arch_tcb_fields[];
extern const int arch_tcb_field_count;

/* NULL when the TCB of the calling thread is as this file believes, else what is wrong.  `pthread` is its descriptor. */
const char *arch_tcb_check(void *pthread);

#endif
