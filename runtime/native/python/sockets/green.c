/* What a thread on a scheduler does in the methods of socket.socket that wait.
 *
 * THE DESIGN.  Each makes its system call at once, with MSG_DONTWAIT, and waits in the scheduler's poller only after EAGAIN, or if the call
 * before has shown that nothing is left (green/poller.h).  The descriptor's own mode stays as it is.  recv, recv_into, send and sendall
 * make the call here, and up to SMALL bytes with the GIL: they copy and return.  The others have CPython's own method make it, which
 * knows addresses and ancillary data, so that it never waits: see "the inherited method, tried".
 *
 * These are method descriptors in the dictionary of the class socket.socket (patch/blocking/sockets.py), over those that it inherits from
 * _socket.socket.  A thread that has its LWP to itself, a socket with timeout 0, and what the stock method would refuse go on to the
 * inherited one.  Rare flags, which change what a short or a blocking call means, go on to `other`: the way through Python.
 *
 * REJECTED.  The way of python/explore/swap.h, which changes _socket's PyMethodDef: it would reach sockets that don't tell when they close.
 *
 * If a socket object can't be read (python/sockets/object.h) there are no such methods, and all calls go through Python. */
#include "green/green.h"
#include "python/python.h"
#include "python/rooms.h"
#include "python/sleep.h"
#include "python/sockets/object.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { MOST_ARGUMENTS = 8, SMALL = 64 << 10 };
enum { PLAIN_FLAGS = MSG_NOSIGNAL | MSG_PEEK | MSG_MORE | MSG_CMSG_CLOEXEC };

enum {
    RECV,
    RECV_INTO,
    SEND,
    SENDALL,
    ACCEPT,
    RECVFROM,
    RECVFROM_INTO,
    RECVMSG,
    RECVMSG_INTO,
    SENDTO,
    SENDMSG,
    CONNECT,
    CONNECT_EX,
    DETACH,
    DEL,
    METHODS
};

static struct {
    PyTypeObject *base;        /* _socket.socket */
    PyObject *stock[METHODS];  /* what socket.socket inherits */
    PyObject *other[METHODS];  /* through Python */
} sockets;

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

/* 0, or why the wait has ended: ETIMEDOUT, EBADF, ...; -1 with what a signal handler raised. */
static int sleep_for_edge(const struct transfer *t, const struct poller_try *attempt)
{
    struct edge_wait wait = {attempt, t->sends ? POLLOUT : POLLIN, t->deadline};

    return python_sleep_on(&(struct python_sleep){wait_edge_once, &wait}, NULL);
}

/* For a Unix socket whose peer's queue is full: nothing says when it isn't, for poll(2) finds the sender writable. */
static int sleep_a_moment(const struct transfer *t)
{
    int64_t now = park_now(), until = now + 1000000;

    if (now >= t->deadline)
        return ETIMEDOUT;
    if (until > t->deadline)
        until = t->deadline;
    return python_sleep_on(&(struct python_sleep){scheduler_sleep_until, &until}, NULL);
}

