#include "python/green/io/sockets/transfer.h"

#include "python/args.h"
#include "python/green/io/files.h"
#include "python/green/scheduler.h"
#include "python/threads/sleep.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { NEVER_WAIT = MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE };

struct socket_methods socket_methods;

/* ---- the inherited method ---------------------------------------------------------------------------------------- */

PyObject *socket_call(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *all[MOST_ARGUMENTS + 1] = {self};
    Py_ssize_t given = count + (names ? PyTuple_GET_SIZE(names) : 0);

    if (given > MOST_ARGUMENTS)
        return PyErr_Format(PyExc_TypeError, "%R got %zd arguments", function, given);
    memcpy(all + 1, args, (size_t)given * sizeof *all);
    return PyObject_Vectorcall(function, all, (size_t)count + 1, names);
}

/* What doesn't fit the stock method refuses. */
PyObject *socket_by_position(int method, socket_method *call, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"buffer", "nbytes", "flags"};
    PyObject *zero = PyLong_FromLong(0), *all[3] = {NULL, NULL, NULL};
    int fits = count <= 3;

    for (Py_ssize_t i = 0; fits && i < count; i++)
        all[i] = args[i];
    for (Py_ssize_t i = 0; fits && i < PyTuple_GET_SIZE(names); i++) {
        int at = 0;
        while (at < 3 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), parameters[at]) != 0)
            at++;
        if ((fits = at < 3 && !all[at]))
            all[at] = args[count + i];
    }
    for (int at = 1; at < 3; at++)
        all[at] = all[at] ? all[at] : zero;
    PyObject *result = fits && all[0] ? call(self, all, 3, NULL) : socket_call(socket_methods.stock[method], self, args, count, names);
    Py_DECREF(zero);
    return result;
}

/* ---- who goes this way ------------------------------------------------------------------------------------------- */

PyObject *socket_way(int method, PyObject *self, PyObject *flags, PyObject *names, struct transfer *t)
{
    int overflow = 0;

    if (!park_green)
        return socket_methods.stock[method];
    int64_t timeout = timeout_of(self);
    long value = !flags ? 0 : PyLong_Check(flags) ? PyLong_AsLongAndOverflow(flags, &overflow) : NEVER_WAIT;
    python_may_block(); /* lets threads go on that a loop of ready calls would starve */
    if (timeout == 0 || fd_of(self) < 0 || names || overflow || value & NEVER_WAIT)
        return socket_methods.stock[method];
    *t = (struct transfer){.self = self, .flags = (int)value, .deadline = transfer_deadline(timeout)};
    return NULL;
}

/* An explored thread that asks a socket without waiting, and has no answer, lets others go first.  Otherwise a loop of such calls would
 * keep its turn for good, because there is no point in it. */
PyObject *socket_go_way(PyObject *way, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *result = socket_call(way, self, args, count, names);

    if (result || !park_green || !park_green->explored || !PyErr_ExceptionMatches(PyExc_BlockingIOError))
        return result;
    PyObject *raised = PyErr_GetRaisedException();
    Py_BEGIN_ALLOW_THREADS
    green_yield();
    Py_END_ALLOW_THREADS
    PyErr_SetRaisedException(raised);
    return NULL;
}

int64_t transfer_deadline(int64_t timeout)
{
    int64_t now = timeout > 0 ? park_now() : 0;

    return timeout < 0 || timeout > PARK_FOREVER - now ? PARK_FOREVER : now + timeout;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static int wait_edge_once(void *arg)
{
    const struct transfer *t = arg;

    return green_wait_edge(&t->attempt, t->sends ? POLLOUT : POLLIN, t->deadline);
}

enum tried transfer_wait(void *transfer)
{
    return transfer_woken(transfer, python_sleep_on(&(struct python_sleep){wait_edge_once, transfer, .what = "socket"}, NULL));
}

enum tried transfer_wait_a_moment(struct transfer *t)
{
    int64_t now = park_now(), until = now + 1000000;

    if (now >= t->deadline)
        return transfer_woken(t, ETIMEDOUT);
    if (until > t->deadline)
        until = t->deadline;
    return transfer_woken(t, python_sleep_on(&(struct python_sleep){python_sleep_until, &until, .what = "socket"}, NULL));
}

enum tried transfer_woken(struct transfer *t, int result)
{
    t->error = result > 0 ? result : 0;
    if (result == ETIMEDOUT && t->operation)
        PyErr_Format(PyExc_TimeoutError, "The %s operation timed out", t->operation);
    else if (result == ETIMEDOUT)
        PyErr_SetString(PyExc_TimeoutError, "timed out");
    else if (result > 0)
        raise_errno(result);
    return result ? TRIED_FAILED : TRIED_AGAIN;
}

/* ---- one call ---------------------------------------------------------------------------------------------------- */

enum tried transfer_begin(struct transfer *t)
{
    t->attempt = (struct poller_try){.owner = t->self, .fd = fd_of(t->self)};
    if (t->attempt.fd < 0)
        return transfer_woken(t, EBADF); /* closed in the wait before */
    return green_try(&t->attempt) || t->sends ? 0 : TRIED_WAIT;
}

/* With the GIL for no more than it takes to copy a little.  What recv(2) or send(2) returned, with errno. */
static ssize_t call_now(const struct transfer *t, char *data, size_t size)
{
    PyThreadState *without = size > SMALL ? PyEval_SaveThread() : NULL;
    int fd = t->attempt.fd, flags = t->flags | MSG_DONTWAIT;
    ssize_t length = t->sends ? send(fd, data, size, flags) : recv(fd, data, size, flags);
    int error = errno;

    if (without)
        PyEval_RestoreThread(without);
    errno = error;
    return length;
}

static enum tried after_error(int error)
{
    if (error == EAGAIN || error == EWOULDBLOCK)
        return TRIED_WAIT;
    if (error == EINTR)
        return PyErr_CheckSignals() < 0 ? TRIED_FAILED : TRIED_AGAIN;
    raise_errno(error);
    return TRIED_FAILED;
}

static enum tried after_call(struct transfer *t, size_t length)
{
    if (!t->sends && length < t->size && !(t->flags & MSG_PEEK))
        green_drained(&t->attempt);
    t->done += length;
    if (!t->all || t->done == t->size)
        return TRIED_DONE;
    if (PyErr_CheckSignals() < 0)
        return TRIED_FAILED;
    python_may_block(); /* lets threads go on that a loop of ready calls would starve */
    return TRIED_AGAIN;
}

static enum tried try_call(void *transfer)
{
    struct transfer *t = transfer;
    enum tried begun = transfer_begin(t);

    if (begun)
        return begun;
    /* The bytes are made when there is something to receive, so that a connection that waits has none. */
    if (!t->data && !t->sends && !(t->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)t->size)))
        return TRIED_FAILED;
    ssize_t length = call_now(t, t->bytes ? PyBytes_AS_STRING(t->bytes) : t->data + t->done, t->size - t->done);
    if (length >= 0)
        return after_call(t, (size_t)length);
    int error = errno;
    Py_CLEAR(t->bytes);
    return after_error(error);
}

int transfer_run(struct transfer *t)
{
    return try_until_done(t, try_call, transfer_wait);
}
