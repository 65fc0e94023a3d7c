/* What a thread of ours does itself, from its first instruction to its last: on an LWP of its own, or as a green thread.
 * The states are those of lwp/lwp.h. */
#ifndef RUNTIME_THREAD_MAIN_H
#define RUNTIME_THREAD_MAIN_H

#include "lwp/lwp.h"

/* (3) to (5), with what lwp/start.c has prepared: arguments for arch_clone() and green_begin().  They don't return. */
void thread_main(void *lwp);
void thread_main_green(void *lwp);

/* The robust list and rseq, for the calling LWP. */
void thread_register_with_kernel(struct context *context);

/* The calling thread's signal mask: all, libc's own two among them. */
void thread_block_signals(uint64_t *old);
void thread_set_signals(const uint64_t *mask);

#endif
