#include "reading/inspect.h"

#include "kernel/arch/arch.h"
#include "kernel/base/park.h"
#include "green/listed.h"
#include "green/shared_lwp.h"
#include "kernel/lwp/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct list_modules {
    struct inspect_module *out;
    size_t capacity, count;
    char *images;
    size_t bytes, used;
};

static void list_module(const struct glibc_module *module, void *closure)
{
    struct list_modules *list = closure;
    size_t image = list->used;

    list->used += module->image_size;
    if (list->count++ >= list->capacity || list->used > list->bytes)
        return;
    memcpy(list->images + image, module->image, module->image_size);
    struct inspect_module *out = &list->out[list->count - 1];
    *out = (struct inspect_module){
        .id = module->id,
        .generation = module->generation,
        .image = image,
        .image_size = module->image_size,
        .size = module->size,
        .align = module->align,
        .offset = ARCH_TLS_BELOW_TP ? -module->offset : module->offset,
    };
    const char *name = ((const struct link_map *)module->map)->l_name;
    if (name)
        strncpy(out->name, name, sizeof out->name - 1);
}

size_t inspect_modules(struct inspect_module *out, size_t capacity, char *images, size_t *bytes)
{
    struct list_modules list = {.out = out, .capacity = capacity, .images = images, .bytes = *bytes};

    glibc_modules(list_module, &list);
    *bytes = list.used;
    return list.count;
}

void inspect_places(struct inspect_places *out)
{
    /* glibc rounds the block's size up to its alignment (nptl/allocatestack.c); kernel/context/mapping.c does, too. */
    size_t size = (glibc.static_size + glibc.static_align - 1) & ~(glibc.static_align - 1), pthread = glibc.pthread_size;

    if (ARCH_TLS_BELOW_TP)
        *out = (struct inspect_places){.block_low = (ptrdiff_t)(pthread - size), .block_high = (ptrdiff_t)pthread};
    else
        *out = (struct inspect_places){.block_low = -(ptrdiff_t)pthread, .block_high = (ptrdiff_t)size, .pthread = -(ptrdiff_t)pthread};
    out->errno_at = (char *)&errno - (char *)arch_thread_pointer();
}

/* Three system calls in place of one. */
static ssize_t read_file(void *into, uintptr_t from, size_t size)
{
    int file = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    ssize_t n = file < 0 ? -1 : pread(file, into, size, (off_t)from);
    int error = errno == EIO ? EFAULT : errno;

    if (file >= 0)
        close(file);
    errno = error;
    return n;
}

int inspect_copy_memory(void *into, uintptr_t from, size_t size)
{
    struct iovec here = {into, size}, there = {(void *)from, size};
    ssize_t n = process_vm_readv(getpid(), &here, 1, &there, 1, 0);

    if (n < 0 && errno != EFAULT) /* a kernel without CONFIG_CROSS_MEMORY_ATTACH, qemu-user, a seccomp filter */
        n = read_file(into, from, size);
    return n == (ssize_t)size ? 0 : n < 0 ? errno : EFAULT;
}

/* Whether the page holds anything except zeros.  A page that was only read is resident too, as the kernel's shared page of zeros. */
static int page_was_written(uintptr_t page, size_t size)
{
    unsigned long words[64];

    for (size_t done = 0; done < size; done += sizeof words) {
        if (inspect_copy_memory(words, page + done, sizeof words) != 0)
            return 0;
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (words[i])
                return 1;
    }
    return 0;
}

size_t inspect_stack_used(uintptr_t low, uintptr_t high)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char resident[256];

    low &= ~(page - 1);
    for (uintptr_t at = low, end; at < high; at = end) {
        end = at + sizeof resident * page < high ? at + sizeof resident * page : high;
        if (mincore((void *)at, end - at, resident) != 0)
            return 0;
        for (size_t i = 0; at + i * page < end; i++)
            if ((resident[i] & 1) && page_was_written(at + i * page, page))
                return high - (at + i * page);
    }
    return 0;
}

