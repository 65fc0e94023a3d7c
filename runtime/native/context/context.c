#include "context/context.h"

#include "arch/arch.h"
#include "base/pages.h"
#include "base/park.h"
#include "base/steps.h"
#include "glibc/glibc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13: a guard without a mapping of its own */
#endif

enum {
    PAGE = 4096,            /* the granularity of sizes; page_size() may be more */
    GUARD = 16 * 1024,      /* a frame that skips more than this is compiled with stack probes */
    KEPT = 1024,            /* contexts in the cache whose stack pages are kept */
    KEPT_STACK = 64 * 1024, /* and how much of each */
    ROOM_ON_PAGE = 1024,    /* of the room on struct pthread's page */
};

size_t context_room;

/* ---- the cache: a shelf for each size ---------------------------------------------------------------------------- */

static struct shelf {
    struct shelf *next;
    size_t stack_size;
    struct context *top; /* last in, first out: warm caches and pages */
} *shelves;
static int cached;
static long made;         /* with `mapped`, under cache_lock */
static size_t mapped;
static atomic_int cache_lock;

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t up(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static char *down(char *p, size_t align)
{
    return (char *)((uintptr_t)p & ~(align - 1));
}

size_t context_round(size_t wanted)
{
    size_t step = page_size();

    while (step * 8 <= wanted) /* four to seven classes a doubling */
        step *= 2;
    return up(wanted, step);
}

static struct shelf *shelf_for(size_t stack_size)
{
    struct shelf *shelf;

    for (shelf = shelves; shelf; shelf = shelf->next)
        if (shelf->stack_size == stack_size)
            return shelf;
    if (!(shelf = calloc(1, sizeof *shelf)))
        return NULL;
    shelf->stack_size = stack_size;
    shelf->next = shelves;
    return shelves = shelf;
}

/* ---- making one -------------------------------------------------------------------------------------------------- */

/* qemu-user says yes to any advice and does nothing.  A sleep of as long as the zeros there say, if they can be read. */
static int kernel_can_read(const char *place)
{
    int error = errno, result = syscall(SYS_nanosleep, place, NULL) == 0;

    errno = error;
    return result;
}

static int guard(char *base, size_t size)
{
    /* Written once with the same value by whoever finds out: no order needed. */
    static int no_guard_regions, guard_regions;

    STEP(STEP_GUARD, base, size);
    if (!no_guard_regions) {
        if (madvise(base, size, MADV_GUARD_INSTALL) == 0) {
            if (guard_regions || (guard_regions = !kernel_can_read(base)))
                return 0;
            no_guard_regions = 1;
        } else
            no_guard_regions = errno == EINVAL; /* another reason may be gone the next time */
    }
    return mprotect(base, size, PROT_NONE);
}

static struct context *make(size_t stack_size)
{
    size_t align = glibc.static_align > 64 ? glibc.static_align : 64;
    /* The block, the record above it, the room, and what aligning each may cost. */
    size_t room = context_room ? up(context_room - ROOM_ON_PAGE, page_size()) + ROOM_ON_PAGE : 0;
    size_t top = glibc.static_size + (ARCH_TLS_BELOW_TP ? 0 : glibc.pthread_size) + sizeof(struct context) + 3 * align + room;
    size_t guard_size = up(GUARD, page_size()), size = guard_size + up(stack_size + top, page_size());
    /* NORESERVE: a stack is address space until it is touched.  STACK: the kernel keeps huge pages off. */
    char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED)
        return NULL;
    STEP(STEP_MAP, base, size);
    if (guard(base, guard_size) != 0) {
        int error = errno;
        munmap(base, size);
        errno = error;
        return NULL;
    }
    struct context *c = (struct context *)down(base + size - room - sizeof *c, align);
    c->base = base;
    c->size = size;
    c->guard_size = guard_size;
    c->stack_low = base + guard_size;
#if ARCH_TLS_BELOW_TP
    /* static_size counts the modules' blocks and struct pthread (elf/dl-tls.c, _dl_determine_tlsoffset). */
    c->tp = c->pthread = down((char *)c - glibc.pthread_size, align);
    c->block_low = down(c->tp - (glibc.static_size - glibc.pthread_size), 64);
    c->block_high = c->pthread + glibc.pthread_size;
#else
    /* static_size counts from tp: the two words of the TCB, then the modules' blocks. */
    c->tp = down((char *)c - glibc.static_size, align);
    c->pthread = c->tp - glibc.pthread_size;
    c->block_low = c->pthread;
    c->block_high = c->tp + glibc.static_size;
#endif
    c->stack_high = down(c->block_low, 64);
    char *touched = down(c->stack_high - 1, page_size()); /* from there every thread comes to all of it */
    pages_make(touched, (size_t)((char *)(c + 1) - touched));
    return c;
}

