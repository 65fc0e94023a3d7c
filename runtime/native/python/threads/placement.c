/* What runtime/placement.py can't do in Python. */
#include "kernel/base/events.h"
#include "python/room.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { ARGUMENTS = 5 };

/* One argument may be a buffer.  The caller keeps the GIL: the kernel's functions that set how a thread is scheduled don't wait. */
static PyObject *system_call(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    long words[1 + ARGUMENTS] = {0};
    Py_buffer buffer = {0};

    for (Py_ssize_t i = 0; i < count && i <= ARGUMENTS; i++) {
        if (PyLong_Check(args[i]))
            words[i] = PyLong_AsLong(args[i]);
        else if (PyObject_GetBuffer(args[i], &buffer, PyBUF_SIMPLE) == 0)
            words[i] = (long)buffer.buf;
    }
    long result = PyErr_Occurred() ? 0 : syscall(words[0], words[1], words[2], words[3], words[4], words[5]);
    if (result < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    PyBuffer_Release(&buffer);
    return PyErr_Occurred() ? NULL : PyLong_FromLong(result);
}

static PyObject *trace_placed(PyObject *Py_UNUSED(module), PyObject *text)
{
    if (PyUnicode_Check(text))
        EVENT(EVENT_PLACED, text, 0);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    POSITIONAL("system_call", system_call,
               "(number, at most 5 integers, one of which may be a buffer instead): what the kernel returns.  OSError."),
    {"trace_placed", trace_placed, METH_O, "For the trace: the calling thread was given this at its birth."},
    {0},
};

static int add_placement(PyObject *module)
{
    return PyModule_AddIntMacro(module, SYS_prctl) < 0 || PyModule_AddIntMacro(module, SYS_sched_getattr) < 0
                   || PyModule_AddIntMacro(module, SYS_sched_setattr) < 0
               ? -1
               : 0;
}

const struct entries entries_placement = {.add = add_placement, .functions = functions};
