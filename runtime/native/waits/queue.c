#include "waits/queue.h"

#include "kernel/base/fork.h"
#include "kernel/base/events.h"

#include <errno.h>
#include <stddef.h>

enum { WAKING_FOR = 1000000 }; /* ns that a waker is given to finish; many times what it takes */

static __thread struct sync_place *innermost; /* of the calling thread */
int sync_queue_wakes_all;

/* After a fork the waiters, and the holder of the lock, are lost threads; after_fork_in_child() puts the caller's own places back. */
static void forget_lost(void *of)
{
    struct sync_queue *queue = of;

    queue->head = queue->tail = queue->first_waiting = NULL;
    queue->waiting = queue->batons = queue->anys = 0;
    atomic_store(&queue->lock, 0);
}

void sync_queue_lock(struct sync_queue *queue)
{
    fork_forget(&queue->forks, forget_lost, queue);
    park_lock(&queue->lock);
}

void sync_queue_unlock(struct sync_queue *queue)
{
    park_unlock(&queue->lock);
}

static void append_place(struct sync_queue *queue, struct sync_place *place)
{
    if (queue->tail)
        queue->tail->next = place;
    else
        queue->head = place;
    queue->tail = place;
    if (!queue->first_waiting)
        queue->first_waiting = place;
    queue->waiting++;
}

void sync_queue_enter(struct sync_queue *queue, struct sync_place *place, struct sync_lock *lock)
{
    *place = (struct sync_place){
        .previous = queue->tail, .ticket = queue->tickets++, .queued = 1, .queue = queue, .outer = innermost, .lock = lock};
    innermost = place;
    append_place(queue, place);
}

void sync_queue_enter_any(struct sync_queue *queue, struct sync_place *place, struct sync_any *any)
{
    *place = (struct sync_place){.previous = queue->tail, .ticket = queue->tickets++, .queued = 1, .queue = queue, .any = any};
    append_place(queue, place);
    queue->anys++;
}

static int is_entitled(const struct sync_queue *queue, const struct sync_place *place)
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

/* Takes the next entitled place out of the queue and gives it the baton.  It is to be woken when the state is unlocked. */
static struct sync_place *next_with_baton(struct sync_queue *queue)
{
    struct sync_place *place = queue->head;

    while (place && place->away)
        place = place->next;
    if ((queue->batons && !sync_queue_wakes_all) || !place || !is_entitled(queue, place))
        return NULL;
    unlink_place(queue, place);
    place->has_baton = 1;
    queue->batons++;
    return place;
}

/* Releases the lock.  1: a waiter had its turn. */
static int unlock_and_wake_one(struct sync_queue *queue)
{
    struct sync_place *place = next_with_baton(queue);
    int found = place != NULL;

    if (place && place->lock && sync_lock_defer_wake(place->lock, &place->word))
        place = NULL;
    if (place && place->any && place->any->wake) {
        place->any->wake(place->any);
        place = NULL;
    }
    atomic_int *word = !place ? NULL : place->any ? &place->any->word : &place->word;
    park_unlock(&queue->lock);
    if (word)
        sync_wake_waiter(word);
    return found;
}

void sync_queue_unlock_and_wake(struct sync_queue *queue)
{
    while (unlock_and_wake_one(queue) && sync_queue_wakes_all)
        park_lock(&queue->lock);
}

/* Grants to a place of a wait for several things: 1, the place takes the grant.  The place stays in the queue then, and its thread is woken
 * by the baton.  A place whose wait is over leaves the queue. */
static int grant_any(struct sync_queue *queue, struct sync_place *place)
{
    queue->anys--;
    place->claimed = sync_any_claim(place->any);
    if (!place->claimed)
        unlink_place(queue, place);
    return place->claimed;
}

/* The queue has places of waits for several things among them. */
static long grant_each(struct sync_queue *queue, long count)
{
    long granted = 0;

    for (struct sync_place *place = queue->first_waiting; place && granted < count; place = queue->first_waiting) {
        queue->entitled = place->ticket + 1;
        queue->first_waiting = place->next;
        queue->waiting--;
        granted += place->any ? grant_any(queue, place) : 1;
    }
    if (granted)
        EVENT(EVENT_GRANTS, queue, queue->entitled);
    return granted;
}

long sync_queue_grant(struct sync_queue *queue, long count)
{
    long granted = 0;
    struct sync_place *place = queue->first_waiting;

    if (queue->anys)
        return grant_each(queue, count);
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
        EVENT(EVENT_GRANTS, queue, queue->entitled);
    return granted;
}

