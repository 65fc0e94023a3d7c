/* CPython gives every thread a chunk of 16 KiB for its frames, by mmap when it starts and munmap when it ends
 * (Python/pystate.c, push_chunk; Objects/obmalloc.c, _PyObject_VirtualAlloc).  A few kept chunks save a new thread both, and
 * the page faults.  The hook is public: PyObject_SetArenaAllocator; requests of any other size go through untouched. */
#include "python_types.h"

#include "park.h"

enum { CHUNK = 16 * 1024, KEPT = 64 };

static PyObjectArenaAllocator below;
static atomic_int lock;
static void *kept[KEPT];
static int count;

static void *allocate(void *unused, size_t size)
{
    void *chunk = NULL;

    (void)unused;
    if (size == CHUNK) {
        park_lock(&lock);
        if (count)
            chunk = kept[--count];
        park_unlock(&lock);
    }
    return chunk ? chunk : below.alloc(below.ctx, size);
}

static void release(void *unused, void *chunk, size_t size)
{
    int full = 1;

    (void)unused;
    if (size == CHUNK) {
        park_lock(&lock);
        if (!(full = count == KEPT))
            kept[count++] = chunk;
        park_unlock(&lock);
    }
    if (full)
        below.free(below.ctx, chunk, size);
}

void python_chunks_after_fork(void)
{
    atomic_store(&lock, 0); /* whoever held it is a lost thread; at worst one kept chunk is lost with it */
}

void python_keep_chunks(void)
{
    PyObject_GetArenaAllocator(&below);
    PyObjectArenaAllocator ours = {NULL, allocate, release};
    PyObject_SetArenaAllocator(&ours);
}
