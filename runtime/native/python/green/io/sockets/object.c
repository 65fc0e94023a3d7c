#include "python/green/io/sockets/object.h"

#include "python/args.h"

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
    memset((char *)twin + socket_object.fd, 0xff, sizeof(int)); /* otherwise its end would close the descriptor */
    Py_DECREF(twin);
}

/* ---- where its integers are -------------------------------------------------------------------------------------- */

/* The offset of the only integer in an object that has this value; 0: there is none, or more than one. */
static size_t find_integer(PyObject *object, const void *value, size_t size)
{
    size_t found = 0, end = (size_t)Py_TYPE(object)->tp_basicsize;

    for (size_t at = sizeof(PyObject); at + size <= end; at += size)
        if (memcmp((char *)object + at, value, size) == 0) {
            if (found)
                return 0;
            found = at;
        }
    return found;
}

/* settimeout() stores the timeout before it finds that there is no descriptor (Modules/socketmodule.c, sock_settimeout). */
static size_t find_timeout(PyObject *socket, double seconds)
{
    int64_t stored = (int64_t)(seconds * 1e9);

    Py_XDECREF(PyObject_CallMethod(socket, "settimeout", "d", seconds));
    PyErr_Clear();
    return find_integer(socket, &stored, sizeof stored);
}

/* A socket that is not initialized has the descriptor -1, so none has to be made, which a sandbox may forbid. */
int socket_object_find(PyTypeObject *base)
{
    PyObject *none = PyTuple_New(0), *probe = none ? base->tp_new(base, none, NULL) : NULL;

    Py_XDECREF(none);
    if (!probe)
        return -1;
    socket_object.timeout = find_timeout(probe, 12.5);
    int is_same = find_timeout(probe, 0.25) == socket_object.timeout;
    socket_object.fd = find_integer(probe, &(int){-1}, sizeof(int));
    Py_DECREF(probe);
    /* An object with a dict or weak references couldn't be copied as bytes: socket_twin(). */
    if (is_same && socket_object.timeout && socket_object.fd && !base->tp_dictoffset && !base->tp_weaklistoffset) {
        socket_object.base = base;
        return 0;
    }
    return refuse(PyExc_RuntimeError,
                  "no green threads here: it can't be found where a %.100s of this Python has its descriptor and timeout",
                  base->tp_name);
}
