#include "green/thread.h"
#include "kernel/lwp/registry.h"

#include <stddef.h>

/* Debuggers read this (lwp/study/gdb_threads.py), because a wheel has symbols, but no debug information that says where fields are. */
__attribute__((visibility("default"))) const struct { /* exported, or a linker that collects garbage takes it */
    struct lwp *registry;
    size_t newer, alive, tid, ident, name, name_size, stack_low, stack_high, scheduler, sp;
} runtime_debug = {
    &registry,
    offsetof(struct lwp, newer),
    offsetof(struct lwp, alive),
    offsetof(struct lwp, tid),
    offsetof(struct lwp, ident),
    offsetof(struct lwp, name),
    sizeof registry.name,
    offsetof(struct lwp, stack_low),
    offsetof(struct lwp, stack_high),
    offsetof(struct green_thread, green.scheduler),
    offsetof(struct green_thread, green.sp),
};
