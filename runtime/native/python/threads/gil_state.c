#define Py_BUILD_CORE
#include <Python.h>

#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#include "python/threads/gil_state.h"

static struct _gil_runtime_state *our_gil(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyInterpreterState_Get()->ceval.gil;
#else
    return &_PyRuntime.ceval.gil;
#endif
}

const unsigned long *gil_switch_interval(void)
{
    return &our_gil()->interval;
}

void gil_place(uintptr_t place[2])
{
    struct _gil_runtime_state *gil = our_gil();

    place[0] = (uintptr_t)gil;
    place[1] = (uintptr_t)(gil + 1);
}
