#include "green/wait_table.h"

#include "kernel/base/park.h"

#include <stddef.h>
#include <string.h>

enum { BUCKETS = 4096, BUCKET_BITS = 12 };
_Static_assert(BUCKETS == 1 << BUCKET_BITS, "bucket_of()");

static struct bucket {
    atomic_int lock; /* order: docs/architecture.md */
    struct waiter *oldest, *newest;
} buckets[BUCKETS];

static struct bucket *bucket_of(const void *word)
{
    /* Fibonacci hashing: words on stacks lie at the same place of each mapping, the product spreads them. */
    return &buckets[((uintptr_t)word >> 2) * 0x9e3779b97f4a7c15u >> (64 - BUCKET_BITS)];
}

static void take_out(struct bucket *bucket, struct waiter *waiter, int result)
{
    *(waiter->older ? &waiter->older->newer : &bucket->oldest) = waiter->newer;
    *(waiter->newer ? &waiter->newer->older : &bucket->newest) = waiter->older;
    waiter->result = result;
    atomic_store_explicit(&waiter->word, NULL, memory_order_relaxed);
}

int wait_table_enter(struct waiter *waiter, atomic_int *word, int expected, unsigned bits)
{
    struct bucket *bucket = bucket_of(word);

    /* A waker changes the word and then takes this lock to look for waiters: either it finds us here, or we see the change. */
    park_lock(&bucket->lock);
    int enters = atomic_load(word) == expected;
    if (enters) {
        *waiter = (struct waiter){.older = bucket->newest, .word = word, .bits = bits};
        *(bucket->newest ? &bucket->newest->newer : &bucket->oldest) = waiter;
        bucket->newest = waiter;
    }
    park_unlock(&bucket->lock);
    return enters;
}

int wait_table_leave(struct waiter *waiter, int result)
{
    /* Read without the bucket's lock: the word can't become another one meanwhile.  The thread sleeps elsewhere only after it was
     * resumed, by us or by another waker, which needs the scheduler's lock that our caller holds. */
    atomic_int *word = atomic_load_explicit(&waiter->word, memory_order_relaxed);

    if (!word)
        return 0;
    struct bucket *bucket = bucket_of(word);
    park_lock(&bucket->lock);
    int slept = atomic_load_explicit(&waiter->word, memory_order_relaxed) != NULL;
    if (slept)
        take_out(bucket, waiter, result);
    park_unlock(&bucket->lock);
    return slept;
}

struct waiter *wait_table_take(atomic_int *word, int count, unsigned bits, int *woken)
{
    struct bucket *bucket = bucket_of(word);
    struct waiter *first = NULL, **last = &first, *waiter, *newer;

    *woken = 0;
    park_lock(&bucket->lock);
    for (waiter = bucket->oldest; waiter && *woken < count; waiter = newer) {
        newer = waiter->newer;
        if (atomic_load_explicit(&waiter->word, memory_order_relaxed) != word || !(waiter->bits & bits))
            continue;
        take_out(bucket, waiter, 0);
        waiter->newer = NULL;
        *last = waiter;
        last = &waiter->newer;
        ++*woken;
    }
    park_unlock(&bucket->lock);
    return first;
}

void wait_table_forget(void)
{
    memset(buckets, 0, sizeof buckets);
}
