/* A context: the stack and TLS that make a flow of control a thread to glibc and CPython, on an LWP of its own or as a green thread.
 * One mapping, on x86-64:
 *
 *   base                                                                                                base + size
 *   | guard | stack, grows down ... | static TLS, modules' blocks | struct pthread (begins with TCB) | struct context | scratch |
 *           ^ stack_low             ^ stack_high = block_low      ^ tp = pthread                     ^ block_high
 *
 * The scratch memory is for a higher floor (python/threads/chunks.c).  The block lies where a thread that does little
 * uses two pages: struct pthread shares its page with the first KiB of scratch, and the page below has the first 2 KiB of stack.
 *
 * On aarch64 (variant I) struct pthread comes first in the block and tp points behind it; see kernel/arch/arch.h.
 *
 * Mappings lie side by side with one protection, and guards are made by MADV_GUARD_INSTALL, because the kernel merges such mappings
 * into few areas: otherwise vm.max_map_count would limit the number of threads.
 *
 * A context is never unmapped: it is recycled, and its TLS and struct pthread are initialised anew for each thread.  It keeps what only
 * the hidden __libc_thread_freeres could free: malloc's tcache and arena in libc's TLS block, and getrandom's state and the buffers of
 * strerror and strsignal in the tail of struct pthread.  The next thread uses these, so memory grows with the highest number of threads at
 * one time, not with the number ever started.  The ctype tables are kept too: a signal handler finds valid ones before the thread has
 * called ctype_init(). */
#ifndef RUNTIME_CONTEXT_H
#define RUNTIME_CONTEXT_H

#include "api.h"

#include <resolv.h>
#include <stddef.h>

struct context {
    struct context *next;         /* in the cache */
    struct shelf *shelf;          /* of the cache, for its size */
    char *base;
    size_t size, guard_size;
    char *stack_low, *stack_high; /* usable stack */
    char *block_low, *block_high; /* static TLS, TCB and struct pthread */
    char *tp, *pthread;
    struct __res_state resolver;  /* libc's __resp points here in this thread */
    enum { BLANK, LOADED, USED, VANISHED } used; /* USED: a thread has called ctype_init() with it.  VANISHED: see context_put() */
    void *signal_stack;           /* see context_signal_stack() */
    char *scratch;                /* context_scratch bytes; NULL for the first thread after a VANISHED one, whose data may be there */
    void *kept;                   /* a higher floor's, for the next thread (python/explore/kept.c) */
};

/* Bytes of scratch memory in each context.  Set before the first context is made: all have the same. */
extern size_t context_scratch;

/* A context with at least stack_size bytes of stack, from the cache or new.  NULL with errno set (ENOMEM). */
struct context *context_get(size_t stack_size);

/* Puts a context back, for another thread.  Only after the kernel has cleared the CLONE_CHILD_CLEARTID word: until then the thread runs
 * on this stack.  `vanished`: the thread was lost in a fork, or its process was killed, perhaps in the middle of malloc, so nothing of
 * libc's block is kept. */
API void context_put(struct context *context, int vanished);

/* Takes this context out of the cache.  0: it is not there, because a thread has it. */
API int context_take(struct context *context);

/* Initialises a context for a new thread, first half: blank struct pthread and TLS, then the TCB.  0 or errno. */
int context_blank(struct context *context);

/* Second half: the TLS images of all modules, and the DTV.  Call it only when the thread is on glibc's list.  Then no dlopen of a
 * library with initial-exec TLS is missed: a module that was added before is seen here, and for a module that is added later the linker
 * finds the thread on the list and initialises the block itself (nptl/nptl-stack.c, __nptl_init_static_tls).  0 or errno. */
int context_load_tls(struct context *context);

/* The context's alternate signal stack, made at the first call.  Handlers with SA_ONSTACK run on it, so they can report an overflow of
 * the thread's own stack.  NULL: no memory. */
void *context_signal_stack(struct context *context);
size_t context_signal_stack_size(void);

/* A context that was made and is not cached belongs to a thread; any other is a leak. */
struct context_counts {
    long made, cached;
    size_t bytes; /* address space of all contexts and their signal stacks */
};
void context_count(struct context_counts *out);

/* Take and release the cache's lock around fork(2), so that the child finds a whole cache. */
void context_before_fork(void);
void context_after_fork(void);

#endif
