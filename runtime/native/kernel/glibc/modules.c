/* The modules with TLS, read from the dynamic linker's own tables. */
#include "kernel/glibc/finding.h"

#include "kernel/arch/arch.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PLAUSIBLE_MODULES ((size_t)1 << 20)

static void walk_slots(void (*visit)(const struct glibc_module *, void *), void *closure)
{
    char *list = *linker.slot_list;
    size_t base = 0;

    while (list) {
        size_t length = *(size_t *)(list + linker.list_length);
        for (size_t i = base == 0; i < length; i++) { /* module ids begin with 1 */
            char *slot = list + linker.list_slots + i * linker.slot_size;
            char *map = *(char **)(slot + linker.slot_map);
            if (!map)
                continue;
            const char *image = map + linker.map_image;
            ptrdiff_t offset = *(ptrdiff_t *)(map + linker.map_offset);
            struct glibc_module module = {
                .id = base + i,
                .generation = *(size_t *)(slot + linker.slot_generation),
                /* NO_TLS_OFFSET is 0, FORCED_DYNAMIC_TLS_OFFSET -1 (include/link.h, elf/dynamic-link.h) */
                .offset = offset > 0 && (size_t)offset <= glibc.static_size ? offset : 0,
                .image = ((const char *const *)image)[0],
                .image_size = ((const size_t *)image)[1],
                .size = ((const size_t *)image)[2],
                .align = ((const size_t *)image)[3],
                .map = map,
            };
            visit(&module, closure);
        }
        base += length;
        list = *(char **)(list + linker.list_next);
    }
}

/* With the lock the tables don't change: dlopen holds it from before it maps a module until its slot and offset are final, dlclose
 * until the module is freed, in any namespace (elf/dl-open.c, dl_open_worker; elf/dl-close.c, _dl_close_worker). */
void glibc_modules(void (*visit)(const struct glibc_module *, void *), void *closure)
{
    if (pthread_mutex_trylock(glibc.linker_lock) != 0) {
        if (glibc_before_wait)
            glibc_before_wait();
        pthread_mutex_lock(glibc.linker_lock);
    }
    walk_slots(visit, closure);
    pthread_mutex_unlock(glibc.linker_lock);
}

static void max_module(const struct glibc_module *module, void *closure)
{
    size_t *max = closure;
    if (module->id > *max)
        *max = module->id;
}

size_t glibc_max_module(void)
{
    size_t max = 0;
    glibc_modules(max_module, &max);
    return max;
}

/* Compares what dl_iterate_phdr reports of a loaded module with its slot and link map. */
struct check_modules {
    int failed;
    char what[160];
};

static char *slot_map(size_t id)
{
    char *list = *linker.slot_list;
    for (; list; list = *(char **)(list + linker.list_next)) {
        size_t length = *(size_t *)(list + linker.list_length);
        if (id < length)
            return *(char **)(list + linker.list_slots + id * linker.slot_size + linker.slot_map);
        id -= length;
    }
    return NULL;
}

static int check_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct check_modules *check = arg;
    const ElfW(Phdr) *tls = NULL;
    char *tp = arch_thread_pointer(), *map;
    void *errno_at = &errno;

    if (size < offsetof(struct dl_phdr_info, dlpi_tls_data) + sizeof info->dlpi_tls_data || info->dlpi_tls_modid == 0)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS)
            tls = &info->dlpi_phdr[i];
    check->failed = 1;
    if (!tls || !(map = slot_map(info->dlpi_tls_modid)))
        return snprintf(check->what, sizeof check->what, "module %zu has no slot", info->dlpi_tls_modid), 1;
    if (*(ElfW(Addr) *)map != info->dlpi_addr || *(size_t *)(map + linker.map_module) != info->dlpi_tls_modid)
        return snprintf(check->what, sizeof check->what, "slot %zu points at another module", info->dlpi_tls_modid), 1;

    /* The link map's image, image size, block size and alignment have no descriptor.  They are four words in a row shortly before
     * l_tls_modid, and the program header has their values. */
    const size_t want[] = {info->dlpi_addr + tls->p_vaddr, tls->p_filesz, tls->p_memsz, tls->p_align};
    if (!linker.map_image) {
        int found = 0;
        for (size_t at = linker.map_module - 16 * sizeof(size_t); at + sizeof want <= linker.map_module; at += sizeof(size_t))
            if (memcmp(map + at, want, sizeof want) == 0) {
                linker.map_image = at;
                found++;
            }
        if (found != 1)
            return snprintf(check->what, sizeof check->what, "link map: the TLS image was found %d times", found), 1;
    }
    if (memcmp(map + linker.map_image, want, sizeof want) != 0)
        return snprintf(check->what, sizeof check->what, "link map of module %zu: no TLS image", info->dlpi_tls_modid), 1;

    ptrdiff_t offset = *(ptrdiff_t *)(map + linker.map_offset);
    char *block = ARCH_TLS_BELOW_TP ? tp - offset : tp + offset;
    if (info->dlpi_tls_data && offset > 0 && (size_t)offset <= glibc.static_size && info->dlpi_tls_data != block)
        return snprintf(check->what, sizeof check->what, "module %zu: offset %td, but its block is at tp%+td", info->dlpi_tls_modid,
                        offset, (char *)info->dlpi_tls_data - tp),
               1;
    if (info->dlpi_tls_data && errno_at >= info->dlpi_tls_data && (char *)errno_at < (char *)info->dlpi_tls_data + tls->p_memsz) {
        glibc.libc_module = info->dlpi_tls_modid; /* errno lives in libc's block */
        glibc.libc_map = map;
        glibc.libc_block = (char *)info->dlpi_tls_data - tp;
        glibc.libc_block_size = tls->p_memsz;
    }
    check->failed = 0;
    return 0;
}

