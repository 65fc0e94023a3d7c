/* Of this room alone: one mapping with guard, stack, TLS block and struct context, made here, and trimmed when the context is cached. */
#ifndef RUNTIME_MAPPING_H
#define RUNTIME_MAPPING_H

#include "kernel/context/context.h"

#include <stdint.h>
#include <unistd.h>

static inline size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static inline size_t round_up(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static inline char *round_down(char *p, size_t align)
{
    return (char *)((uintptr_t)p & ~(align - 1));
}

/* NULL with errno set. */
struct context *mapping_new(size_t stack_size);

/* Gives the kernel back pages of a context that is about to be cached: those of a deep stack beyond KEPT_STACK; without `keep`, all. */
void mapping_trim(struct context *context, int keep);

/* Frees the blocks that __tls_get_addr has allocated for the context's thread, which must be gone: it would use them. */
void tls_free_dynamic(struct context *context);

/* Address space of all mappings and signal stacks, and the number of mappings. */
size_t mapping_bytes(void);
long mapping_count(void);

#endif
