#include "waits/any.h"

#include "kernel/base/fork.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>

void sync_any_wake_shared(struct sync_any *any)
{
    atomic_store(&any->word, SYNC_WOKEN);
    park_wake(&any->word, 1, PARK_SHARED);
}

void sync_any_wake_fd(struct sync_any *any)
{
    int saved = errno;

    atomic_store(&any->word, SYNC_WOKEN);
    eventfd_write(any->fd, 1);
    errno = saved;
}

void sync_any_poke(struct sync_any *any)
{
    int asleep = SYNC_ASLEEP;

    if (atomic_compare_exchange_strong(&any->word, &asleep, SYNC_POKED))
        park_wake_greens(&any->word, 1);
}

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
        enum sync_claim claim = sync_any_claim(any);
        take_out(bucket, watch);
        watch->claimed = claim != SYNC_TOO_LATE;
        told += watch->claimed;
        if (claim == SYNC_COMPLETES)
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
