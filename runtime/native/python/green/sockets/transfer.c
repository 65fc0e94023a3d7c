#include "python/green/sockets/transfer.h"

#include "python/rooms.h"
#include "python/threads/sleep.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { PLAIN_FLAGS = MSG_NOSIGNAL | MSG_PEEK | MSG_MORE | MSG_CMSG_CLOEXEC };

struct socket_methods socket_methods;

/* ---- the inherited method, and the way through Python ------------------------------------------------------------ */

PyObject *socket_call(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *all[MOST_ARGUMENTS + 1] = {self};
    Py_ssize_t given = count + (names ? PyTuple_GET_SIZE(names) : 0);

    if (given > MOST_ARGUMENTS)
        return PyErr_Format(PyExc_TypeError, "%R got %zd arguments", function, given);
    memcpy(all + 1, args, (size_t)given * sizeof *all);
    return PyObject_Vectorcall(function, all, (size_t)count + 1, names);
}

/* ---- who goes this way ------------------------------------------------------------------------------------------- */

PyObject *socket_way(int method, PyObject *self, PyObject *flags, PyObject *names, struct transfer *t)
{
    int overflow = 0, takes_keywords = method == RECV_INTO || method == RECVFROM_INTO;

    if (!park_green)
        return socket_methods.stock[method];
    int64_t timeout = timeout_of(self);
    if (timeout == 0)
        scheduler_may_block();
    if (timeout == 0 || fd_of(self) < 0 || names)
        return names && takes_keywords ? socket_methods.other[method] : socket_methods.stock[method];
    if (flags && !PyLong_Check(flags))
        return socket_methods.other[method];
    long value = flags ? PyLong_AsLongAndOverflow(flags, &overflow) : 0;
    if (overflow || value & ~(long)PLAIN_FLAGS)
        return socket_methods.other[method];
    scheduler_may_block();
    *t = (struct transfer){.self = self, .flags = (int)value, .deadline = transfer_deadline(timeout)};
    return NULL;
}

/* ---- one call ---------------------------------------------------------------------------------------------------- */

int64_t transfer_deadline(int64_t timeout)
{
    int64_t now = timeout > 0 ? park_now() : 0;

    return timeout < 0 || timeout > PARK_FOREVER - now ? PARK_FOREVER : now + timeout;
}

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

int transfer_sleep(const struct transfer *t, const struct poller_try *attempt)
{
    struct edge_wait wait = {attempt, t->sends ? POLLOUT : POLLIN, t->deadline};

    return python_sleep_on(&(struct python_sleep){wait_edge_once, &wait}, NULL);
}

int transfer_sleep_a_moment(const struct transfer *t)
{
    int64_t now = park_now(), until = now + 1000000;

    if (now >= t->deadline)
        return ETIMEDOUT;
    if (until > t->deadline)
        until = t->deadline;
    return python_sleep_on(&(struct python_sleep){scheduler_sleep_until, &until}, NULL);
}

int transfer_raise_unless_woken(int result)
{
    if (result == ETIMEDOUT)
        PyErr_SetString(PyExc_TimeoutError, "timed out");
    else if (result > 0) {
        errno = result;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return result ? -1 : 0;
}

int transfer_wait(const struct transfer *t, const struct poller_try *attempt)
{
    return transfer_raise_unless_woken(transfer_sleep(t, attempt));
}

ssize_t transfer_now(const struct transfer *t, int fd)
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

int transfer_begin(const struct transfer *t, struct poller_try *attempt)
{
    *attempt = (struct poller_try){.owner = t->self, .fd = fd_of(t->self)};
    if (attempt->fd < 0) { /* closed in the wait before */
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return green_try(attempt) || t->sends ? 1 : transfer_wait(t, attempt);
}

int transfer_end(const struct transfer *t, const struct poller_try *attempt, ssize_t length)
{
    if (length >= 0) {
        if (!t->sends && (size_t)length < t->size && !(t->flags & MSG_PEEK))
            green_drained(attempt);
        return 1;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return transfer_wait(t, attempt);
    if (errno == EINTR)
        return PyErr_CheckSignals();
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

ssize_t transfer_once(const struct transfer *t)
{
    struct poller_try attempt;
    ssize_t length = -1;
    int done;

    do
        if ((done = transfer_begin(t, &attempt)) > 0) {
            length = transfer_now(t, attempt.fd);
            done = transfer_end(t, &attempt, length);
        }
    while (!done);
    return done < 0 ? -1 : length;
}

int transfer_all(struct transfer *t)
{
    for (;;) {
        ssize_t length = transfer_once(t);
        if (length < 0)
            return -1;
        t->data += length;
        t->size -= (size_t)length;
        if (t->size == 0)
            return 0;
        if (PyErr_CheckSignals() < 0)
            return -1;
        scheduler_may_block();
    }
}
