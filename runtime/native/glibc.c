#include "glibc.h"

#include "arch/arch.h"
#include "park.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct glibc glibc;

/* ---- finding: the descriptors ------------------------------------------------------------------------------------- */

/* A descriptor is {bits of one element, elements, byte offset} (nptl_db/db_info.c, DESC). */
struct descriptor {
    uint32_t bits, elements, offset;
};

static struct {
    size_t dtv_pointer, map_module, map_offset, map_image, list_length, list_next, list_slots, slot_size, slot_generation,
        slot_map;
    char **slot_list; /* address of the pointer to the first struct dtv_slotinfo_list */
} linker;

static struct glibc_fact facts[64];
static int robust_told; /* the kernel says where a thread's robust list is */
static char *complaint;
static size_t complaint_room;

static int refuse(const char *format, ...)
{
    int n = snprintf(complaint, complaint_room, "glibc %s on " ARCH_NAME ": ", glibc.version ? glibc.version : "(unknown)");
    va_list args;

    va_start(args, format);
    if (n >= 0 && (size_t)n < complaint_room)
        vsnprintf(complaint + n, complaint_room - (size_t)n, format, args);
    va_end(args);
    return -1;
}

static void field(const char *name, size_t offset, size_t size, enum glibc_source source, const char *check)
{
    if (glibc.fact_count < (int)(sizeof facts / sizeof *facts))
        facts[glibc.fact_count++] = (struct glibc_fact){name, (long)offset, size, source, check};
}

static void fact(const char *name, long value, enum glibc_source source, const char *check)
{
    field(name, (size_t)value, 0, source, check);
}

static int symbol(const char *name, void *out)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found)
        return refuse("the symbol %s is missing", name);
    memcpy(out, &found, sizeof found);
    return 0;
}

static int descriptor(const char *name, size_t *offset, uint32_t bits)
{
    char full[96];
    const struct descriptor *found = NULL;

    snprintf(full, sizeof full, "_thread_db_%s", name);
    if (symbol(full, &found))
        return -1;
    if (bits && found->bits != bits)
        return refuse("%s describes a field of %u bits, expected %u", full, found->bits, bits);
    *offset = found->offset;
    return 0;
}

static int size_of(const char *name, size_t *size)
{
    char full[96];
    const uint32_t *found = NULL;

    snprintf(full, sizeof full, "_thread_db_sizeof_%s", name);
    if (symbol(full, &found))
        return -1;
    *size = *found;
    return 0;
}

static int read_descriptors(void)
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
        if (descriptor(wanted[i].name, wanted[i].offset, wanted[i].bits))
            return -1;
    if (size_of("pthread", &glibc.pthread_size) || size_of("pthread_key_struct", &glibc.key_size)
        || size_of("pthread_key_data", &glibc.data_size) || size_of("dtv_slotinfo", &linker.slot_size)
        || size_of("pthread_key_data_level2", &level2))
        return -1;
    if (next != offsetof(struct glibc_list, next) || prev != offsetof(struct glibc_list, prev))
        return refuse("list_t has next at %zu and prev at %zu", next, prev);
    if (counter != 0 || value != offsetof(union glibc_dtv, block.value))
        return refuse("dtv_t has counter at %zu and its pointer at %zu", counter, value);
    glibc.keys_per_block = level2 / glibc.data_size;

    if (symbol("_rtld_global", &rtld) || symbol("__pthread_keys", &glibc.keys)
        || symbol("_thread_db___pthread_keys", &keys) || symbol("__nptl_nthreads", &glibc.thread_count)
        || symbol("__ctype_init", &glibc.ctype_init) || symbol("__call_tls_dtors", &glibc.call_tls_dtors))
        return -1;
    glibc.key_count = keys->elements;
    linker.slot_list = (char **)(rtld + slots);

    /* The lock has no descriptor.  It closes a run of fields that is the same from 2.34 to 2.43 (sysdeps/generic/ldsodefs.h):
     * used, user and cache lists, cache size, in-flight link, lock.  A lock of another kind is found out in probe_lock(). */
    glibc.stack_user = (struct glibc_list *)(rtld + user);
    glibc.stack_used = (struct glibc_list *)(rtld + used);
    if (user - used != sizeof(struct glibc_list))
        return refuse("_dl_stack_user lies %zd bytes after _dl_stack_used, expected %zu", (ssize_t)(user - used),
                      sizeof(struct glibc_list));
    glibc.stack_lock = (atomic_int *)(rtld + user + 2 * sizeof(struct glibc_list) + 2 * sizeof(size_t));
    return 0;
}

