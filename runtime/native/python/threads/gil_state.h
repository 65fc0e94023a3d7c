/* The GIL's state, which only the interpreter's internal headers declare. */
#ifndef RUNTIME_PYTHON_GIL_STATE_H
#define RUNTIME_PYTHON_GIL_STATE_H

#include "api.h"

#include <stddef.h>
#include <stdint.h>

/* The addresses at which the calling thread's GIL, which it has, begins and ends: a subinterpreter may have its own. */
API void gil_place(uintptr_t place[2]);

/* Where sys.getswitchinterval() is kept, in microseconds.  It stays there. */
API const unsigned long *gil_switch_interval(void);

/* Which thread has the GIL, for a caller that holds one of the GIL's mutexes, so that the thread's state stays. */
struct gil_holder {
    int held;
    unsigned long switches; /* how often another thread than before has taken it */
    unsigned long ident;    /* 0 if nobody has it */
};
API struct gil_holder gil_holder(const void *gil);

/* Whether nobody has the GIL, nor its mutex; a guess. */
int gil_is_free(void *gil);

/* The calling thread's innermost line, "FILE:LINE in FUNCTION", cut to that size; "": it runs no Python.  The thread need not have the GIL:
 * its frames stand still, and nothing is counted or made.  Letters outside of ASCII become '?'. */
API void gil_my_line(char *text, size_t size);

#endif
