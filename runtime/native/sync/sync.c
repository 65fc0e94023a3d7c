#include "sync/sync.h"

#include "base/fork.h"
#include "base/trace.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>

enum {
    NORMAL = 1, /* futex bits: which sleepers a wake-up is for */
    URGENT = 2,
};
enum { WAKING_FOR = 1000000 }; /* ns; many times what it takes */
#define UNFAIR_FOR 1000000 /* ns of waiting after which a sleeper is urgent; as CPython's PyMutex (Python/lock.c) */

static void wake_at_once(atomic_int *word, int dozing)
{
    (void)dozing;
    park_wake_some(word, 1, NORMAL);
}

void (*sync_wake)(atomic_int *word, int dozing) = wake_at_once;

/* ---- lock -------------------------------------------------------------------------------------------------------- */

/* `urgent` holds the number of urgent sleepers and, above, the fork they belong to: those of another process are lost. */
#define URGENT_COUNT 0x7fff

static int urgent_word(int count)
{
    return (int)((unsigned)fork_generation << 16) | count;
}

static int urgent_count(struct sync_lock *lock)
{
    int word = atomic_load(&lock->urgent);
    return urgent_word(word & URGENT_COUNT) == word ? word & URGENT_COUNT : 0;
}

static void urgent_add(struct sync_lock *lock, int change)
{
    int seen = atomic_load(&lock->urgent), count;

    do
        count = urgent_word(seen & URGENT_COUNT) == seen ? seen & URGENT_COUNT : 0;
    while (!atomic_compare_exchange_weak(&lock->urgent, &seen, urgent_word(count + change)));
}

/* Nobody is left to whom the lock was handed: free it.  Both the releaser, after handing, and an urgent sleeper, after giving
 * up, look at what the other has written (all sequentially consistent): at least one of them sees that it has to be done. */
static void take_back_if_nobody(struct sync_lock *lock)
{
    int handed = SYNC_HANDED;

    if (urgent_count(lock) == 0 && atomic_compare_exchange_strong(&lock->word, &handed, SYNC_FREE))
        park_wake_some(&lock->word, 1, NORMAL | URGENT);
}

static int take(struct sync_lock *lock, int urgent)
{
    int free = SYNC_FREE, handed = SYNC_HANDED;

    return atomic_compare_exchange_strong(&lock->word, &free, SYNC_CONTENDED)
           || (urgent && atomic_compare_exchange_strong(&lock->word, &handed, SYNC_CONTENDED));
}

int sync_lock_really_handed(struct sync_lock *lock)
{
    take_back_if_nobody(lock);
    return atomic_load(&lock->word) != SYNC_FREE;
}

int sync_lock_wait(struct sync_lock *lock, int64_t deadline, int64_t *since)
{
    int64_t now = park_now();
    int result = 0, taken;

    if (*since == 0)
        *since = now;
    int urgent = now - *since >= UNFAIR_FOR;
    if (urgent)
        urgent_add(lock, 1);
    while (!(taken = take(lock, urgent)) && result == 0) {
        int seen = atomic_load(&lock->word);
        if (seen == SYNC_HELD || seen == SYNC_OWING) {
            if (!atomic_compare_exchange_strong(&lock->word, &seen, SYNC_CONTENDED))
                continue;
            seen = SYNC_CONTENDED;
        }
        if (seen == SYNC_HANDED && !urgent)
            take_back_if_nobody(lock); /* it may have been handed to a thread that a fork has lost */
        if (seen == SYNC_FREE || (seen == SYNC_HANDED && urgent))
            continue;
        result = park_wait_some(&lock->word, seen, deadline, urgent ? URGENT : NORMAL);
        if (!urgent && park_now() - *since >= UNFAIR_FOR) {
            urgent = 1;
            urgent_add(lock, 1);
        }
    }
    if (urgent) {
        urgent_add(lock, -1);
        if (!taken)
            take_back_if_nobody(lock);
    }
    return taken ? 0 : result;
}

/* What the lock owes: the address of a place and, above it, the fork that it belongs to.  That of another process lies on a
 * stack that may serve others by now.  Addresses of processes are below 2^47 on x86-64 and 2^48 on aarch64, unless they ask mmap
 * for more (Documentation/arch/x86/x86_64/5level-paging.rst, arch/arm64/memory.rst). */
#define OWED_ADDRESS (((uint64_t)1 << 48) - 1)

static uint64_t owed_word(const struct sync_place *place)
{
    return (uint64_t)fork_generation << 48 | (uintptr_t)place;
}

static struct sync_place *owed_place(uint64_t word)
{
    struct sync_place *place = (struct sync_place *)(uintptr_t)(word & OWED_ADDRESS);
    return owed_word(place) == word ? place : NULL;
}

