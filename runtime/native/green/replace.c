#include "green/replace.h"

#include "kernel/glibc/glibc.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A library, or the program, that is loaded. */
struct library {
    ElfW(Addr) moved; /* by how much, from where its symbols say that it is */
    const ElfW(Dyn) * dynamic;
    const void *begin;
};

/* The segment of that type that has the address.  NULL: none. */
static const ElfW(Phdr) * segment_of(const struct library *library, ElfW(Word) type, const void *at)
{
    const ElfW(Ehdr) *header = library->begin;
    const ElfW(Phdr) *segments = (const void *)((const char *)library->begin + header->e_phoff);
    uintptr_t offset = (uintptr_t)at - library->moved;

    for (int i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == type && offset - segments[i].p_vaddr < segments[i].p_memsz)
            return &segments[i];
    return NULL;
}

/* Writes an address to a page with that protection, and makes the page writable meanwhile.  It is one store: other threads see the old
 * address or the new.  0 or -1. */
static int write_address(void *at, uintptr_t value, int protection)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *start = (void *)((uintptr_t)at & -page);

    if (!(protection & PROT_WRITE) && mprotect(start, page, protection | PROT_WRITE) != 0)
        return -1;
    __atomic_store_n((uintptr_t *)at, value, __ATOMIC_RELEASE);
    if (!(protection & PROT_WRITE))
        mprotect(start, page, protection);
    return 0;
}

/* What the page allows stays allowed meanwhile: in some builds it also holds code, which other threads execute. */
static int write_by_mprotect(const struct library *library, void *at, uintptr_t value)
{
    const ElfW(Phdr) *segment = segment_of(library, PT_LOAD, at);
    ElfW(Word) flags = segment ? segment->p_flags : 0;
    int protection = PROT_READ | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);

    return segment && write_address(at, value, protection) == 0;
}

/* Through /proc/self/mem, which writes to a private copy of a read-only page, and needs no page that is writable and executable.  From
 * Linux 6.12 on a kernel may allow that to debuggers only (fs/proc/base.c, proc_mem_foll_force()). */
static int write_protected(const struct library *library, ElfW(Addr) * at, ElfW(Addr) value)
{
    int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    int written = fd >= 0 && pwrite(fd, &value, sizeof value, (off_t)(uintptr_t)at) == sizeof value;

    if (fd >= 0)
        close(fd);
    return written || write_by_mprotect(library, at, value);
}

static void *dynamic_entry(const struct library *library, ElfW(Sxword) tag)
{
    for (const ElfW(Dyn) *entry = library->dynamic; entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == tag)
            return (void *)entry->d_un.d_ptr; /* relocated by the linker */
    return NULL;
}

static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;

    while (*name)
        hash = hash * 33 + (unsigned char)*name++;
    return hash;
}

static int replace_symbol(const struct library *library, const char *name, void *replacement, void *was)
{
    ElfW(Sym) *symbols = dynamic_entry(library, DT_SYMTAB);
    const char *strings = dynamic_entry(library, DT_STRTAB);
    const uint32_t *header = dynamic_entry(library, DT_GNU_HASH);
    ElfW(Addr) found = 0;
    int replaced = 0;

    if (!symbols || !strings || !header || (uintptr_t)header < library->moved || !header[0])
        return -1;
    const uint32_t *buckets = header + 4 + header[2] * (sizeof(ElfW(Addr)) / sizeof *header), *chains = buckets + header[0];
    /* The name has an entry for each of its versions, in one chain; all lead to the same function. */
    for (uint32_t i = buckets[gnu_hash(name) % header[0]]; i >= header[1]; i++) {
        if (strcmp(strings + symbols[i].st_name, name) == 0 && (!found || symbols[i].st_value == found)) {
            found = symbols[i].st_value;
            void *function = (void *)(library->moved + found);
            memcpy(was, &function, sizeof function); /* before a look-up can find the replacement, which calls it */
            replaced += write_protected(library, &symbols[i].st_value, (uintptr_t)replacement - library->moved);
        }
        if (chains[i - header[1]] & 1)
            break;
    }
    return replaced ? 0 : -1;
}

