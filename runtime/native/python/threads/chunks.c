/* CPython gives every thread a chunk of 16 KiB for its frames, by mmap when it first calls something and munmap when it ends
 * (Python/pystate.c, push_chunk; Objects/obmalloc.c, _PyObject_VirtualAlloc).  A thread of the runtime gets a chunk in its context
 * instead, where the first frames lie on a page that is touched anyway: no system call, no page fault, a page less for each thread.
 * The hook is public: PyObject_SetArenaAllocator().  All other requests go to the allocator that was there before.
 *
 * REJECTED.  A cache of chunks: it saved the mmap and munmap of each thread, but each chunk was still a page of its own, a third one. */
#include "python/threads/chunks.h"

#include "kernel/context/context.h"

enum { CHUNK = 16 * 1024, PAGE = 4096 };

static PyObjectArenaAllocator below;
static __thread void *first;          /* the chunk in the context; NULL: none, or given out already */
static __thread PyThreadState *owner; /* the state whose frames it is for */

void chunks_begin_at(void *place, PyThreadState *tstate)
{
    first = place;
    owner = tstate;
}

static void *chunk_allocate(void *Py_UNUSED(unused), size_t size)
{
    void *chunk = first;

    /* A thread may make other PyThreadStates, as for a subinterpreter, and leave them behind at its end. */
    if (size != CHUNK || !chunk || PyThreadState_GetUnchecked() != owner)
        return below.alloc(below.ctx, size);
    first = NULL; /* given out once: a state keeps its first chunk to its end, a later one may be freed before */
    return chunk;
}

static void chunk_release(void *Py_UNUSED(unused), void *chunk, size_t size)
{
    if (size == CHUNK && (uintptr_t)chunk % PAGE) /* in a context, not at a page as mmap's are; freed with the context */
        return;
    below.free(below.ctx, chunk, size);
}

void chunks_end(PyThreadState *tstate)
{
    _PyStackChunk *chunk = tstate->datastack_chunk;

    tstate->datastack_chunk = NULL;
    tstate->datastack_top = tstate->datastack_limit = NULL;
    while (chunk) {
        _PyStackChunk *previous = chunk->previous;
        chunk_release(NULL, chunk, chunk->size);
        chunk = previous;
    }
}

void chunks_init(void)
{
    PyObject_GetArenaAllocator(&below);
    PyObjectArenaAllocator ours = {NULL, chunk_allocate, chunk_release};
    PyObject_SetArenaAllocator(&ours);
    context_scratch = CHUNK;
}
