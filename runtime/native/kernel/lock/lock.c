#include "kernel/lock/lock.h"

#include "kernel/base/events.h"
#include "kernel/base/fork.h"

#include <errno.h>

#define STARVES_AFTER 1000000 /* ns of waiting; as CPython's PyMutex (Python/lock.c) */

/* ---- waking a waiter --------------------------------------------------------------------------------------------- */

static void wake_at_once(atomic_int *waiter, int dozing)
{
    (void)dozing;
    park_wake_some(waiter, 1, SYNC_NORMAL);
}

static int defer_no_wake(atomic_int *word)
{
    (void)word;
    return 0;
}

void (*sync_wake)(atomic_int *waiter, int dozing) = wake_at_once;
int (*sync_lock_defer)(atomic_int *word) = defer_no_wake;

void sync_wake_waiter(atomic_int *waiter)
{
    int was = atomic_exchange_explicit(waiter, SYNC_WOKEN, memory_order_acq_rel);

    if (was != SYNC_LOOKING)
        sync_wake(waiter, was == SYNC_DOZING);
}

/* ---- starving waiters -------------------------------------------------------------------------------------------- */

/* `starving` holds a count and, above it, the fork generation: waiters of another process are lost. */
#define STARVING_COUNT 0x7fff

static int starving_word(int count)
{
    return (int)((unsigned)fork_generation << 16) | count;
}

static int starving_count(struct sync_lock *lock)
{
    int word = atomic_load(&lock->starving);
    return starving_word(word & STARVING_COUNT) == word ? word & STARVING_COUNT : 0;
}

static void starving_add(struct sync_lock *lock, int change)
{
    int seen = atomic_load(&lock->starving), count;

    do
        count = starving_word(seen & STARVING_COUNT) == seen ? seen & STARVING_COUNT : 0;
    while (!atomic_compare_exchange_weak(&lock->starving, &seen, starving_word(count + change)));
}

/* Frees a lock that was handed over when no starving waiter is left.  The releaser calls this after it has handed the lock over, a
 * starving waiter after it has given up: each first writes what the other reads (sequentially consistent), so at least one of them
 * sees that the lock must be freed. */
static void free_if_nobody_starves(struct sync_lock *lock)
{
    int handed = SYNC_HANDED;

    if (starving_count(lock) == 0 && atomic_compare_exchange_strong(&lock->word, &handed, SYNC_FREE))
        park_wake_some(&lock->word, 1, SYNC_NORMAL | SYNC_STARVING | SYNC_DOZER);
}

int sync_lock_really_handed(struct sync_lock *lock)
{
    free_if_nobody_starves(lock);
    return atomic_load(&lock->word) != SYNC_FREE;
}

/* ---- deferred wake-ups ------------------------------------------------------------------------------------------- */

/* `deferred` holds the address of a waiter's word and, above it, the fork generation: a waiter of another process lies on a stack that
 * may be another thread's by now.  Addresses are below 2^47 on x86-64 and 2^48 on aarch64, unless a process asks mmap for more
 * (Documentation/arch/x86/x86_64/5level-paging.rst, arch/arm64/memory.rst). */
#define ADDRESS (((uint64_t)1 << 48) - 1)

static uint64_t deferred_word(const atomic_int *waiter)
{
    return (uint64_t)fork_generation << 48 | (uintptr_t)waiter;
}

static atomic_int *deferred_waiter(uint64_t word)
{
    atomic_int *waiter = (atomic_int *)(uintptr_t)(word & ADDRESS);
    return deferred_word(waiter) == word ? waiter : NULL;
}

int sync_lock_defer_wake(struct sync_lock *lock, atomic_int *waiter)
{
    uint64_t deferred = deferred_word(waiter), before = atomic_load(&lock->deferred);
    int seen = SYNC_HELD;

    if ((uintptr_t)waiter > ADDRESS || deferred_waiter(before) || !atomic_compare_exchange_strong(&lock->deferred, &before, deferred))
        return 0;
    /* The releaser writes the word and then reads `deferred`; we write and read them the other way round (sequentially consistent).
     * If it did not see our wake-up, we see here that the lock is free.  The thread that takes the address out wakes the waiter. */
    if (atomic_compare_exchange_strong(&lock->word, &seen, SYNC_OWING) || seen == SYNC_OWING || seen == SYNC_CONTENDED)
        return 1;
    return !atomic_compare_exchange_strong(&lock->deferred, &deferred, 0);
}

int sync_lock_cancel_deferred(struct sync_lock *lock, atomic_int *waiter)
{
    uint64_t deferred = deferred_word(waiter);
    return atomic_compare_exchange_strong(&lock->deferred, &deferred, 0);
}