/* Takes none of the linker's locks, since the caller may hold the GIL: libc's link map stays without one. */
int libc_replace(const char *name, void *replacement, void *was)
{
    const struct link_map *map = glibc.libc_map;

    return replace_symbol(&(struct library){map->l_addr, map->l_ld, (const void *)map->l_addr}, name, replacement, was);
}

/* ---- one library ------------------------------------------------------------------------------------------------- */

/* Among relocations of `size` bytes.  Each relocation that names a function is filled in with its address, whatever its type. */
static void *slot_among(const struct library *library, const ElfW(Rela) * relocations, size_t size, const char *name)
{
    const ElfW(Sym) *symbols = dynamic_entry(library, DT_SYMTAB);
    const char *strings = dynamic_entry(library, DT_STRTAB);

    for (size_t i = 0; relocations && i < size / sizeof *relocations; i++) {
        size_t symbol = ELF64_R_SYM(relocations[i].r_info);
        if (symbol && strcmp(strings + symbols[symbol].st_name, name) == 0)
            return (void *)(library->moved + relocations[i].r_offset);
    }
    return NULL;
}

static struct libc_slot slot_in(const struct library *library, const char *name)
{
    struct libc_slot slot = {NULL, 0};

    if (!dynamic_entry(library, DT_SYMTAB) || !dynamic_entry(library, DT_STRTAB))
        return slot;
    slot.at = slot_among(library, dynamic_entry(library, DT_JMPREL), (size_t)dynamic_entry(library, DT_PLTRELSZ), name);
    if (!slot.at)
        slot.at = slot_among(library, dynamic_entry(library, DT_RELA), (size_t)dynamic_entry(library, DT_RELASZ), name);
    /* The linker has made these read-only when it had filled them in. */
    slot.read_only = slot.at && segment_of(library, PT_GNU_RELRO, slot.at);
    return slot;
}

/* The library that `code` lies in.  0: none. */
static int library_of(const void *code, struct library *library)
{
    struct link_map *map;
    Dl_info info;

    if (!dladdr1(code, &info, (void **)&map, RTLD_DL_LINKMAP))
        return 0;
    *library = (struct library){map->l_addr, map->l_ld, info.dli_fbase};
    return 1;
}

struct libc_slot libc_slot_of(const void *code, const char *name)
{
    struct library library;

    return library_of(code, &library) ? slot_in(&library, name) : (struct libc_slot){NULL, 0};
}

int libc_fill_slot(const struct libc_slot *slot, void *function)
{
    /* Not through /proc/self/mem: other threads call through it meanwhile. */
    return slot->at ? write_address(slot->at, (uintptr_t)function, slot->read_only ? PROT_READ : PROT_READ | PROT_WRITE) : -1;
}

/* ---- every library ----------------------------------------------------------------------------------------------- */

struct filling {
    const char *name;
    void *replacement;
    const void *except[2]; /* where libraries begin that are left as they are */
};

static int fill_in(struct dl_phdr_info *info, size_t size, void *arg)
{
    const struct filling *filling = arg;
    struct library library = {.moved = info->dlpi_addr};

    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && segment->p_offset == 0)
            library.begin = (const void *)(info->dlpi_addr + segment->p_vaddr);
        if (segment->p_type == PT_DYNAMIC)
            library.dynamic = (const void *)(info->dlpi_addr + segment->p_vaddr);
    }
    if (library.begin && library.dynamic && library.begin != filling->except[0] && library.begin != filling->except[1]) {
        struct libc_slot slot = slot_in(&library, filling->name);
        (void)libc_fill_slot(&slot, filling->replacement);
    }
    return 0;
}

int replace_everywhere(const void *code, const char *name, void *replacement, void *was)
{
    struct library library, mine;

    if (!library_of(code, &library) || !library_of((const void *)replace_everywhere, &mine)
        || replace_symbol(&library, name, replacement, was) != 0)
        return -1;
    dl_iterate_phdr(fill_in, &(struct filling){name, replacement, {library.begin, mine.begin}});
    return 0;
}
