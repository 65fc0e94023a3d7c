/* A look at another thread: copies of what belongs to it, made while it can't end.  Writes nothing of it.
 *
 * Who holds the lock of glibc's lists keeps every thread that is on them: ours and pthreads leave under that lock before their
 * memory is recycled (lwp/registry.c; nptl/nptl-stack.c, __nptl_deallocate_stack).  What a thread that runs may free meanwhile, its
 * DTV and its dynamic blocks, is read by process_vm_readv(2), which reports an address that is gone as EFAULT; without that, from
 * /proc/self/mem. */
#ifndef RUNTIME_INSPECT_H
#define RUNTIME_INSPECT_H

#include "glibc/glibc.h"

/* One loaded module with TLS; its name outlives it. */
struct inspect_module {
    size_t id, generation, image_size, size, align;
    size_t image;     /* where its initial image begins in `images` */
    ptrdiff_t offset; /* from tp to its block, 0: no static block */
    char name[1024];  /* as the dynamic linker knows it; empty for the program itself */
};

/* All of them, no more than `room`, and no more of their images than fits in *bytes: the number that there are, and in *bytes
 * the size of all images. */
size_t inspect_modules(struct inspect_module *out, size_t room, char *images, size_t *bytes);

/* Where things are, the same in every thread. */
struct inspect_places {
    ptrdiff_t block_low, block_high, pthread; /* from tp */
    ptrdiff_t errno_at;
};
void inspect_places(struct inspect_places *out);

/* A dynamic block that is wanted, of a module that inspect_modules() has told. */
struct inspect_block {
    size_t id, size;
    char *into;
    int copied;
};

struct inspect_thread {
    uintptr_t tp, dtv;       /* dtv: the address of entry 0 */
    size_t dtv_length;
    uintptr_t guard_low, stack_low, stack_high; /* stack_low 0: the kernel's, of the main thread.  guard_low 0: unknown */
    size_t stack_used;       /* bytes from stack_high down to the lowest page that was ever written */
    int tid, ours;
};

/* Copies the thread whose pthread_self() is `ident`: its static block with struct pthread (block_low to block_high), its DTV
 * from entry -1 on, and the dynamic blocks that are asked for.  0, or an errno: ESRCH, no thread on glibc's lists has this
 * ident, or not yet or no more a tid; EOVERFLOW, the DTV is longer than `room` entries (dtv_length says how long). */
int inspect_copy(uintptr_t ident, struct inspect_thread *out, char *block, union glibc_dtv *dtv, size_t room,
                 struct inspect_block *blocks, size_t count);

/* Calls `see` with the pthread_self() and the tid of each thread of this process's memory; none ends, and none comes, meanwhile.
 * It must not block.  0: glibc's lock is taken by another thread, and nothing was called; inspect_await() waits until it is free.
 * So that the GIL, if `see` needs it, is not held by a thread that waits for that lock (glibc/glibc.h). */
void inspect_await(void);
int inspect_each(void (*see)(uintptr_t ident, int tid, void *arg), void *arg);

/* As stack_used, for the range of a stack whose owner can't end meanwhile. */
size_t inspect_stack_used(uintptr_t low, uintptr_t high);

#endif
