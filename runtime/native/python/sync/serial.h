/* The serial number of a thread, by which a lock knows its taker.  An ident won't do: contexts are recycled, so the next thread may have
 * the ident of one that has ended with the lock taken.
 *
 * A thread gets its number with the first lock that it takes, and no other thread of the process gets it again.  A forked child goes on
 * with the numbers of its parent, so there a number that no thread has is that of a thread of the parent. */
#ifndef RUNTIME_PYTHON_SERIAL_H
#define RUNTIME_PYTHON_SERIAL_H

#include "python/threads/sleep.h"

API unsigned long serial_new(void); /* the calling thread's, which has none yet */

static inline unsigned long my_serial(void)
{
    unsigned long serial = atomic_load_explicit(&my_wait.serial, memory_order_relaxed);

    return __builtin_expect(serial != 0, 1) ? serial : serial_new();
}

/* The number of the thread with this ident, which can't end meanwhile (green/listed.h); 0: it has none. */
static inline unsigned long serial_of(uintptr_t ident)
{
    return atomic_load_explicit(&((struct wait *)(ident + (uintptr_t)wait_offset))->serial, memory_order_relaxed);
}

/* With the GIL: the ident of the thread with that number; 0: it has ended. */
unsigned long serial_ident(unsigned long serial);

/* With the GIL, by a thread that has come to its end: if it may hold a lock still, its name is kept.  Takes over the reference; NULL with
 * an exception, which is dropped: the thread will be told without a name. */
static inline int serial_may_hold(void)
{
    return my_wait.locks != 0;
}
void serial_keep_name(PyObject *name);

/* A new reference to the name of a thread that has ended, if that was kept; otherwise None. */
API PyObject *serial_name(unsigned long serial);

/* Whether it is the number of a thread of this process's parent, from before the fork. */
API int serial_is_parents(unsigned long serial);

#endif
