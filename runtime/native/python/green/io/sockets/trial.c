/* recvfrom, recvmsg and their _into, sendto, sendmsg and accept: CPython's method is called until it doesn't raise BlockingIOError.
 * With MSG_DONTWAIT in its flags it doesn't sleep in the kernel, and it calls poll(2) only if the socket has a timeout: see
 * socket_twin(). */
#include "python/green/io/sockets/transfer.h"

#include "kernel/base/park.h"
#include "kernel/base/poll.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* ---- the trial --------------------------------------------------------------------------------------------------- */

static PyObject *call_without_wait(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *twin = timeout_of(self) > 0 ? socket_twin(self) : NULL;

    if (!twin)
        return PyErr_Occurred() ? NULL : socket_call(function, self, args, count, NULL);
    PyObject *result = socket_call(function, twin, args, count, NULL);
    socket_end_twin(twin);
    return result;
}

struct trial {
    struct transfer t;
    int method;
    int count;
    int has_address;
    PyObject *args[MOST_ARGUMENTS], *result;
};

/* accept4(2) knows no MSG_DONTWAIT, and MSG_WAITALL means nothing with it: where the descriptor is in blocking mode, as that of a socket
 * without a timeout is, poll(2) is asked first.  With MSG_WAITALL the LWP then waits in the kernel for the rest.  REJECTED: to accept for
 * each event of the poller without asking, since another process or thread may have taken that connection, and the LWP would sleep;
 * EPOLLEXCLUSIVE, since a descriptor stays registered while none of its threads accepts, and would then swallow another one's wake-up. */
static int may_sleep(const struct trial *trial)
{
    return timeout_of(trial->t.self) < 0 && !trial->t.sends && (trial->method == ACCEPT || trial->t.flags & MSG_WAITALL);
}

static int is_ready(const struct trial *trial)
{
    unsigned found;
    int fd = trial->t.attempt.fd;

    return park_poll(fd, POLLIN, 0, &found) != ETIMEDOUT
           || (trial->method == ACCEPT && socket_option(fd, SO_ACCEPTCONN) != 1); /* what doesn't listen is refused at once */
}

static enum tried try_stock(void *call)
{
    struct trial *trial = call;
    enum tried begun = transfer_begin(&trial->t);

    if (begun)
        return begun;
    if (may_sleep(trial) && !is_ready(trial))
        return TRIED_WAIT;
    if ((trial->result = call_without_wait(socket_methods.stock[trial->method], trial->t.self, trial->args, trial->count)))
        return TRIED_DONE;
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError))
        return TRIED_FAILED;
    PyErr_Clear();
    if (trial->has_address && socket_option(trial->t.attempt.fd, SO_DOMAIN) == AF_UNIX)
        return transfer_wait_a_moment(&trial->t);
    return TRIED_WAIT;
}

static PyObject *run_trial(struct trial *trial)
{
    return try_until_done(trial, try_stock, transfer_wait) < 0 ? NULL : trial->result;
}

PyObject *socket_accept(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct trial trial = {.method = ACCEPT};
    PyObject *way = socket_way(ACCEPT, self, NULL, NULL, &trial.t);

    return way ? socket_go_way(way, self, &self, 0, NULL) : run_trial(&trial);
}

/* Makes a sequence of what is iterated over more than once.  NULL without an exception: it can't be one, and the stock method raises
 * for it. */
static PyObject *as_sequence(PyObject *object)
{
    if (PyList_Check(object) || PyTuple_Check(object))
        return Py_NewRef(object);
    PyObject *iterator = PyObject_GetIter(object);
    if (!iterator) {
        PyErr_Clear();
        return NULL;
    }
    PyObject *tuple = PySequence_Tuple(iterator);
    Py_DECREF(iterator);
    return tuple;
}

static const struct {
    int flags_at;  /* which argument the flags are; what is left out before them is 0, and () for sendmsg's ancillary data */
    int sequences; /* how many arguments, from the first on, are iterated over */
    int sends;
} forms[METHODS] = {
    [RECV] = {1, 0, 0},    [RECV_INTO] = {2, 0, 0},    [RECVFROM] = {1, 0, 0}, [RECVFROM_INTO] = {2, 0, 0},
    [RECVMSG] = {2, 0, 0}, [RECVMSG_INTO] = {2, 1, 0}, [SENDTO] = {1, 0, 1},   [SENDMSG] = {2, 2, 1},
};

static int is_short_sendto(int method, Py_ssize_t count)
{
    return method == SENDTO && count == 2; /* (data, address): no flags */
}

