/* What a thread's end takes where each thread has heaps of its own, that is without a GIL.
 *
 * PyThreadState_Clear() leaves the thread's heaps, one after another.  When the last page of a segment of memory is left, the segment goes
 * to the interpreter's pool, from which a later thread takes it.  After each heap the allocator looks up to 1,024 times at what is in the
 * pool, at the same segment again and again if the pool has only one (Objects/mimalloc/segment.c, _mi_abandoned_collect).  Of a start and a
 * join these looks are nine tenths of the instructions.
 *
 * So here the allocator finds nothing to look at.  While the heaps are left, the thread's pool is an empty one, and the thread's segment, of
 * 32 MiB, counts a page that is in no heap, so that it goes to no pool.  Then the segment goes to the interpreter's pool, as
 * mi_segment_abandon() does it.  Nothing stops this thread from the moment at which the first heap is left.  So the collector, which stops all
 * threads, finds all objects.
 *
 * Each LOOKS-th end is left to the allocator, because its looks free segments in which other threads have freed the last object. */
#define Py_BUILD_CORE
#include <Python.h>

#include "python/compat.h"

#ifdef COMPAT_HEAPS_HEADER
#include COMPAT_HEAPS_HEADER
#endif

#include "python/without_gil/heaps.h"

#ifdef COMPAT_HEAPS_HEADER

#include <stdlib.h>

enum { LOOKS = 256 };

/* In which that address is; of a pool's entry, with its count.  Not _mi_page_segment(), whose assertions a debug build keeps to itself. */
static mi_segment_t *segment_of(uintptr_t address)
{
    return (mi_segment_t *)(address & ~MI_SEGMENT_MASK);
}

/* One of those that the thread has; mostly it has no other.  NULL: it has none. */
static mi_segment_t *first_segment(const struct _mimalloc_thread_state *memory)
{
    for (int i = 0; i < _Py_MIMALLOC_HEAP_COUNT; i++)
        for (size_t bin = 0; memory->heaps[i].page_count && bin <= MI_BIN_FULL; bin++)
            if (memory->heaps[i].pages[bin].first)
                return segment_of((uintptr_t)memory->heaps[i].pages[bin].first);
    return NULL;
}

/* The address of a pool's first segment carries a count of changes: otherwise a thread that has read it could not tell that the segment has
 * left the pool since, and has come back. */
static void give_segment(mi_abandoned_pool_t *pool, mi_segment_t *segment)
{
    mi_tagged_segment_t first = atomic_load_explicit(&pool->abandoned, memory_order_relaxed), tagged;

    do {
        atomic_store_explicit(&segment->abandoned_next, segment_of(first), memory_order_release);
        tagged = (uintptr_t)segment | ((first + 1) & MI_SEGMENT_MASK);
    } while (!atomic_compare_exchange_weak_explicit(&pool->abandoned, &first, tagged, memory_order_release, memory_order_relaxed));
    atomic_fetch_add_explicit(&pool->abandoned_count, 1, memory_order_relaxed);
}

static void give_all(mi_abandoned_pool_t *pool, mi_segment_t *segment)
{
    while (segment) {
        mi_segment_t *next = atomic_load_explicit(&segment->abandoned_next, memory_order_relaxed);
        give_segment(pool, segment);
        segment = next;
    }
}

/* It belongs to no thread any more.  Its free slices leave the thread's lists of free slices, which end with the thread. */
static void leave_segment(mi_segment_t *segment)
{
    for (size_t at = 0; at < segment->slice_entries; at += segment->slices[at].slice_count)
        if (!segment->slices[at].xblock_size)
            segment->slices[at].prev = segment->slices[at].next = NULL;
    segment->abandoned_visits = 1;
    atomic_store(&segment->thread_id, 0);
}

void heaps_clear_state(PyThreadState *tstate)
{
    static atomic_uint ends;
    struct _mimalloc_thread_state *memory = &((_PyThreadStateImpl *)tstate)->mimalloc;
    mi_segment_t *segment = first_segment(memory);
    mi_abandoned_pool_t *pool = memory->tld.segments.abandoned;
    mi_abandoned_pool_t *own = NULL; /* not on the stack: if a finalizer forks, or is left at a fork, the child clears this state */

    if (segment && atomic_fetch_add_explicit(&ends, 1, memory_order_relaxed) % LOOKS)
        own = aligned_alloc(MI_CACHE_LINE, sizeof *own);
    if (!own) {
        PyThreadState_Clear(tstate);
        return;
    }
    *own = (mi_abandoned_pool_t){0};
    memory->tld.segments.abandoned = own;
    segment->used++;
    PyThreadState_Clear(tstate);
    segment->used--;
    memory->tld.segments.abandoned = pool;
    leave_segment(segment);
    give_segment(pool, segment);
    give_all(pool, segment_of(own->abandoned)); /* other segments that the thread had, or its finalizers have taken */
    give_all(pool, own->abandoned_visited);
    free(own);
}

#else

void heaps_clear_state(PyThreadState *tstate)
{
    PyThreadState_Clear(tstate);
}

#endif
