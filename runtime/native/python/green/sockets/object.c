#include "python/green/sockets/object.h"

#include "python/rooms.h"

struct socket_object socket_object;

/* ---- a twin ------------------------------------------------------------------------------------------------------ */

PyObject *socket_twin(PyObject *socket)
{
    PyObject *twin = socket_object.base->tp_alloc(socket_object.base, 0);

    if (twin) {
        size_t size = (size_t)socket_object.base->tp_basicsize - sizeof(PyObject);
        memcpy((char *)twin + sizeof(PyObject), (char *)socket + sizeof(PyObject), size);
        set_timeout(twin, 0);
    }
    return twin;
}

void socket_end_twin(PyObject *twin)
{
    memset((char *)twin + socket_object.fd, 0xff, sizeof(int)); /* else its end would close the descriptor */
    Py_DECREF(twin);
}

/* ---- where its integers are -------------------------------------------------------------------------------------- */

/* The offsets in an object, behind its head, at which an integer of that size stands. */
static PyObject *find_in_object(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *object, *found;
    long long value;
    int size;

    if (!PyArg_ParseTuple(args, "OLi:find_in_object", &object, &value, &size))
        return NULL;
    if ((size != sizeof(int) && size != sizeof value) || !(found = PySet_New(NULL)))
        return PyErr_Format(PyExc_ValueError, "no integer has %d bytes", size);
    for (Py_ssize_t at = sizeof(PyObject); at + size <= Py_TYPE(object)->tp_basicsize; at += size)
        if (memcmp((char *)object + at, &value, (size_t)size) == 0) { /* the low bytes come first */
            PyObject *offset = PyLong_FromSsize_t(at);
            if (!offset || PySet_Add(found, offset) < 0)
                Py_CLEAR(found);
            Py_XDECREF(offset);
            if (!found)
                return NULL;
        }
    return found;
}

static PyObject *set_places(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t fd, timeout;

    if (!PyArg_ParseTuple(args, "nn:socket_object_at", &fd, &timeout))
        return NULL;
    socket_object.fd = (size_t)fd;
    socket_object.timeout = (size_t)timeout;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"find_in_object", find_in_object, METH_VARARGS,
     "(object, value, size): the offsets at which an integer of that size has that value."},
    {"socket_object_at", set_places, METH_VARARGS, "(fd, timeout): at which offsets a socket object has them."},
    {0},
};

int python_add_socket_object(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
