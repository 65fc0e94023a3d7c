#define Py_BUILD_CORE
#include <Python.h>

#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#include "python/compat.h"
#include "python/threads/gil_state.h"

const unsigned long *gil_switch_interval(void)
{
    return &COMPAT_GIL()->interval;
}

void gil_place(uintptr_t place[2])
{
    struct _gil_runtime_state *gil = COMPAT_GIL();

    place[0] = (uintptr_t)gil;
    place[1] = (uintptr_t)(gil + 1);
}
