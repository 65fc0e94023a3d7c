/* What a thread does itself, from its first instruction to its last.  The states are those of kernel/lwp/lwp.h. */
#ifndef RUNTIME_THREAD_MAIN_H
#define RUNTIME_THREAD_MAIN_H

#include "kernel/lwp/lwp.h"

/* (3) to (5): the entry function for arch_clone(), with the struct lwp.  It doesn't return. */
void thread_main(void *lwp);

/* Its second part, once the thread has what is the LWP's: calls `run`, and ends the thread. */
_Noreturn void thread_run(struct lwp *me);

/* Registers the context's robust list and rseq area for the calling LWP. */
void thread_register_with_kernel(struct context *context);

/* Unregisters the calling LWP's rseq area, which lies at that thread pointer.  1: it was registered. */
int thread_unregister_rseq(char *tp);

/* The calling thread's signal mask.  All signals are blocked, libc's own two too. */
void thread_block_signals(uint64_t *old);
void thread_set_signals(const uint64_t *mask);

#endif
