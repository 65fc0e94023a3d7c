/* Lines of the program: which one a thread is at, and where each primitive was made.
 *
 * The line is the innermost on the stack that belongs neither to this package nor to the modules of the standard library that only pass
 * the call on (SYNCHRONISING in lwp/reading/sites.py).  Each has a number, from 1 on, that stays its own: 0 is a line that is not
 * known.  Nothing is recorded before sites_begin(). */
#ifndef RUNTIME_SITES_H
#define RUNTIME_SITES_H

#include "python/python.h"

/* From sites_quiet() to sites_go_on() no code of the program runs, because the thread may be about to sleep, and no other thread is in
 * such a part.  In 3.11 making a frame object may start a collection, so the collector is off meanwhile; later versions collect between
 * bytecodes only. */
struct quiet {
    int collecting;
    PyObject *type, *value, *traceback;
};
struct quiet sites_quiet(void);
void sites_go_on(struct quiet *quiet);

/* These are for such a part. */
uint32_t site_current(void);
uint32_t site_innermost(void); /* 0: the innermost line of all is not the program's */
uint32_t site_at(PyFrameObject *innermost); /* takes over the reference; NULL: 0 */
/* All lines of the calling thread's stack, the innermost first, of the program and not.  Returns how many there are, also if not all fit. */
int site_stack(uint32_t *lines, int most);
uint32_t site_made(PyObject *op); /* op: one of the runtime's primitives */
/* Borrowed: FILE:LINE in FUNCTION, or an empty text.  Of a primitive that the __init__ of a dataclass or of attrs has made, its class stands
 * before it: made_place() in lwp/reading/names.py reads that. */
PyObject *site_text(uint32_t number);

#endif