static void do_deferred(struct sync_lock *lock)
{
    atomic_int *waiter = deferred_waiter(atomic_exchange(&lock->deferred, 0));

    if (waiter)
        sync_wake_waiter(waiter);
}

enum { WAKE_DEFERRED = 1, WAKE_ANY = 2, WAKE_STARVING = 4 }; /* what sync_lock_free() leaves to sync_lock_wake() */

/* ---- waiting and releasing --------------------------------------------------------------------------------------- */

static int take_after_sleep(struct sync_lock *lock, int starving)
{
    int free = SYNC_FREE, handed = SYNC_HANDED;

    return atomic_compare_exchange_strong(&lock->word, &free, SYNC_CONTENDED)
           || (starving && atomic_compare_exchange_strong(&lock->word, &handed, SYNC_CONTENDED));
}

int sync_lock_wait(struct sync_lock *lock, int64_t deadline, int64_t *since, int dozes)
{
    int64_t now = park_now(), dozes_until = now + SYNC_DOZE + SYNC_DOZE / 4; /* so far off that the timer keeps its slack (park.c) */
    int result = 0, taken;

    if (*since == 0)
        *since = now;
    int starving = now - *since >= STARVES_AFTER;
    if (starving)
        starving_add(lock, 1);
    while (!(taken = take_after_sleep(lock, starving)) && result == 0) {
        int seen = atomic_load(&lock->word);
        if (seen == SYNC_HELD || seen == SYNC_OWING) {
            if (!atomic_compare_exchange_strong(&lock->word, &seen, SYNC_CONTENDED))
                continue;
            seen = SYNC_CONTENDED;
        }
        if (seen == SYNC_HANDED && !starving)
            free_if_nobody_starves(lock); /* a fork may have lost the thread that it was handed to */
        if (seen == SYNC_FREE || (seen == SYNC_HANDED && starving))
            continue;
        if (dozes && !starving) {
            result = park_wait_some(&lock->word, seen, dozes_until, SYNC_DOZER);
            result = result == ETIMEDOUT ? EAGAIN : result;
        } else
            result = park_wait_some(&lock->word, seen, deadline, starving ? SYNC_STARVING : SYNC_NORMAL);
        /* A thread that may be cancelled sleeps without bits (waits/cancel.c, wait_two()), so the wake-up that it got may have been meant for
         * a starving waiter.  It passes the wake-up on if the lock is still HANDED; otherwise a starving waiter has come by itself. */
        if (park_cancel && !starving && result == 0 && atomic_load(&lock->word) == SYNC_HANDED)
            park_wake_some(&lock->word, 1, SYNC_STARVING);
        if (!starving && park_now() - *since >= STARVES_AFTER) {
            starving = 1;
            starving_add(lock, 1);
        }
    }
    if (starving) {
        starving_add(lock, -1);
        if (!taken)
            free_if_nobody_starves(lock);
    }
    return taken ? 0 : result;
}

int sync_lock_free(struct sync_lock *lock)
{
    int seen = atomic_load(&lock->word), to;

    do {
        if (seen == SYNC_FREE || seen == SYNC_HANDED)
            return -EPERM;
        to = starving_count(lock) ? SYNC_HANDED : SYNC_FREE;
    } while (!atomic_compare_exchange_weak(&lock->word, &seen, to));
    return (seen != SYNC_HELD ? WAKE_DEFERRED : 0) | (to == SYNC_HANDED ? WAKE_STARVING : seen == SYNC_CONTENDED ? WAKE_ANY : 0);
}

void sync_lock_wake(struct sync_lock *lock, int whom)
{
    if (whom & WAKE_DEFERRED) {
        EVENT(EVENT_RELEASES, lock, 0);
        do_deferred(lock);
    }
    if (whom & WAKE_STARVING) {
        park_wake_some(&lock->word, 1, SYNC_STARVING);
        free_if_nobody_starves(lock);
    } else if (whom & WAKE_ANY && !sync_lock_defer(&lock->word))
        park_wake_some(&lock->word, 1, SYNC_NORMAL | SYNC_STARVING | SYNC_DOZER);
}

int sync_lock_release_any(struct sync_lock *lock)
{
    int whom = sync_lock_free(lock);

    if (whom < 0)
        return -whom;
    sync_lock_wake(lock, whom);
    return 0;
}

void sync_lock_reset(struct sync_lock *lock)
{
    atomic_store(&lock->word, SYNC_FREE);
    do_deferred(lock);
}
