#include "python/args.h"

#include "kernel/base/park.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>

/* ---- arguments --------------------------------------------------------------------------------------------------- */

/* The interpreter's own conversion, so that the types, the rounding and the exceptions are those of a stock timeout.  By a name of ours,
 * because two headers declare it with a type of their own for `round`, from 3.13 on an internal one. */
PyAPI_FUNC(int) time_from_seconds(int64_t *ns, PyObject *seconds, int round) __asm__("_PyTime_FromSecondsObject");

static int to_nanoseconds(PyObject *seconds, int64_t *ns)
{
    return time_from_seconds(ns, seconds, 3 /* _PyTime_ROUND_TIMEOUT */);
}

static int64_t deadline_after(int64_t ns)
{
    if (ns <= 0)
        return 0;
    int64_t now = park_now();
    return ns < PARK_FOREVER - now ? now + ns : PARK_FOREVER; /* TIMEOUT_MAX is 292 years */
}

int args_deadline(PyObject *timeout, int64_t *deadline)
{
    int64_t ns;

    *deadline = PARK_FOREVER;
    if (timeout == Py_None)
        return 0;
    if (to_nanoseconds(timeout, &ns) < 0)
        return -1;
    *deadline = deadline_after(ns);
    return 0;
}

/* With WAIT_ASKS_LE a NaN goes on to the conversion, which refuses it. */
int args_wait_deadline(PyObject *timeout, int64_t *deadline)
{
    int waits;

    if (timeout == Py_None)
        waits = 1;
    else if (PyFloat_CheckExact(timeout))
        waits = WAIT_ASKS_LE ? !(PyFloat_AS_DOUBLE(timeout) <= 0) : PyFloat_AS_DOUBLE(timeout) > 0;
    else {
        PyObject *zero = PyLong_FromLong(0);
        waits = zero ? PyObject_RichCompareBool(timeout, zero, WAIT_ASKS_LE ? Py_LE : Py_GT) : -1;
        if (WAIT_ASKS_LE && waits >= 0)
            waits = !waits;
        Py_XDECREF(zero);
    }
    *deadline = 0;
    return waits > 0 ? args_deadline(timeout, deadline) : waits;
}

int args_own_deadline(PyObject *timeout, int64_t *deadline)
{
    if (timeout == Py_None || PyNumber_Check(timeout))
        return args_wait_deadline(timeout, deadline);
    return refuse(PyExc_TypeError, "timeout must be a number of seconds or None, not %.100s", Py_TYPE(timeout)->tp_name);
}

int args_count(PyObject *number, long *n)
{
    int overflow = 0;

    if (PyFloat_Check(number) && PyFloat_AS_DOUBLE(number) == floor(PyFloat_AS_DOUBLE(number))) {
        double value = PyFloat_AS_DOUBLE(number);
        *n = value >= 0x1p63 ? LONG_MAX : value < -0x1p63 ? LONG_MIN : (long)value;
        return 0;
    }
    *n = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow)
        *n = overflow > 0 ? LONG_MAX : LONG_MIN;
    return *n == -1 && PyErr_Occurred() ? -1 : 0;
}

int args_one_given(const char *method, const char *parameter, PyObject *const *args, Py_ssize_t count, PyObject *names,
                   PyObject **given)
{
    if (count + (names ? PyTuple_GET_SIZE(names) : 0) > 1
        || (names && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), parameter) != 0))
        return refuse(PyExc_TypeError, "%s() takes one argument, %s", method, parameter);
    *given = args[0];
    return 0;
}

PyObject *get_attribute(PyObject *op, PyObject *name)
{
    return name ? PyObject_GetAttr(op, name) : NULL;
}

PyObject *call_method(PyObject *op, PyObject *name, PyObject *argument)
{
    return !name ? NULL : argument ? PyObject_CallMethodOneArg(op, name, argument) : PyObject_CallMethodNoArgs(op, name);
}

PyTypeObject *add_type(PyObject *module, PyType_Spec *spec)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    PyObject *name, *value;
    Py_ssize_t at = 0;

    if (!type || PyModule_AddType(module, type) < 0)
        return NULL;
    compat_never_freed((PyObject *)type);
    while (WITHOUT_GIL && PyDict_Next(type->tp_dict, &at, &name, &value))
        if (Py_IS_TYPE(value, &PyMethodDescr_Type))
            compat_never_freed(value);
    return type;
}

void simple_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    type->tp_free(op);
    Py_DECREF(type);
}

PyObject *raise_errno(int error)
{
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

int refuse(PyObject *type, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    PyErr_FormatV(type, format, args);
    va_end(args);
    return -1;
}

void append_to(PyObject **list, PyObject *one)
{
    if (*list && (!one || PyList_Append(*list, one) < 0))
        Py_CLEAR(*list);
    Py_XDECREF(one);
}

PyObject *list_calls(PyFrameObject *frame, int most)
{
    PyObject *list = PyList_New(0);

    for (int i = 0; list && frame && i < most; i++) {
        append_to(&list, Py_BuildValue("(Ni)", PyFrame_GetCode(frame), PyFrame_GetLineNumber(frame)));
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    return list;
}

int args_two(const char *first, PyObject *const *args, Py_ssize_t count, PyObject *names, PyObject *given[2])
{
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;

    if (count + keywords > 2)
        return refuse(PyExc_TypeError, "acquire() takes at most 2 arguments (%zd given)", count + keywords);
    for (Py_ssize_t i = 0; i < count; i++)
        given[i] = args[i];
    for (Py_ssize_t i = 0; i < keywords; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int at = PyUnicode_CompareWithASCIIString(name, first) == 0       ? 0
                 : PyUnicode_CompareWithASCIIString(name, "timeout") == 0 ? 1
                                                                          : -1;
        if (at < count)
            return refuse(PyExc_TypeError,
                          at < 0 ? "'%U' is an invalid keyword argument for acquire()"
                                 : "argument for acquire() given by name ('%U') and position",
                          name);
        given[at] = args[count + i];
    }
    return 0;
}

int args_acquire(PyObject *const *args, Py_ssize_t count, PyObject *names, int64_t *deadline)
{
    if (count == 1 && !names && PyBool_Check(args[0])) { /* acquire(False), as most calls with an argument are */
        *deadline = args[0] == Py_True ? PARK_FOREVER : 0;
        return 0;
    }
    PyObject *given[2] = {NULL, NULL};
    if (args_two("blocking", args, count, names, given) < 0)
        return -1;
    int blocking = given[0] ? compat_blocking(given[0]) : 1;
    const int64_t none = -PARK_SECOND;
    int64_t timeout = none;
    if (blocking < 0 || (given[1] && to_nanoseconds(given[1], &timeout) < 0))
        return -1;
    if (!blocking && timeout != none)
        return refuse(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
    if (timeout < 0 && timeout != none)
        return refuse(PyExc_ValueError, COMPAT_NEGATIVE_TIMEOUT);
    *deadline = !blocking ? 0 : timeout == none ? PARK_FOREVER : deadline_after(timeout);
    return 0;
}
