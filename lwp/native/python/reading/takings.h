/* Where locks were taken, for a holder that has ended: a thread that lives shows it by its stack.
 *
 * Of the runtime's locks only, from takings_begin() on, and not without a GIL.  The place is an instruction's address: only
 * a reader has its line looked up, which takes long (observe/takings.py). */
#ifndef RUNTIME_TAKINGS_H
#define RUNTIME_TAKINGS_H

#include "python/sync/lock.h"

void takings_begin(void);

/* Where the thread with that number has taken the lock; 0: not known. */
uintptr_t takings_place(LockObject *lock, unsigned long serial);

#endif
