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
 * A module's block is at tp - offset in variant II and at tp + offset in variant I.
 *
 * ARCH_RSEQ_SIGNATURE is rseq(2)'s: the word before each abort handler of the program must hold it, or the kernel sends SIGSEGV when it
 * aborts a restartable sequence.  An area is unregistered only with the signature that it was registered with. */
#ifndef RUNTIME_ARCH_H
#define RUNTIME_ARCH_H

#include "api.h"

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__LP64__)
#define ARCH_NAME "x86_64"
#define ARCH_TLS_BELOW_TP 1 /* variant II */
#define ARCH_RSEQ_SIGNATURE 0x53053053
#elif defined(__aarch64__) && defined(__LP64__)
#define ARCH_NAME "aarch64"
#define ARCH_TLS_BELOW_TP 0 /* variant I */
#ifdef __AARCH64EB__
#define ARCH_RSEQ_SIGNATURE 0x00bc28d4
#else
#define ARCH_RSEQ_SIGNATURE 0xd428bc00
#endif
#else
#error "runtime has no architecture file for this processor; see runtime/native/kernel/arch/"
#endif

/* The calling thread's thread pointer. */
API void *arch_thread_pointer(void);

/* Another thread's copy of a variable in this module's static TLS.  `mine` is the address of the caller's copy: both lie at the same
 * distance from their thread pointers, because this module is built with the initial-exec model (build.py). */
static inline void *arch_tls_of(void *tp, void *mine)
{
    return (char *)tp + ((char *)mine - (char *)arch_thread_pointer());
}

/* clone(2) with a new stack: the child starts at entry(arg) on `stack` with `thread_pointer` and never returns here.
 * Returns the child's tid, or -errno; errno itself is unchanged. */
long arch_clone(unsigned long flags, void *stack, int *parent_tid, int *child_tid, void *thread_pointer, void (*entry)(void *),
                void *arg);

/* exit(2), this LWP only: no atexit handler, no other thread. */
_Noreturn void arch_exit(int status);

/* NULL when arch_swap() works on this processor, otherwise the reason why it doesn't. */
const char *arch_swap_check(void);

/* Writes the frame that arch_swap() pops onto a new context's stack, and returns its address: the first swap to it calls entry(arg),
 * which never returns. */
void *arch_swap_begin(void *stack_high, void (*entry)(void *), void *arg);

/* Saves the calling context, writes the address of what it saved to *left, and resumes the context that was saved at `sp`, with its
 * thread pointer.  Returns when another swap resumes the caller.  It saves what the ABI has a function preserve: registers and the control
 * words of floating point.  The LWP stays the same. */
void arch_swap(void **left, void *sp, void *thread_pointer);

/* Use it only around a call that must see another context's TCB: until it is set back, every thread-local variable is that context's. */
void arch_set_thread_pointer(void *tp);

/* Writes the words that compiled code and glibc read relative to the thread pointer, for a new thread.  `pthread` is its struct
 * pthread (equal to tp in variant II).  What must be the same in all threads is copied from the caller's TCB. */
void arch_tcb_init(void *tp, void *pthread);

/* Where the TCB keeps the pointer to the DTV. */
API void **arch_tcb_dtv(void *tp);

/* The fields of the TCB, for inspection.  `offset` counts from tp, or, if in_pthread (variant I), from struct pthread. */
struct arch_tcb_field {
    const char *name;
    size_t offset, size;
    int in_pthread;
    const char *users; /* who reads it */
};
extern const struct arch_tcb_field arch_tcb_fields[];
extern const int arch_tcb_field_count;

/* NULL when the calling thread's TCB has the layout that this architecture's file assumes, otherwise what is wrong.  `pthread` is its
 * struct pthread. */
const char *arch_tcb_check(void *pthread);

#endif
