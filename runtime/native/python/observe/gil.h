/* The GIL's state, which only the interpreter's internal headers declare. */
#ifndef RUNTIME_PYTHON_GIL_H
#define RUNTIME_PYTHON_GIL_H

#include <stdint.h>

/* The addresses at which it begins and ends. */
void gil_place(uintptr_t place[2]);

/* sys.getswitchinterval(), in microseconds. */
unsigned long gil_switch_interval(void);

#endif
