/* The GIL's state, which only the interpreter's internal headers declare. */
#ifndef RUNTIME_PYTHON_GIL_STATE_H
#define RUNTIME_PYTHON_GIL_STATE_H

#include <stdint.h>

/* The addresses at which it begins and ends. */
void gil_place(uintptr_t place[2]);

/* Where sys.getswitchinterval() is kept, in microseconds.  It stays there. */
const unsigned long *gil_switch_interval(void);

#endif
