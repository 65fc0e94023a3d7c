/* Replaces a function of a library: for every later symbol look-up, where one library calls it, or both, in every library.
 *
 * EVERY LATER LOOK-UP.  A look-up ends in the ELF symbol table of the library that has the function.  With another st_value there, dlsym(),
 * libraries loaded later and lazy calls that are not bound yet find the replacement.  To export the name from this module would change
 * nothing, since libc and CPython come before it in the scope of every look-up.  A library that has bound the call already keeps the
 * function that it has found.
 *
 * ONE LIBRARY.  It calls through an address in its own memory, which the dynamic linker fills in at load or at the first call: its slot. */
#ifndef RUNTIME_REPLACE_H
#define RUNTIME_REPLACE_H

#include "api.h"

/* Has symbol look-ups of a libc function find `replacement`, in all versions of the name.  *was is the address in libc, written
 * before the first look-up can find the replacement.  0, or -1 if the symbol table is not as expected or can't be written: nothing
 * has changed. */
int libc_replace(const char *name, void *replacement, void *was);

/* Where the library (or program) that `code` lies in keeps the address that it calls for a function of another library. */
struct libc_slot {
    void **at; /* NULL: it doesn't call that function, or in another way */
    int read_only;
};

/* Takes the linker's lock. */
API struct libc_slot libc_slot_of(const void *code, const char *name);

/* Has that library call `function`.  0, or -1: nothing has changed. */
API int libc_fill_slot(const struct libc_slot *slot, void *function);

/* Both, for a function of the library or program that `code` lies in, which itself keeps its function, as this module does.  Takes the
 * linker's locks.  0, or -1: nothing has changed. */
int replace_everywhere(const void *code, const char *name, void *replacement, void *was);

#endif
