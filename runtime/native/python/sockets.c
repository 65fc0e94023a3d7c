/* What a thread on a scheduler does in the methods of socket.socket that receive and send.
 *
 * THE DESIGN.  Each makes its system call at once, with MSG_DONTWAIT, and waits in the scheduler's poller only after EAGAIN, or if the call
 * before has shown that nothing is left (green/poller.h).  The descriptor's own mode stays as it is.  Calls of up to SMALL bytes keep the
 * GIL: they copy and return.
 *
 * These are method descriptors in the dictionary of the class socket.socket (patch/blocking/sockets.py), over those that it inherits from
 * _socket.socket.  A thread that has its LWP to itself, a socket with timeout 0, and what the stock method would refuse go on to the
 * inherited one.  Rare flags, which change what a short or a blocking call means, go on to `other`: the way through Python.
 *
 * REJECTED.  The way of python/explore/swap.h, which changes _socket's PyMethodDef: it would reach sockets that don't tell when they close.
 *
 * CPython doesn't publish where a socket object has its descriptor and its timeout: patch/blocking/sockets.py finds both in one with known
 * values.  If that fails there are no such methods, and all calls go through Python. */
#include "green/green.h"
#include "python/python.h"
#include "python/rooms.h"
#include "python/sleep.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { MOST_ARGUMENTS = 8, SMALL = 64 << 10 };
enum { PLAIN_FLAGS = MSG_NOSIGNAL | MSG_PEEK | MSG_MORE | MSG_CMSG_CLOEXEC };

enum { RECV, RECV_INTO, SEND, SENDALL, DETACH, DEL, METHODS };

static struct {
    size_t fd, timeout;        /* offsets in a socket object */
    PyObject *stock[METHODS];  /* what socket.socket inherits */
    PyObject *other[METHODS];  /* through Python */
} sockets;

/* ---- what is in a socket ----------------------------------------------------------------------------------------- */

static int fd_of(PyObject *self)
{
    int fd;

    memcpy(&fd, (char *)self + sockets.fd, sizeof fd);
    return fd;
}

/* ns; negative: none */
static int64_t timeout_of(PyObject *self)
{
    int64_t timeout;

    memcpy(&timeout, (char *)self + sockets.timeout, sizeof timeout);
    return timeout;
}

/* ---- the inherited method, and the way through Python ------------------------------------------------------------ */

static PyObject *call(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *all[MOST_ARGUMENTS + 1] = {self};
    Py_ssize_t given = count + (names ? PyTuple_GET_SIZE(names) : 0);

    if (given > MOST_ARGUMENTS)
        return PyErr_Format(PyExc_TypeError, "%R got %zd arguments", function, given);
    memcpy(all + 1, args, (size_t)given * sizeof *all);
    return PyObject_Vectorcall(function, all, (size_t)count + 1, names);
}

/* ---- one call ---------------------------------------------------------------------------------------------------- */

struct transfer {
    PyObject *self;
    char *data;
    size_t size;
    int flags, sends;
    int64_t deadline;
};

struct edge_wait {
    const struct poller_try *attempt;
    unsigned events;
    int64_t deadline;
};

static int wait_edge_once(void *arg)
{
    struct edge_wait *wait = arg;

    return green_wait_edge(wait->attempt, wait->events, wait->deadline);
}

