#include "python/waits/wait.h"

#include "explore/explore.h"
#include "python/args.h"
#include "python/rooms.h"

#include <math.h>

PyAPI_FUNC(int) _PyOS_IsMainThread(void); /* internal/pycore_pylifecycle.h */

/* Two permits of one semaphore can't be had by trying one after the other: -1 with an exception. */
static int refuse_twice(const struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++)
        for (Py_ssize_t j = 0; j < i && w->things[i].kind->take; j++)
            if (w->things[j].object == w->things[i].object) {
                PyErr_Format(PyExc_ValueError, "%R can't be acquired twice at once", w->things[i].given);
                return -1;
            }
    return 0;
}

static void forget_things(struct waiting *w)
{
    for (Py_ssize_t i = 0; i < w->count; i++)
        Py_XDECREF(w->things[i].object);
    PyMem_Free(w->things);
    PyMem_Free(w->polled);
}

static int set_things(struct waiting *w)
{
    Py_ssize_t count = PyTuple_GET_SIZE(w->given);

    if (!(w->things = PyMem_Calloc((size_t)count + 1, sizeof *w->things))) {
        PyErr_NoMemory();
        return -1;
    }
    for (; w->count < count; w->count++) {
        if (wait_set_thing(&w->things[w->count], PyTuple_GET_ITEM(w->given, w->count), w->deadline == PARK_FOREVER) < 0)
            return -1;
        w->files += thing_is_file(&w->things[w->count]);
    }
    if (w->files && !(w->polled = PyMem_Calloc((size_t)w->files + 2, sizeof *w->polled))) {
        PyErr_NoMemory();
        return -1;
    }
    return w->all ? refuse_twice(w) : 0;
}

/* Those that are ready: NULL with an exception, and then nothing is taken. */
static PyObject *list_ready(struct waiting *w)
{
    PyObject *list = PyList_New(0);

    for (Py_ssize_t i = 0; list && i < w->count; i++)
        if (w->things[i].ready && PyList_Append(list, w->things[i].given) < 0)
            Py_CLEAR(list);
    if (!list)
        wait_give_all_back(w);
    return list;
}

/* As Event.wait() takes it; there NaN is 0 before Python 3.14, and the exception speaks of what compares the timeout. */
static int set_deadline(struct waiting *w, PyObject *timeout)
{
    if (PyFloat_Check(timeout) && isnan(PyFloat_AS_DOUBLE(timeout)))
        PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)"); /* as the interpreter's own */
    else if (timeout != Py_None && !PyNumber_Check(timeout))
        PyErr_Format(PyExc_TypeError, "timeout must be a number of seconds or None, not %.100s", Py_TYPE(timeout)->tp_name);
    else
        return args_wait_deadline(timeout, &w->deadline);
    return -1;
}

/* An explored thread sleeps where its run sees it; the run polls for one file of one thread. */
static int may_sleep(const struct waiting *w)
{
    if (explore_me() && w->files)
        PyErr_SetString(PyExc_NotImplementedError, "runtime.wait() for a file can't be explored");
    return !PyErr_Occurred();
}

/* (tuple of things, timeout, for all of them): a list. */
static PyObject *wait_things(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct waiting w = {.since = park_now()};
    PyObject *list = NULL;

    (void)module;
    if (count != 3 || !PyTuple_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "wait_things(tuple, timeout, all)");
        return NULL;
    }
    w.given = args[0];
    w.all = args[2] == Py_True;
    w.looks = !park_green && _PyOS_IsMainThread(); /* a scheduler looks for signals itself */
    if (set_deadline(&w, args[1]) == 0 && set_things(&w) == 0 && may_sleep(&w)
        && (w.all     ? wait_for_all(&w)
            : w.count ? wait_for_first(&w, 0, w.count)
                      : 0)
               >= 0)
        list = list_ready(&w);
    forget_things(&w);
    return list;
}

static PyMethodDef functions[] = {
    {"wait_things", FAST(wait_things), METH_FASTCALL, "(tuple of things, timeout, whether all): those that are ready."},
    {0},
};

int python_add_wait(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
