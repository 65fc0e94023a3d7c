/* fork(2): what each floor does before and after, in one written order, and how many forks lie behind this process.
 *
 * A forked child has one thread, the one that called fork().  Whatever the others held or had begun is lost, and what speaks of
 * them must be forgotten before it is used.  There are two ways to forget.
 *
 * A handler forgets what a floor can name: its locks, its lists.  Before the fork handlers run from the last of enum fork_floor to the
 * first, after it from the first to the last, so that a handler finds what it uses in order: the readers of events come first, because all
 * others tell events.
 *
 * `fork_generation` serves for what is on no list: a lock, a queue or a scheduler keeps the generation that its contents belong to, and
 * forgets them when it meets another. */
#ifndef RUNTIME_FORK_H
#define RUNTIME_FORK_H

#include "api.h"

#include <stdatomic.h>

enum fork_floor { FORK_TRACE, FORK_MEASURE, FORK_SYNC, FORK_LWP, FORK_GREEN, FORK_PYTHON, FORK_TOOLS, FORK_FLOORS };

struct fork_handlers {
    void (*before)(void), (*in_parent)(void), (*in_child)(void); /* each may be NULL */
};

/* How often the process that imported us has been forked on the way to this one.  Changes in a child only, before its handlers run
 * and before it has a second thread: no order is needed to read it. */
API extern int fork_generation;

/* Calls forget(of) if *forks is an earlier generation, and then writes this process's generation there.  One thread of the child does so;
 * another that comes meanwhile waits, or it would forget what the first has begun since. */
void fork_forget_now(atomic_int *forks, void (*forget)(void *of), void *of);

static inline void fork_forget(atomic_int *forks, void (*forget)(void *of), void *of)
{
    if (atomic_load_explicit(forks, memory_order_acquire) != fork_generation)
        fork_forget_now(forks, forget, of);
}

/* Sets the floor's handlers.  A floor with both `before` and `in_parent` sets them before fork_init(), because another thread may be in
 * fork() later, and would run `in_parent` without `before`. */
API void fork_handle(enum fork_floor floor, const struct fork_handlers *handlers);

/* Has glibc call them from now on; call it once.  Don't hold the GIL: to glibc 2.35 fork() holds the lock that this takes around all
 * handlers (posix/register-atfork.c), and a handler may want the GIL.  0 or errno. */
int fork_init(void);

#endif
