/* recv, recv_into, send, sendall: the system call is made here. */
#include "python/green/sockets/transfer.h"

#include <errno.h>

/* ---- receiving --------------------------------------------------------------------------------------------------- */

/* The bytes are made when there is something to receive, so that a connection that waits has none. */
static PyObject *receive_bytes(struct transfer *t)
{
    struct poller_try attempt;
    PyObject *bytes = NULL;
    ssize_t length = 0;
    int done;

    do {
        if ((done = transfer_begin(t, &attempt)) <= 0)
            continue;
        if (!(bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)t->size)))
            return NULL;
        t->data = PyBytes_AS_STRING(bytes);
        length = transfer_now(t, attempt.fd);
        if (length < 0) {
            int error = errno;
            Py_CLEAR(bytes);
            errno = error;
        }
        done = transfer_end(t, &attempt, length);
    } while (!done);
    if (done < 0)
        return NULL;
    if ((size_t)length != t->size)
        _PyBytes_Resize(&bytes, length);
    return bytes;
}

PyObject *socket_recv(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct transfer t;
    PyObject *way = socket_way(RECV, self, count > 1 ? args[1] : NULL, names, &t);

    if (way)
        return socket_call(way, self, args, count, names);
    int overflow = 0;
    long long size = count == 1 || count == 2 ? PyLong_CheckExact(args[0]) ? PyLong_AsLongLongAndOverflow(args[0], &overflow) : 0 : 0;
    if (size <= 0 || overflow)
        return socket_call(socket_methods.stock[RECV], self, args, count, names);
    t.size = (size_t)size;
    return receive_bytes(&t);
}

PyObject *socket_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct transfer t;
    PyObject *way = socket_way(RECV_INTO, self, count > 2 ? args[2] : NULL, names, &t);
    Py_buffer buffer;

    if (way)
        return socket_call(way, self, args, count, names);
    int overflow = 0;
    long long size = 0;
    if (count > 1)
        size = PyLong_CheckExact(args[1]) ? PyLong_AsLongLongAndOverflow(args[1], &overflow) : -1;
    if (count < 1 || count > 3 || size < 0 || overflow)
        return socket_call(socket_methods.stock[RECV_INTO], self, args, count, names);
    if (PyObject_GetBuffer(args[0], &buffer, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return socket_call(socket_methods.stock[RECV_INTO], self, args, count, names);
    }
    PyObject *result = NULL;
    t.data = buffer.buf;
    t.size = size ? (size_t)size : (size_t)buffer.len;
    if (t.size == 0 || t.size > (size_t)buffer.len)
        result = socket_call(socket_methods.stock[RECV_INTO], self, args, count, names);
    else {
        ssize_t length = transfer_once(&t);
        result = length < 0 ? NULL : PyLong_FromSsize_t(length);
    }
    PyBuffer_Release(&buffer);
    return result;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* send(2) of a blocking socket returns when all is sent, and programs rely on it. */
static PyObject *send_some(struct transfer *t)
{
    ssize_t length = (ssize_t)t->size;

    if (timeout_of(t->self) >= 0)
        length = transfer_once(t);
    else if (transfer_all(t) < 0)
        length = -1;
    return length < 0 ? NULL : PyLong_FromSsize_t(length);
}

static PyObject *send_all(struct transfer *t)
{
    return transfer_all(t) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *send_with(int method, PyObject *(*run)(struct transfer *t), PyObject *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *names)
{
    struct transfer t;
    PyObject *way = socket_way(method, self, count > 1 ? args[1] : NULL, names, &t);
    Py_buffer buffer;

    if (way)
        return socket_call(way, self, args, count, names);
    if (count < 1 || count > 2 || PyUnicode_Check(args[0]) || PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        return socket_call(socket_methods.stock[method], self, args, count, names);
    }
    t.sends = 1;
    t.data = buffer.buf;
    t.size = (size_t)buffer.len;
    PyObject *result = method == SENDALL && t.size == 0 ? Py_NewRef(Py_None) : run(&t);
    PyBuffer_Release(&buffer);
    return result;
}

PyObject *socket_send(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return send_with(SEND, send_some, self, args, count, names);
}

PyObject *socket_sendall(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return send_with(SENDALL, send_all, self, args, count, names);
}
