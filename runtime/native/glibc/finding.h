/* How the facts of glibc/glibc.h are found, in three rooms: from its descriptors for debuggers, from its view of the modules with TLS,
 * from threads that it makes and we look at.  Each returns 0, or -1 with the reason in glibc_refuse()'s hands. */
#ifndef RUNTIME_GLIBC_FINDING_H
#define RUNTIME_GLIBC_FINDING_H

#include "glibc/glibc.h"

#include <stddef.h>

/* Where the dynamic linker keeps what it knows of modules with TLS. */
struct linker {
    size_t dtv_pointer, map_module, map_offset, map_image, list_length, list_next, list_slots, slot_size, slot_generation, slot_map;
    char **slot_list; /* address of the pointer to the first struct dtv_slotinfo_list */
    char *global;     /* _rtld_global */
};

extern struct linker linker;

/* Where glibc_refuse() puts its words. */
void glibc_complain_to(char *why, size_t room);

/* -1, for which the words are kept. */
int glibc_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A symbol's address, into *out. */
int glibc_symbol(const char *name, void *out);

int glibc_read_descriptors(void);
int glibc_read_tls(int minor);
int glibc_probe(int minor);

#endif