void sync_queue_grant_unlock(struct sync_queue *queue, long count)
{
    sync_queue_grant(queue, count);
    sync_queue_unlock_and_wake(queue);
}

int sync_place_granted(const struct sync_place *place)
{
    return is_entitled(place->queue, place);
}

static int cancel_deferred(struct sync_place *place)
{
    return place->lock && sync_lock_cancel_deferred(place->lock, &place->word);
}

/* result: what a sleep before this one has returned, or 0. */
static int wait_until_woken(struct sync_place *place, int64_t deadline, int result)
{
    while (atomic_load_explicit(&place->word, memory_order_acquire) != SYNC_WOKEN) {
        if (result == 0)
            result = park_wait_some(&place->word, SYNC_ASLEEP, deadline, SYNC_NORMAL);
        else if (cancel_deferred(place)) /* woken by itself; sync_queue_leave() may look at the word */
            atomic_store_explicit(&place->word, SYNC_WOKEN, memory_order_relaxed);
        else
            return result;
    }
    place->interrupted = result == EINTR || result == EAGAIN;
    innermost = place->outer;
    return 0;
}

static int is_woken(void *place)
{
    return atomic_load_explicit(&((struct sync_place *)place)->word, memory_order_relaxed) == SYNC_WOKEN;
}

void sync_queue_look(struct sync_place *place, int (*spin)(int (*look)(void *arg), void *arg, int rarer))
{
    int asleep = SYNC_ASLEEP, looking = SYNC_LOOKING;

    if (!atomic_compare_exchange_strong(&place->word, &asleep, SYNC_LOOKING))
        return;
    spin(is_woken, place, 0);
    /* Either the waker sees that we are ASLEEP, and wakes us, or we see that we are WOKEN. */
    atomic_compare_exchange_strong(&place->word, &looking, SYNC_ASLEEP);
}

int sync_queue_wait(struct sync_place *place, int64_t deadline)
{
    return wait_until_woken(place, deadline, 0);
}

int sync_queue_doze(struct sync_place *place, int64_t deadline)
{
    int asleep = SYNC_ASLEEP, dozing = SYNC_DOZING, result = 0;

    if (atomic_compare_exchange_strong(&place->word, &asleep, SYNC_DOZING)) {
        result = futex_doze(&place->word, SYNC_DOZING, SYNC_DOZE, PARK_PRIVATE);
        /* Either the waker sees that we are ASLEEP, and wakes us, or we see that we are WOKEN. */
        atomic_compare_exchange_strong(&place->word, &dozing, SYNC_ASLEEP);
    }
    return wait_until_woken(place, deadline, result == ETIMEDOUT ? EAGAIN : result);
}

int sync_queue_leave(struct sync_queue *queue, struct sync_place *place, int *baton)
{
    sync_queue_lock(queue);
    int granted = is_entitled(queue, place);
    *baton = !place->queued; /* a waker has taken it out, and may not have finished with it yet */
    if (place->queued) {
        unlink_place(queue, place);
        queue->waiting -= !granted;
    }
    park_unlock(&queue->lock);
    if (*baton && !cancel_deferred(place))
        while (sync_queue_wait(place, park_now() + WAKING_FOR) != 0)
            ;
    innermost = place->outer;
    return granted;
}

int sync_queue_leave_any(struct sync_queue *queue, struct sync_place *place, int *baton)
{
    int asleep;

    *baton = 0;
    if (place->any->forks != fork_generation)
        return place->claimed;
    park_lock(&queue->lock);
    if (place->queued) {
        unlink_place(queue, place);
        queue->waiting -= !place->claimed;
        queue->anys -= !place->claimed;
    }
    *baton = place->has_baton;
    park_unlock(&queue->lock);
    if (*baton && !place->any->wake) /* the waker may not have finished with the word yet */
        while ((asleep = atomic_load(&place->any->word)) != SYNC_WOKEN)
            park_wait_some(&place->any->word, asleep, park_now() + WAKING_FOR, SYNC_NORMAL);
    return place->claimed;
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
    int granted = is_entitled(queue, place);
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
    /* The newest place first: each is put before those that came later. */
    for (struct sync_place *place = innermost; place; place = place->outer) {
        struct sync_queue *queue = place->queue;
        fork_forget(&queue->forks, forget_lost, queue);
        if (!place->queued)
            continue;
        place->previous = NULL;
        place->next = queue->head;
        *(queue->head ? &queue->head->previous : &queue->tail) = place;
        queue->head = place;
        if (!is_entitled(queue, place)) {
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
