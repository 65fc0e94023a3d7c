/* Where threads are. */
#include "python/reading/current_frames.h"

#include "python/room.h"

int dict_take_item(PyObject *dict, PyObject *key, PyObject *value)
{
    int result = key && value ? PyDict_SetItem(dict, key, value) : -1;

    Py_XDECREF(key);
    Py_XDECREF(value);
    return result;
}

/* sys._current_frames() makes frame objects for the threads of subinterpreters too, with an allocator whose GIL the caller doesn't have
 * (Python/pystate.c, _PyThread_CurrentFrames).  Only without a GIL it does so safely: it stops all threads.
 *
 * The list of states needs no lock here: a new one comes first, and none goes without the GIL. */
PyObject *current_frames(void)
{
    if (WITHOUT_GIL)
        return PyObject_CallNoArgs(PySys_GetObject("_current_frames"));
    int collects = ALLOCATION_COLLECTS && PyGC_Disable();
    PyObject *all = PyDict_New();
    for (PyThreadState *one = PyInterpreterState_ThreadHead(PyInterpreterState_Main()); all && one; one = PyThreadState_Next(one)) {
        PyObject *frame = (PyObject *)PyThreadState_GetFrame(one);
        if (frame && dict_take_item(all, PyLong_FromUnsignedLong(one->thread_id), frame) < 0)
            Py_CLEAR(all);
    }
    if (collects)
        PyGC_Enable();
    return all;
}

static PyObject *list_frames(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    return current_frames();
}

static PyMethodDef functions[] = {
    {"current_frames", list_frames, METH_NOARGS,
     "By its ident, the innermost frame of each thread that runs Python in the main interpreter."},
    {0},
};

const struct entries entries_current_frames = {.functions = functions};
