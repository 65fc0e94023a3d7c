/* Copies of another thread's memory, made while it can't end.  Nothing of the thread is written.
 *
 * While we hold the lock of glibc's lists no thread that is on them ends: ours and pthreads leave the lists under that lock before
 * their memory is recycled (kernel/lwp/registry.c; nptl/nptl-stack.c, __nptl_deallocate_stack).  A running thread may still free its DTV and
 * its dynamic blocks.  So these are read by process_vm_readv(2), where an unmapped address is EFAULT and no SIGSEGV; if the kernel
 * refuses that call, they are read through /proc/self/mem. */
#ifndef RUNTIME_INSPECT_H
#define RUNTIME_INSPECT_H

#include "kernel/glibc/glibc.h"

/* One loaded module with TLS; its name outlives it. */
struct inspect_module {
    size_t id, generation, image_size, size, align;
    size_t image;     /* of its initial image, from the beginning of `images` */
    ptrdiff_t offset; /* from tp to its block, 0: no static block */
    char name[1024];  /* the dynamic linker's l_name; empty for the program itself */
};

/* Copies the modules to `out`, at most `capacity`, and their initial images to `images`, at most *bytes.  Returns the number of modules
 * there are, and sets *bytes to the size of all images: if either is more than was given, some are missing. */
size_t inspect_modules(struct inspect_module *out, size_t capacity, char *images, size_t *bytes);

/* Distances from the thread pointer, the same in every thread. */
struct inspect_places {
    ptrdiff_t block_low, block_high, pthread;
    ptrdiff_t errno_at;
};
void inspect_places(struct inspect_places *out);

/* A dynamic block to copy, of a module from inspect_modules(). */
struct inspect_block {
    size_t id, size;
    char *into;
    int copied;
};

struct inspect_thread {
    uintptr_t tp, dtv;       /* dtv: the address of entry 0 */
    size_t dtv_length;
    uintptr_t guard_low, stack_low, stack_high; /* stack_low 0: the main thread's, made by the kernel.  guard_low 0: unknown */
    size_t stack_used;       /* bytes from stack_high down to the lowest page that was written */
    int tid, ours;
};

/* Copies of the thread whose pthread_self() is `ident`: its static block with struct pthread (block_low to block_high), its DTV from
 * entry -1 on, and the dynamic blocks in `blocks`.  0 or errno.  ESRCH: no thread on glibc's lists has this ident, or it has no tid
 * yet, or no longer.  EOVERFLOW: the DTV has more than `capacity` entries; its length is in dtv_length. */
int inspect_copy(uintptr_t ident, struct inspect_thread *out, char *block, union glibc_dtv *dtv, size_t capacity,
                 struct inspect_block *blocks, size_t count);

/* listed_each() (green/listed.h) for a caller without the GIL, which waits for a tenth of a second only: the thread that has the lock may
 * never go on. */
void inspect_each_soon(void (*see)(uintptr_t ident, int tid, void *arg), void *arg);

/* Copies memory that may be unmapped at any time.  0, or errno if any part can't be read. */
int inspect_copy_memory(void *into, uintptr_t from, size_t size);

/* The stack_used of a stack.  Its thread must not be able to end meanwhile. */
size_t inspect_stack_used(uintptr_t low, uintptr_t high);

#endif
