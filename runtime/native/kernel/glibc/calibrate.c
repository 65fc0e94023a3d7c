/* Finds all facts of kernel/glibc/glibc.h, in order, and lists them with what confirmed each. */
#include "kernel/glibc/finding.h"

#include "kernel/base/number.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct glibc_fact facts[64];

static void add_field(const char *name, size_t offset, size_t size, enum glibc_source source, const char *check)
{
    if (glibc.fact_count < (int)(sizeof facts / sizeof *facts))
        facts[glibc.fact_count++] = (struct glibc_fact){name, (long)offset, size, source, check};
}

static void add_fact(const char *name, long value, enum glibc_source source, const char *check)
{
    add_field(name, (size_t)value, 0, source, check);
}

static void list_facts(void)
{
    enum { WORD = sizeof(void *) };
    size_t first_keys = glibc.keys_per_block * glibc.data_size;
    enum glibc_source robust = glibc.robust_from_kernel ? GLIBC_KERNEL : GLIBC_PROBE;

    glibc.facts = facts;
    add_fact("sizeof struct pthread", (long)glibc.pthread_size, GLIBC_DESCRIPTOR, "the probe's own descriptor fits in its stack");
    add_field("pthread.list", glibc.list, 2 * WORD, GLIBC_DESCRIPTOR, "both probes were found on glibc's lists through it");
    add_field("pthread.tid", glibc.tid, sizeof(pid_t), GLIBC_DESCRIPTOR, "holds gettid() in both probes");
    add_field("pthread.robust_prev", glibc.robust_head - WORD, WORD, robust, "points at robust_head, which follows");
    add_field("pthread.robust_head", glibc.robust_head, 3 * WORD, robust,
              glibc.robust_from_kernel ? "get_robust_list(2) in both probes; points at itself"
                                       : "points at itself in both probes, as robust_prev");
    if (glibc.cleanup_jmp_buf)
        add_field("pthread.cleanup_jmp_buf", glibc.cleanup_jmp_buf, WORD, GLIBC_PROBE,
                  "holds the frame that both probes had registered");
    add_field("pthread.cancelhandling", glibc.cancelhandling, sizeof(int), GLIBC_DESCRIPTOR, "has EXITING set after the probe's end");
    if (glibc.flags)
        add_field("pthread.flags", glibc.flags, sizeof(int), GLIBC_PROBE, "a given stack is one bit of it");
    add_field("pthread.specific_1stblock", glibc.specific - first_keys, first_keys, GLIBC_DESCRIPTOR, "specific[0] points at it");
    add_field("pthread.specific", glibc.specific, glibc.key_count / glibc.keys_per_block * WORD, GLIBC_DESCRIPTOR,
              "its first entry points at the block before it");
    add_field("pthread.report_events", glibc.report_events, 1, GLIBC_DESCRIPTOR, "user_stack is beside it");
    add_field("pthread.user_stack", glibc.user_stack, 1, GLIBC_PROBE, "the one byte that differs on a given stack");
    if (glibc.joinstate)
        add_field("pthread.joinstate", glibc.joinstate, sizeof(int), GLIBC_PROBE, "pthread_getattr_np reads our value back from it");
    add_field("pthread.start_routine", glibc.start_routine, WORD, GLIBC_DESCRIPTOR, "holds the probe's function");
    add_field("pthread.arg", glibc.start_routine + WORD, WORD, GLIBC_DESCRIPTOR, "holds the probe's argument, after its function");
    add_field("pthread.stackblock", glibc.stackblock, WORD, GLIBC_PROBE, "pthread_getattr_np reads our value back from it");
    add_field("pthread.stackblock_size", glibc.stackblock_size, WORD, GLIBC_PROBE, "pthread_getattr_np reads our value back from it");
    if (glibc.guardsize) {
        add_field("pthread.guardsize", glibc.guardsize, WORD, GLIBC_PROBE, "holds the size that a probe was made with, twice");
        add_field("pthread.reported_guardsize", glibc.reported_guardsize, WORD, GLIBC_PROBE, "the second of the two");
    }
    if (glibc.sigmask)
        add_field("pthread.sigmask", glibc.sigmask, glibc.sigmask_size, GLIBC_PROBE,
                  "behind the state that __resp points at; holds two masks");
    add_fact("robust futex offset", glibc.robust_futex_offset, robust, "the same in both probes");
    add_fact("static TLS size", (long)glibc.static_size, GLIBC_SYMBOL, "every module's static block lies inside");
    add_fact("static TLS alignment", (long)glibc.static_align, GLIBC_SYMBOL, "a power of two");
    add_fact("link_map.l_tls_modid", (long)linker.map_module, GLIBC_DESCRIPTOR, "dl_iterate_phdr, every module with TLS");
    add_fact("link_map.l_tls_offset", (long)linker.map_offset, GLIBC_DESCRIPTOR, "dl_iterate_phdr's block in this thread");
    add_fact("link_map.l_tls_initimage", (long)linker.map_image, GLIBC_LINKER, "PT_TLS of every module");
    add_fact("libc's module id", (long)glibc.libc_module, GLIBC_LINKER, "errno lies in its block; its DTV entry agrees");
    add_fact("tp to libc's block", (long)glibc.libc_block, GLIBC_LINKER, "errno and __resp lie inside");
    add_fact("libc's words that stay", glibc.libc_kept_count, GLIBC_PROBE, "malloc's are the same in both probes; ctype's lie inside");
    add_fact("tp to __resp", (long)glibc.resp, GLIBC_SYMBOL, "inside static TLS");
    add_fact("tp to rseq area", (long)glibc.rseq, GLIBC_SYMBOL, "cpu_id is valid in both probes");
    add_fact("rseq size", (long)glibc.rseq_size, GLIBC_SYMBOL, "0 means not registered");
    add_fact("pthread keys", (long)glibc.key_count, GLIBC_DESCRIPTOR, "sysconf(_SC_THREAD_KEYS_MAX)");
    add_fact("_dl_stack_used", (long)glibc.stack_used, GLIBC_DESCRIPTOR, "holds the probe on glibc's stack");
    add_fact("_dl_stack_user", (long)glibc.stack_user, GLIBC_DESCRIPTOR, "16 bytes after _dl_stack_used; holds the probe on its own");
    add_fact("_dl_stack_cache_lock", (long)glibc.stack_lock, GLIBC_PROBE, "pthread_create was seen to wait on it");
    add_fact("the linker's lock", (long)glibc.linker_lock, GLIBC_PROBE,
             "beside the one that dl_iterate_phdr holds; pthread_create was seen to wait on it");
    add_fact("__nptl_nthreads", (long)glibc.thread_count, GLIBC_SYMBOL, "counted the probes");
}

