#include "kernel/glibc/finding.h"

#include "kernel/arch/arch.h"
#include "kernel/base/park.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct glibc glibc;
void (*glibc_before_wait)(void);

static char *complaint;
static size_t complaint_capacity;

void glibc_complain_to(char *why, size_t capacity)
{
    complaint = why;
    complaint_capacity = capacity;
}

int glibc_refuse(const char *format, ...)
{
    int n = snprintf(complaint, complaint_capacity, "runtime can't work with this C library: glibc %s on " ARCH_NAME ": ",
                     glibc.version ? glibc.version : "(unknown)");
    va_list args;

    va_start(args, format);
    if (n >= 0 && (size_t)n < complaint_capacity)
        vsnprintf(complaint + n, complaint_capacity - (size_t)n, format, args);
    va_end(args);
    return -1;
}

/* pthread_create returns EAGAIN also where mmap has failed with ENOMEM (nptl/pthread_create.c). */
static const char *likely_cause(int error)
{
    switch (error) {
    case EAGAIN:
        return "RLIMIT_AS, RLIMIT_NPROC or a cgroup's pids.max may be too low";
    case ENOMEM:
        return "RLIMIT_AS or vm.max_map_count may be too low";
    default:
        return "a seccomp filter may forbid it";
    }
}

int glibc_failed(const char *call, int error)
{
    snprintf(complaint, complaint_capacity, "runtime can't work in this process: %s fails: %s (%s)", call, strerror(error),
             likely_cause(error));
    return -1;
}

int glibc_not_loaded(const char *library)
{
    snprintf(complaint, complaint_capacity, "runtime can't work in this process: %s can't be loaded: %s", library, dlerror());
    return -1;
}

int glibc_symbol(const char *name, void *out)
{
    return glibc_symbol_in(RTLD_DEFAULT, name, out);
}

int glibc_symbol_in(void *module, const char *name, void *out)
{
    void *found = dlsym(module, name);
    if (!found)
        return glibc_refuse("the symbol %s is missing", name);
    memcpy(out, &found, sizeof found);
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

/* ---- its locks --------------------------------------------------------------------------------------------------- */

int glibc_try_lock_threads(void)
{
    return park_try_lock(glibc.stack_lock);
}

void glibc_lock_threads(void)
{
    if (glibc_try_lock_threads())
        return;
    if (glibc_before_wait)
        glibc_before_wait();
    park_lock(glibc.stack_lock);
}

void glibc_unlock_threads(void)
{
    park_unlock(glibc.stack_lock);
}
