#include "kernel/context/mapping.h"

#include "kernel/arch/arch.h"
#include "kernel/base/events.h"
#include "kernel/glibc/glibc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *block_of(const struct context *c, const struct glibc_module *module)
{
    return ARCH_TLS_BELOW_TP ? c->tp - module->offset : c->tp + module->offset;
}

/* The fields of struct pthread that every thread made here needs. */
static void fill_pthread(struct context *c)
{
    size_t size = (size_t)(c->block_high - c->stack_low) + sizeof *c;
    void **robust = glibc_field(c->pthread, glibc.robust_head);

    robust[-1] = robust; /* robust_prev */
    robust[0] = robust;  /* an empty list points at itself */
    memcpy(&robust[1], &glibc.robust_futex_offset, sizeof glibc.robust_futex_offset);
    *(void **)glibc_field(c->pthread, glibc.specific)
        = glibc_field(c->pthread, glibc.specific - glibc.keys_per_block * glibc.data_size);
    /* This byte has fork() keep the thread on _dl_stack_user (nptl/nptl-stack.c, __nptl_reclaim_stacks).  On the list of glibc's own
     * stacks, the child's next pthread would get this thread's stack. */
    *(unsigned char *)glibc_field(c->pthread, glibc.user_stack) = glibc.user_stack_value;
    if (glibc.joinstate)
        memcpy(glibc_field(c->pthread, glibc.joinstate), &glibc.joinable, sizeof glibc.joinable);
    /* pthread_getattr_np returns these; without them it would return the main thread's stack. */
    *(void **)glibc_field(c->pthread, glibc.stackblock) = c->stack_low;
    memcpy(glibc_field(c->pthread, glibc.stackblock_size), &size, sizeof size);
    EVENT(EVENT_TCB, c->tp, glibc.pthread_size);
}

int context_blank(struct context *c)
{
    union glibc_dtv *dtv;
    char *tls_low = ARCH_TLS_BELOW_TP ? c->block_low : c->tp, *tls_high = ARCH_TLS_BELOW_TP ? c->tp : c->block_high;

    c->scratch = c->used == VANISHED || !context_scratch ? NULL : (char *)(c + 1);
    if (c->used == VANISHED) {
        memset(c->block_low, 0, (size_t)(c->block_high - c->block_low));
        memset(&c->resolver, 0, sizeof c->resolver);
        c->used = BLANK;
    }
    if (!(dtv = *arch_tcb_dtv(c->tp))) {
        /* By malloc, since __tls_get_addr reallocs it when there are more modules (_dl_resize_dtv). */
        size_t length = glibc_max_module() + GLIBC_DTV_SURPLUS;
        if (!(dtv = calloc(length + 2, sizeof *dtv)))
            return ENOMEM;
        (dtv++)->counter = length;
    }
    if (c->used != BLANK) {
        /* The last thread's data.  The tail of struct pthread, from stackblock on, and libc's block are kept. */
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

/* libc's block of a recycled context begins anew, except for the kept words.  The list of C++ destructors begins anew too, because it need
 * not be empty: a pthread key's destructor may add to it after it was run (kernel/lwp/thread_main.c, thread_exit_hooks()). */
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
    if (module->id == glibc.libc_module && loading->context->used != BLANK) {
        renew_libc(loading->context, module);
        return;
    }
    /* The rest of the block is zero since context_blank().  Don't zero it here: the linker may have written to it since. */
    memcpy(block, module->image, module->image_size);
}

int context_load_tls(struct context *c)
{
    struct loading loading = {.context = c};

    for (;;) {
        union glibc_dtv *dtv = loading.dtv = *arch_tcb_dtv(c->tp);
        size_t length = dtv[-1].counter;

        /* All entries begin as "unallocated", also those without a module: __tls_get_addr allocates a block for such an entry, and
         * takes any other value for the block's address.  The DTV's generation is that of the newest module, so never newer than the
         * linker's. */
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
    c->used = c->used == BLANK ? LOADED : c->used;
    EVENT(EVENT_TLS, c->block_low, loading.blocks);
    return 0;
}

void tls_free_dynamic(struct context *c)
{
    union glibc_dtv *dtv = *arch_tcb_dtv(c->tp);

    for (size_t i = 1; dtv && i <= dtv[-1].counter; i++) {
        free(dtv[i].block.to_free);
        dtv[i].block.to_free = NULL;
        dtv[i].block.value = GLIBC_DTV_UNALLOCATED;
    }
}