struct context *context_get(size_t stack_size)
{
    struct context *context = NULL;

    stack_size = context_round(stack_size);
    park_lock(&cache_lock);
    struct shelf *shelf = shelf_for(stack_size);
    if (shelf && (context = shelf->top)) {
        shelf->top = context->next;
        cached--;
    }
    park_unlock(&cache_lock);
    if (!shelf) {
        errno = ENOMEM;
        return NULL;
    }
    if (context) {
        STEP(STEP_REUSE, context->tp, context->size);
        return context;
    }
    if ((context = make(stack_size))) {
        context->shelf = shelf;
        park_lock(&cache_lock);
        made++;
        mapped += context->size;
        park_unlock(&cache_lock);
    }
    return context;
}

size_t context_signal_stack_size(void)
{
    /* What the kernel stores there depends on the processor; as faulthandler sizes its own (Modules/faulthandler.c). */
    return up(getauxval(AT_MINSIGSTKSZ) + 16 * 1024, page_size());
}

void *context_signal_stack(struct context *c)
{
    size_t size = context_signal_stack_size();

    if (c->signal_stack)
        return c->signal_stack;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        return NULL;
    park_lock(&cache_lock);
    mapped += size;
    park_unlock(&cache_lock);
    c->signal_stack = stack;
    return stack;
}

/* ---- TLS --------------------------------------------------------------------------------------------------------- */

static char *block_of(const struct context *c, const struct glibc_module *module)
{
    return ARCH_TLS_BELOW_TP ? c->tp - module->offset : c->tp + module->offset;
}

/* What struct pthread holds of every thread of ours. */
static void fill_pthread(struct context *c)
{
    size_t size = (size_t)(c->block_high - c->stack_low) + sizeof *c;
    void **robust = glibc_field(c->pthread, glibc.robust_head);

    robust[-1] = robust; /* robust_prev */
    robust[0] = robust;  /* an empty list points at itself */
    memcpy(&robust[1], &glibc.robust_futex_offset, sizeof glibc.robust_futex_offset);
    *(void **)glibc_field(c->pthread, glibc.specific)
        = glibc_field(c->pthread, glibc.specific - glibc.keys_per_block * glibc.data_size);
    /* fork() in this thread then keeps it on _dl_stack_user (nptl/nptl-stack.c, __nptl_reclaim_stacks); on the other list
     * a forked child would hand its stack to the next pthread. */
    *(unsigned char *)glibc_field(c->pthread, glibc.user_stack) = glibc.user_stack_value;
    if (glibc.joinstate)
        memcpy(glibc_field(c->pthread, glibc.joinstate), &glibc.joinable, sizeof glibc.joinable);
    /* What pthread_getattr_np tells: without it callers get the main thread's stack. */
    *(void **)glibc_field(c->pthread, glibc.stackblock) = c->stack_low;
    memcpy(glibc_field(c->pthread, glibc.stackblock_size), &size, sizeof size);
    STEP(STEP_TCB, c->tp, glibc.pthread_size);
}

