/* How the facts of kernel/glibc/glibc.h are found: from glibc's descriptors for debuggers (descriptors.c), from the dynamic linker's tables of
 * modules with TLS (modules.c), and from threads that pthread_create() makes for us to look at (probe.c).  calibrate.c calls them in
 * order.  Each returns 0, or -1 after glibc_refuse(). */
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

/* Where glibc_refuse() writes. */
void glibc_complain_to(char *why, size_t capacity);

/* Writes why the running glibc can't be used, and returns -1. */
int glibc_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes a symbol's address to *out: 0, or -1 if glibc doesn't have it.  _in: as that module has it, whatever was loaded before. */
int glibc_symbol(const char *name, void *out);
int glibc_symbol_in(void *module, const char *name, void *out);

int glibc_read_descriptors(void);
int glibc_read_tls(int minor);
int glibc_probe(int minor);

#endif
