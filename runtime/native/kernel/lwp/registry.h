/* The registry of all threads in the states (2) to (5), see kernel/lwp/lwp.h; the stack of those that have ended; their numbers. */
#ifndef RUNTIME_REGISTRY_H
#define RUNTIME_REGISTRY_H

#include "kernel/lwp/lwp.h"

/* The head of the list; in it and in each thread `newer` leads to the next.  Debuggers read it. */
extern struct lwp registry;

/* (1) -> (2): links it into the registry, which gets a ref, and into glibc's list of threads. */
void registry_list(struct lwp *lwp);

/* Takes its thread off glibc's list: from here on setxid, dlopen and debuggers don't see it. */
void registry_leave_glibc(struct context *context);

/* Takes it out of the registry.  The caller must drop the registry's ref after that, by registry_drop(). */
void registry_unlist(struct lwp *lwp);
/* Drops a ref, and frees it with the last. */
API void registry_drop(struct lwp *lwp);

/* The oldest thread that matches, with a ref; NULL: none.  `matches` is called with registry_lock. */
API struct lwp *registry_oldest(int (*matches)(struct lwp *lwp, uintptr_t ident), uintptr_t ident);

/* Pushes a chain, linked by `below`, on the stack of ended threads: of those at (4), and of killed processes at (5).  From here on they
 * may be reaped. */
void registry_push_ended(struct lwp *first, struct lwp *last);

/* Takes the whole stack, linked by `below`; NULL: it is empty. */
struct lwp *registry_take_ended(void);

void registry_count_started(void);
void registry_count_not_started(void); /* it was counted, and clone failed */
void registry_count_ended(void);
API long registry_alive(void);
API struct registry_counts {
    long started, alive, peak;
} registry_read(void);

void registry_before_fork(void);
void registry_after_fork(void);

/* Keeps the thread with this ident only, and returns it; NULL: it is not in the registry.  Calls lost() for each of the others. */
struct lwp *registry_after_fork_in_child(uintptr_t ident, void (*lost)(struct lwp *lwp));

#endif
