/* What os.read, os.readv, os.write and os.writev do in a thread on a scheduler, with a pipe, a socket, a terminal, or an eventfd.
 *
 * THE DESIGN.  Each tries at once, by preadv2(2) or pwritev2(2) with RWF_NOWAIT, and waits in the scheduler's poller only after EAGAIN.
 * That flag leaves the descriptor's own mode as it is, and works for pipes and sockets from Linux 6.4 on.  Where it doesn't (EOPNOTSUPP: an
 * older Linux, a terminal), poll(2) is asked first, here, and then the stock function is called, or `other` for what may not fit.
 *
 * A FILE ON A DISK IS READ BY ONE CALL.  RWF_NOWAIT would return the part that is in memory, and the rest would take a second call: between
 * the two another thread could read that rest, or write to the end of the file.  The kernel holds the file's offset for one call, not for
 * two.  So lseek(2) comes first, which fails for pipes, sockets and terminals, and costs a tenth of a pipe's read and write.  What has
 * an offset is read and written by the stock function, or, where that would wait or copy long, by `other`: a helper.
 *
 * REJECTED.  MSG_DONTWAIT: for sockets only, and what is none costs a failing call more.  poll(2) first: a call more each time, and what
 * it has found ready may be taken by another thread, or be less than what is to be written.  To remember what a number is, or to keep it
 * registered, as sockets are (green/poller.h): a number has no owner that says when it is another file's.  To open a terminal once more
 * in the other mode: the master of a pseudo-terminal can't be.  vmsplice(2), which does read from pipes of older Linuxes: a socket
 * would cost a failing call more. */
#include "green/green.h"
#include "python/green/stand_in.h"
#include "python/python.h"
#include "python/rooms.h"
#include "kernel/base/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { ALWAYS_FITS = 128 }; /* bytes: what a terminal takes when poll(2) finds it ready, at least; a newline may become two */

/* Which function makes the call: one of the first two, or this one. */
enum way { STOCK, OTHER, THIS };

static PyObject *call(PyObject *me, enum way way, PyObject *const *args, size_t count, PyObject *names)
{
    return PyObject_Vectorcall(way == OTHER ? stand_in_function(me) : stand_in_stock(me), args, count, names);
}

static enum way way_of(PyObject *const *args, size_t count, PyObject *names, int *fd)
{
    PyObject *number;
    int overflow;

    if (!scheduler_may_block() || PyVectorcall_NARGS(count) != 2 || names)
        return STOCK;
    if (!(number = PyNumber_Index(args[0]))) {
        PyErr_Clear();
        return STOCK;
    }
    long value = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    *fd = (int)value;
    return !overflow && value >= 0 && value <= INT_MAX ? THIS : STOCK;
}

static int is_file(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) || S_ISDIR(status.st_mode));
}

/* Who makes the call, if there may be a file on a disk. */
static enum way way_to_read(int fd, size_t size)
{
    off_t offset = lseek(fd, 0, SEEK_CUR);
    enum first_byte first = offset < 0 ? FIRST_BYTE_UNKNOWN : files_first_byte(fd, offset);

    if (offset < 0)
        return THIS;
    if (first == FIRST_BYTE_UNKNOWN)
        return is_file(fd) ? STOCK : THIS; /* an eventfd or a timerfd lets itself be sought in, too */
    return first == FIRST_BYTE_WAITS || size >= FILES_LARGE ? OTHER : STOCK;
}

static enum way way_to_write(int fd, size_t size)
{
    if (lseek(fd, 0, SEEK_CUR) < 0 || !is_file(fd))
        return THIS;
    return size >= FILES_LARGE ? OTHER : STOCK;
}

/* ---- one try, and the wait after it ------------------------------------------------------------------------------ */

struct transfer {
    int fd, sends;
    struct iovec *parts;
    int count;
    size_t size;
    int mode;  /* F_GETFL's; -1: not known */
    int polls; /* the descriptor knows no RWF_NOWAIT */
    int tries;
    unsigned closings; /* of its number, before the first try */
};

/* read(2) and write(2) hold the file until they return.  Here each try looks the number up anew, and from a wait on, or between two parts of
 * a write, another thread may have closed it and opened another file. */
static int is_same_file(struct transfer *t)
{
    unsigned closings = green_closings(t->fd);

    if (t->tries++ == 0)
        t->closings = closings;
    return t->closings == closings;
}