static int is_listed(const struct glibc_list *list, uintptr_t pthread)
{
    for (const struct glibc_list *at = list->next; at != list; at = at->next)
        if ((uintptr_t)at == pthread + glibc.list)
            return 1;
    return 0;
}

static uintptr_t word_at(const char *pthread, size_t offset)
{
    uintptr_t value;
    memcpy(&value, pthread + offset, sizeof value);
    return value;
}

static int copy_listed(uintptr_t ident, struct inspect_thread *out, char *block, union glibc_dtv *dtv, size_t capacity,
                       struct inspect_block *blocks, size_t count)
{
    struct inspect_places places;
    int error;

    inspect_places(&places);
    out->tp = (uintptr_t)glibc_thread_pointer((void *)ident);
    if (!is_listed(glibc.stack_used, ident) && !is_listed(glibc.stack_user, ident))
        return ESRCH;
    uintptr_t low = out->tp + (uintptr_t)places.block_low;
    if ((error = inspect_copy_memory(block, low, (size_t)(places.block_high - places.block_low))) != 0)
        return error;

    const char *pthread = block + (places.pthread - places.block_low);
    memcpy(&out->tid, pthread + glibc.tid, sizeof out->tid);
    out->tid = green_lwp_tid(out->tid, (void *)out->tp);
    if (out->tid <= 0) /* not cloned yet, or gone: a thread is on the list before it is cloned, and a pthread until it is joined */
        return ESRCH;
    if ((out->stack_low = word_at(pthread, glibc.stackblock)) != 0) {
        if (!out->ours && glibc.guardsize) { /* glibc counts the guard as part of the stack; we don't */
            out->guard_low = out->stack_low;
            out->stack_low += word_at(pthread, glibc.guardsize);
        }
        out->stack_high = low & ~(uintptr_t)63; /* as in kernel/context/mapping.c; a pthread's is a little lower */
        out->stack_used = inspect_stack_used(out->stack_low, out->stack_high);
    }

    /* The thread may move its DTV to a longer one while we read: then the old one is unmapped, or stale. */
    memcpy(&out->dtv, block + ((char *)arch_tcb_dtv((char *)out->tp) - (char *)low), sizeof out->dtv);
    if ((error = inspect_copy_memory(&out->dtv_length, out->dtv - sizeof *dtv, sizeof out->dtv_length)) != 0)
        return error;
    if (out->dtv_length + 2 > capacity)
        return EOVERFLOW;
    if ((error = inspect_copy_memory(dtv, out->dtv - sizeof *dtv, (out->dtv_length + 2) * sizeof *dtv)) != 0)
        return error;
    for (size_t i = 0; i < count; i++) {
        struct inspect_block *b = &blocks[i];
        if (b->id <= out->dtv_length && dtv[b->id + 1].block.value != GLIBC_DTV_UNALLOCATED && dtv[b->id + 1].block.value)
            b->copied = inspect_copy_memory(b->into, (uintptr_t)dtv[b->id + 1].block.value, b->size) == 0;
    }
    return 0;
}

static int has_ident(struct lwp *lwp, uintptr_t ident)
{
    return lwp->ident == ident;
}

int inspect_copy(uintptr_t ident, struct inspect_thread *out, char *block, union glibc_dtv *dtv, size_t capacity,
                 struct inspect_block *blocks, size_t count)
{
    struct inspect_places places;
    struct lwp *lwp = registry_oldest(has_ident, ident); /* not under glibc's lock: it takes registry_lock, which comes before that */

    inspect_places(&places);
    *out = (struct inspect_thread){.ours = lwp != NULL, .guard_low = lwp ? lwp->guard_low : 0};
    if (lwp)
        registry_drop(lwp);
    glibc_lock_threads();
    int error = copy_listed(ident, out, block, dtv, capacity, blocks, count);
    glibc_unlock_threads();
    return error;
}

void inspect_each_soon(void (*see)(uintptr_t ident, int tid, void *arg), void *arg)
{
    for (int tries = 0; !listed_each(see, arg) && tries < 100; tries++)
        usleep(1000);
}