/* ---- the linker's lock ------------------------------------------------------------------------------------------- */

struct held {
    int count;
    pthread_mutex_t *last;
};

/* The mutexes in _rtld_global that the calling thread holds. */
static void find_held(struct held *held)
{
    pid_t me = gettid();

    *held = (struct held){0};
    for (char *at = linker.global; at + sizeof(pthread_mutex_t) <= (char *)glibc.stack_used; at += sizeof(void *)) {
        pthread_mutex_t *mutex = (pthread_mutex_t *)at;
        if (mutex->__data.__lock && mutex->__data.__count == 1 && mutex->__data.__owner == me && mutex->__data.__nusers == 1
            && mutex->__data.__kind == PTHREAD_MUTEX_RECURSIVE_NP) {
            held->count++;
            held->last = mutex;
        }
    }
}

static int find_in_walk(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)info;
    (void)size;
    find_held(arg);
    return 1;
}

/* The mutexes have no descriptors.  dl_iterate_phdr holds _dl_load_write_lock; before it lies _dl_load_lock, after it, from 2.35 on,
 * _dl_load_tls_lock (sysdeps/generic/ldsodefs.h).  probe_locks() checks that pthread_create takes the mutex that is found here. */
static int find_linker_lock(int minor)
{
    struct held before, inside;

    if (syscall(SYS_gettid) < 0) /* gettid() sets no errno */
        return glibc_failed("gettid", errno);
    find_held(&before);
    dl_iterate_phdr(find_in_walk, &inside);
    if (before.count != 0 || inside.count != 1)
        return glibc_refuse("_dl_load_write_lock: %d mutexes in _rtld_global are held in dl_iterate_phdr, %d outside, expected 1 and 0",
                            inside.count, before.count);
    glibc.linker_lock = inside.last + (minor < 35 ? -1 : 1);
    if (glibc.linker_lock->__data.__kind != PTHREAD_MUTEX_RECURSIVE_NP)
        return glibc_refuse("_dl_load_tls_lock: there is no recursive mutex beside _dl_load_write_lock");
    return 0;
}

int glibc_read_tls(int minor)
{
    void (*static_info)(size_t *, size_t *) = NULL;
    char *resp = NULL, *tp = arch_thread_pointer();
    struct check_modules check = {0};
    union glibc_dtv *dtv = *arch_tcb_dtv(tp);
    const ptrdiff_t *rseq_offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    const unsigned *rseq_size = dlsym(RTLD_DEFAULT, "__rseq_size");

    if (find_linker_lock(minor))
        return -1;
    if (glibc_symbol("_dl_get_tls_static_info", &static_info) || glibc_symbol("__resp", &resp))
        return -1;
    static_info(&glibc.static_size, &glibc.static_align);
    if (glibc.static_align < 16 || glibc.static_align & (glibc.static_align - 1) || glibc.static_size > 1 << 24
        || (ARCH_TLS_BELOW_TP && glibc.static_size < glibc.pthread_size))
        return glibc_refuse("static TLS: %zu bytes aligned to %zu", glibc.static_size, glibc.static_align);

    /* In variant II struct pthread starts at tp and the descriptor's dtv pointer is the TCB's. */
    if (ARCH_TLS_BELOW_TP && (char *)arch_tcb_dtv(tp) != (char *)pthread_self() + linker.dtv_pointer)
        return glibc_refuse("dtv: the descriptor says offset %zu", linker.dtv_pointer);
    if (dtv[-1].counter > PLAUSIBLE_MODULES)
        return glibc_refuse("dtv: %zu entries", dtv[-1].counter);

    dl_iterate_phdr(check_module, &check);
    if (check.failed)
        return glibc_refuse("%s", check.what);
    if (!glibc.libc_module)
        return glibc_refuse("no module's TLS block holds errno");
    if (glibc.libc_module > dtv[-1].counter || (char *)&errno < (char *)dtv[glibc.libc_module].block.value)
        return glibc_refuse("dtv: entry %zu is not libc's block", glibc.libc_module);

    /* dlsym gives the calling thread's copy of a TLS variable; libc's block is static, so the distance to tp is a constant. */
    glibc.resp = resp - tp;
    if (glibc.resp < glibc.libc_block || glibc.resp >= glibc.libc_block + (ptrdiff_t)glibc.libc_block_size)
        return glibc_refuse("__resp lies at tp%+td, outside libc's TLS block", glibc.resp);

    if (rseq_offset && rseq_size && *rseq_size) { /* 2.35 on; the tunable glibc.pthread.rseq=0 publishes size 0 */
        glibc.rseq = *rseq_offset;
        glibc.rseq_size = *rseq_size;
    } else if (rseq_offset)
        glibc.rseq = *rseq_offset;
    return 0;
}