/* The number of bytes, or -1 with *error. */
static ssize_t transfer_now(struct transfer *t, int *error)
{
    *error = EBADF;
    if (!is_same_file(t))
        return -1;
    *error = EOPNOTSUPP;
    if (t->polls)
        return -1;
    /* A second try keeps the GIL, however long it copies.  If it gave the GIL up, another thread could close the number after
     * is_same_file() has looked.  (Without a GIL some instructions are left between the two.) */
    PyThreadState *without = t->size > SMALL && t->tries == 1 ? PyEval_SaveThread() : NULL;
    ssize_t length
        = t->sends ? pwritev2(t->fd, t->parts, t->count, -1, RWF_NOWAIT) : preadv2(t->fd, t->parts, t->count, -1, RWF_NOWAIT);
    *error = errno;
    if (without)
        PyEval_RestoreThread(without);
    return length;
}

static int raise_error(int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* After a try that has failed with this error.  1: try again; 0: *way says who makes the call; -1 with an exception. */
static int wait_after(int error, struct transfer *t, enum way *way)
{
    unsigned found, events = t->sends ? POLLOUT : POLLIN;

    *way = STOCK;
    if (error == EINTR)
        return PyErr_CheckSignals() < 0 ? -1 : 1;
    if (error == EOPNOTSUPP || error == ENOSYS) {
        t->polls = 1;
        if (t->sends && t->size > ALWAYS_FITS) {
            *way = OTHER;
            return 0;
        }
        if (park_poll(t->fd, events, 0, &found) != ETIMEDOUT)
            return 0;
    } else if (error != EAGAIN) /* a second call might not find it again: a socket gives its error once */
        return raise_error(error);
    if (t->mode < 0)
        t->mode = fcntl(t->fd, F_GETFL);
    if (t->mode & O_NONBLOCK)
        return 0;
    int result = scheduler_wait_fd(t->fd, events, &t->closings, PARK_FOREVER, &found);
    return result > 0 ? raise_error(result) : result < 0 ? -1 : 1;
}

/* ---- several buffers --------------------------------------------------------------------------------------------- */

struct buffers {
    int count;
    Py_buffer *views;
    struct iovec *parts;
    size_t size;
};

static void release_buffers(struct buffers *b)
{
    while (b->count > 0)
        PyBuffer_Release(&b->views[--b->count]);
    PyMem_Free(b->views);
    PyMem_Free(b->parts);
}

static int take_buffer(struct buffers *b, PyObject *sequence, int flags)
{
    PyObject *item = PySequence_GetItem(sequence, b->count);
    Py_buffer *view = &b->views[b->count];
    int result = item ? PyObject_GetBuffer(item, view, flags) : -1;

    Py_XDECREF(item);
    if (result < 0)
        return -1;
    b->parts[b->count++] = (struct iovec){view->buf, (size_t)view->len};
    b->size += (size_t)view->len;
    return 0;
}

/* 0: they can't be taken, or are none, and the stock function says so, or does nothing. */
static int take_buffers(struct buffers *b, PyObject *sequence, int flags)
{
    Py_ssize_t count = PySequence_Check(sequence) ? PySequence_Size(sequence) : -1;

    *b = (struct buffers){0};
    if (count > 0 && count <= IOV_MAX) {
        b->views = PyMem_New(Py_buffer, (size_t)count);
        b->parts = PyMem_New(struct iovec, (size_t)count);
    }
    while (b->views && b->parts && b->count < count && take_buffer(b, sequence, flags) == 0)
        ;
    PyErr_Clear();
    if (b->count == count && b->size > 0)
        return 1;
    release_buffers(b);
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static PyObject *pipe_read(PyObject *me, PyObject *const *args, size_t count, PyObject *names)
{
    struct transfer t = {.mode = -1, .count = 1};
    enum way way = way_of(args, count, names, &t.fd);
    int again, error;

    Py_ssize_t size = way == THIS ? PyNumber_AsSsize_t(args[1], PyExc_OverflowError) : 0;
    if (size <= 0) { /* 0 never waits */
        PyErr_Clear();
        return call(me, way == THIS ? STOCK : way, args, count, names);
    }
    if ((way = way_to_read(t.fd, (size_t)size)) != THIS)
        return call(me, way, args, count, names);
    t.size = (size_t)size;
    do {
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, t.polls ? 0 : size);
        if (!bytes)
            return NULL;
        t.parts = &(struct iovec){PyBytes_AS_STRING(bytes), t.size};
        ssize_t length = transfer_now(&t, &error);
        if (length >= 0) {
            if (length < size)
                _PyBytes_Resize(&bytes, length);
            return bytes;
        }
        Py_DECREF(bytes); /* a thread that waits has none */
        again = wait_after(error, &t, &way);
    } while (again > 0);
    return again < 0 ? NULL : call(me, way, args, count, names);
}

static PyObject *pipe_readv(PyObject *me, PyObject *const *args, size_t count, PyObject *names)
{
    struct transfer t = {.mode = -1};
    enum way way = way_of(args, count, names, &t.fd);
    struct buffers buffers;
    ssize_t length = -1;
    int again = 0, error;

    if (way != THIS || !take_buffers(&buffers, args[1], PyBUF_WRITABLE))
        return call(me, way == THIS ? STOCK : way, args, count, names);
    t.parts = buffers.parts;
    t.count = buffers.count;
    t.size = buffers.size;
    if ((way = way_to_read(t.fd, t.size)) == THIS)
        while ((length = transfer_now(&t, &error)) < 0 && (again = wait_after(error, &t, &way)) > 0)
            ;
    release_buffers(&buffers);
    return length >= 0 ? PyLong_FromSsize_t(length) : again < 0 ? NULL : call(me, way, args, count, names);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void skip_written(struct transfer *t, size_t length)
{
    t->size -= length;
    while (t->count > 0 && length >= t->parts->iov_len) {
        length -= t->parts->iov_len;
        t->parts++;
        t->count--;
    }
    if (t->count > 0) {
        t->parts->iov_base = (char *)t->parts->iov_base + length;
        t->parts->iov_len -= length;
    }
}

/* What has been written, as write(2) in blocking mode does: all, unless an error comes.  0: *way says who makes the call; -1 with an
 * exception. */
static Py_ssize_t write_all(struct transfer *t, enum way *way)
{
    Py_ssize_t written = 0;
    int again = 1, error;

    while (again > 0 && t->size > 0) {
        ssize_t length = transfer_now(t, &error);
        if (length >= 0) {
            written += length;
            skip_written(t, (size_t)length);
        } else if (written && error != EAGAIN && error != EINTR && error != EBADF)
            return written; /* as write(2): the next call raises it.  After EBADF the next could be on another file */
        else
            again = wait_after(error, t, way);
    }
    return again < 0 ? -1 : written;
}

static PyObject *write_or_call(PyObject *me, struct transfer *t, PyObject *const *args, size_t count)
{
    enum way way = way_to_write(t->fd, t->size);
    Py_ssize_t written = way == THIS ? write_all(t, &way) : 0;

    return written > 0 ? PyLong_FromSsize_t(written) : written < 0 ? NULL : call(me, way, args, count, NULL);
}

static PyObject *pipe_write(PyObject *me, PyObject *const *args, size_t count, PyObject *names)
{
    struct transfer t = {.mode = -1, .sends = 1, .count = 1};
    enum way way = way_of(args, count, names, &t.fd);
    Py_buffer buffer;

    if (way != THIS || PyUnicode_Check(args[1]) || PyObject_GetBuffer(args[1], &buffer, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        return call(me, way == THIS ? STOCK : way, args, count, names);
    }
    t.parts = &(struct iovec){buffer.buf, (size_t)buffer.len};
    t.size = (size_t)buffer.len;
    PyObject *result = t.size ? write_or_call(me, &t, args, count) : call(me, STOCK, args, count, names);
    PyBuffer_Release(&buffer);
    return result;
}

static PyObject *pipe_writev(PyObject *me, PyObject *const *args, size_t count, PyObject *names)
{
    struct transfer t = {.mode = -1, .sends = 1};
    enum way way = way_of(args, count, names, &t.fd);
    struct buffers buffers;

    if (way != THIS || !take_buffers(&buffers, args[1], PyBUF_SIMPLE))
        return call(me, way == THIS ? STOCK : way, args, count, names);
    t.parts = buffers.parts;
    t.count = buffers.count;
    t.size = buffers.size;
    PyObject *result = write_or_call(me, &t, args, count);
    release_buffers(&buffers);
    return result;
}

/* ---- the functions ----------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    vectorcallfunc run;
} runs[] = {{"read", pipe_read}, {"readv", pipe_readv}, {"write", pipe_write}, {"writev", pipe_writev}};

static PyObject *pipe_function(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *stock, *other;

    if (!PyArg_ParseTuple(args, "O!O:pipe_function", &PyCFunction_Type, &stock, &other))
        return NULL;
    for (size_t which = 0; which < sizeof runs / sizeof *runs; which++)
        if (strcmp(runs[which].name, ((PyCFunctionObject *)stock)->m_ml->ml_name) == 0)
            return stand_in_make(stock, other, runs[which].run);
    return PyErr_Format(PyExc_ValueError, "nothing stands in for %R", stock);
}

static PyMethodDef pipe_functions[] = {
    {"pipe_function", pipe_function, METH_VARARGS,
     "(stock, other): what stands in for os.read, readv, write or writev; what it doesn't do is done by the other."},
    {0},
};

int python_add_pipes(PyObject *module)
{
    return PyModule_AddFunctions(module, pipe_functions);
}
