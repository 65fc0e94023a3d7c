/* Every fact about the running glibc, found at import.  Private symbols of glibc are named in this folder only.
 *
 * No offset is a literal copied from a glibc version.  Offsets come from the _thread_db_* descriptors, which glibc exports for
 * debuggers (nptl_db/structs.def, the same set from 2.34 on), and from two threads made for the purpose; each is then checked from a
 * second side.  A check that fails ends the import: a wrong offset would corrupt memory hours later. */
#ifndef RUNTIME_GLIBC_H
#define RUNTIME_GLIBC_H

#include "kernel/arch/arch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__GLIBC__) || !__GLIBC_PREREQ(2, 34)
#error "runtime is made for glibc 2.34 or newer"
#endif

/* glibc's doubly linked list node (include/list_t.h); its two words are checked against the descriptors. */
struct glibc_list {
    struct glibc_list *next, *prev;
};

/* glibc's dtv_t (sysdeps/generic/dl-dtv.h): entry -1 is the length, entry 0 the generation, entry n belongs to module n. */
union glibc_dtv {
    size_t counter;
    struct {
        void *value;    /* the module's block in this thread, or GLIBC_DTV_UNALLOCATED */
        void *to_free;  /* what to free() when it is a dynamic block; otherwise NULL */
    } block;
};
#define GLIBC_DTV_UNALLOCATED ((void *)-1)
#define GLIBC_DTV_SURPLUS 14 /* spare entries, so that few dlopens reallocate the DTV; any number works (elf/dl-tls.c) */

/* One module with thread-local storage, as the dynamic linker knows it now. */
struct glibc_module {
    size_t id;
    size_t generation;  /* of the dlopen that brought it */
    ptrdiff_t offset;   /* from the thread pointer, see arch.h; 0: no static block, __tls_get_addr allocates it lazily */
    const char *image;  /* the initial image in memory, which is relocated: libc's holds pointers */
    size_t image_size;  /* bytes to copy; the rest of the block is zero */
    size_t size, align;
    const void *map;    /* its struct link_map */
};

enum glibc_source { GLIBC_DESCRIPTOR, GLIBC_SYMBOL, GLIBC_KERNEL, GLIBC_PROBE, GLIBC_LINKER };

/* One line of `lwp doctor`: what was found, where, and what confirmed it. */
struct glibc_fact {
    const char *name;
    long value;
    size_t size; /* of a field of struct pthread, whose offset is `value`; otherwise 0 */
    enum glibc_source source;
    const char *check;
};

struct glibc {
    const char *version;

    /* struct pthread: its size and the offsets of the fields that the core reads or writes */
    size_t pthread_size;
    size_t list, tid, robust_head, cancelhandling, specific, report_events, user_stack, start_routine;
    size_t stackblock, stackblock_size;
    unsigned char user_stack_value;  /* what user_stack (stack_mode from 2.42 on) holds when the stack isn't glibc's */
    size_t joinstate;                /* 0 before 2.43 */
    int joinable;                    /* what it holds while the thread runs */
    int exiting;                     /* the bit of cancelhandling that says so */
    /* These are only shown, and never written.  0: not found, which is no reason to refuse. */
    size_t flags, cleanup_jmp_buf, guardsize, reported_guardsize, sigmask, sigmask_size;
    int robust_from_kernel;          /* get_robust_list(2) has returned robust_head */
    long robust_futex_offset;        /* from a robust list entry to its futex word, the same in every thread */

    /* thread-specific data */
    size_t key_count, keys_per_block, key_size, key_sequence, key_destructor, data_size, data_sequence, data_value;
    const char *keys;

    /* the static TLS block */
    size_t static_size, static_align; /* static_size counts as _dl_get_tls_static_info does, see kernel/context/mapping.c */
    size_t libc_module;               /* module id of libc.so.6 */
    const void *libc_map;             /* its struct link_map */
    ptrdiff_t libc_block;             /* from tp to its block */
    size_t libc_block_size;
    ptrdiff_t libc_kept[8];           /* from tp to those of its words that a recycled context keeps, see kernel/context/context.h */
    int libc_kept_count;
    ptrdiff_t resp;                   /* from tp to libc's __resp, the pointer to the resolver's state of this thread */
    ptrdiff_t rseq;                   /* from tp to the area for restartable sequences */
    size_t rseq_size;                 /* 0: this glibc or its tunables don't register rseq */

