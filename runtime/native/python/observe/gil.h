/* The GIL's own words, which only the interpreter's internal headers name. */
#ifndef RUNTIME_PYTHON_GIL_H
#define RUNTIME_PYTHON_GIL_H

#include <stdint.h>

/* From where to where they lie. */
void gil_place(uintptr_t place[2]);

/* sys.getswitchinterval(), in microseconds. */
unsigned long gil_switch_interval(void);

#endif
