/* A context: what makes a flow of control a thread to glibc and CPython, whoever runs it.  One mapping, on x86-64:
 *
 *   base                                                                                                  base + size
 *   | guard | stack, grows down ... | static TLS, modules' blocks | struct pthread (begins with the TCB) | struct context | room |
 *           ^ stack_low             ^ stack_high = block_low      ^ tp = pthread                         ^ block_high
 *
 * The room is for the floor above: memory for each thread beside what is touched anyway.  The block lies in its mapping so that
 * the room's first KiB is on the page of struct pthread, and the first 2 KiB of stack on the page below: a thread that does
 * little lives in two pages.
 *
 * On aarch64 (variant I) struct pthread comes first in the block and tp points behind it; see arch/arch.h.
 *
 * Mappings are made side by side with the same protection, and guards by MADV_GUARD_INSTALL, so the kernel merges them into
 * few areas: vm.max_map_count doesn't limit the number of threads.
 *
 * A context is never unmapped: it is recycled, its TLS and struct pthread laid out afresh for each thread.  What stays is what only
 * the hidden __libc_thread_freeres could free: in libc's own TLS block malloc's tcache and arena, in the tail of struct
 * pthread getrandom's state and the buffers of strerror and strsignal.  The next thread goes on using them, so memory
 * stays at what the most threads at once needed.  The ctype tables stay too, so that a signal handler finds some before the thread
 * has asked for its own. */
#ifndef RUNTIME_CONTEXT_H
#define RUNTIME_CONTEXT_H

#include <resolv.h>
#include <stddef.h>

struct context {
    struct context *next;         /* while it lies in the cache */
    struct shelf *shelf;          /* where it belongs there */
    char *base;
    size_t size, guard_size;
    char *stack_low, *stack_high; /* usable stack */
    char *block_low, *block_high; /* static TLS, TCB and struct pthread */
    char *tp, *pthread;
    struct __res_state resolver;  /* what libc's __resp points at in this thread */
    enum { BLANK, USED, VANISHED } used; /* USED: libc's block has words to be kept.  VANISHED: its thread was lost in a fork */
    void *signal_stack;           /* see context_signal_stack() */
    char *room;                   /* context_room bytes; NULL for the first thread after a VANISHED one: its things may be there */
};

/* To be set before the first context is made. */
extern size_t context_room;

/* The size that a stack of `wanted` bytes really gets: whole pages, a few classes a doubling, so that the cache is of use. */
size_t context_round(size_t wanted);

/* A context with at least stack_size bytes of stack, from the cache or new.  NULL with errno set (ENOMEM). */
struct context *context_get(size_t stack_size);

/* Puts a context back.  Its thread must be gone, which the kernel says by clearing the CLONE_CHILD_CLEARTID word.
 * `vanished`: the thread was lost in a fork, perhaps in the middle of malloc, so libc's block can't be trusted. */
void context_put(struct context *context, int vanished);

/* First half of making the context fit for a new thread: blank struct pthread and TLS, TCB filled in.  0 or errno. */
int context_blank(struct context *context);

/* Second half, when the thread is on glibc's list: images of all modules and the DTV.  In this order a dlopen of a library
 * with initial-exec TLS can't be missed: either its module is seen here, or the dynamic linker sees the thread on the list
 * and initialises the block itself (nptl/nptl-stack.c, __nptl_init_static_tls). 0 or errno. */
int context_load_tls(struct context *context);

/* A stack for signal handlers that ask for one of their own (SA_ONSTACK), with which the overflow of the thread's own can be
 * reported.  It stays with the context.  NULL: no memory. */
void *context_signal_stack(struct context *context);
size_t context_signal_stack_size(void);

/* Bytes of stack touched so far, from the top. */
size_t context_stack_used(const struct context *context);

/* Every context that was made and is not in the cache is some thread's, or lost. */
struct context_counts {
    long made, cached;
    size_t bytes; /* address space of all that were made, with their signal stacks */
};
void context_count(struct context_counts *out);

/* fork(2): the cache's lock is held across it. */
void context_before_fork(void);
void context_after_fork(void);

#endif