/* Of a lock that is held: its release is to wake the sleeper.  Whether it will, or has. */
static int owe(struct sync_lock *lock, struct sync_place *place)
{
    uint64_t owed = owed_word(place), before = atomic_load(&lock->owed);
    int seen = SYNC_HELD;

    if ((uintptr_t)place > OWED_ADDRESS || owed_place(before) || !atomic_compare_exchange_strong(&lock->owed, &before, owed))
        return 0;
    /* The releaser changes the word and then looks what is owed, we do it the other way round (all sequentially consistent): if
     * it has not seen the debt, we see here that it is too late.  Who takes the debt away sees to the sleeper. */
    if (atomic_compare_exchange_strong(&lock->word, &seen, SYNC_OWING) || seen == SYNC_OWING || seen == SYNC_CONTENDED)
        return 1;
    return !atomic_compare_exchange_strong(&lock->owed, &owed, 0);
}

/* By the sleeper: it wakes up by itself.  0: it isn't owed to, or no longer, for it is being woken. */
static int forgive(struct sync_place *place)
{
    uint64_t owed = owed_word(place);
    return place->lock && atomic_compare_exchange_strong(&place->lock->owed, &owed, 0);
}

/* After the exchange the sleeper may be gone, and its stack with it: the wake-up only names the address. */
static void wake_place(struct sync_place *place)
{
    atomic_int *word = &place->word;
    int dozing = atomic_exchange_explicit(word, SYNC_WOKEN, memory_order_acq_rel) == SYNC_DOZING;

    sync_wake(word, dozing);
}

/* Wakes whom it owes that, if anybody. */
static void settle(struct sync_lock *lock)
{
    struct sync_place *place = owed_place(atomic_exchange(&lock->owed, 0));

    if (place)
        wake_place(place);
}

int sync_lock_release_any(struct sync_lock *lock)
{
    int seen = atomic_load(&lock->word), to;

    do {
        if (seen == SYNC_FREE || seen == SYNC_HANDED)
            return EPERM;
        to = urgent_count(lock) ? SYNC_HANDED : SYNC_FREE;
    } while (!atomic_compare_exchange_weak(&lock->word, &seen, to));
    if (seen != SYNC_HELD)
        TRACE(TRACE_RELEASES, lock, 0);
    if (seen != SYNC_HELD)
        settle(lock);
    if (to == SYNC_HANDED || seen == SYNC_CONTENDED)
        park_wake_some(&lock->word, 1, to == SYNC_HANDED ? URGENT : NORMAL | URGENT);
    if (to == SYNC_HANDED)
        take_back_if_nobody(lock);
    return 0;
}

void sync_lock_reset(struct sync_lock *lock)
{
    atomic_store(&lock->word, SYNC_FREE);
    settle(lock);
}

/* ---- queue ------------------------------------------------------------------------------------------------------- */

static atomic_int forgetting;
static __thread struct sync_place *innermost; /* of the calling thread */

/* After a fork: its sleepers, and whoever held its lock, are lost threads (but see after_fork_in_child). */
static void forget_lost(struct sync_queue *queue)
{
    park_lock(&forgetting);
    if (atomic_load(&queue->forks) != fork_generation) {
        queue->head = queue->tail = queue->first_waiting = NULL;
        queue->waiting = queue->batons = 0;
        atomic_store(&queue->lock, 0);
        atomic_store_explicit(&queue->forks, fork_generation, memory_order_release);
    }
    park_unlock(&forgetting);
}

void sync_queue_lock(struct sync_queue *queue)
{
    if (atomic_load_explicit(&queue->forks, memory_order_acquire) != fork_generation)
        forget_lost(queue);
    park_lock(&queue->lock);
}

void sync_queue_unlock(struct sync_queue *queue)
{
    park_unlock(&queue->lock);
}

void sync_queue_enter(struct sync_queue *queue, struct sync_place *place, struct sync_lock *lock)
{
    *place = (struct sync_place){
        .previous = queue->tail, .ticket = queue->tickets++, .queued = 1, .queue = queue, .outer = innermost, .lock = lock};
    innermost = place;
    if (queue->tail)
        queue->tail->next = place;
    else
        queue->head = place;
    queue->tail = place;
    if (!queue->first_waiting)
        queue->first_waiting = place;
    queue->waiting++;
}

static int entitled(const struct sync_queue *queue, const struct sync_place *place)
{
    return place->ticket < queue->entitled;
}

static void unlink_place(struct sync_queue *queue, struct sync_place *place)
{
    *(place->previous ? &place->previous->next : &queue->head) = place->next;
    *(place->next ? &place->next->previous : &queue->tail) = place->previous;
    if (queue->first_waiting == place)
        queue->first_waiting = place->next;
    place->queued = 0;
}