/* 0, or -1 with an exception. */
static int wait_for_edge(const struct transfer *t, const struct poller_try *attempt)
{
    struct edge_wait wait = {attempt, t->sends ? POLLOUT : POLLIN, t->deadline};
    int result = python_sleep_on(&(struct python_sleep){wait_edge_once, &wait}, NULL);

    if (result == ETIMEDOUT)
        PyErr_SetString(PyExc_TimeoutError, "timed out");
    else if (result > 0) {
        errno = result;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return result ? -1 : 0;
}

static ssize_t transfer_now(const struct transfer *t, int fd)
{
    PyThreadState *without = t->size > SMALL ? PyEval_SaveThread() : NULL;
    ssize_t length
        = t->sends ? send(fd, t->data, t->size, t->flags | MSG_DONTWAIT) : recv(fd, t->data, t->size, t->flags | MSG_DONTWAIT);
    int error = errno;

    if (without)
        PyEval_RestoreThread(without);
    errno = error;
    return length;
}

/* Waits if the descriptor is known to have nothing: 1, the caller makes its call; 0, it asks again; -1 with an exception. */
static int begin_transfer(const struct transfer *t, struct poller_try *attempt)
{
    *attempt = (struct poller_try){.owner = t->self, .fd = fd_of(t->self)};
    if (attempt->fd < 0) { /* closed in the wait before */
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return green_try(attempt) || t->sends ? 1 : wait_for_edge(t, attempt);
}

/* After a call: 1, it is done; 0, it is to be made again; -1 with an exception. */
static int end_transfer(const struct transfer *t, const struct poller_try *attempt, ssize_t length)
{
    if (length >= 0) {
        if (!t->sends && (size_t)length < t->size && !(t->flags & MSG_PEEK))
            green_drained(attempt);
        return 1;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return wait_for_edge(t, attempt);
    if (errno == EINTR)
        return PyErr_CheckSignals();
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* The number of bytes, or -1 with an exception. */
static ssize_t transfer(const struct transfer *t)
{
    struct poller_try attempt;
    ssize_t length = -1;
    int done;

    do
        if ((done = begin_transfer(t, &attempt)) > 0) {
            length = transfer_now(t, attempt.fd);
            done = end_transfer(t, &attempt, length);
        }
    while (!done);
    return done < 0 ? -1 : length;
}

/* ---- who goes this way ------------------------------------------------------------------------------------------- */

/* A loop around calls that are ready at once would starve the other threads: see green_turn_is_over(). */
static void let_others_run(void)
{
    if (!green_turn_is_over())
        return;
    Py_BEGIN_ALLOW_THREADS
    green_end_turn();
    Py_END_ALLOW_THREADS
}

/* NULL: this way.  Else what to call.  names: no keywords are taken here.  flags: an argument, or NULL. */
static PyObject *way_of(int method, PyObject *self, PyObject *flags, PyObject *names, struct transfer *t)
{
    int overflow = 0;

    if (!park_green)
        return sockets.stock[method];
    int64_t timeout = timeout_of(self);
    if (timeout == 0)
        let_others_run();
    if (timeout == 0 || fd_of(self) < 0 || names)
        return names ? sockets.other[method] : sockets.stock[method];
    if (flags && !PyLong_Check(flags))
        return sockets.other[method];
    long value = flags ? PyLong_AsLongAndOverflow(flags, &overflow) : 0;
    if (overflow || value & ~(long)PLAIN_FLAGS)
        return sockets.other[method];
    let_others_run();
    int64_t now = timeout < 0 ? 0 : park_now();
    *t = (struct transfer){.self = self, .flags = (int)value};
    t->deadline = timeout < 0 || timeout > PARK_FOREVER - now ? PARK_FOREVER : now + timeout;
    return NULL;
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

/* The bytes are made when there is something to receive, so that a connection that waits has none. */
static PyObject *receive_bytes(struct transfer *t)
{
    struct poller_try attempt;
    PyObject *bytes = NULL;
    ssize_t length = 0;
    int done;

    do {
        if ((done = begin_transfer(t, &attempt)) <= 0)
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
        done = end_transfer(t, &attempt, length);
    } while (!done);
    if (done < 0)
        return NULL;
    if ((size_t)length != t->size)
        _PyBytes_Resize(&bytes, length);
    return bytes;
}

static PyObject *socket_recv(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct transfer t;
    PyObject *way = way_of(RECV, self, count > 1 ? args[1] : NULL, names, &t);

    if (way)
        return call(way, self, args, count, names);
    int overflow = 0;
    long long size = count == 1 || count == 2 ? PyLong_CheckExact(args[0]) ? PyLong_AsLongLongAndOverflow(args[0], &overflow) : 0 : 0;
    if (size <= 0 || overflow)
        return call(sockets.stock[RECV], self, args, count, names);
    t.size = (size_t)size;
    return receive_bytes(&t);
}

static PyObject *socket_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct transfer t;
    PyObject *way = way_of(RECV_INTO, self, count > 2 ? args[2] : NULL, names, &t);
    Py_buffer buffer;

    if (way)
        return call(way, self, args, count, names);
    int overflow = 0;
    long long size = 0;
    if (count > 1)
        size = PyLong_CheckExact(args[1]) ? PyLong_AsLongLongAndOverflow(args[1], &overflow) : -1;
    if (count < 1 || count > 3 || size < 0 || overflow)
        return call(sockets.stock[RECV_INTO], self, args, count, names);
    if (PyObject_GetBuffer(args[0], &buffer, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return call(sockets.stock[RECV_INTO], self, args, count, names);
    }
    PyObject *result = NULL;
    t.data = buffer.buf;
    t.size = size ? (size_t)size : (size_t)buffer.len;
    if (t.size == 0 || t.size > (size_t)buffer.len)
        result = call(sockets.stock[RECV_INTO], self, args, count, names);
    else {
        ssize_t length = transfer(&t);
        result = length < 0 ? NULL : PyLong_FromSsize_t(length);
    }
    PyBuffer_Release(&buffer);
    return result;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static PyObject *send_some(struct transfer *t)
{
    ssize_t length = transfer(t);

    return length < 0 ? NULL : PyLong_FromSsize_t(length);
}

static PyObject *send_all(struct transfer *t)
{
    for (;;) {
        ssize_t length = transfer(t);
        if (length < 0)
            return NULL;
        t->data += length;
        t->size -= (size_t)length;
        if (t->size == 0)
            Py_RETURN_NONE;
        if (PyErr_CheckSignals() < 0)
            return NULL;
        let_others_run();
    }
}

static PyObject *send_with(int method, PyObject *(*run)(struct transfer *t), PyObject *self, PyObject *const *args, Py_ssize_t count,
                           PyObject *names)
{
    struct transfer t;
    PyObject *way = way_of(method, self, count > 1 ? args[1] : NULL, names, &t);
    Py_buffer buffer;

    if (way)
        return call(way, self, args, count, names);
    if (count < 1 || count > 2 || PyUnicode_Check(args[0]) || PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        return call(sockets.stock[method], self, args, count, names);
    }
    t.sends = 1;
    t.data = buffer.buf;
    t.size = (size_t)buffer.len;
    PyObject *result = method == SENDALL && t.size == 0 ? Py_NewRef(Py_None) : run(&t);
    PyBuffer_Release(&buffer);
    return result;
}

static PyObject *socket_send(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return send_with(SEND, send_some, self, args, count, names);
}

static PyObject *socket_sendall(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return send_with(SENDALL, send_all, self, args, count, names);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* A socket whose descriptor is given away, or that nobody has closed, is no owner any more: another one may get its address, and that
 * number.  socket.close() has told the pollers (patch/blocking/closing.py). */
static PyObject *socket_detach(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int fd = fd_of(self);

    if (fd >= 0)
        green_fd_disowned(fd);
    return call(sockets.stock[DETACH], self, args, count, names);
}

static PyObject *socket_del(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int fd = fd_of(self);

    if (fd >= 0)
        green_fd_closing(fd);
    PyObject *result = call(sockets.stock[DEL], self, args, count, names);
    if (fd >= 0)
        green_fd_closed(fd);
    return result;
}

/* ---- the methods ------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[METHODS] = {
    [RECV] = {"recv", FAST(socket_recv), METH_FASTCALL | METH_KEYWORDS, NULL},
    [RECV_INTO] = {"recv_into", FAST(socket_recv_into), METH_FASTCALL | METH_KEYWORDS, NULL},
    [SEND] = {"send", FAST(socket_send), METH_FASTCALL | METH_KEYWORDS, NULL},
    [SENDALL] = {"sendall", FAST(socket_sendall), METH_FASTCALL | METH_KEYWORDS, NULL},
    [DETACH] = {"detach", FAST(socket_detach), METH_FASTCALL | METH_KEYWORDS, NULL},
    [DEL] = {"__del__", FAST(socket_del), METH_FASTCALL | METH_KEYWORDS, NULL},
};

/* Adds one to the list, as (name, descriptor).  0, or -1 with an exception. */
static int add_method(PyObject *list, int method, PyTypeObject *type, PyObject *others)
{
    PyMethodDef *def = &methods[method];
    PyObject *stock = PyObject_GetAttrString((PyObject *)type, def->ml_name);

    if (!stock)
        return -1;
    if (Py_IS_TYPE(stock, &PyMethodDescr_Type))
        def->ml_doc = ((PyMethodDescrObject *)stock)->d_method->ml_doc;
    PyObject *other = PyDict_GetItemString(others, def->ml_name);
    Py_XSETREF(sockets.stock[method], stock);
    Py_XSETREF(sockets.other[method], Py_NewRef(other ? other : stock));
    PyObject *made = PyDescr_NewMethod(type, def), *pair = made ? Py_BuildValue("(sN)", def->ml_name, made) : NULL;
    int result = pair ? PyList_Append(list, pair) : -1;
    Py_XDECREF(pair);
    return result;
}

static PyObject *socket_methods(PyObject *module, PyObject *args)
{
    PyTypeObject *type;
    PyObject *others;
    Py_ssize_t fd, timeout;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!nn:socket_methods", &PyType_Type, &type, &PyDict_Type, &others, &fd, &timeout))
        return NULL;
    sockets.fd = (size_t)fd;
    sockets.timeout = (size_t)timeout;
    PyObject *list = PyList_New(0);
    for (int method = 0; list && method < METHODS; method++)
        if (add_method(list, method, type, others) < 0)
            Py_CLEAR(list);
    return list;
}

/* The offsets in an object, behind its head, at which an integer of so many bytes stands. */
static PyObject *find_in_object(PyObject *module, PyObject *args)
{
    PyObject *object, *found;
    long long value;
    int size;

    (void)module;
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

static PyMethodDef functions[] = {
    {"socket_methods", socket_methods, METH_VARARGS,
     "(class, {name: function}, fd, timeout): [(name, method), ...] for threads on a scheduler, of a class whose objects have the\n"
     "descriptor and the timeout at these offsets.  What they don't do is done by the functions."},
    {"find_in_object", find_in_object, METH_VARARGS,
     "(object, value, size): the offsets at which an integer of so many bytes has that value."},
    {0},
};

int python_add_sockets(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