    /* the process's lists */
    struct glibc_list *stack_user;    /* of the main thread and threads on stacks that glibc didn't allocate */
    struct glibc_list *stack_used;    /* of threads on stacks that glibc allocated */
    atomic_int *stack_lock;           /* guards these two: glibc_lock_threads() */
    pthread_mutex_t *linker_lock;     /* guards the linker's tables of modules with TLS: glibc_modules() */
    atomic_int *thread_count;         /* __nptl_nthreads: the thread that takes it to 0 ends the process */

    /* functions */
    void (*ctype_init)(void);         /* points the ctype tables of a new thread at its locale */
    void (*call_tls_dtors)(void);     /* C++ thread_local and Rust destructors */

    const struct glibc_fact *facts;
    int fact_count;
};

/* Valid after glibc_calibrate() has returned 0. */
API extern struct glibc glibc;

/* Finds and checks all facts, once.  0, or -1 with `why`: a sentence about the check that failed, or about a call that was refused.  Makes and joins two pthreads.
 * That also ends libc's single-threaded short cuts, with which malloc and stdio would skip their locks while our threads run. */
int glibc_calibrate(char *why, size_t capacity);

/* LOCKS OF GLIBC.  The runtime takes two of them; their order among all locks is in docs/architecture.md.  A thread that waits for
 * one must not hold what the lock's holder may be waiting for, directly or through other threads, and that can be the GIL:
 *
 *   stack_lock   setuid(2) and its like hold it until each thread has answered their signal (nptl/nptl_setxid.c), dlclose until
 *                none is in a symbol look-up (nptl/dl_thread_gscope_wait.c)
 *   linker_lock  dlclose holds it, from 2.35 on, while it waits for the lock that dl_iterate_phdr has around its callback
 *                (elf/dl-close.c, _dl_close_worker); a callback in Python, such as threadpoolctl's, wants the GIL.  Before 2.35 it
 *                is the lock that dlopen holds around constructors.
 *
 * So a thread first tries, and calls glibc_before_wait() before it waits; there a higher floor releases the GIL.  The runtime never takes
 * the lock that dl_iterate_phdr holds, because a callback may wait for a thread that starts another thread.  pthread_create doesn't take it
 * either, so a start here waits for no lock that pthread_create would not wait for.
 *
 * glibc takes other locks in our calls (malloc's arenas, the default attributes of threads).  It holds them for a few instructions, in
 * which it calls no code of others. */
API extern void (*glibc_before_wait)(void); /* may be NULL */

/* With the lock, stack_lock, the lists of threads don't change.  _try_: 0 if another thread holds it. */
API void glibc_lock_threads(void);
int glibc_try_lock_threads(void);
API void glibc_unlock_threads(void);

/* Calls visit() for every module with TLS in every namespace, with linker_lock, so that no module is loaded or unloaded meanwhile.
 * visit() must not take locks.  Any thread may call this.  In a forked child the lock is free (posix/fork.c, __libc_fork). */
API void glibc_modules(void (*visit)(const struct glibc_module *module, void *closure), void *closure);

/* The highest id of a module that is loaded now: the length that a DTV needs. */
size_t glibc_max_module(void);

/* The stack size of a pthread made without attributes: RLIMIT_STACK at the start of the process, mostly 8 MiB. */
size_t glibc_default_stack(void);

/* libc's own signals, which its sigprocmask() never blocks and its sigaction() refuses (sysdeps/unix/sysv/linux/internal-signals.h). */
enum { GLIBC_SIGCANCEL = 32, GLIBC_SIGSETXID = 33 };
#define GLIBC_ALL_OTHERS (~(UINT64_C(3) << (GLIBC_SIGCANCEL - 1))) /* a mask: setuid(2) and its kin wait for each LWP */

/* Bytes of the area for restartable sequences: the kernel refuses fewer than 32 (kernel/rseq.c). */
static inline size_t glibc_rseq_area(void)
{
    return glibc.rseq_size > 32 ? glibc.rseq_size : 32;
}

static inline void *glibc_field(void *pthread, size_t offset)
{
    return (char *)pthread + offset;
}

/* A thread's struct pthread lies at its thread pointer in variant II, before it in variant I (sysdeps/aarch64/nptl/tls.h, THREAD_SELF). */
static inline void *glibc_pthread(void *tp)
{
    return (char *)tp - (ARCH_TLS_BELOW_TP ? 0 : glibc.pthread_size);
}

static inline void *glibc_thread_pointer(void *pthread)
{
    return (char *)pthread + (ARCH_TLS_BELOW_TP ? 0 : glibc.pthread_size);
}

#endif
