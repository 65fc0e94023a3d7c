#include "green/wait_table.h"

#include "base/park.h"

#include <stddef.h>
#include <string.h>

enum { BUCKETS = 4096, BUCKET_BITS = 12 };
_Static_assert(BUCKETS == 1 << BUCKET_BITS, "bucket_of()");

static struct bucket {
    atomic_int lock;
    struct sleeper *oldest, *newest;
} buckets[BUCKETS];

static struct bucket *bucket_of(const void *word)
{
    /* Fibonacci hashing: words on stacks lie at the same place of each mapping, the product spreads them. */
    return &buckets[((uintptr_t)word >> 2) * 0x9e3779b97f4a7c15u >> (64 - BUCKET_BITS)];
}

static void take_out(struct bucket *bucket, struct sleeper *sleeper, int result)
{
    *(sleeper->older ? &sleeper->older->newer : &bucket->oldest) = sleeper->newer;
    *(sleeper->newer ? &sleeper->newer->older : &bucket->newest) = sleeper->older;
    sleeper->result = result;
    atomic_store_explicit(&sleeper->word, NULL, memory_order_relaxed);
}

int sleeper_enter(struct sleeper *sleeper, atomic_int *word, int expected, unsigned bits)
{
    struct bucket *bucket = bucket_of(word);

    /* Whoever changes the word takes the lock afterwards, to look for sleepers: either it finds us, or we see the change. */
    park_lock(&bucket->lock);
    int enters = atomic_load(word) == expected;
    if (enters) {
        *sleeper = (struct sleeper){.older = bucket->newest, .word = word, .bits = bits};
        *(bucket->newest ? &bucket->newest->newer : &bucket->oldest) = sleeper;
        bucket->newest = sleeper;
    }
    park_unlock(&bucket->lock);
    return enters;
}

int sleeper_leave(struct sleeper *sleeper, int result)
{
    /* It sleeps, or is being woken: until it is let go on, which is ours to do, or the other waker's under the same lock as this
     * call, it doesn't sleep elsewhere. */
    atomic_int *word = atomic_load_explicit(&sleeper->word, memory_order_relaxed);

    if (!word)
        return 0;
    struct bucket *bucket = bucket_of(word);
    park_lock(&bucket->lock);
    int slept = atomic_load_explicit(&sleeper->word, memory_order_relaxed) != NULL;
    if (slept)
        take_out(bucket, sleeper, result);
    park_unlock(&bucket->lock);
    return slept;
}

struct sleeper *sleepers_take(atomic_int *word, int count, unsigned bits, int *woken)
{
    struct bucket *bucket = bucket_of(word);
    struct sleeper *first = NULL, **last = &first, *sleeper, *newer;

    *woken = 0;
    park_lock(&bucket->lock);
    for (sleeper = bucket->oldest; sleeper && *woken < count; sleeper = newer) {
        newer = sleeper->newer;
        if (atomic_load_explicit(&sleeper->word, memory_order_relaxed) != word || !(sleeper->bits & bits))
            continue;
        take_out(bucket, sleeper, 0);
        sleeper->newer = NULL;
        *last = sleeper;
        last = &sleeper->newer;
        ++*woken;
    }
    park_unlock(&bucket->lock);
    return first;
}

void sleepers_forget(void)
{
    memset(buckets, 0, sizeof buckets);
}