/* If these are refused, glibc ends the process: in pthread_join, and in a new thread (nptl/pthread_create.c, start_thread). */
static int ask_kernel(void)
{
    int word = 0;

    if (syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1) < 0)
        return glibc_failed("futex", errno);
    /* EINVAL is the kernel's answer: another area is registered (kernel/rseq.c). */
    if (glibc.rseq_size && syscall(SYS_rseq, NULL, 0, 0, 0) < 0 && errno != EINVAL)
        return glibc_failed("rseq", errno);
    return 0;
}

int glibc_calibrate(char *why, size_t capacity)
{
    static int done;
    const char *private_version = NULL;

    if (done)
        return 0;
    glibc_complain_to(why, capacity);
    glibc.fact_count = 0;
    glibc.version = gnu_get_libc_version();
    const char *digits = glibc.version + 2;
    int minor = strncmp(glibc.version, "2.", 2) ? 0 : (int)number_read(&digits, 10);
    if (minor < 34)
        return glibc_refuse("glibc 2.34 or newer is needed");
    if (glibc_symbol("__nptl_version", &private_version))
        return -1;
    if (strcmp(private_version, glibc.version) != 0)
        return glibc_refuse("__nptl_version says %s", private_version);
    if (dlsym(RTLD_DEFAULT, "__tsan_func_entry")) /* TSan would crash in a thread's first instrumented function */
        return glibc_refuse("ThreadSanitizer is loaded, which only knows the threads that its own pthread_create makes");
    if (glibc_read_descriptors() || glibc_read_tls(minor) || ask_kernel() || glibc_probe(minor))
        return -1;
    if ((long)glibc.key_count != sysconf(_SC_THREAD_KEYS_MAX))
        return glibc_refuse("__pthread_keys has %zu entries, sysconf says %ld", glibc.key_count, sysconf(_SC_THREAD_KEYS_MAX));

    /* pthread_exit and cancellation unwind with libgcc_s.  glibc loads it when it is first needed, and aborts if it can't: a daemon
     * thread at exit would kill the process.  Loaded here, a missing one can be reported. */
    /* cppcheck-suppress leakReturnValNotUsed ; it stays loaded */
    if (!dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL))
        return glibc_not_loaded("libgcc_s.so.1, which pthread_exit needs,");
    list_facts();
    done = 1;
    return 0;
}
