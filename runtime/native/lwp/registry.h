/* The registry of all LWPs in the states (2) to (5), see lwp/lwp.h; the stack of those that have ended; how many there are.
 * Lock order: the registry's, then glibc's stack_lock. */
#ifndef RUNTIME_REGISTRY_H
#define RUNTIME_REGISTRY_H

#include "lwp/lwp.h"

/* (1) -> (2): into the registry, which gets a ref, and into glibc's list of threads. */
void registry_list(struct lwp *lwp);

void registry_leave_glibc(struct context *context);

/* The caller has to drop the registry's ref. */
void registry_unlist(struct lwp *lwp);
void registry_drop(struct lwp *lwp);

/* The oldest that is so, with a ref; NULL: none. */
struct lwp *registry_oldest(int (*is_so)(struct lwp *lwp));

/* Whether a living LWP has this ident; if so, where its guard begins and ends. */
int registry_guard(uintptr_t ident, uintptr_t guard[2]);

/* (3) -> (4): from here on they may be reaped.  A chain, linked by `below` but for the last. */
void registry_push_ended(struct lwp *first, struct lwp *last);

/* All that have ended, linked by `below`; NULL: none. */
struct lwp *registry_take_ended(void);

void registry_count_started(void);
void registry_count_not_started(void); /* it was counted, and clone failed */
void registry_count_ended(void);
long registry_alive(void);
void registry_read(struct lwp_statistics *out);

void registry_before_fork(void);
void registry_after_fork(void);

/* Only the one with this ident is left, if it is one of ours: returned.  The others are handed to `lost`. */
struct lwp *registry_after_fork_in_child(uintptr_t ident, void (*lost)(struct lwp *lwp));

#endif
