/* Where the GIL lies: the one thing here that only the interpreter's own headers tell. */
#define Py_BUILD_CORE
#include <Python.h>

#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#include "python_trace.h"

void python_gil(uintptr_t place[2])
{
#if PY_VERSION_HEX >= 0x030c0000
    struct _gil_runtime_state *gil = PyInterpreterState_Get()->ceval.gil;
#else
    struct _gil_runtime_state *gil = &_PyRuntime.ceval.gil;
#endif
    place[0] = (uintptr_t)gil;
    place[1] = (uintptr_t)(gil + 1);
}
