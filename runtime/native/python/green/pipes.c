/* What os.read and os.write do in a thread on a scheduler, with a pipe, a socket, or an eventfd.
 *
 * THE DESIGN.  Each tries at once, by preadv2(2) or pwritev2(2) with RWF_NOWAIT, and waits in the scheduler's poller only after EAGAIN.
 * That flag leaves the descriptor's own mode as it is, needs no other call to say what the descriptor is, and works for pipes and
 * sockets from Linux 6.4 on.  Where it doesn't (EOPNOTSUPP: an older Linux, a terminal), and for what isn't in memory of a file on a disk,
 * `other` is called: the way through Python, which asks poll(2) first (patch/blocking/files.py).
 *
 * REJECTED.  MSG_DONTWAIT: for sockets only, and what is none costs a failing call more.  poll(2) first: a call more each time, and what
 * it has found ready may be taken by another thread, or be less than what is to be written.  To keep the descriptor registered, as
 * sockets are (green/poller.h): a number has no owner that says when it is another file's. */
#include "green/green.h"
#include "python/python.h"
#include "python/rooms.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { SMALL = 64 << 10 }; /* bytes: a call for no more keeps the GIL, since it only copies them */

enum kind {
    UNKNOWN,      /* no call has asked yet */
    WAITS,        /* may have to be waited for */
    NEVER_WAITS, /* a file on a disk */
    NON_BLOCKING
};

static enum kind kind_of(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0 || S_ISREG(status.st_mode))
        return NEVER_WAITS;
    return fcntl(fd, F_GETFL) & O_NONBLOCK ? NON_BLOCKING : WAITS;
}