/* What came of a sleep: 0, or -1 with an exception. */
static int raise_unless_woken(int result)
{
    if (result == ETIMEDOUT)
        PyErr_SetString(PyExc_TimeoutError, "timed out");
    else if (result > 0) {
        errno = result;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return result ? -1 : 0;
}

static int wait_for_edge(const struct transfer *t, const struct poller_try *attempt)
{
    return raise_unless_woken(sleep_for_edge(t, attempt));
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

/* NULL: this way.  Else what to call.  names: no keywords are taken here.  flags: an argument, or NULL. */
static PyObject *way_of(int method, PyObject *self, PyObject *flags, PyObject *names, struct transfer *t)
{
    int overflow = 0, takes_keywords = method == RECV_INTO || method == RECVFROM_INTO;

    if (!park_green)
        return sockets.stock[method];
    int64_t timeout = timeout_of(self);
    if (timeout == 0)
        scheduler_may_block();
    if (timeout == 0 || fd_of(self) < 0 || names)
        return names && takes_keywords ? sockets.other[method] : sockets.stock[method];
    if (flags && !PyLong_Check(flags))
        return sockets.other[method];
    long value = flags ? PyLong_AsLongAndOverflow(flags, &overflow) : 0;
    if (overflow || value & ~(long)PLAIN_FLAGS)
        return sockets.other[method];
    scheduler_may_block();
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

/* 0, or -1 with an exception. */
static int send_whole(struct transfer *t)
{
    for (;;) {
        ssize_t length = transfer(t);
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

/* send(2) of a blocking socket returns when all is sent, and programs rely on it. */
static PyObject *send_some(struct transfer *t)
{
    ssize_t length = (ssize_t)t->size;

    if (timeout_of(t->self) >= 0)
        length = transfer(t);
    else if (send_whole(t) < 0)
        length = -1;
    return length < 0 ? NULL : PyLong_FromSsize_t(length);
}

static PyObject *send_all(struct transfer *t)
{
    return send_whole(t) < 0 ? NULL : Py_NewRef(Py_None);
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

/* ---- the inherited method, tried --------------------------------------------------------------------------------- */

/* recvfrom and its kin, sendto, sendmsg and accept: CPython's method is called until it doesn't raise BlockingIOError.  With
 * MSG_DONTWAIT in its flags it doesn't sleep in the kernel, and it calls poll(2) only if the socket has a timeout: see twin_of(). */

/* A socket object with timeout 0 on the same descriptor, for one call.  CPython calls poll(2) before each call on a socket with a timeout,
 * for that timeout, and the LWP would sleep there.  Such a descriptor is in non-blocking mode, so nothing else tells the two apart.  The
 * timeout of the object itself can't be set to 0 meanwhile: other threads may use it. */
static PyObject *twin_of(PyObject *self)
{
    PyObject *twin = sockets.base->tp_alloc(sockets.base, 0);

    if (twin) {
        size_t size = (size_t)sockets.base->tp_basicsize - sizeof(PyObject);
        memcpy((char *)twin + sizeof(PyObject), (char *)self + sizeof(PyObject), size);
        memset((char *)twin + socket_object.timeout, 0, sizeof(int64_t));
    }
    return twin;
}

/* Its end must not close the descriptor. */
static void end_twin(PyObject *twin)
{
    memset((char *)twin + socket_object.fd, 0xff, sizeof(int));
    Py_DECREF(twin);
}

static PyObject *call_without_wait(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *twin = timeout_of(self) > 0 ? twin_of(self) : NULL;

    if (!twin)
        return PyErr_Occurred() ? NULL : call(function, self, args, count, NULL);
    PyObject *result = call(function, twin, args, count, NULL);
    end_twin(twin);
    return result;
}

struct trial {
    struct transfer t;
    int method;
    int count;
    int has_address;
    PyObject *args[MOST_ARGUMENTS];
};

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* Whether its host is to be looked up, which the stock method would do on this LWP. */
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

/* accept4(2) knows no MSG_DONTWAIT: a listener in blocking mode, as one without a timeout is, is asked by poll(2) whether a connection is
 * there.  REJECTED: to accept for each event of the poller without asking, since another process or thread may have taken that
 * connection, and the LWP would sleep; EPOLLEXCLUSIVE, since a descriptor stays registered while none of its threads accepts, and would
 * then swallow another one's wake-up. */
static int begin_trial(const struct trial *trial, struct poller_try *attempt)
{
    int done = begin_transfer(&trial->t, attempt);
    unsigned found;

    if (done <= 0 || trial->method != ACCEPT || timeout_of(trial->t.self) >= 0)
        return done;
    if (park_poll(attempt->fd, POLLIN, 0, &found) != ETIMEDOUT || socket_option(attempt->fd, SO_ACCEPTCONN) != 1)
        return 1; /* what doesn't listen is refused at once */
    return wait_for_edge(&trial->t, attempt);
}

static int end_trial(const struct trial *trial, const struct poller_try *attempt)
{
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError))
        return -1;
    PyErr_Clear();
    if (trial->has_address && socket_option(attempt->fd, SO_DOMAIN) == AF_UNIX)
        return raise_unless_woken(sleep_a_moment(&trial->t));
    return wait_for_edge(&trial->t, attempt);
}

static PyObject *run_trial(const struct trial *trial)
{
    PyObject *stock = sockets.stock[trial->method], *result = NULL;
    struct poller_try attempt;
    int done;

    do
        if ((done = begin_trial(trial, &attempt)) > 0 && !(result = call_without_wait(stock, trial->t.self, trial->args, trial->count)))
            done = end_trial(trial, &attempt);
    while (!done);
    return result;
}

static PyObject *socket_accept(PyObject *self, PyObject *unused)
{
    struct trial trial = {.method = ACCEPT};
    PyObject *way = way_of(ACCEPT, self, NULL, NULL, &trial.t);

    (void)unused;
    return way ? PyObject_CallOneArg(way, self) : run_trial(&trial);
}

/* What is iterated over more than once.  NULL without an exception: it can't be, and the stock method raises for it. */
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
    [RECVFROM] = {1, 0, 0},     [RECVFROM_INTO] = {2, 0, 0}, [RECVMSG] = {2, 0, 0},
    [RECVMSG_INTO] = {2, 1, 0}, [SENDTO] = {1, 0, 1},        [SENDMSG] = {2, 2, 1},
};

static int is_short_sendto(int method, Py_ssize_t count)
{
    return method == SENDTO && count == 2; /* (data, address): no flags */
}

/* The arguments as they were given, with MSG_DONTWAIT among the flags.  0: not all could be made. */
static int fill_trial(struct trial *trial, PyObject *const *args, Py_ssize_t count)
{
    int flags_at = forms[trial->method].flags_at, given = 0;

    for (int i = 0; i <= flags_at || given < count; i++) {
        PyObject *arg;
        if (i == flags_at) {
            arg = PyLong_FromLong(trial->t.flags | MSG_DONTWAIT);
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
    return 1;
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

/* sendmsg(2) of a blocking socket returns when all is sent, too.  sent: by the first call, perhaps less than the parts have.  What belongs to
 * them, as descriptors, went with the first byte. */
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
    trial->t.data = PyBytes_AS_STRING(all) + length;
    trial->t.size = (size_t)(PyBytes_GET_SIZE(all) - length);
    if (send_whole(&trial->t) < 0)
        Py_CLEAR(sent);
    else
        Py_SETREF(sent, PyLong_FromSsize_t(PyBytes_GET_SIZE(all)));
    Py_DECREF(all);
    return sent;
}

static PyObject *try_with_flags(int method, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int flags_at = forms[method].flags_at;
    PyObject *flags = count > flags_at && !is_short_sendto(method, count) ? args[flags_at] : NULL, *result = NULL;
    struct trial trial = {.method = method};
    PyObject *way = way_of(method, self, flags, names, &trial.t);

    if (way)
        return call(way, self, args, count, names);
    if (count < 1 || count > 4 || (method == SENDTO && (count < 2 || count > 3)))
        return call(sockets.stock[method], self, args, count, NULL);
    trial.t.sends = forms[method].sends;
    trial.has_address = method == SENDTO || (method == SENDMSG && count == 4 && args[3] != Py_None);
    if (trial.has_address && is_name(self, args[count - 1]))
        return call(sockets.other[method], self, args, count, NULL);
    if (fill_trial(&trial, args, count)) {
        result = run_trial(&trial);
        if (result && method == SENDMSG && timeout_of(self) < 0)
            result = send_rest(&trial, result);
    } else if (!PyErr_Occurred())
        result = call(sockets.stock[method], self, args, count, NULL);
    while (trial.count > 0)
        Py_DECREF(trial.args[--trial.count]);
    return result;
}

static PyObject *socket_recvfrom(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return try_with_flags(RECVFROM, self, args, count, names);
}

static PyObject *socket_recvfrom_into(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return try_with_flags(RECVFROM_INTO, self, args, count, names);
}

static PyObject *socket_recvmsg(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return try_with_flags(RECVMSG, self, args, count, names);
}

static PyObject *socket_recvmsg_into(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return try_with_flags(RECVMSG_INTO, self, args, count, names);
}

static PyObject *socket_sendto(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return try_with_flags(SENDTO, self, args, count, names);
}

static PyObject *socket_sendmsg(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return try_with_flags(SENDMSG, self, args, count, names);
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

/* 0 or an errno; -1 with an exception.  connect(2) knows no MSG_DONTWAIT, so a descriptor in blocking mode changes it for the call. */
static int connect_now(PyObject *self, PyObject *address)
{
    int fd = fd_of(self), mode = timeout_of(self) < 0 ? fcntl(fd, F_GETFL) : O_NONBLOCK, blocks = mode >= 0 && !(mode & O_NONBLOCK);
    PyObject *twin = twin_of(self);

    if (!twin)
        return -1;
    if (blocks)
        fcntl(fd, F_SETFL, mode | O_NONBLOCK);
    PyObject *error = call(sockets.stock[CONNECT_EX], twin, &address, 1, NULL);
    if (blocks && fd_of(self) == fd)
        fcntl(fd, F_SETFL, mode);
    end_twin(twin);
    int number = error ? (int)PyLong_AsLong(error) : -1;
    Py_XDECREF(error);
    return number;
}

/* As connect_now(); EAGAIN: the time is up.  *started: a wait came before.  A second connect() returns the result of the first; SO_ERROR
 * would leave the socket unfit for another try. */
static int connect_within(const struct transfer *t, PyObject *address, int *started)
{
    struct poller_try attempt = {.owner = t->self};
    int error, result;

    do {
        if ((attempt.fd = fd_of(t->self)) < 0)
            return EBADF;
        green_try(&attempt);
        if ((error = connect_now(t->self, address)) == EAGAIN)
            result = sleep_a_moment(t);
        else if (error == EINPROGRESS || (*started && error == EALREADY))
            result = sleep_for_edge(t, &attempt);
        else
            return *started && error == EISCONN ? 0 : error;
        *started = 1;
    } while (!result);
    return result == ETIMEDOUT ? EAGAIN : result;
}

static PyObject *connect_with(int method, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    struct transfer t;
    PyObject *way = way_of(method, self, NULL, names, &t);
    int started = 0;

    if (!way && count == 1 && is_name(self, args[0]))
        way = sockets.other[method];
    if (way || count != 1)
        return call(way ? way : sockets.stock[method], self, args, count, names);
    t.sends = 1;
    int error = connect_within(&t, args[0], &started);
    if (error >= 0 && method == CONNECT_EX)
        return PyLong_FromLong(error);
    if (error == 0)
        Py_RETURN_NONE;
    if (error == EAGAIN)
        PyErr_SetString(PyExc_TimeoutError, "timed out");
    else if (error > 0) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
    } else if (method == CONNECT && !started
               && (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_OverflowError))) {
        PyErr_Clear(); /* no address: the stock connect() raises in its own name */
        return call(sockets.stock[CONNECT], self, args, count, NULL);
    }
    return NULL;
}

static PyObject *socket_connect(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return connect_with(CONNECT, self, args, count, names);
}

static PyObject *socket_connect_ex(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return connect_with(CONNECT_EX, self, args, count, names);
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
    [ACCEPT] = {"_accept", socket_accept, METH_NOARGS, NULL},
    [RECVFROM] = {"recvfrom", FAST(socket_recvfrom), METH_FASTCALL | METH_KEYWORDS, NULL},
    [RECVFROM_INTO] = {"recvfrom_into", FAST(socket_recvfrom_into), METH_FASTCALL | METH_KEYWORDS, NULL},
    [RECVMSG] = {"recvmsg", FAST(socket_recvmsg), METH_FASTCALL | METH_KEYWORDS, NULL},
    [RECVMSG_INTO] = {"recvmsg_into", FAST(socket_recvmsg_into), METH_FASTCALL | METH_KEYWORDS, NULL},
    [SENDTO] = {"sendto", FAST(socket_sendto), METH_FASTCALL | METH_KEYWORDS, NULL},
    [SENDMSG] = {"sendmsg", FAST(socket_sendmsg), METH_FASTCALL | METH_KEYWORDS, NULL},
    [CONNECT] = {"connect", FAST(socket_connect), METH_FASTCALL | METH_KEYWORDS, NULL},
    [CONNECT_EX] = {"connect_ex", FAST(socket_connect_ex), METH_FASTCALL | METH_KEYWORDS, NULL},
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

    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!:socket_methods", &PyType_Type, &type, &PyDict_Type, &others))
        return NULL;
    if (!socket_object.fd)
        return PyErr_Format(PyExc_RuntimeError, "socket_object_at() comes first");
    sockets.base = type->tp_base;
    PyObject *list = PyList_New(0);
    for (int method = 0; list && method < METHODS; method++)
        if (add_method(list, method, type, others) < 0)
            Py_CLEAR(list);
    return list;
}

static PyMethodDef functions[] = {
    {"socket_methods", socket_methods, METH_VARARGS,
     "(socket.socket, {name: function}): [(name, method), ...] for threads on a scheduler.  What they don't do is done by the\n"
     "functions."},
    {0},
};

int python_add_sockets(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
