#include "waits/watch.h"

#include "kernel/base/fork.h"
#include "kernel/lwp/lwp.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the table --------------------------------------------------------------------------------------------------- */

enum { BUCKETS = 1024, BUCKET_BITS = 10 };
_Static_assert(BUCKETS == 1 << BUCKET_BITS, "bucket_of()");

static struct bucket {
    atomic_int lock; /* order: docs/architecture.md */
    struct sync_watch *oldest, *newest;
} buckets[BUCKETS];

static struct bucket *bucket_of(const void *object)
{
    return &buckets[((uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u >> (64 - BUCKET_BITS)]; /* Fibonacci hashing */
}

void sync_watch_enter(struct sync_watch *watch, const void *object, struct sync_any *any)
{
    struct bucket *bucket = bucket_of(object);

    park_lock(&bucket->lock);
    *watch = (struct sync_watch){.previous = bucket->newest, .object = object, .any = any, .queued = 1};
    *(bucket->newest ? &bucket->newest->next : &bucket->oldest) = watch;
    bucket->newest = watch;
    park_unlock(&bucket->lock);
}

static void take_out(struct bucket *bucket, struct sync_watch *watch)
{
    *(watch->previous ? &watch->previous->next : &bucket->oldest) = watch->next;
    *(watch->next ? &watch->next->previous : &bucket->newest) = watch->previous;
    watch->queued = 0;
}

int sync_watch_leave(struct sync_watch *watch)
{
    struct bucket *bucket = bucket_of(watch->object);

    if (watch->any->forks != fork_generation)
        return watch->claimed;
    park_lock(&bucket->lock);
    if (watch->queued)
        take_out(bucket, watch);
    park_unlock(&bucket->lock);
    return watch->claimed;
}

int sync_watch_tell(const void *object, int count, void (*complete)(struct sync_any *any, void *arg), void *arg)
{
    struct bucket *bucket = bucket_of(object);
    struct sync_watch *watch, *next;
    int told = 0;

    park_lock(&bucket->lock);
    for (watch = bucket->oldest; watch && told < count; watch = next) {
        next = watch->next;
        if (watch->object != object)
            continue;
        struct sync_any *any = watch->any;
        take_out(bucket, watch);
        watch->claimed = sync_any_claim(any);
        told += watch->claimed;
        if (watch->claimed)
            (complete ? complete(any, arg) : any->wake(any));
    }
    park_unlock(&bucket->lock);
    return told;
}

int sync_is_watched(const void *object)
{
    struct bucket *bucket = bucket_of(object);

    park_lock(&bucket->lock);
    struct sync_watch *watch = bucket->oldest;
    while (watch && watch->object != object)
        watch = watch->next;
    park_unlock(&bucket->lock);
    return watch != NULL;
}

void sync_watch_forget(void)
{
    memset(buckets, 0, sizeof buckets);
}

/* ---- a lock --------------------------------------------------------------------------------------------------------
 *
 * A lock that is watched is CONTENDED as long as it is held, so that its release comes here.  It is taken for the watcher before that is
 * claimed, so no other can come in between. */

static atomic_int watchers; /* of all locks */

/* `sync_lock_watched`: hands a lock that is FREE or HANDED to the first that watches it.  Watchers and starving waiters take turns.  0:
 * nobody watches it, another thread has taken it, or a starving waiter has its turn, whose release hands it to a watcher. */
static int hand_to_watcher(struct sync_lock *lock, int from)
{
    static atomic_uint turns;

    if (!atomic_load(&watchers) || (from == SYNC_HANDED && atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed) % 2 == 0)
        || !sync_is_watched(lock))
        return 0;
    for (;;) {
        int seen = from;
        if (atomic_compare_exchange_strong(&lock->word, &seen, SYNC_CONTENDED))
            break;
        if (from == SYNC_HANDED || seen == SYNC_CONTENDED || seen == SYNC_HANDED)
            return 0; /* its release comes here again */
        if ((seen == SYNC_HELD || seen == SYNC_OWING) && atomic_compare_exchange_strong(&lock->word, &seen, SYNC_CONTENDED))
            return 0;
    }
    if (!sync_watch_tell(lock, 1, NULL, NULL))
        sync_lock_release_any(lock); /* all watches were too late, and are out of the table */
    return 1;
}

int sync_lock_watch(struct sync_lock *lock, struct sync_watch *watch, struct sync_any *any)
{
    atomic_store(&sync_lock_watched, hand_to_watcher);
    atomic_fetch_add(&watchers, 1);
    sync_watch_enter(watch, lock, any);
    /* A releaser writes the word and then reads `sync_lock_watched` and `watchers`, we write and read them the other way round (sequentially
     * consistent): it finds the watch, or we see that the lock is free. */
    for (int seen = atomic_load(&lock->word); seen != SYNC_FREE; seen = atomic_load(&lock->word)) {
        if (seen == SYNC_HANDED && !sync_lock_really_handed(lock))
            continue; /* a fork has lost the thread that it was handed to */
        if (seen == SYNC_CONTENDED || seen == SYNC_HANDED || atomic_compare_exchange_strong(&lock->word, &seen, SYNC_CONTENDED))
            return 1;
    }
    if (sync_watch_leave(watch)) /* it was handed over meanwhile: it counts until sync_lock_unwatch() */
        return 1;
    atomic_fetch_sub(&watchers, 1);
    return 0;
}

int sync_lock_unwatch(struct sync_watch *watch)
{
    int claimed = sync_watch_leave(watch);

    atomic_fetch_sub(&watchers, 1);
    return claimed;
}

/* ---- the end of a thread ----------------------------------------------------------------------------------------- */

/* Moves a thread that sleeps in a shared futex at `from`, which holds `expected`, to `to`.  A wake-up there wakes it. */
static void move_sleeper(atomic_int *from, int expected, atomic_int *to)
{
    int saved = errno;

    syscall(SYS_futex, from, FUTEX_CMP_REQUEUE, 0, (long)1, to, expected);
    errno = saved;
}

/* The waiter sleeps at its own word, and would only wake up to sleep at `alive`: the thread isn't at (5) yet. */
static void move_to_alive(struct sync_any *any, void *arg)
{
    struct lwp *lwp = arg;

    if (!any->moves || lwp_has_ended(atomic_load(&lwp->alive))) {
        any->wake(any);
        return;
    }
    atomic_fetch_add(&lwp->joiners, 1);
    any->moved = lwp;
    atomic_store(&any->word, SYNC_WOKEN);
    move_sleeper(&any->word, SYNC_WOKEN, &lwp->alive);
}

/* `lwp_ends` */
static void tell_watchers(struct lwp *lwp)
{
    if (atomic_load(&lwp->watched))
        sync_watch_tell(lwp, INT_MAX, move_to_alive, lwp);
}

int lwp_watch(struct lwp *lwp, struct sync_watch *watch, struct sync_any *any)
{
    sync_watch_enter(watch, lwp, any);
    atomic_store(&lwp_ends, tell_watchers);
    atomic_store(&lwp->watched, 1);
    /* The thread writes `ending`, and then reads `lwp_ends` and `watched`; we write and read them the other way round (sequentially
     * consistent): it finds the watch, or we see that it ends. */
    if (!atomic_load(&lwp->ending))
        return 1;
    return sync_watch_leave(watch);
}

void lwp_finish_watch(struct lwp *lwp, struct sync_any *any)
{
    int counted = any->moved == lwp;

    any->moved = NULL;
    lwp_await_gone(lwp, counted);
}
