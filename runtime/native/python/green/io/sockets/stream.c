/* recv, recv_into, send, sendall: the system call is made here. */
#include "python/green/io/sockets/transfer.h"

#include <sys/socket.h>

enum { RARE = MSG_WAITALL | MSG_TRUNC }; /* only CPython's method knows what these flags do to a result */

/* ---- receiving --------------------------------------------------------------------------------------------------- */

PyObject *socket_recv(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct transfer t;
    PyObject *way = socket_way(RECV, self, count > 1 ? args[1] : NULL, names, &t);

    if (way)
        return socket_go_way(way, self, args, count, names);
    int overflow = 0;
    long long size = count == 1 || count == 2 ? PyLong_CheckExact(args[0]) ? PyLong_AsLongLongAndOverflow(args[0], &overflow) : 0 : 0;
    if (size <= 0 || overflow)
        return socket_call(socket_methods.stock[RECV], self, args, count, names);
    if (t.flags & RARE)
        return socket_try(RECV, self, args, count, names);
    t.size = (size_t)size;
    if (transfer_run(&t) < 0)
        return NULL;
    if (t.done != t.size)
        _PyBytes_Resize(&t.bytes, (Py_ssize_t)t.done);
    return t.bytes;
}

PyObject *socket_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (names)
        return socket_by_position(RECV_INTO, socket_recv_into, self, args, count, names);
    struct transfer t;
    PyObject *way = socket_way(RECV_INTO, self, count > 2 ? args[2] : NULL, names, &t);
    Py_buffer buffer;

    if (way)
        return socket_go_way(way, self, args, count, names);
    int overflow = 0;
    long long size = 0;
    if (count > 1)
        size = PyLong_CheckExact(args[1]) ? PyLong_AsLongLongAndOverflow(args[1], &overflow) : -1;
    if (count < 1 || count > 3 || size < 0 || overflow)
        return socket_call(socket_methods.stock[RECV_INTO], self, args, count, names);
    if (t.flags & RARE)
        return socket_try(RECV_INTO, self, args, count, names);
    if (PyObject_GetBuffer(args[0], &buffer, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return socket_call(socket_methods.stock[RECV_INTO], self, args, count, names);
    }
    PyObject *result;
    t.data = buffer.buf;
    t.size = size ? (size_t)size : (size_t)buffer.len;
    if (t.size == 0 || t.size > (size_t)buffer.len)
        result = socket_call(socket_methods.stock[RECV_INTO], self, args, count, names);
    else
        result = transfer_run(&t) < 0 ? NULL : PyLong_FromSize_t(t.done);
    PyBuffer_Release(&buffer);
    return result;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static PyObject *send_with(int method, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct transfer t;
    PyObject *way = socket_way(method, self, count > 1 ? args[1] : NULL, names, &t), *result = NULL;
    Py_buffer buffer;

    if (way)
        return socket_go_way(way, self, args, count, names);
    if (count < 1 || count > 2 || PyUnicode_Check(args[0]) || PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        return socket_call(socket_methods.stock[method], self, args, count, names);
    }
    t.sends = 1;
    t.all = method == SENDALL
            || timeout_of(self) < 0; /* send(2) of a blocking socket returns when all is sent, and programs rely on it */
    t.data = buffer.buf;
    t.size = (size_t)buffer.len;
    int has_nothing = method == SENDALL && t.size == 0;
    if (has_nothing || transfer_run(&t) == 0)
        result = method == SENDALL ? Py_NewRef(Py_None) : PyLong_FromSize_t(t.done);
    PyBuffer_Release(&buffer);
    return result;
}

PyObject *socket_send(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return send_with(SEND, self, args, count, names);
}

PyObject *socket_sendall(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return send_with(SENDALL, self, args, count, names);
}
