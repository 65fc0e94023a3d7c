/* recv, recv_into, send and sendall of _socket.socket, in threads that have their LWP to themselves: what CPython does
 * (Modules/socketmodule.c, sock_call_impl), with the same system calls, but for the way back to the GIL: that leads through gil_queue.c.
 * With thousands of connections that have something to read, thousands of threads wait for the GIL at one time, and each is woken every
 * 5 ms: a server did little else.
 *
 * The functions stand in _socket's PyMethodDefs, where no Python code sees them, and socket.socket and classes derived from it inherit them.
 * A green thread, and a socket with timeout 0, go on to CPython's own. */
#include "base/park.h"
#include "python/gil_queue.h"
#include "python/python.h"
#include "python/rooms.h"
#include "python/sockets/object.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

enum { RECV, RECV_INTO, SEND, SENDALL, CALLS };
enum { TIME_IS_UP = -2 };

static struct {
    PyMethodDef *def;
    PyCFunction stock;
} calls[CALLS]; /* in force if there is a def */

/* ---- a call ------------------------------------------------------------------------------------------------------ */

struct transfer {
    PyObject *socket;
    char *data;
    size_t size;
    int flags, sends;
    int64_t deadline;
};

static int is_stocks(PyObject *socket)
{
    return park_green || timeout_of(socket) == 0;
}

static int64_t deadline_of(PyObject *socket)
{
    int64_t timeout = timeout_of(socket), now = timeout < 0 ? 0 : park_now();

    return timeout < 0 || timeout > PARK_FOREVER - now ? PARK_FOREVER : now + timeout;
}

/* Without the GIL.  The number of bytes, -1 with errno, or TIME_IS_UP. */
static ssize_t transfer_once(const struct transfer *t)
{
    int fd = fd_of(t->socket);
    unsigned found;

    if (fd >= 0 && t->deadline != PARK_FOREVER && (errno = park_poll(fd, t->sends ? POLLOUT : POLLIN, t->deadline, &found)) != 0)
        return errno == ETIMEDOUT ? TIME_IS_UP : -1;
    return t->sends ? send(fd, t->data, t->size, t->flags) : recv(fd, t->data, t->size, t->flags);
}

/* The number of bytes, or -1 with an exception. */
static ssize_t transfer(const struct transfer *t)
{
    for (;;) {
        PyThreadState *tstate = PyEval_SaveThread();
        ssize_t length = transfer_once(t);
        int error = errno;
        gil_queue_return(tstate);
        if (length >= 0)
            return length;
        if (length == TIME_IS_UP) {
            PyErr_SetString(PyExc_TimeoutError, "timed out");
            return -1;
        }
        if (error == EWOULDBLOCK && t->deadline != PARK_FOREVER) /* another thread was quicker */
            continue;
        if (error != EINTR) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

/* ---- the methods ------------------------------------------------------------------------------------------------- */

static PyObject *call_recv(PyObject *self, PyObject *args)
{
    struct transfer t = {.socket = self};
    Py_ssize_t size;

    if (is_stocks(self))
        return calls[RECV].stock(self, args);
    if (!PyArg_ParseTuple(args, "n|i:recv", &size, &t.flags))
        return NULL;
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return NULL;
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (!bytes || size == 0)
        return bytes;
    t.data = PyBytes_AS_STRING(bytes);
    t.size = (size_t)size;
    t.deadline = deadline_of(self);
    ssize_t length = transfer(&t);
    if (length < 0)
        Py_CLEAR(bytes);
    else if (length != size)
        _PyBytes_Resize(&bytes, length);
    return bytes;
}

static PyObject *recv_into_buffer(PyObject *self, const Py_buffer *buffer, Py_ssize_t size, int flags)
{
    if (size < 0 || size > buffer->len) {
        PyErr_SetString(PyExc_ValueError, size < 0 ? "negative buffersize in recv_into" : "buffer too small for requested bytes");
        return NULL;
    }
    struct transfer t = {self, buffer->buf, (size_t)(size ? size : buffer->len), flags, 0, deadline_of(self)};
    ssize_t length = t.size ? transfer(&t) : 0;
    return length < 0 ? NULL : PyLong_FromSsize_t(length);
}

static PyObject *call_recv_into(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"buffer", "nbytes", "flags", NULL};
    Py_buffer buffer;
    Py_ssize_t size = 0;
    int flags = 0;

    if (is_stocks(self))
        return ((PyCFunctionWithKeywords)(void (*)(void))calls[RECV_INTO].stock)(self, args, kwargs);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "w*|ni:recv_into", names, &buffer, &size, &flags))
        return NULL;
    PyObject *result = recv_into_buffer(self, &buffer, size, flags);
    PyBuffer_Release(&buffer);
    return result;
}

