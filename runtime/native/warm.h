/* LWPs whose thread has ended, kept asleep on their contexts for the next: a futex wake where clone and exit would be.
 *
 * life.c decides which LWP is kept, and makes of it what a new one would be; here are those that are asleep.  Such an LWP stays
 * on glibc's list, as the sleeping thread that it is: so setxid changes its credentials too, and the dynamic linker its TLS
 * block.  All its signals are blocked but that of setxid: it must not take one that is for the process.  It uses its stack,
 * the TCB and errno, nothing else of its TLS, which the next thread's starter writes; but for park_green, in the handler of
 * setxid's signal: that is NULL before, after and meanwhile.
 *
 * In a forked child none of them is there, see warm_is_here(). */
#ifndef RUNTIME_WARM_H
#define RUNTIME_WARM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct context;
struct lwp;

/* What a thread inherits from its creator and may change for itself, as far as the kernel tells it cheaply: affinity,
 * scheduling, I/O priority, timer slack, file system ids, capabilities and no_new_privs.  Mixed into one number, for we only ask
 * whether it is the same: two settings that differ have the same one once in 2^63.  0: nothing is kept, or the caller is another
 * process, or has descriptors or a working directory of its own, or a seccomp filter, or what a thread would inherit is not what
 * its creator has. */
uint64_t warm_settings(void);

/* Whether one more may be kept; if so, warm_put() is to follow. */
int warm_admit(void);

/* The calling LWP is going to sleep on its context; its thread has these settings.  From now on the kernel clears the
 * context's word at its end, not the thread's `alive`, which may be freed. */
void warm_lie_down(struct context *context, uint64_t settings);

/* It sleeps until it gets a thread, or NULL: it is to end. */
struct lwp *warm_sleep(struct context *context);

/* It ends with its thread: the kernel is to clear the thread's word again. */
void warm_leave(struct context *context, atomic_int *word);

/* Into the pool, or, if it is more than are to be kept, ended.  Its thread must be gone. */
void warm_put(struct context *context);

/* A context with an LWP asleep on it, or NULL. */
struct context *warm_get(size_t stack_size);

/* Whether an LWP sleeps on the context.  If it did in the process from which this one was forked, the context is VANISHED now. */
int warm_is_here(struct context *context);

/* In a forked child: no LWP is on the context, whatever it says. */
void warm_lost(struct context *context);

/* The calling LWP is another process, in our memory: what it inherits and hands on is not compared. */
void warm_outside(void);

/* Gives it a thread. */
void warm_wake(struct context *context, struct lwp *lwp);

/* Has it end, and waits until the kernel has it no more; then the context may be put back as any other. */
void warm_end(struct context *context);

/* How many are to be kept from now on.  warm_trim() ends those in the pool that are too many. */
void warm_limit(int limit);
void warm_trim(void);

/* How many are kept. */
int warm_count(void);

void warm_init(void);
void warm_before_fork(void);
void warm_after_fork(void);
void warm_after_fork_in_child(void); /* with the lock, and without the cache's */

#endif
