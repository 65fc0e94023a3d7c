/* How long threads wait for the GIL, and which thread has kept it from them.
 *
 * A thread that waits calls functions here from take_gil() (gil_crowd.c), with the GIL's mutex, which is their lock.  A sleep there ends at the
 * switch interval, or when the GIL is free; a wait is all sleeps until the thread takes it. */
#ifndef RUNTIME_PYTHON_GIL_WAITS_H
#define RUNTIME_PYTHON_GIL_WAITS_H

#include "observe/histogram.h"

#include <stdatomic.h>

struct gil_waits {
    uint64_t count;
    int64_t ns, longest;
    uint32_t now, most; /* threads that wait at once */
    uint32_t histogram[HISTOGRAM_BUCKETS];
    /* Of waits of twice the switch interval or more, in all of which one thread had the GIL: it was in C code that doesn't let it go. */
    uint64_t kept;
    int64_t kept_ns, kept_longest;
    unsigned long keeper, serial; /* ident, which another thread has later, and serial number, of the longest; 0: it had none */
    int keeper_lives;             /* for told.c */
    char line[256];       /* where that thread was, or an empty text */
};

/* With the GIL, and without its mutex. */
void gil_waits_begin(void);
void gil_waits_end(void);
struct gil_waits gil_waits_read(void); /* a wait that ends meanwhile may be in a part of the sums only */

#endif