int context_blank(struct context *c)
{
    union glibc_dtv *dtv;
    char *tls_low = ARCH_TLS_BELOW_TP ? c->block_low : c->tp, *tls_high = ARCH_TLS_BELOW_TP ? c->tp : c->block_high;

    c->room = c->used == VANISHED || !context_room ? NULL : (char *)(c + 1);
    if (c->used == VANISHED) {
        memset(c->block_low, 0, (size_t)(c->block_high - c->block_low));
        memset(&c->resolver, 0, sizeof c->resolver);
        c->used = BLANK;
    }
    if (!(dtv = *arch_tcb_dtv(c->tp))) {
        /* From malloc, as glibc's own: __tls_get_addr reallocs it when a dlopen brings more modules (_dl_resize_dtv). */
        size_t length = glibc_max_module() + GLIBC_DTV_SURPLUS;
        if (!(dtv = calloc(length + 2, sizeof *dtv)))
            return ENOMEM;
        (dtv++)->counter = length;
    }
    if (c->used == USED) {
        /* The front of struct pthread is the last thread's; its tail, from stackblock on, is kept with libc's block. */
        memset(c->pthread, 0, glibc.stackblock);
        char *libc_low = c->tp + glibc.libc_block, *libc_high = libc_low + glibc.libc_block_size;
        memset(tls_low, 0, (size_t)(libc_low - tls_low));
        memset(libc_high, 0, (size_t)(tls_high - libc_high));
    }
    arch_tcb_init(c->tp, c->pthread);
    *arch_tcb_dtv(c->tp) = dtv;
    fill_pthread(c);
    return 0;
}

struct loading {
    struct context *context;
    union glibc_dtv *dtv;
    size_t generation, skipped, blocks;
};

/* libc's own block, when a thread has used it.  Whatever is not kept is the last thread's alone: also its list of C++ destructors,
 * to which a destructor of a pthread key may have added when the list had been run (lwp/thread_main.c, wind_up()). */
static void renew_libc(struct context *c, const struct glibc_module *module)
{
    char *block = block_of(c, module);
    void *kept[sizeof glibc.libc_kept / sizeof *glibc.libc_kept];

    for (int i = 0; i < glibc.libc_kept_count; i++)
        kept[i] = *(void **)(c->tp + glibc.libc_kept[i]);
    memcpy(block, module->image, module->image_size);
    memset(block + module->image_size, 0, module->size - module->image_size);
    for (int i = 0; i < glibc.libc_kept_count; i++)
        *(void **)(c->tp + glibc.libc_kept[i]) = kept[i];
}

static void load_module(const struct glibc_module *module, void *closure)
{
    struct loading *loading = closure;

    if (module->id > loading->dtv[-1].counter) {
        loading->skipped = module->id;
        return;
    }
    if (module->generation > loading->generation)
        loading->generation = module->generation;
    if (!module->offset)
        return;
    char *block = block_of(loading->context, module);
    loading->dtv[module->id].block.value = block;
    loading->blocks++;
    if (module->id == glibc.libc_module && loading->context->used == USED) {
        renew_libc(loading->context, module);
        return;
    }
    /* The rest of the block is zero already, and must not be zeroed here: the linker may have written it since. */
    memcpy(block, module->image, module->image_size);
}

int context_load_tls(struct context *c)
{
    struct loading loading = {.context = c};

    for (;;) {
        union glibc_dtv *dtv = loading.dtv = *arch_tcb_dtv(c->tp);
        size_t length = dtv[-1].counter;

        /* "Unallocated", also where no module is now: __tls_get_addr makes a block for such an entry and trusts any other.  The
         * generation is the newest of a module that is there, never newer than the linker's. */
        for (size_t i = 1; i <= length; i++) {
            dtv[i].block.value = GLIBC_DTV_UNALLOCATED;
            dtv[i].block.to_free = NULL;
        }
        loading.generation = loading.skipped = loading.blocks = 0;
        glibc_modules(load_module, &loading);
        if (!loading.skipped)
            break;
        size_t longer = loading.skipped + GLIBC_DTV_SURPLUS;
        if (!(dtv = realloc(dtv - 1, (longer + 2) * sizeof *dtv)))
            return ENOMEM;
        (dtv++)->counter = longer;
        *arch_tcb_dtv(c->tp) = dtv;
    }
    loading.dtv[0].counter = loading.generation;
    c->used = USED;
    STEP(STEP_TLS, c->block_low, loading.blocks);
    return 0;
}