/* The arguments as they were given, with MSG_DONTWAIT among the flags, and an address by number.  0: not all could be made. */
static int fill_trial(struct trial *trial, PyObject *const *args, Py_ssize_t count)
{
    int flags_at = forms[trial->method].flags_at, given = 0;

    for (int i = 0; i <= flags_at || given < count; i++) {
        PyObject *arg;
        if (i == flags_at) {
            arg = PyLong_FromLong(trial->t.flags | (may_sleep(trial) ? 0 : MSG_DONTWAIT));
            given += !is_short_sendto(trial->method, count);
        } else if (given >= count)
            arg = trial->method == SENDMSG ? PyTuple_New(0) : PyLong_FromLong(0);
        else if (i < forms[trial->method].sequences)
            arg = as_sequence(args[given++]);
        else
            arg = Py_NewRef(args[given++]);
        if (!arg)
            return 0;
        trial->args[trial->count++] = arg;
    }
    return !trial->has_address || socket_look_up(trial->t.self, &trial->args[trial->count - 1]) == 0;
}

/* In bytes, of a list or tuple of buffers; -1 with an exception. */
static Py_ssize_t size_of_parts(PyObject *parts)
{
    Py_ssize_t size = 0;
    Py_buffer buffer;

    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(parts); i++) {
        if (PyObject_GetBuffer(PySequence_Fast_GET_ITEM(parts, i), &buffer, PyBUF_SIMPLE) < 0)
            return -1;
        size += buffer.len;
        PyBuffer_Release(&buffer);
    }
    return size;
}

/* sendmsg(2) of a blocking socket also returns when all is sent.  sent: by the first call, perhaps less than the parts have.  Ancillary
 * data, such as descriptors, went with the first byte. */
static PyObject *send_rest(struct trial *trial, PyObject *sent)
{
    Py_ssize_t length = PyLong_AsSsize_t(sent), size = size_of_parts(trial->args[0]);
    PyObject *none = NULL, *all = NULL;

    if (length >= 0 && length < size && (none = PyBytes_FromStringAndSize(NULL, 0)))
        all = PyObject_CallMethod(none, "join", "O", trial->args[0]);
    Py_XDECREF(none);
    if (!all) {
        PyErr_Clear();
        return sent;
    }
    trial->t.data = PyBytes_AS_STRING(all);
    trial->t.size = (size_t)PyBytes_GET_SIZE(all);
    trial->t.done = (size_t)length;
    trial->t.all = 1;
    Py_SETREF(sent, transfer_run(&trial->t) < 0 ? NULL : PyLong_FromSize_t(trial->t.done));
    Py_DECREF(all);
    return sent;
}

PyObject *socket_try(int method, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int flags_at = forms[method].flags_at;
    PyObject *flags = count > flags_at && !is_short_sendto(method, count) ? args[flags_at] : NULL, *result = NULL;
    struct trial trial = {.method = method};
    PyObject *way = socket_way(method, self, flags, names, &trial.t);

    if (way)
        return socket_go_way(way, self, args, count, names);
    if (count < 1 || count > 4 || (method == SENDTO && (count < 2 || count > 3)))
        return socket_call(socket_methods.stock[method], self, args, count, NULL);
    trial.t.sends = forms[method].sends;
    trial.has_address = method == SENDTO || (method == SENDMSG && count == 4 && args[3] != Py_None);
    if (fill_trial(&trial, args, count)) {
        result = run_trial(&trial);
        if (result && method == SENDMSG && timeout_of(self) < 0)
            result = send_rest(&trial, result);
    } else if (!PyErr_Occurred())
        result = socket_call(socket_methods.stock[method], self, args, count, NULL);
    while (trial.count > 0)
        Py_DECREF(trial.args[--trial.count]);
    return result;
}

#define TRIES(name, method)                                                                           \
    PyObject *socket_##name(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) \
    {                                                                                                 \
        return socket_try(method, self, args, count, names);                                          \
    }

TRIES(recvfrom, RECVFROM)
TRIES(recvmsg, RECVMSG)
TRIES(recvmsg_into, RECVMSG_INTO)
TRIES(sendto, SENDTO)
TRIES(sendmsg, SENDMSG)

PyObject *socket_recvfrom_into(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return names ? socket_by_position(RECVFROM_INTO, socket_recvfrom_into, self, args, count, names)
                 : socket_try(RECVFROM_INTO, self, args, count, NULL);
}