static PyObject *call_send(PyObject *self, PyObject *args)
{
    Py_buffer buffer;
    int flags = 0;

    if (is_stocks(self))
        return calls[SEND].stock(self, args);
    if (!PyArg_ParseTuple(args, "y*|i:send", &buffer, &flags))
        return NULL;
    ssize_t length = transfer(&(struct transfer){self, buffer.buf, (size_t)buffer.len, flags, 1, deadline_of(self)});
    PyBuffer_Release(&buffer);
    return length < 0 ? NULL : PyLong_FromSsize_t(length);
}

static PyObject *call_sendall(PyObject *self, PyObject *args)
{
    Py_buffer buffer;
    int flags = 0;
    ssize_t length;

    if (is_stocks(self))
        return calls[SENDALL].stock(self, args);
    if (!PyArg_ParseTuple(args, "y*|i:sendall", &buffer, &flags))
        return NULL;
    struct transfer t = {self, buffer.buf, (size_t)buffer.len, flags, 1, deadline_of(self)};
    do {
        if ((length = transfer(&t)) >= 0) {
            t.data += length;
            t.size -= (size_t)length;
            length = PyErr_CheckSignals();
        }
    } while (length >= 0 && t.size > 0);
    PyBuffer_Release(&buffer);
    return length < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- in force ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int flags;
    PyCFunction function;
} wanted[CALLS] = {
    [RECV] = {"recv", METH_VARARGS, call_recv},
    [RECV_INTO] = {"recv_into", METH_VARARGS | METH_KEYWORDS, (PyCFunction)(void (*)(void))call_recv_into},
    [SEND] = {"send", METH_VARARGS, call_send},
    [SENDALL] = {"sendall", METH_VARARGS, call_sendall},
};

static void take_out(void)
{
    for (int i = 0; i < CALLS; i++)
        if (calls[i].def) {
            calls[i].def->ml_meth = calls[i].stock;
            calls[i].def = NULL;
        }
}

/* One that takes its arguments in another way than we know stays as it is. */
static void put_in(PyTypeObject *type)
{
    for (int i = 0; i < CALLS; i++) {
        PyObject *method = PyDict_GetItemString(type->tp_dict, wanted[i].name);
        PyMethodDef *def = method && Py_IS_TYPE(method, &PyMethodDescr_Type) ? ((PyMethodDescrObject *)method)->d_method : NULL;
        if (!def || def->ml_flags != wanted[i].flags || calls[i].def)
            continue;
        calls[i].def = def;
        calls[i].stock = def->ml_meth;
        def->ml_meth = wanted[i].function;
    }
}

static PyObject *socket_calls(PyObject *module, PyObject *type)
{
    (void)module;
#ifndef Py_GIL_DISABLED
    if (type == Py_None)
        take_out();
    else if (!socket_object.fd)
        return PyErr_Format(PyExc_RuntimeError, "socket_object_at() comes first");
    else
        put_in((PyTypeObject *)type);
#endif
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"socket_calls", socket_calls, METH_O,
     "(_socket.socket): its calls come back to the GIL through the queue; None: they are CPython's again."},
    {0},
};

int python_add_socket_calls(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
