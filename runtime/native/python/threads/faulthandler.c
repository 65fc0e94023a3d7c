#include "python/threads/faulthandler.h"

#include "python/python.h"

static PyObject *is_enabled;

int faulthandler_is_on(void)
{
    if (!is_enabled)
        return 0;
    /* Called at every start of a thread, so directly in C: that saves the cost of a Python call. */
    PyObject *result = PyCFunction_GET_FUNCTION(is_enabled)(PyCFunction_GET_SELF(is_enabled), NULL);
    int on = result == Py_True;
    Py_XDECREF(result);
    return on;
}

int faulthandler_find(void)
{
    PyObject *module = PyImport_ImportModule("faulthandler"), *found = NULL;

    if (module)
        found = PyObject_GetAttrString(module, "is_enabled");
    if (found && PyCFunction_Check(found) && PyCFunction_GET_FLAGS(found) == METH_NOARGS)
        Py_XSETREF(is_enabled, Py_NewRef(found));
    Py_XDECREF(found);
    Py_XDECREF(module);
    return found ? 0 : -1;
}
