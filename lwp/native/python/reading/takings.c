#define Py_BUILD_CORE
#include "python/compat.h"
#include COMPAT_FRAME_HEADER

#include "python/reading/takings.h"

enum { BITS = 14 };

/* By a hash of the lock's address: a later one replaces an earlier one with the same hash. */
static struct taking {
    LockObject *lock; /* not a reference */
    unsigned long serial;
    uintptr_t instruction;
} takings[1 << BITS];

static struct taking *taking_of(LockObject *lock)
{
    return &takings[((uint64_t)(uintptr_t)lock * 0x9e3779b97f4a7c15) >> (64 - BITS)];
}

static void note_taken(LockObject *lock)
{
    struct _PyInterpreterFrame *frame = COMPAT_FRAME(PyThreadState_Get()); /* NULL: C code runs the thread */

    *taking_of(lock) = (struct taking){lock, my_serial(), frame ? (uintptr_t)COMPAT_FRAME_INSTRUCTION(frame) : 0};
}

void takings_begin(void)
{
    if (!WITHOUT_GIL)
        lock_taken = note_taken;
}

uintptr_t takings_place(LockObject *lock, unsigned long serial)
{
    const struct taking *taking = taking_of(lock);

    return taking->lock == lock && taking->serial == serial ? taking->instruction : 0;
}