/* ---- finding: a real thread --------------------------------------------------------------------------------------- */

enum { PROBE_STACK = 256 * 1024, PROBE_GUARD = 5 * 64 * 1024 /* whole pages whatever their size, and nobody's default */ };

struct probe {
    char *stack;              /* given by us to pthread_create */
    unsigned char *copy;      /* its struct pthread while it ran */
    void *self;
    pid_t tid;
    void *robust_head;
    long robust_futex_offset;
    size_t robust_size;
    int count;                /* __nptl_nthreads while it ran */
    int rseq_cpu;
    void *frame;              /* a cleanup frame that was registered meanwhile */
    const char *tcb;          /* arch_tcb_check()'s word on it */
    char *local;
    atomic_int phase;         /* 1: examined, 2: go and make a thread, 3: made */
    int error;
};

static void *do_nothing(void *unused)
{
    return unused;
}

static void *probe_main(void *arg)
{
    struct probe *p = arg;
    char local;
    struct {
        void *list;
        long futex_offset;
        void *pending;
    } *head = NULL;

    p->self = (void *)pthread_self();
    p->tid = gettid();
    p->local = &local;
    p->count = atomic_load(glibc.thread_count);
    p->tcb = arch_tcb_check(p->self);
    if (syscall(SYS_get_robust_list, 0, &head, &p->robust_size) == 0 && head) {
        p->robust_head = head;
        p->robust_futex_offset = head->futex_offset;
    }
    if (glibc.rseq_size)
        p->rseq_cpu = ((int *)((char *)arch_thread_pointer() + glibc.rseq))[1]; /* struct rseq: cpu_id_start, cpu_id */
    __pthread_unwind_buf_t frame; /* what pthread_cleanup_push() makes and registers */
    p->frame = &frame;
    __pthread_register_cancel(&frame);
    memcpy(p->copy, p->self, glibc.pthread_size);
    __pthread_unregister_cancel(&frame);
    atomic_store(&p->phase, 1);
    park_wake(&p->phase, 1, PARK_PRIVATE);

    /* Making a thread takes the lock that guards the stack lists: see probe_lock(). */
    while (atomic_load(&p->phase) < 2)
        park_wait(&p->phase, 1, PARK_FOREVER, PARK_PRIVATE);
    pthread_t other;
    p->error = pthread_create(&other, NULL, do_nothing, NULL);
    if (p->error == 0)
        pthread_join(other, NULL);
    return NULL;
}