static void free_dynamic_tls(struct context *c)
{
    union glibc_dtv *dtv = *arch_tcb_dtv(c->tp);

    for (size_t i = 1; dtv && i <= dtv[-1].counter; i++) {
        free(dtv[i].block.to_free);
        dtv[i].block.to_free = NULL;
        dtv[i].block.value = GLIBC_DTV_UNALLOCATED;
    }
}

/* ---- putting it back --------------------------------------------------------------------------------------------- */

/* The page by which went_deep() judges. */
static char *depth_mark(const struct context *c)
{
    return down(c->stack_high - KEPT_STACK, PAGE);
}

static int blank(const char *page)
{
    const unsigned long *words = (const unsigned long *)page;

    for (size_t i = 0; i < PAGE / sizeof *words; i++)
        if (words[i])
            return 0;
    return 1;
}

/* Whether the thread went deeper than what a cached stack may keep.  Looking costs no system call and no memory: a page that
 * was never written reads as the kernel's shared page of zeros. */
static int went_deep(const struct context *c)
{
    return depth_mark(c) >= c->stack_low && !blank(depth_mark(c));
}

size_t context_stack_used(const struct context *c)
{
    /* The page that the stack shares with the TLS block counts too: a thread may need no more. */
    size_t page = page_size(), pages = (up((size_t)c->stack_high, page) - (size_t)c->stack_low) / page;
    unsigned char resident[256];

    for (size_t done = 0; done < pages; done += sizeof resident) {
        size_t n = pages - done < sizeof resident ? pages - done : sizeof resident;
        if (mincore(c->stack_low + done * page, n * page, resident) != 0)
            return 0;
        for (size_t i = 0; i < n; i++) {
            char *at = c->stack_low + (done + i) * page;
            if ((resident[i] & 1) && !(at == depth_mark(c) && blank(at))) /* went_deep()'s look leaves a page of zeros */
                return (size_t)(c->stack_high - at);
        }
    }
    return 0;
}

void context_put(struct context *c, int vanished)
{
    size_t page = page_size();
    char *keep = depth_mark(c);

    STEP(STEP_RECYCLED, c->tp, c->size);
    if (vanished) {
        /* In a forked child.  What the lost thread's DTV and libc block point at is a copy that nobody else uses, but it may
         * have been lost in the middle of a malloc: begin with a blank block, when there is a next thread. */
        c->used = VANISHED;
        goto shelve;
    }
    free_dynamic_tls(c);
    if (cached >= KEPT) { /* a guess may be stale: it is a limit on memory, not a count that anything rests on */
        keep = down(c->stack_high, page);
        if (c->room)
            madvise(down(c->room, page) + page, up(context_room - ROOM_ON_PAGE, page), MADV_DONTNEED);
    } else if (!went_deep(c))
        keep = c->stack_low;
    if (keep > c->stack_low)
        madvise(c->stack_low, (size_t)(keep - c->stack_low), MADV_DONTNEED);
shelve:
    park_lock(&cache_lock);
    c->next = c->shelf->top;
    c->shelf->top = c;
    cached++;
    park_unlock(&cache_lock);
}

void context_count(struct context_counts *out)
{
    park_lock(&cache_lock);
    *out = (struct context_counts){.made = made, .cached = cached, .bytes = mapped};
    park_unlock(&cache_lock);
}

void context_before_fork(void)
{
    park_lock(&cache_lock);
}

void context_after_fork(void)
{
    park_unlock(&cache_lock);
}
