/* What a thread does itself, from its first instruction to its last, on an LWP of its own or as a green thread.  The states are
 * those of kernel/lwp/lwp.h. */
#ifndef RUNTIME_THREAD_MAIN_H
#define RUNTIME_THREAD_MAIN_H

#include "kernel/lwp/lwp.h"

/* (3) to (5): the entry functions for arch_clone() and green_begin(), with the struct lwp.  They don't return. */
void thread_main(void *lwp);
void thread_main_green(void *lwp);

/* Registers the context's robust list and rseq area for the calling LWP. */
void thread_register_with_kernel(struct context *context);

/* Unregisters the calling LWP's rseq area, which lies at that thread pointer.  1: it was registered. */
int thread_unregister_rseq(char *tp);

/* The calling thread's signal mask.  All signals are blocked, libc's own two too. */
void thread_block_signals(uint64_t *old);
void thread_set_signals(const uint64_t *mask);

#endif