/* After a call that has failed with this error.  1: try again; 0: no wait helps; -1 with an exception. */
static int wait_after(int error, int fd, unsigned events, enum kind *kind)
{
    unsigned found;

    if (error == EOPNOTSUPP || error == ENOSYS)
        return 0;
    if (error != EAGAIN) { /* a second call might not find it again: a socket gives its error once */
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (*kind == UNKNOWN)
        *kind = kind_of(fd);
    if (*kind != WAITS)
        return 0;
    int result = scheduler_wait_fd(fd, events, PARK_FOREVER, &found);
    if (result > 0) {
        errno = result;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return result ? -1 : 1;
}

/* Which function is called: one of these two, or this one. */
enum way { STOCK, OTHER, THIS };
enum { READ, WRITE };
static PyObject *functions[2][2]; /* by READ or WRITE, and STOCK or OTHER */

static enum way way_of(PyObject *const *args, Py_ssize_t count, int *fd)
{
    int overflow = 0;

    if (!scheduler_may_block() || count != 2)
        return STOCK;
    if (!PyLong_Check(args[0]))
        return OTHER;
    long number = PyLong_AsLongAndOverflow(args[0], &overflow);
    *fd = (int)number;
    return !overflow && number >= 0 && number <= INT_MAX ? THIS : STOCK;
}

static PyObject *call(int which, enum way way, PyObject *const *args, Py_ssize_t count)
{
    return PyObject_Vectorcall(functions[which][way], args, (size_t)count, NULL);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* What a file on a disk has in memory may be less than what it has: the rest comes by the other way. */
static PyObject *read_rest(PyObject *fd, PyObject *bytes, Py_ssize_t size)
{
    PyObject *left = PyLong_FromSsize_t(size), *args[] = {fd, left}, *rest = left ? call(READ, OTHER, args, 2) : NULL;

    Py_XDECREF(left);
    if (rest)
        PyBytes_ConcatAndDel(&bytes, rest);
    else
        Py_CLEAR(bytes);
    return bytes;
}

static PyObject *pipe_read(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    enum kind kind = UNKNOWN;
    enum way way;
    int fd, overflow = 0, again;

    (void)self;
    if ((way = way_of(args, count, &fd)) != THIS)
        return call(READ, way, args, count);
    long size = PyLong_Check(args[1]) ? PyLong_AsLongAndOverflow(args[1], &overflow) : 0;
    if (size <= 0 || size > SMALL || overflow) /* 0 never waits */
        return call(READ, size > 0 && !overflow ? OTHER : STOCK, args, count);
    do {
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
        if (!bytes)
            return NULL;
        ssize_t length = preadv2(fd, &(struct iovec){PyBytes_AS_STRING(bytes), (size_t)size}, 1, -1, RWF_NOWAIT);
        if (length >= 0) {
            if (length < size)
                _PyBytes_Resize(&bytes, length);
            int is_part = bytes && length > 0 && length < size && kind == UNKNOWN && kind_of(fd) == NEVER_WAITS;
            return is_part ? read_rest(args[0], bytes, size - length) : bytes;
        }
        int error = errno;
        Py_DECREF(bytes);
        again = wait_after(error, fd, POLLIN, &kind);
    } while (again > 0);
    return again < 0 ? NULL : call(READ, OTHER, args, count);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static ssize_t write_now(int fd, const char *data, size_t size)
{
    PyThreadState *without = size > SMALL ? PyEval_SaveThread() : NULL;
    ssize_t length = pwritev2(fd, &(struct iovec){(char *)data, size}, 1, -1, RWF_NOWAIT);
    int error = errno;

    if (without)
        PyEval_RestoreThread(without);
    errno = error;
    return length;
}

/* What has been written of the buffer; less than all: *kind says whether the other way must write the rest.  -1 with an exception. */
static Py_ssize_t write_all(int fd, const Py_buffer *buffer, enum kind *kind)
{
    Py_ssize_t written = 0;
    int again = 1;

    while (again > 0 && written < buffer->len) {
        ssize_t length = write_now(fd, (char *)buffer->buf + written, (size_t)(buffer->len - written));
        if (length >= 0)
            written += length;
        else if (written && errno != EAGAIN && errno != EOPNOTSUPP)
            return written; /* as write(2): the next call raises it */
        else
            again = wait_after(errno, fd, POLLOUT, kind);
    }
    return again < 0 ? -1 : written;
}

static PyObject *write_rest(PyObject *fd, const Py_buffer *buffer, Py_ssize_t written)
{
    PyObject *data = PyMemoryView_FromBuffer(buffer), *from = PyLong_FromSsize_t(written),
             *slice = from ? PySlice_New(from, NULL, NULL) : NULL;
    PyObject *rest = data && slice ? PyObject_GetItem(data, slice) : NULL, *args[] = {fd, rest};
    PyObject *more = rest ? call(WRITE, OTHER, args, 2) : NULL, *sum = more ? PyNumber_Add(more, from) : NULL;

    Py_XDECREF(data);
    Py_XDECREF(from);
    Py_XDECREF(slice);
    Py_XDECREF(rest);
    Py_XDECREF(more);
    return sum;
}

static PyObject *pipe_write(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    PyObject *result = NULL;
    Py_buffer buffer;
    enum kind kind = UNKNOWN;
    enum way way;
    int fd;

    (void)self;
    if ((way = way_of(args, count, &fd)) != THIS)
        return call(WRITE, way, args, count);
    if (PyUnicode_Check(args[1]) || PyObject_GetBuffer(args[1], &buffer, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        return call(WRITE, STOCK, args, count);
    }
    Py_ssize_t written = buffer.len ? write_all(fd, &buffer, &kind) : 0;
    if (written == 0)
        result = call(WRITE, OTHER, args, count);
    else if (written > 0)
        result = written == buffer.len || kind != NEVER_WAITS ? PyLong_FromSsize_t(written) : write_rest(args[0], &buffer, written);
    PyBuffer_Release(&buffer);
    return result;
}

/* ---- the functions ----------------------------------------------------------------------------------------------- */

static PyMethodDef made[] = {
    [READ] = {"read", FAST(pipe_read), METH_FASTCALL, NULL},
    [WRITE] = {"write", FAST(pipe_write), METH_FASTCALL, NULL},
};

/* One that is no method, so that it is pickled by its name. */
static PyObject *stand_in(int which, PyObject *args)
{
    PyObject *stock, *other, *name;

    if (!PyArg_ParseTuple(args, "O!O", &PyCFunction_Type, &stock, &other) || !(name = PyObject_GetAttrString(stock, "__module__")))
        return NULL;
    made[which].ml_doc = ((PyCFunctionObject *)stock)->m_ml->ml_doc;
    Py_XSETREF(functions[which][STOCK], Py_NewRef(stock));
    Py_XSETREF(functions[which][OTHER], Py_NewRef(other));
    PyObject *result = PyCFunction_NewEx(&made[which], NULL, name);
    Py_DECREF(name);
    return result;
}

static PyObject *os_read(PyObject *module, PyObject *args)
{
    (void)module;
    return stand_in(READ, args);
}

static PyObject *os_write(PyObject *module, PyObject *args)
{
    (void)module;
    return stand_in(WRITE, args);
}

static PyMethodDef stand_ins[] = {
    {"os_read", os_read, METH_VARARGS, "(stock, other): what stands in for os.read; what it doesn't do is done by the other."},
    {"os_write", os_write, METH_VARARGS, "(stock, other): what stands in for os.write."},
    {0},
};

int python_add_pipes(PyObject *module)
{
    return PyModule_AddFunctions(module, stand_ins);
}
