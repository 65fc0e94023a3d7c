#include "kernel/base/fork.h"

#include "kernel/base/park.h"

#include <pthread.h>
#include <stddef.h>

int fork_generation;

static const struct fork_handlers *_Atomic floors[FORK_FLOORS];
static atomic_int forgetting; /* a lock; order: docs/architecture.md */

static void before_fork(void)
{
    for (int i = FORK_FLOORS; i-- > 0;) {
        const struct fork_handlers *handlers = atomic_load(&floors[i]);
        if (handlers && handlers->before)
            handlers->before();
    }
}

static void after_fork_in_parent(void)
{
    for (int i = 0; i < FORK_FLOORS; i++) {
        const struct fork_handlers *handlers = atomic_load(&floors[i]);
        if (handlers && handlers->in_parent)
            handlers->in_parent();
    }
}

static void after_fork_in_child(void)
{
    fork_generation++;
    atomic_store(&forgetting, 0);
    for (int i = 0; i < FORK_FLOORS; i++) {
        const struct fork_handlers *handlers = atomic_load(&floors[i]);
        if (handlers && handlers->in_child)
            handlers->in_child();
    }
}

void fork_forget_now(atomic_int *forks, void (*forget)(void *of), void *of)
{
    park_lock(&forgetting);
    if (atomic_load(forks) != fork_generation) {
        forget(of);
        atomic_store_explicit(forks, fork_generation, memory_order_release);
    }
    park_unlock(&forgetting);
}

void fork_handle(enum fork_floor floor, const struct fork_handlers *handlers)
{
    atomic_store(&floors[floor], handlers);
}

int fork_init(void)
{
    static int done;
    int error = done ? 0 : pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);

    done = error == 0;
    return error;
}
