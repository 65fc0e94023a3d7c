/* connect and connect_ex: CPython's method is called on a socket that does not wait, and again once the first try is under way. */
#include "python/args.h"
#include "python/green/io/sockets/transfer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* ---- addresses --------------------------------------------------------------------------------------------------- */

int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* Whether it isn't by number already; what is no address at all the stock method refuses. */
static int is_name(PyObject *self, PyObject *address)
{
    PyObject *host = PyTuple_Check(address) && PyTuple_GET_SIZE(address) >= 2 ? PyTuple_GET_ITEM(address, 0) : NULL;
    const char *text = host && PyUnicode_Check(host) ? PyUnicode_AsUTF8(host) : NULL;
    struct in6_addr binary;

    if (!text) {
        PyErr_Clear(); /* surrogates */
        return 0;
    }
    if (!*text || strcmp(text, "<broadcast>") == 0 || inet_pton(AF_INET, text, &binary) == 1 || inet_pton(AF_INET6, text, &binary) == 1)
        return 0;
    int family = socket_option(fd_of(self), SO_DOMAIN);
    return family == AF_INET || family == AF_INET6;
}

int socket_look_up(PyObject *self, PyObject **address)
{
    if (!is_name(self, *address))
        return 0;
    PyObject *found = PyObject_CallFunctionObjArgs(socket_methods.look_up, self, *address, NULL);
    if (!found)
        return -1;
    Py_SETREF(*address, found);
    return 0;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

/* 0 or an errno; -1 with an exception. connect(2) has no MSG_DONTWAIT, so a descriptor in blocking mode changes its mode for the
 * call. */
static int connect_now(PyObject *self, PyObject *address)
{
    int fd = fd_of(self), mode = timeout_of(self) < 0 ? fcntl(fd, F_GETFL) : O_NONBLOCK, blocks = mode >= 0 && !(mode & O_NONBLOCK);
    PyObject *twin = socket_twin(self);

    if (!twin)
        return -1;
    if (blocks)
        fcntl(fd, F_SETFL, mode | O_NONBLOCK);
    PyObject *error = socket_call(socket_methods.stock[CONNECT_EX], twin, &address, 1, NULL);
    if (blocks && fd_of(self) == fd)
        fcntl(fd, F_SETFL, mode);
    socket_end_twin(twin);
    int number = error ? (int)PyLong_AsLong(error) : -1;
    Py_XDECREF(error);
    return number;
}

struct connecting {
    struct transfer t;
    PyObject *address;
    int started; /* a wait came before */
    int error;
};

/* A second connect() returns the result of the first; SO_ERROR would leave the socket unfit for another try. */
static enum tried try_connect(void *call)
{
    struct connecting *c = call;
    enum tried begun = transfer_begin(&c->t);

    if (begun)
        return begun;
    int error = connect_now(c->t.self, c->address), was_started = c->started;
    if (error < 0)
        return TRIED_FAILED;
    c->started = 1;
    if (error == EAGAIN)
        return transfer_wait_a_moment(&c->t);
    if (error == EINPROGRESS || (was_started && error == EALREADY))
        return TRIED_WAIT;
    c->error = was_started && error == EISCONN ? 0 : error;
    return TRIED_DONE;
}

static PyObject *connect_with(int method, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct connecting c = {.error = 0};
    PyObject *way = socket_way(method, self, NULL, names, &c.t);

    if (way || count != 1)
        return socket_call(way ? way : socket_methods.stock[method], self, args, count, names);
    c.t.sends = 1;
    c.address = Py_NewRef(args[0]);
    int result = socket_look_up(self, &c.address) < 0 ? -1 : try_until_done(&c, try_connect, transfer_wait);
    Py_DECREF(c.address);
    if (result < 0 && method == CONNECT_EX && c.t.error) {
        PyErr_Clear();
        return PyLong_FromLong(c.t.error == ETIMEDOUT ? EAGAIN : c.t.error);
    }
    if (result < 0 && method == CONNECT && !c.started
        && (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_OverflowError))) {
        PyErr_Clear(); /* no address: the stock connect() raises in its own name */
        return socket_call(socket_methods.stock[CONNECT], self, args, count, NULL);
    }
    if (result < 0)
        return NULL;
    if (method == CONNECT_EX)
        return PyLong_FromLong(c.error);
    return c.error ? raise_errno(c.error) : Py_NewRef(Py_None);
}

PyObject *socket_connect(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return connect_with(CONNECT, self, args, count, names);
}

PyObject *socket_connect_ex(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return connect_with(CONNECT_EX, self, args, count, names);
}
