/* How the facts of kernel/glibc/glibc.h are found: from glibc's descriptors for debuggers (descriptors.c), from the dynamic linker's tables of
 * modules with TLS (modules.c), and from threads that pthread_create() makes for us to look at (probe.c, kept.c).  calibrate.c calls them in
 * order.  Each returns 0, or -1 with the reason written. */
#ifndef RUNTIME_GLIBC_FINDING_H
#define RUNTIME_GLIBC_FINDING_H

#include "kernel/glibc/glibc.h"

#include <stddef.h>

/* Offsets in the dynamic linker's tables of modules with TLS. */
struct linker {
    size_t dtv_pointer, map_module, map_offset, map_image, list_length, list_next, list_slots, slot_size, slot_generation, slot_map;
    char **slot_list; /* address of the pointer to the first struct dtv_slotinfo_list */
    char *global; /* _rtld_global */
};

extern struct linker linker;

/* Where the reason is written: a sentence of at most `capacity` bytes. */
void glibc_complain_to(char *why, size_t capacity);

/* Each writes the reason and returns -1.  _refuse: a check has found that glibc is not understood.  _failed: a limit or a filter of this
 * process has refused a call, which says nothing about glibc.  _not_loaded: after dlopen(). */
int glibc_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
int glibc_failed(const char *call, int error);
int glibc_not_loaded(const char *library);

/* Writes a symbol's address to *out: 0, or -1 if glibc doesn't have it.  _in: as that module has it, whatever was loaded before. */
int glibc_symbol(const char *name, void *out);
int glibc_symbol_in(void *module, const char *name, void *out);

/* What the first malloc of a thread changes in libc's TLS block. */
struct malloc_words {
    char *before; /* the block as the thread found it: glibc.libc_block_size bytes */
    ptrdiff_t at[4]; /* from tp to the words that have changed */
    int count; /* -1: malloc failed */
};

void glibc_find_malloc_words(struct malloc_words *words); /* in a new thread */
int glibc_find_kept_words(const struct malloc_words *own, const struct malloc_words *other);

int glibc_read_descriptors(void);
int glibc_read_tls(int minor);
int glibc_probe(int minor);

#endif
