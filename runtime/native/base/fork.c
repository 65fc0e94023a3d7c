#include "base/fork.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

int fork_generation;

static const struct fork_handlers *_Atomic floors[FORK_FLOORS];

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
    for (int i = 0; i < FORK_FLOORS; i++) {
        const struct fork_handlers *handlers = atomic_load(&floors[i]);
        if (handlers && handlers->in_child)
            handlers->in_child();
    }
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
