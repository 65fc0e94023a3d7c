#include "green/replace.h"

#include "kernel/glibc/glibc.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The segment of that type that has the address; `begin` is where the library begins.  NULL: none. */
static const ElfW(Phdr) * segment_of(const struct link_map *map, const void *begin, ElfW(Word) type, const void *at)
{
    const ElfW(Ehdr) *header = begin;
    const ElfW(Phdr) *segments = (const void *)((const char *)begin + header->e_phoff);
    uintptr_t offset = (uintptr_t)at - map->l_addr;

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
static int write_by_mprotect(const struct link_map *map, void *at, uintptr_t value)
{
    const ElfW(Phdr) *segment = segment_of(map, (const void *)map->l_addr, PT_LOAD, at);
    ElfW(Word) flags = segment ? segment->p_flags : 0;
    int protection = PROT_READ | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);

    return segment && write_address(at, value, protection) == 0;
}

/* Through /proc/self/mem, which writes to a private copy of a read-only page, and needs no page that is writable and executable.  From
 * Linux 6.12 on a kernel may allow that to debuggers only (fs/proc/base.c, proc_mem_foll_force()). */
static int write_protected(const struct link_map *map, ElfW(Addr) * at, ElfW(Addr) value)
{
    int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    int written = fd >= 0 && pwrite(fd, &value, sizeof value, (off_t)(uintptr_t)at) == sizeof value;

    if (fd >= 0)
        close(fd);
    return written || write_by_mprotect(map, at, value);
}

static void *dynamic_entry(const struct link_map *map, ElfW(Sxword) tag)
{
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++)
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

/* Takes none of the linker's locks, since the caller may hold the GIL: libc's link map stays without one. */
int libc_replace(const char *name, void *replacement, void *was)
{
    const struct link_map *map = glibc.libc_map;
    ElfW(Sym) *symbols = dynamic_entry(map, DT_SYMTAB);
    const char *strings = dynamic_entry(map, DT_STRTAB);
    const uint32_t *header = dynamic_entry(map, DT_GNU_HASH);
    ElfW(Addr) found = 0;
    int replaced = 0;

    if (!symbols || !strings || !header || (uintptr_t)header < map->l_addr || !header[0])
        return -1;
    const uint32_t *buckets = header + 4 + header[2] * (sizeof(ElfW(Addr)) / sizeof *header), *chains = buckets + header[0];
    /* The name has an entry for each of its versions, in one chain; all lead to the same function. */
    for (uint32_t i = buckets[gnu_hash(name) % header[0]]; i >= header[1]; i++) {
        if (strcmp(strings + symbols[i].st_name, name) == 0 && (!found || symbols[i].st_value == found)) {
            found = symbols[i].st_value;
            void *function = (void *)(map->l_addr + found);
            memcpy(was, &function, sizeof function); /* before a look-up can find the replacement, which calls it */
            replaced += write_protected(map, &symbols[i].st_value, (uintptr_t)replacement - map->l_addr);
        }
        if (chains[i - header[1]] & 1)
            break;
    }
    return replaced ? 0 : -1;
}

/* ---- one library ------------------------------------------------------------------------------------------------- */

/* Among relocations of `size` bytes.  Each relocation that names a function is filled in with its address, whatever its type. */
static void *slot_among(const struct link_map *map, const ElfW(Rela) * relocations, size_t size, const char *name)
{
    const ElfW(Sym) *symbols = dynamic_entry(map, DT_SYMTAB);
    const char *strings = dynamic_entry(map, DT_STRTAB);

    for (size_t i = 0; relocations && i < size / sizeof *relocations; i++) {
        size_t symbol = ELF64_R_SYM(relocations[i].r_info);
        if (symbol && strcmp(strings + symbols[symbol].st_name, name) == 0)
            return (void *)(map->l_addr + relocations[i].r_offset);
    }
    return NULL;
}

struct libc_slot libc_slot_of(const void *code, const char *name)
{
    struct libc_slot slot = {NULL, 0};
    struct link_map *map;
    Dl_info info;

    if (!dladdr1(code, &info, (void **)&map, RTLD_DL_LINKMAP) || !dynamic_entry(map, DT_SYMTAB) || !dynamic_entry(map, DT_STRTAB))
        return slot;
    slot.at = slot_among(map, dynamic_entry(map, DT_JMPREL), (size_t)dynamic_entry(map, DT_PLTRELSZ), name);
    if (!slot.at)
        slot.at = slot_among(map, dynamic_entry(map, DT_RELA), (size_t)dynamic_entry(map, DT_RELASZ), name);
    /* The linker has made these read-only when it had filled them in. */
    slot.read_only = slot.at && segment_of(map, info.dli_fbase, PT_GNU_RELRO, slot.at);
    return slot;
}

int libc_fill_slot(const struct libc_slot *slot, void *function)
{
    /* Not through /proc/self/mem: other threads call through it meanwhile. */
    return slot->at ? write_address(slot->at, (uintptr_t)function, slot->read_only ? PROT_READ : PROT_READ | PROT_WRITE) : -1;
}