static int start_probe(struct probe *p, pthread_t *thread, int own_stack)
{
    pthread_attr_t attr;
    int error;

    p->copy = malloc(glibc.pthread_size);
    if (!p->copy)
        return refuse("no memory for the probe");
    pthread_attr_init(&attr);
    if (own_stack) {
        p->stack = mmap(NULL, PROBE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (p->stack == MAP_FAILED) {
            p->stack = NULL;
            pthread_attr_destroy(&attr);
            return refuse("no memory for the probe's stack: %s", strerror(errno));
        }
        (void)pthread_attr_setstack(&attr, p->stack, PROBE_STACK);
    } else { /* the size too: under a small RLIMIT_STACK the guard would not fit */
        pthread_attr_setstacksize(&attr, PROBE_STACK + PROBE_GUARD);
        pthread_attr_setguardsize(&attr, PROBE_GUARD);
    }
    error = pthread_create(thread, &attr, probe_main, p);
    pthread_attr_destroy(&attr);
    if (error)
        return refuse("can't make the probe thread: %s", strerror(error));
    while (atomic_load(&p->phase) == 0)
        park_wait(&p->phase, 0, PARK_FOREVER, PARK_PRIVATE);
    return 0;
}

static void end_probe(struct probe *p, pthread_t thread)
{
    atomic_store(&p->phase, 2);
    park_wake(&p->phase, 1, PARK_PRIVATE);
    pthread_join(thread, NULL);
}

static void *word(const unsigned char *copy, size_t offset)
{
    void *value;
    memcpy(&value, copy + offset, sizeof value);
    return value;
}

/* stackblock and stackblock_size have no descriptor: they are where a thread on our stack holds its address and size. */
static int find_stack_fields(const struct probe *own, const struct probe *other)
{
    int found = 0;
    pthread_attr_t attr;
    void *base, *fake;
    size_t size;

    for (size_t at = glibc.start_routine; at + 2 * sizeof(void *) <= glibc.pthread_size; at += sizeof(void *))
        if (word(own->copy, at) == own->stack && (size_t)word(own->copy, at + sizeof(void *)) == PROBE_STACK) {
            glibc.stackblock = at;
            glibc.stackblock_size = at + sizeof(void *);
            found++;
        }
    if (found != 1)
        return refuse("stackblock: %d places in struct pthread hold the probe's stack, expected 1", found);

    /* Second side: the thread on glibc's own stack has its frame inside what it holds there ... */
    base = word(other->copy, glibc.stackblock);
    size = (size_t)word(other->copy, glibc.stackblock_size);
    if (other->local < (char *)base || other->local >= (char *)base + size)
        return refuse("stackblock: %p + %zu does not hold the other probe's frame %p", base, size, (void *)other->local);
    /* ... and third: glibc reads our values back from a descriptor that has nothing else. */
    if (!(fake = calloc(1, glibc.pthread_size)))
        return refuse("no memory for a blank descriptor");
    memcpy(glibc_field(fake, glibc.stackblock), &own->stack, sizeof own->stack);
    size = PROBE_STACK;
    memcpy(glibc_field(fake, glibc.stackblock_size), &size, sizeof size);
    int error = pthread_getattr_np((pthread_t)fake, &attr);
    free(fake);
    if (error)
        return refuse("pthread_getattr_np on a blank descriptor: %s", strerror(error));
    (void)pthread_attr_getstack(&attr, &base, &size);
    pthread_attr_destroy(&attr);
    if (base != own->stack || size != PROBE_STACK)
        return refuse("pthread_getattr_np reads %p + %zu from stackblock, expected %p + %d", base, size, (void *)own->stack,
                      PROBE_STACK);
    return 0;
}

/* user_stack (bool, to 2.41) or stack_mode (enum, 2.42): the one byte beside report_events that tells the probes apart. */
static int find_user_stack(const struct probe *own, const struct probe *other)
{
    int found = 0;

    for (size_t at = glibc.report_events - 8; at < glibc.report_events + 16; at++)
        if (own->copy[at] != other->copy[at]) {
            glibc.user_stack = at;
            glibc.user_stack_value = own->copy[at];
            found++;
        }
    if (found != 1 || glibc.user_stack_value < 1 || glibc.user_stack_value > 2 || other->copy[glibc.user_stack] > 1)
        return refuse("user_stack: %d bytes near report_events differ between a thread on its own stack and one on glibc's",
                      found);
    return 0;
}

/* joinstate, since 2.43: where joinid was, and 0 was the usual, 0 now says that the thread has ended, and pthread_detach() would
 * free it.  A running one has 2; 3 says that it is detached, which pthread_getattr_np tells of a descriptor that has nothing else. */
static int find_joinstate(const struct probe *own, const struct probe *other, int minor)
{
    enum { JOINABLE = 2, DETACHED = 3 }; /* nptl/descr.h */
    char *fake = calloc(1, glibc.pthread_size);
    size_t size = PROBE_STACK;
    int found = 0;

    if (!fake)
        return refuse("no memory for a blank descriptor");
    memcpy(glibc_field(fake, glibc.stackblock), &own->stack, sizeof own->stack);
    memcpy(glibc_field(fake, glibc.stackblock_size), &size, sizeof size);
    for (size_t at = (glibc.user_stack + 3) & ~(size_t)3; at < glibc.start_routine; at += sizeof(int)) {
        int one, two, state = DETACHED, told = PTHREAD_CREATE_JOINABLE;
        pthread_attr_t attr;

        memcpy(&one, own->copy + at, sizeof one);
        memcpy(&two, other->copy + at, sizeof two);
        if (one != JOINABLE || two != JOINABLE)
            continue;
        memcpy(fake + at, &state, sizeof state);
        if (pthread_getattr_np((pthread_t)fake, &attr) == 0) {
            (void)pthread_attr_getdetachstate(&attr, &told);
            pthread_attr_destroy(&attr);
        }
        memset(fake + at, 0, sizeof state);
        if (told == PTHREAD_CREATE_DETACHED) {
            glibc.joinstate = at;
            glibc.joinable = JOINABLE;
            found++;
        }
    }
    free(fake);
    int expected = minor >= 43;
    if (found != expected)
        return refuse("joinstate: %d places tell pthread_getattr_np whether a thread is detached, expected %d", found, expected);
    return 0;
}

static size_t places(const struct probe *p, size_t from, const void *value, size_t *last)
{
    size_t found = 0;

    for (size_t at = from; at + sizeof(void *) <= glibc.pthread_size; at += sizeof(void *))
        if (word(p->copy, at) == value) {
            *last = at;
            found++;
        }
    return found;
}

/* Fields that only those want who look at a thread. */
static void find_for_inspection(const struct probe *own, const struct probe *other)
{
    size_t at = 0, again = 0;
    int one, two;

    /* struct pthread_attr's flags, copied by pthread_create, stand beside cancelhandling; a given stack is a bit in them. */
    memcpy(&one, own->copy + glibc.cancelhandling + sizeof one, sizeof one);
    memcpy(&two, other->copy + glibc.cancelhandling + sizeof two, sizeof two);
    if (__builtin_popcount((unsigned)(one ^ two)) == 1 && (one & ~two))
        glibc.flags = glibc.cancelhandling + sizeof one;
    if (places(own, 0, own->frame, &at) == 1 && places(other, 0, other->frame, &again) == 1 && at == again)
        glibc.cleanup_jmp_buf = at;
    /* What was asked for and what pthread_getattr_np tells; a given stack has neither. */
    if (places(other, glibc.stackblock_size, (void *)(uintptr_t)PROBE_GUARD, &at) == 2
        && word(other->copy, at - sizeof(void *)) == (void *)(uintptr_t)PROBE_GUARD && !word(own->copy, at)) {
        glibc.guardsize = at - sizeof(void *);
        glibc.reported_guardsize = at;
    }
}

/* Where the kernel knows of no robust lists (qemu-user, some sandboxes) glibc lays out an empty one all the same: after tid two
 * words, robust_prev and the head, point at the head (nptl/allocatestack.c), and the futex's offset follows. */
static int find_robust_head(struct probe *p)
{
    enum { WORD = sizeof(void *) };

    for (size_t at = (glibc.tid + 2 * WORD - 1) & -WORD; at <= glibc.tid + 64 && at + 2 * WORD <= glibc.pthread_size; at += WORD)
        if (word(p->copy, at) == (char *)p->self + at && word(p->copy, at - WORD) == (char *)p->self + at) {
            p->robust_head = (char *)p->self + at;
            p->robust_futex_offset = (long)word(p->copy, at + WORD);
            return 0;
        }
    return refuse("robust_head: get_robust_list(2) tells of none, and no empty list lies behind tid");
}

static int examine(struct probe *own, struct probe *other, int minor)
{
    struct probe *both[] = {own, other};

    robust_told = own->robust_head && other->robust_head;
    for (int i = 0; i < 2; i++)
        if (!robust_told && find_robust_head(both[i]))
            return -1;
    glibc.robust_head = (size_t)((char *)own->robust_head - (char *)own->self);
    glibc.robust_futex_offset = own->robust_futex_offset;
    for (int i = 0; i < 2; i++) {
        const struct probe *p = both[i];
        pid_t tid;

        if (p->tcb)
            return refuse("%s", p->tcb);
        memcpy(&tid, p->copy + glibc.tid, sizeof tid);
        if (tid != p->tid)
            return refuse("tid: struct pthread holds %d at offset %zu, gettid says %d", tid, glibc.tid, p->tid);
        if (word(p->copy, glibc.start_routine) != (void *)probe_main
            || word(p->copy, glibc.start_routine + sizeof(void *)) != p)
            return refuse("start_routine is not at offset %zu", glibc.start_routine);
        if ((char *)p->robust_head - (char *)p->self != (ptrdiff_t)glibc.robust_head
            || word(p->copy, glibc.robust_head) != p->robust_head
            || word(p->copy, glibc.robust_head - sizeof(void *)) != p->robust_head)
            return refuse("robust_head: the kernel was told offset %td, but no empty list with its robust_prev is there",
                          (char *)p->robust_head - (char *)p->self);
        if (word(p->copy, glibc.specific) != (char *)p->self + glibc.specific - glibc.keys_per_block * glibc.data_size)
            return refuse("specific[0] at offset %zu does not point at the block before it", glibc.specific);
        if (p->count < 2)
            return refuse("__nptl_nthreads is %d with two threads", p->count);
        if (glibc.rseq_size && p->rseq_cpu < 0)
            return refuse("rseq: the area at tp%+td holds cpu_id %d in a registered thread", glibc.rseq, p->rseq_cpu);
    }
    if (glibc.robust_head < glibc.tid || glibc.robust_head - glibc.tid > 64 || glibc.cancelhandling < glibc.robust_head)
        return refuse("tid, robust_head and cancelhandling are at %zu, %zu, %zu: not in that order", glibc.tid,
                      glibc.robust_head, glibc.cancelhandling);
    if (find_stack_fields(own, other) || find_user_stack(own, other) || find_joinstate(own, other, minor))
        return -1;
    find_for_inspection(own, other);
    return 0;
}

/* Whether the word taken for the lock of the stack lists is it: a thread that makes a thread must run into it. */
static int probe_lock(struct probe *own)
{
    int64_t deadline = park_now() + 2000000000;
    int value = atomic_load(glibc.stack_lock), contended;

    if (value < 0 || value > 2)
        return refuse("_dl_stack_cache_lock: the word after the stack lists is %d", value);
    park_lock(glibc.stack_lock);
    atomic_store(&own->phase, 2);
    park_wake(&own->phase, 1, PARK_PRIVATE);
    while (!(contended = atomic_load(glibc.stack_lock) == 2) && park_now() < deadline)
        sched_yield();
    park_unlock(glibc.stack_lock);
    if (!contended)
        return refuse("_dl_stack_cache_lock: pthread_create does not take the word after the stack lists");
    return 0;
}

static int on_list(const struct glibc_list *list, const void *pthread)
{
    int found = 0, steps = 0;

    park_lock(glibc.stack_lock);
    for (struct glibc_list *at = list->next; at != list && steps < 1000000; at = at->next, steps++)
        found |= (char *)at == (char *)pthread + glibc.list;
    park_unlock(glibc.stack_lock);
    return found;
}

static int probe(int minor)
{
    struct probe own = {0}, other = {0};
    pthread_t own_thread = 0, other_thread = 0;
    int result = -1, ending;

    if (start_probe(&own, &own_thread, 1) == 0) {
        if (start_probe(&other, &other_thread, 0) == 0) {
            result = examine(&own, &other, minor);
            if (result == 0 && !on_list(glibc.stack_used, other.self))
                result = refuse("list: a thread on glibc's stack is not on _dl_stack_used at offset %zu", glibc.list);
            end_probe(&other, other_thread);
        }
        if (result == 0 && !on_list(glibc.stack_user, own.self))
            result = refuse("list: a thread on its own stack is not on _dl_stack_user at offset %zu", glibc.list);
        if (result == 0)
            result = probe_lock(&own);
        end_probe(&own, own_thread);
        if (result == 0 && own.error)
            result = refuse("can't make a thread: %s", strerror(own.error));
        if (result == 0) {
            /* Its descriptor lay on our stack and is still there: EXITING is what the exit left in cancelhandling. */
            memcpy(&ending, (char *)own.self + glibc.cancelhandling, sizeof ending);
            glibc.exiting = 1 << 4; /* EXITING_BITMASK, nptl/descr.h, the same since 2.34 */
            if (!(ending & glibc.exiting))
                result = refuse("cancelhandling is %#x after a thread's end, without the bit EXITING", ending);
        }
    }
    if (result == 0 && *(char *)dlsym(RTLD_DEFAULT, "__libc_single_threaded"))
        result = refuse("__libc_single_threaded is still set after a thread was made");
    free(own.copy);
    free(other.copy);
    if (own.stack)
        munmap(own.stack, PROBE_STACK);
    return result;
}

/* ---- finding: TLS ------------------------------------------------------------------------------------------------- */

#define PLAUSIBLE_MODULES ((size_t)1 << 20)

static void walk_slots(void (*visit)(const struct glibc_module *, void *), void *closure)
{
    char *list = *linker.slot_list;
    size_t base = 0;

    while (list) {
        size_t length = *(size_t *)(list + linker.list_length);
        for (size_t i = base == 0; i < length; i++) { /* module ids begin with 1 */
            char *slot = list + linker.list_slots + i * linker.slot_size;
            /* dl_load_tls_lock isn't ours to take: a slot may be filled as we read it, its words are stored atomically. */
            char *map = __atomic_load_n((char **)(slot + linker.slot_map), __ATOMIC_ACQUIRE);
            if (!map)
                continue;
            const char *image = map + linker.map_image;
            ptrdiff_t offset = __atomic_load_n((ptrdiff_t *)(map + linker.map_offset), __ATOMIC_ACQUIRE);
            struct glibc_module module = {
                .id = base + i,
                .generation = __atomic_load_n((size_t *)(slot + linker.slot_generation), __ATOMIC_ACQUIRE),
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
        list = __atomic_load_n((char **)(list + linker.list_next), __ATOMIC_ACQUIRE);
    }
}

struct walk {
    void (*visit)(const struct glibc_module *, void *);
    void *closure;
};

static atomic_int walking;

static int walk_locked(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct walk *walk = arg;

    (void)info;
    (void)size;
    walk_slots(walk->visit, walk->closure);
    return 1; /* once is enough: the lock is what we came for */
}

/* dl_iterate_phdr holds dl_load_write_lock around its callback, and dlclose takes that before it frees a module of any
 * namespace (elf/dl-iteratephdr.c, elf/dl-close.c): what a slot points at stays while we look. */
void glibc_modules(void (*visit)(const struct glibc_module *, void *), void *closure)
{
    struct walk walk = {visit, closure};

    park_lock(&walking);
    dl_iterate_phdr(walk_locked, &walk);
    park_unlock(&walking);
}

void glibc_before_fork(void)
{
    park_lock(&walking);
}

void glibc_after_fork(void)
{
    park_unlock(&walking);
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

/* Compares one loaded module as dl_iterate_phdr tells it with what its slot and link map say. */
struct check_modules {
    int checked, failed;
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

    /* Where in the link map the image, its size, the block's size and its alignment are: four words in a row a little
     * before l_tls_modid, whose values the program header gives. */
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
        return snprintf(check->what, sizeof check->what, "module %zu: offset %td, but its block is at tp%+td",
                        info->dlpi_tls_modid, offset, (char *)info->dlpi_tls_data - tp), 1;
    if (info->dlpi_tls_data && errno_at >= info->dlpi_tls_data
        && (char *)errno_at < (char *)info->dlpi_tls_data + tls->p_memsz) {
        glibc.libc_module = info->dlpi_tls_modid; /* errno lives in libc's block */
        glibc.libc_block = (char *)info->dlpi_tls_data - tp;
        glibc.libc_block_size = tls->p_memsz;
    }
    check->failed = 0;
    check->checked++;
    return 0;
}

static int read_tls(void)
{
    void (*static_info)(size_t *, size_t *) = NULL;
    char *resp = NULL, *tp = arch_thread_pointer();
    struct check_modules check = {0};
    union glibc_dtv *dtv = *arch_tcb_dtv(tp);
    const ptrdiff_t *rseq_offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    const unsigned *rseq_size = dlsym(RTLD_DEFAULT, "__rseq_size");

    if (symbol("_dl_get_tls_static_info", &static_info) || symbol("__resp", &resp))
        return -1;
    static_info(&glibc.static_size, &glibc.static_align);
    if (glibc.static_align < 16 || glibc.static_align & (glibc.static_align - 1) || glibc.static_size > 1 << 24
        || (ARCH_TLS_BELOW_TP && glibc.static_size < glibc.pthread_size))
        return refuse("static TLS: %zu bytes aligned to %zu", glibc.static_size, glibc.static_align);

    /* In variant II struct pthread starts at tp and the descriptor's dtv pointer is the TCB's. */
    if (ARCH_TLS_BELOW_TP && (char *)arch_tcb_dtv(tp) != (char *)pthread_self() + linker.dtv_pointer)
        return refuse("dtv: the descriptor says offset %zu", linker.dtv_pointer);
    if (dtv[-1].counter > PLAUSIBLE_MODULES)
        return refuse("dtv: %zu entries", dtv[-1].counter);

    dl_iterate_phdr(check_module, &check);
    if (check.failed)
        return refuse("%s", check.what);
    if (!glibc.libc_module)
        return refuse("no module's TLS block holds errno");
    if (glibc.libc_module > dtv[-1].counter || (char *)&errno < (char *)dtv[glibc.libc_module].block.value)
        return refuse("dtv: entry %zu is not libc's block", glibc.libc_module);

    /* dlsym gives the calling thread's copy of a TLS variable; libc's block is static, so the distance to tp is a constant. */
    glibc.resp = resp - tp;
    if (glibc.resp < glibc.libc_block || glibc.resp >= glibc.libc_block + (ptrdiff_t)glibc.libc_block_size)
        return refuse("__resp lies at tp%+td, outside libc's TLS block", glibc.resp);

    if (rseq_offset && rseq_size && *rseq_size) { /* 2.35 on; the tunable glibc.pthread.rseq=0 publishes size 0 */
        glibc.rseq = *rseq_offset;
        glibc.rseq_size = *rseq_size;
    } else if (rseq_offset)
        glibc.rseq = *rseq_offset;
    return 0;
}

/* ---- the record --------------------------------------------------------------------------------------------------- */

static void list_facts(void)
{
    enum { WORD = sizeof(void *) };
    size_t first_keys = glibc.keys_per_block * glibc.data_size;
    enum glibc_source robust = robust_told ? GLIBC_KERNEL : GLIBC_PROBE;

    glibc.facts = facts;
    fact("sizeof struct pthread", (long)glibc.pthread_size, GLIBC_DESCRIPTOR, "the probe's own descriptor fits in its stack");
    field("pthread.list", glibc.list, 2 * WORD, GLIBC_DESCRIPTOR, "both probes were found on glibc's lists through it");
    field("pthread.tid", glibc.tid, sizeof(pid_t), GLIBC_DESCRIPTOR, "holds gettid() in both probes");
    field("pthread.robust_prev", glibc.robust_head - WORD, WORD, robust, "points at robust_head, which follows");
    field("pthread.robust_head", glibc.robust_head, 3 * WORD, robust,
          robust_told ? "get_robust_list(2) in both probes; points at itself" : "points at itself in both probes, as robust_prev");
    if (glibc.cleanup_jmp_buf)
        field("pthread.cleanup_jmp_buf", glibc.cleanup_jmp_buf, WORD, GLIBC_PROBE, "holds the frame that both probes had registered");
    field("pthread.cancelhandling", glibc.cancelhandling, sizeof(int), GLIBC_DESCRIPTOR, "has EXITING set after the probe's end");
    if (glibc.flags)
        field("pthread.flags", glibc.flags, sizeof(int), GLIBC_PROBE, "a given stack is one bit of it");
    field("pthread.specific_1stblock", glibc.specific - first_keys, first_keys, GLIBC_DESCRIPTOR, "specific[0] points at it");
    field("pthread.specific", glibc.specific, glibc.key_count / glibc.keys_per_block * WORD, GLIBC_DESCRIPTOR,
          "its first entry points at the block before it");
    field("pthread.report_events", glibc.report_events, 1, GLIBC_DESCRIPTOR, "user_stack is beside it");
    field("pthread.user_stack", glibc.user_stack, 1, GLIBC_PROBE, "the one byte that differs on a given stack");
    if (glibc.joinstate)
        field("pthread.joinstate", glibc.joinstate, sizeof(int), GLIBC_PROBE, "pthread_getattr_np reads our value back from it");
    field("pthread.start_routine", glibc.start_routine, WORD, GLIBC_DESCRIPTOR, "holds the probe's function");
    field("pthread.arg", glibc.start_routine + WORD, WORD, GLIBC_DESCRIPTOR, "holds the probe's argument, after its function");
    field("pthread.stackblock", glibc.stackblock, WORD, GLIBC_PROBE, "pthread_getattr_np reads our value back from it");
    field("pthread.stackblock_size", glibc.stackblock_size, WORD, GLIBC_PROBE, "pthread_getattr_np reads our value back from it");
    if (glibc.guardsize) {
        field("pthread.guardsize", glibc.guardsize, WORD, GLIBC_PROBE, "holds the size that a probe was made with, twice");
        field("pthread.reported_guardsize", glibc.reported_guardsize, WORD, GLIBC_PROBE, "the second of the two");
    }
    fact("robust futex offset", glibc.robust_futex_offset, robust, "the same in both probes");
    fact("static TLS size", (long)glibc.static_size, GLIBC_SYMBOL, "every module's static block lies inside");
    fact("static TLS alignment", (long)glibc.static_align, GLIBC_SYMBOL, "a power of two");
    fact("link_map.l_tls_modid", (long)linker.map_module, GLIBC_DESCRIPTOR, "dl_iterate_phdr, every module with TLS");
    fact("link_map.l_tls_offset", (long)linker.map_offset, GLIBC_DESCRIPTOR, "dl_iterate_phdr's block in this thread");
    fact("link_map.l_tls_initimage", (long)linker.map_image, GLIBC_LINKER, "PT_TLS of every module");
    fact("libc's module id", (long)glibc.libc_module, GLIBC_LINKER, "errno lies in its block; its DTV entry agrees");
    fact("tp to libc's block", (long)glibc.libc_block, GLIBC_LINKER, "errno and __resp lie inside");
    fact("tp to __resp", (long)glibc.resp, GLIBC_SYMBOL, "inside static TLS");
    fact("tp to rseq area", (long)glibc.rseq, GLIBC_SYMBOL, "cpu_id is valid in both probes");
    fact("rseq size", (long)glibc.rseq_size, GLIBC_SYMBOL, "0 means not registered");
    fact("pthread keys", (long)glibc.key_count, GLIBC_DESCRIPTOR, "sysconf(_SC_THREAD_KEYS_MAX)");
    fact("_dl_stack_used", (long)glibc.stack_used, GLIBC_DESCRIPTOR, "holds the probe on glibc's stack");
    fact("_dl_stack_user", (long)glibc.stack_user, GLIBC_DESCRIPTOR, "16 bytes after _dl_stack_used; holds the probe on its own");
    fact("_dl_stack_cache_lock", (long)glibc.stack_lock, GLIBC_PROBE, "pthread_create was seen to wait on it");
    fact("__nptl_nthreads", (long)glibc.thread_count, GLIBC_SYMBOL, "counted the probes");
}

int glibc_calibrate(char *why, size_t room)
{
    static int done;
    int major, minor;
    const char *private_version = NULL;

    if (done)
        return 0;
    complaint = why;
    complaint_room = room;
    glibc.fact_count = 0;
    glibc.version = gnu_get_libc_version();
    if (sscanf(glibc.version, "%d.%d", &major, &minor) != 2 || major != 2 || minor < 34)
        return refuse("glibc 2.34 or newer is needed");
    if (symbol("__nptl_version", &private_version))
        return -1;
    if (strcmp(private_version, glibc.version) != 0)
        return refuse("__nptl_version says %s", private_version);
    if (read_descriptors() || read_tls() || probe(minor))
        return -1;
    if ((long)glibc.key_count != sysconf(_SC_THREAD_KEYS_MAX))
        return refuse("__pthread_keys has %zu entries, sysconf says %ld", glibc.key_count, sysconf(_SC_THREAD_KEYS_MAX));

    /* pthread_exit and cancellation unwind with libgcc_s, which glibc loads at the first need and aborts when it can't:
     * then a daemon thread at exit would take the process down.  So it is loaded while a missing one can be reported. */
    /* cppcheck-suppress leakReturnValNotUsed ; it stays */
    if (!dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL))
        return refuse("libgcc_s.so.1, which pthread_exit needs, can't be loaded: %s", dlerror());
    list_facts();
    done = 1;
    return 0;
}

size_t glibc_default_stack(void)
{
    pthread_attr_t attr;
    size_t size = 0;

    if (pthread_getattr_default_np(&attr) == 0) {
        pthread_attr_getstacksize(&attr, &size);
        pthread_attr_destroy(&attr);
    }
    return size;
}