/* The next entitled one, taken out of the queue and given the baton; to be woken when the state is unlocked. */
static struct sync_place *next_with_baton(struct sync_queue *queue)
{
    struct sync_place *place = queue->head;

    while (place && place->away)
        place = place->next;
    if (queue->batons || !place || !entitled(queue, place))
        return NULL;
    unlink_place(queue, place);
    queue->batons++;
    return place;
}

void sync_queue_unlock_and_wake(struct sync_queue *queue)
{
    struct sync_place *place = next_with_baton(queue);

    if (place && place->lock && owe(place->lock, place))
        place = NULL;
    park_unlock(&queue->lock);
    if (place)
        wake_place(place);
}

long sync_queue_grant(struct sync_queue *queue, long count)
{
    long granted = 0;
    struct sync_place *place = queue->first_waiting;

    if (count >= queue->waiting) {
        granted = queue->waiting;
        place = NULL;
        queue->entitled = queue->tickets;
    } else
        for (; granted < count; granted++, place = place->next)
            queue->entitled = place->ticket + 1;
    queue->first_waiting = place;
    queue->waiting -= granted;
    if (granted)
        TRACE(TRACE_GRANTS, queue, queue->entitled);
    return granted;
}

long sync_queue_grant_unlock(struct sync_queue *queue, long count)
{
    long granted = sync_queue_grant(queue, count);

    sync_queue_unlock_and_wake(queue);
    return granted;
}

int sync_place_granted(const struct sync_place *place)
{
    return entitled(place->queue, place);
}

/* result: of a sleep before. */
static int wait_until_woken(struct sync_place *place, int64_t deadline, int result)
{
    while (atomic_load_explicit(&place->word, memory_order_acquire) != SYNC_WOKEN) {
        if (result == 0)
            result = park_wait_some(&place->word, SYNC_ASLEEP, deadline, NORMAL);
        else if (forgive(place))
            atomic_store_explicit(&place->word, SYNC_WOKEN, memory_order_relaxed); /* by itself: seen by leave(), if that follows */
        else
            return result;
    }
    place->interrupted = result == EINTR || result == EAGAIN;
    innermost = place->outer;
    return 0;
}

int sync_queue_wait(struct sync_place *place, int64_t deadline)
{
    return wait_until_woken(place, deadline, 0);
}

int sync_queue_doze(struct sync_place *place, int64_t deadline)
{
    int asleep = SYNC_ASLEEP, dozing = SYNC_DOZING, result = 0;

    if (atomic_compare_exchange_strong(&place->word, &asleep, SYNC_DOZING)) {
        result = park_doze(&place->word, SYNC_DOZING, SYNC_DOZE);
        /* Either the waker sees that we are ASLEEP, and wakes us, or we see that we are WOKEN. */
        atomic_compare_exchange_strong(&place->word, &dozing, SYNC_ASLEEP);
    }
    return wait_until_woken(place, deadline, result == ETIMEDOUT ? EAGAIN : result);
}

int sync_queue_leave(struct sync_queue *queue, struct sync_place *place, int *baton)
{
    sync_queue_lock(queue);
    int granted = entitled(queue, place);
    *baton = !place->queued; /* out of the queue with the baton; whoever took it out may not have done with it yet */
    if (place->queued) {
        unlink_place(queue, place);
        queue->waiting -= !granted;
    }
    park_unlock(&queue->lock);
    if (*baton && !forgive(place))
        while (sync_queue_wait(place, park_now() + WAKING_FOR) != 0)
            ;
    innermost = place->outer;
    return granted;
}

void sync_queue_pass_baton(struct sync_queue *queue)
{
    sync_queue_lock(queue);
    if (queue->batons)
        queue->batons--;
    sync_queue_unlock_and_wake(queue);
}

int sync_queue_away(struct sync_queue *queue, struct sync_place *place, int away)
{
    int baton;

    sync_queue_lock(queue);
    place->away = away;
    int granted = entitled(queue, place);
    park_unlock(&queue->lock);
    if (granted) {
        sync_queue_leave(queue, place, &baton);
        if (baton)
            sync_queue_pass_baton(queue);
    }
    return granted;
}

static void after_fork_in_child(void)
{
    atomic_store(&forgetting, 0);
    /* The newest first: each goes before those that came later. */
    for (struct sync_place *place = innermost; place; place = place->outer) {
        struct sync_queue *queue = place->queue;
        forget_lost(queue);
        if (!place->queued)
            continue;
        place->previous = NULL;
        place->next = queue->head;
        *(queue->head ? &queue->head->previous : &queue->tail) = place;
        queue->head = place;
        if (!entitled(queue, place)) {
            queue->first_waiting = place;
            queue->waiting++;
        }
    }
}

static const struct fork_handlers fork_handlers = {.in_child = after_fork_in_child};

void sync_init(void)
{
    fork_handle(FORK_SYNC, &fork_handlers);
}
