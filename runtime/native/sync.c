#include "sync.h"

#include "trace.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stddef.h>

enum {
    NORMAL = 1, /* futex bits: which sleepers a wake-up is for */
    URGENT = 2,
};
enum { MOVING_FOR = 1000000 }; /* ns; many times what it takes */
#define UNFAIR_FOR 1000000 /* ns of waiting after which a sleeper is urgent; as CPython's PyMutex (Python/lock.c) */

int sync_forks;

static void wake_one(atomic_int *word, unsigned bits)
{
    park_wake_some(word, 1, bits);
}

void (*sync_wake)(atomic_int *word, unsigned bits) = wake_one;

/* ---- lock ----------------------------------------------------------------------------------------------------------- */

/* `urgent` holds the number of urgent sleepers and, above, the fork they belong to: those of another process are lost. */
#define URGENT_COUNT 0x7fff

static int urgent_word(int count)
{
    return (int)((unsigned)sync_forks << 16) | count;
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
        wake_one(&lock->word, NORMAL | URGENT);
}

static int take(struct sync_lock *lock, int urgent)
{
    int free = SYNC_FREE, handed = SYNC_HANDED;

    return atomic_compare_exchange_strong(&lock->word, &free, SYNC_CONTENDED)
           || (urgent && atomic_compare_exchange_strong(&lock->word, &handed, SYNC_CONTENDED));
}

int sync_lock_try_again(struct sync_lock *lock)
{
    return take(lock, 0);
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
        int seen = SYNC_HELD;
        if (atomic_compare_exchange_strong(&lock->word, &seen, SYNC_CONTENDED))
            seen = SYNC_CONTENDED;
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

int sync_lock_release_any(struct sync_lock *lock)
{
    int seen = atomic_load(&lock->word);

    for (;;) {
        if (seen == SYNC_FREE || seen == SYNC_HANDED)
            return EPERM;
        int to = urgent_count(lock) ? SYNC_HANDED : SYNC_FREE;
        if (!atomic_compare_exchange_weak(&lock->word, &seen, to))
            continue;
        if (seen == SYNC_CONTENDED)
            TRACE(TRACE_RELEASES, lock, 0);
        if (to == SYNC_HANDED) {
            sync_wake(&lock->word, URGENT);
            take_back_if_nobody(lock);
        } else if (seen == SYNC_CONTENDED)
            sync_wake(&lock->word, NORMAL | URGENT);
        return 0;
    }
}

/* ---- queue ---------------------------------------------------------------------------------------------------------- */

static atomic_int forgetting;
static __thread struct sync_place *innermost; /* of the calling thread */

/* After a fork: its sleepers, and whoever held its lock, are lost threads (but see after_fork_in_child). */
static void forget_lost(struct sync_queue *queue)
{
    park_lock(&forgetting);
    if (atomic_load(&queue->forks) != sync_forks) {
        queue->head = queue->tail = queue->first_waiting = NULL;
        queue->waiting = queue->batons = 0;
        atomic_store(&queue->lock, 0);
        atomic_store_explicit(&queue->forks, sync_forks, memory_order_release);
    }
    park_unlock(&forgetting);
}

void sync_queue_lock(struct sync_queue *queue)
{
    if (atomic_load_explicit(&queue->forks, memory_order_acquire) != sync_forks)
        forget_lost(queue);
    park_lock(&queue->lock);
}

void sync_queue_unlock(struct sync_queue *queue)
{
    park_unlock(&queue->lock);
}

void sync_queue_enter(struct sync_queue *queue, struct sync_place *place, struct sync_lock *lock)
{
    *place = (struct sync_place){.previous = queue->tail, .ticket = queue->tickets++, .queued = 1, .queue = queue,
                                 .outer = innermost, .lock = lock};
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

/* To the sleepers of a lock that is held.  Whether it went. */
static int move_to_lock(struct sync_place *place, struct sync_lock *lock)
{
    int seen = SYNC_HELD;

    /* Its release must look for sleepers.  Who has just come by the place's word is among them, when it is woken: take(). */
    if (!atomic_compare_exchange_strong(&lock->word, &seen, SYNC_CONTENDED) && seen != SYNC_CONTENDED)
        return 0;
    atomic_store(&place->word, SYNC_MOVING);
    if (!park_move(&place->word, SYNC_MOVING, &lock->word))
        return 0;
    if (atomic_load(&lock->word) != SYNC_CONTENDED) {
        wake_one(&lock->word, NORMAL | URGENT); /* a Lock can be released by others than its holder: too early for the sleeper */
        return 0;
    }
    /* After the store the place may be gone, its stack serve others, and the lock be gone too. */
    atomic_store_explicit(&place->word, SYNC_WOKEN, memory_order_release);
    return 1;
}

void sync_queue_unlock_and_wake(struct sync_queue *queue)
{
    struct sync_place *place = next_with_baton(queue);

    park_unlock(&queue->lock);
    if (!place || (place->lock && move_to_lock(place, place->lock)))
        return;
    /* After the store the sleeper may be gone, and its stack with it: the wake-up only names the address. */
    atomic_store_explicit(&place->word, SYNC_WOKEN, memory_order_release);
    sync_wake(&place->word, NORMAL);
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

int sync_queue_wait(struct sync_place *place, int64_t deadline)
{
    int result = 0, word;

    while ((word = atomic_load_explicit(&place->word, memory_order_acquire)) != SYNC_WOKEN) {
        if (word == SYNC_MOVING) { /* up, but not because it was woken; perhaps moved in this very sleep, hence the deadline */
            if (park_wait_some(&place->word, SYNC_MOVING, park_now() + MOVING_FOR, NORMAL) == EINTR)
                result = EINTR;
        } else if (result)
            return result;
        else /* NORMAL: moved to a lock, it must not be taken for an urgent one */
            result = park_wait_some(&place->word, SYNC_ASLEEP, deadline, NORMAL);
    }
    if (result == EINTR) {
        place->interrupted = 1;
        /* Moved in a sleep on SYNC_MOVING, it may have had the lock's wake-up since; and a handler that raises may take it away
         * without the lock, or keep it from there long.  So that wake-up goes to another. */
        if (place->lock)
            wake_one(&place->lock->word, NORMAL | URGENT);
    }
    innermost = place->outer;
    return 0;
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
    while (*baton && sync_queue_wait(place, park_now() + MOVING_FOR) != 0)
        ; /* no longer at a time: it may be moved to a lock whose holder can't release it before the caller goes on */
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
    sync_forks++;
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

int sync_init(void)
{
    return pthread_atfork(NULL, NULL, after_fork_in_child);
}
