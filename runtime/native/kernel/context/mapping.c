#include "kernel/context/mapping.h"

#include "kernel/arch/arch.h"
#include "kernel/base/pages.h"
#include "kernel/base/events.h"
#include "kernel/glibc/glibc.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13: a guard without a mapping of its own */
#endif

enum {
    PAGE = 4096,            /* the granularity of sizes; page_size() may be more */
    GUARD = 16 * 1024,      /* a frame that skips more than this is compiled with stack probes */
    KEPT_STACK = 64 * 1024, /* bytes of a cached stack, from its top, that keep their pages */
    SCRATCH_ON_PAGE = 1024, /* bytes of scratch on struct pthread's page */
};

size_t context_scratch;
static atomic_size_t bytes;
static atomic_long made;

size_t mapping_bytes(void)
{
    return atomic_load(&bytes);
}

long mapping_count(void)
{
    return atomic_load(&made);
}

/* ---- making one -------------------------------------------------------------------------------------------------- */

/* Whether a page can be read though it is a guard: qemu-user accepts any advice and ignores it.  A page that can be read holds zeros, so
 * nanosleep(2), told to sleep for the time that lies there, succeeds at once. */
static int kernel_can_read(const char *place)
{
    int error = errno, result = syscall(SYS_nanosleep, place, NULL) == 0;

    errno = error;
    return result;
}

static int install_guard(char *base, size_t size)
{
    /* Threads may race here, but all write the same value: no order is needed. */
    static int no_guard_regions, guard_regions;

    EVENT(EVENT_GUARD, base, size);
    if (!no_guard_regions) {
        if (madvise(base, size, MADV_GUARD_INSTALL) == 0) {
            if (guard_regions || (guard_regions = !kernel_can_read(base)))
                return 0;
            no_guard_regions = 1;
        } else
            no_guard_regions = errno == EINVAL; /* other errors may pass: try again the next time */
    }
    return mprotect(base, size, PROT_NONE);
}

/* Before Linux 6.8 MAP_STACK says nothing to the kernel (mm: commit c4608d1bf7c6; the last 6.6 and 6.7 have it too, and there madvise is
 * one call too many).  Where huge pages are "always" used, as on Debian 12, the top of one stack in fifty then lies in a huge page, and
 * takes 2 MiB. */
static int stack_may_be_huge(void)
{
    static atomic_int known; /* 1: no, 2: yes */

    if (!atomic_load_explicit(&known, memory_order_relaxed)) {
        struct utsname system;
        int old = uname(&system) == 0 && strverscmp(system.release, "6.8") < 0; /* sscanf() would need glibc 2.38 */
        atomic_store_explicit(&known, 1 + old, memory_order_relaxed);
    }
    return atomic_load_explicit(&known, memory_order_relaxed) == 2;
}

struct context *mapping_new(size_t stack_size)
{
    size_t align = glibc.static_align > 64 ? glibc.static_align : 64;
    /* What lies above the stack: the block, struct context, scratch, and the most that aligning them may take. */
    size_t scratch = context_scratch ? round_up(context_scratch - SCRATCH_ON_PAGE, page_size()) + SCRATCH_ON_PAGE : 0;
    size_t top = glibc.static_size + (ARCH_TLS_BELOW_TP ? 0 : glibc.pthread_size) + sizeof(struct context) + 3 * align + scratch;
    size_t guard_size = round_up(GUARD, page_size()), size = guard_size + round_up(stack_size + top, page_size());
    /* NORESERVE: a stack costs address space only, until it is used.  STACK: no huge pages. */
    char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED)
        return NULL;
    EVENT(EVENT_MAP, base, size);
    if (stack_may_be_huge())
        madvise(base, size, MADV_NOHUGEPAGE); /* EINVAL: a kernel without huge pages */
    if (install_guard(base, guard_size) != 0) {
        int error = errno;
        munmap(base, size);
        errno = error;
        return NULL;
    }
    struct context *c = (struct context *)round_down(base + size - scratch - sizeof *c, align);
    c->base = base;
    c->size = size;
    c->guard_size = guard_size;
    c->stack_low = base + guard_size;
#if ARCH_TLS_BELOW_TP
    /* static_size counts the modules' blocks and struct pthread (elf/dl-tls.c, _dl_determine_tlsoffset). */
    c->tp = c->pthread = round_down((char *)c - glibc.pthread_size, align);
    c->block_low = round_down(c->tp - (glibc.static_size - glibc.pthread_size), 64);
    c->block_high = c->pthread + glibc.pthread_size;
#else
    /* static_size counts from tp: the two words of the TCB, then the modules' blocks. */
    c->tp = round_down((char *)c - glibc.static_size, align);
    c->pthread = c->tp - glibc.pthread_size;
    c->block_low = c->pthread;
    c->block_high = c->tp + glibc.static_size;
#endif
    c->stack_high = round_down(c->block_low, 64);
    char *touched = round_down(c->stack_high - 1, page_size()); /* every thread uses all from there on */
    pages_make(touched, (size_t)((char *)(c + 1) - touched));
    atomic_fetch_add(&made, 1);
    atomic_fetch_add(&bytes, size);
    return c;
}

size_t context_signal_stack_size(void)
{
    /* The kernel's part depends on the processor; the rest is what faulthandler gives its own (Modules/faulthandler.c). */
    return round_up(getauxval(AT_MINSIGSTKSZ) + 16 * 1024, page_size());
}

void *context_signal_stack(struct context *c)
{
    size_t size = context_signal_stack_size();

    if (c->signal_stack)
        return c->signal_stack;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        return NULL;
    atomic_fetch_add(&bytes, size);
    c->signal_stack = stack;
    return stack;
}

/* ---- its pages --------------------------------------------------------------------------------------------------- */

/* The page that went_deep() reads. */
static char *depth_mark(const struct context *c)
{
    return round_down(c->stack_high - KEPT_STACK, PAGE);
}

static int is_blank(const char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0; /* each byte is as the one before */
}

/* Whether the thread used more stack than a cached context may keep.  Reading the page costs no system call, and no memory: one that
 * was never written reads as the kernel's shared page of zeros. */
static int went_deep(const struct context *c)
{
    return depth_mark(c) >= c->stack_low && !is_blank(depth_mark(c));
}

void mapping_trim(struct context *c, int keep)
{
    size_t page = page_size();
    char *low = round_down(c->stack_high, page); /* pages from here on are kept */

    if (!keep) {
        if (c->scratch)
            madvise(round_down(c->scratch, page) + page, round_up(context_scratch - SCRATCH_ON_PAGE, page), MADV_DONTNEED);
    } else
        low = went_deep(c) ? depth_mark(c) : c->stack_low;
    if (low > c->stack_low)
        madvise(c->stack_low, (size_t)(low - c->stack_low), MADV_DONTNEED);
}
