/* Byte offsets in glibc, from the descriptors that it exports for debuggers (nptl_db). */
#include "kernel/glibc/finding.h"

#include <stdint.h>
#include <stdio.h>

struct linker linker;

/* A descriptor is {bits of one element, elements, byte offset} (nptl_db/db_info.c, DESC). */
struct descriptor {
    uint32_t bits, elements, offset;
};

static int read_offset(const char *name, size_t *offset, uint32_t bits)
{
    char full[96];
    const struct descriptor *found = NULL;

    snprintf(full, sizeof full, "_thread_db_%s", name);
    if (glibc_symbol(full, &found))
        return -1;
    if (bits && found->bits != bits)
        return glibc_refuse("%s describes a field of %u bits, expected %u", full, found->bits, bits);
    *offset = found->offset;
    return 0;
}

static int read_size(const char *name, size_t *size)
{
    char full[96];
    const uint32_t *found = NULL;

    snprintf(full, sizeof full, "_thread_db_sizeof_%s", name);
    if (glibc_symbol(full, &found))
        return -1;
    *size = *found;
    return 0;
}

int glibc_read_descriptors(void)
{
    enum { WORD = 8 * sizeof(void *) };
    size_t next, prev, value, counter, used, user, slots, level2;
    char *rtld = NULL;
    const struct descriptor *keys = NULL;
    const struct {
        const char *name;
        size_t *offset;
        uint32_t bits;
    } wanted[] = {
        {"pthread_list", &glibc.list, 2 * WORD},
        {"pthread_tid", &glibc.tid, 32},
        {"pthread_cancelhandling", &glibc.cancelhandling, 32},
        {"pthread_specific", &glibc.specific, 0},
        {"pthread_report_events", &glibc.report_events, 8},
        {"pthread_start_routine", &glibc.start_routine, WORD},
        {"pthread_dtvp", &linker.dtv_pointer, WORD},
        {"pthread_key_struct_seq", &glibc.key_sequence, WORD},
        {"pthread_key_struct_destr", &glibc.key_destructor, WORD},
        {"pthread_key_data_seq", &glibc.data_sequence, WORD},
        {"pthread_key_data_data", &glibc.data_value, WORD},
        {"list_t_next", &next, WORD},
        {"list_t_prev", &prev, WORD},
        {"dtv_t_pointer_val", &value, WORD},
        {"dtv_t_counter", &counter, WORD},
        {"link_map_l_tls_modid", &linker.map_module, WORD},
        {"link_map_l_tls_offset", &linker.map_offset, WORD},
        {"dtv_slotinfo_list_len", &linker.list_length, WORD},
        {"dtv_slotinfo_list_next", &linker.list_next, WORD},
        {"dtv_slotinfo_list_slotinfo", &linker.list_slots, 0},
        {"dtv_slotinfo_gen", &linker.slot_generation, WORD},
        {"dtv_slotinfo_map", &linker.slot_map, WORD},
        {"rtld_global__dl_stack_used", &used, 2 * WORD},
        {"rtld_global__dl_stack_user", &user, 2 * WORD},
        {"rtld_global__dl_tls_dtv_slotinfo_list", &slots, WORD},
    };

    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (read_offset(wanted[i].name, wanted[i].offset, wanted[i].bits))
            return -1;
    if (read_size("pthread", &glibc.pthread_size) || read_size("pthread_key_struct", &glibc.key_size)
        || read_size("pthread_key_data", &glibc.data_size) || read_size("dtv_slotinfo", &linker.slot_size)
        || read_size("pthread_key_data_level2", &level2))
        return -1;
    if (next != offsetof(struct glibc_list, next) || prev != offsetof(struct glibc_list, prev))
        return glibc_refuse("list_t has next at %zu and prev at %zu", next, prev);
    if (counter != 0 || value != offsetof(union glibc_dtv, block.value))
        return glibc_refuse("dtv_t has counter at %zu and its pointer at %zu", counter, value);
    glibc.keys_per_block = level2 / glibc.data_size;

    if (glibc_symbol("_rtld_global", &rtld) || glibc_symbol("__pthread_keys", &glibc.keys)
        || glibc_symbol("_thread_db___pthread_keys", &keys) || glibc_symbol("__nptl_nthreads", &glibc.thread_count)
        || glibc_symbol("__ctype_init", &glibc.ctype_init) || glibc_symbol("__call_tls_dtors", &glibc.call_tls_dtors))
        return -1;
    glibc.key_count = keys->elements;
    linker.global = rtld;
    linker.slot_list = (char **)(rtld + slots);

    /* The lock has no descriptor.  It ends a run of fields that is the same from 2.34 to 2.43 (sysdeps/generic/ldsodefs.h): used, user
     * and cache lists, cache size, in-flight link, lock.  If this word is not the lock, probe_locks() refuses it. */
    glibc.stack_user = (struct glibc_list *)(rtld + user);
    glibc.stack_used = (struct glibc_list *)(rtld + used);
    if (user - used != sizeof(struct glibc_list))
        return glibc_refuse("_dl_stack_user lies %zd bytes after _dl_stack_used, expected %zu", (ssize_t)(user - used),
                            sizeof(struct glibc_list));
    glibc.stack_lock = (atomic_int *)(rtld + user + 2 * sizeof(struct glibc_list) + 2 * sizeof(size_t));
    return 0;
}
