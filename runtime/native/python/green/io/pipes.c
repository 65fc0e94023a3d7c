/* What os.read, os.readv, os.write and os.writev do in a thread on a scheduler, with a pipe, a socket, a terminal, or an eventfd.
 *
 * THE DESIGN.  Each tries at once, by preadv2(2) or pwritev2(2) with RWF_NOWAIT, and waits in the scheduler's poller only after EAGAIN.
 * That flag leaves the descriptor's own mode as it is, and works for pipes and sockets from Linux 6.4 on.  Where it doesn't (EOPNOTSUPP: an
 * older Linux, a terminal), poll(2) is asked first, here, and then the stock function is called, or `other` for what may not fit.
 *
 * A FILE ON A DISK IS READ BY ONE CALL.  RWF_NOWAIT would return the part that is in memory, and a second call would have to get the
 * rest: between the two another thread could read that rest, or write to the end of the file.  The kernel holds the file's offset for
 * one call, not for two.  So lseek(2) comes first, which fails for pipes, sockets and terminals, and costs a tenth of a pipe's read and
 * write.  A file with an offset is read and written by the stock function, or by `other`, a helper, where that would wait or copy long.
 *
 * REJECTED.  MSG_DONTWAIT works for sockets only, and other files would cost a failing call more.  poll(2) first costs a call more each
 * time, and another thread may take what it has found ready, or the room may be less than what is to be written.  Remembering what a
 * number is, or keeping it registered as sockets are (green/poller.h), fails because a number has no owner that says when it becomes
 * another file's.  A terminal can't always be opened once more in the other mode: the master of a pseudo-terminal can't.  vmsplice(2)
 * reads from pipes of older Linuxes, but a socket would cost a failing call more. */
#include "green/green.h"
#include "python/args.h"
#include "python/green/io/files.h"
#include "python/green/scheduler.h"
#include "python/green/stand_in.h"
#include "python/green/io/tries.h"
#include "python/python.h"
#include "python/room.h"
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

/* Whether it may be made here; otherwise the stock function makes it, or refuses it. */
static int is_for_us(PyObject *const *args, size_t count, PyObject *names, int *fd)
{
    PyObject *number;
    int overflow;

    if (!python_may_block() || PyVectorcall_NARGS(count) != 2 || names)
        return 0;
    if (!(number = PyNumber_Index(args[0]))) {
        PyErr_Clear();
        return 0;
    }
    long value = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    *fd = (int)value;
    return !overflow && value >= 0 && value <= INT_MAX;
}

static int is_file(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) || S_ISDIR(status.st_mode));
}

/* Which function makes the call, if there may be a file on a disk. */
static enum way way_to_read(int fd, size_t size)
{
    off_t offset = lseek(fd, 0, SEEK_CUR);
    enum first_byte first = offset < 0 ? FIRST_BYTE_UNKNOWN : files_first_byte(fd, offset, (Py_ssize_t)size);

    if (offset < 0)
        return THIS;
    if (first == FIRST_BYTE_UNKNOWN)
        return is_file(fd) ? STOCK : THIS; /* lseek(2) succeeds on an eventfd or a timerfd too */
    return first == FIRST_BYTE_WAITS ? OTHER : STOCK;
}

static enum way way_to_write(int fd, size_t size)
{
    if (lseek(fd, 0, SEEK_CUR) < 0 || !is_file(fd))
        return THIS;
    return size >= FILES_LARGE ? OTHER : STOCK;
}

/* ---- one try, and the wait after it ------------------------------------------------------------------------------ */

struct file_call {
    int fd, sends;
    struct iovec *parts, one;
    int count;
    size_t size, done;
    PyObject *bytes;   /* of os.read() */
    enum way way;      /* who makes the call in the end */
    int mode;          /* F_GETFL's; -1: not known */
    int polls;         /* the descriptor refuses RWF_NOWAIT */
    int tries;
    unsigned closings; /* of its number, before the first try */
};

/* read(2) and write(2) hold the file until they return.  Here each try looks the number up anew, and from a wait on, or between two parts of
 * a write, another thread may have closed it and opened another file. */
static int is_same_file(struct file_call *t)
{
    unsigned closings = green_closings(t->fd);

    if (t->tries++ == 0)
        t->closings = closings;
    return t->closings == closings;
}

/* The number of bytes, or -1 with errno. */
static ssize_t call_file(struct file_call *t)
{
    if (!is_same_file(t)) {
        errno = EBADF;
        return -1;
    }
    if (t->polls) {
        errno = EOPNOTSUPP;
        return -1;
    }
    /* A second try keeps the GIL, however long it copies.  If it gave the GIL up, another thread could close the number after
     * is_same_file() has looked.  (Without a GIL some instructions are left between the two.) */
    PyThreadState *without = t->size > SMALL && t->tries == 1 ? PyEval_SaveThread() : NULL;
    ssize_t length
        = t->sends ? pwritev2(t->fd, t->parts, t->count, -1, RWF_NOWAIT) : preadv2(t->fd, t->parts, t->count, -1, RWF_NOWAIT);
    int error = errno;
    if (without)
        PyEval_RestoreThread(without);
    errno = error;
    return length;
}

static enum tried raise_error(int error)
{
    raise_errno(error);
    return TRIED_FAILED;
}

static enum tried give_to(enum way way, struct file_call *t)
{
    t->way = way;
    return TRIED_DONE;
}

static enum tried after_error(struct file_call *t, int error)
{
    unsigned found, events = t->sends ? POLLOUT : POLLIN;

    if (t->done && error != EAGAIN && error != EINTR && error != EBADF)
        return TRIED_DONE; /* as write(2) does: the next call raises the error.  After EBADF the next call could be on another file */
    if (error == EINTR)
        return PyErr_CheckSignals() < 0 ? TRIED_FAILED : TRIED_AGAIN;
    if (error == EOPNOTSUPP || error == ENOSYS) {
        t->polls = 1;
        if (t->sends && t->size > ALWAYS_FITS)
            return give_to(OTHER, t);
        if (park_poll(t->fd, events, 0, &found) != ETIMEDOUT)
            return give_to(STOCK, t);
    } else if (error != EAGAIN) /* a second call might not find the error again: a socket gives its error once */
        return raise_error(error);
    if (t->mode < 0)
        t->mode = fcntl(t->fd, F_GETFL);
    return t->mode & O_NONBLOCK ? give_to(STOCK, t) : TRIED_WAIT;
}

static void skip(struct file_call *t, size_t length)
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

/* A write in blocking mode returns when all is written, unless an error comes. */
static enum tried try_call(void *arg)
{
    struct file_call *t = arg;
    ssize_t length = call_file(t);

    if (length < 0)
        return after_error(t, errno);
    t->done += (size_t)length;
    if (!t->sends)
        return TRIED_DONE;
    skip(t, (size_t)length);
    return t->size ? TRIED_AGAIN : TRIED_DONE;
}

static enum tried wait_for_file(void *arg)
{
    struct file_call *t = arg;
    unsigned found;
    int result = python_wait_fd(t->fd, t->sends ? POLLOUT : POLLIN, &t->closings, PARK_FOREVER, &found);

    return result > 0 ? raise_error(result) : result < 0 ? TRIED_FAILED : TRIED_AGAIN;
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

/* 0: the buffers can't be taken, or there are none: the stock function then raises, or does nothing. */
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

/* ---- the calls --------------------------------------------------------------------------------------------------- */

/* The bytes are made for each try: a thread that waits has none. */
static enum tried try_read(void *arg)
{
    struct file_call *t = arg;

    if (!(t->bytes = PyBytes_FromStringAndSize(NULL, t->polls ? 0 : (Py_ssize_t)t->size)))
        return TRIED_FAILED;
    t->one = (struct iovec){PyBytes_AS_STRING(t->bytes), t->size};
    t->parts = &t->one;
    enum tried tried = try_call(t);
    if (tried != TRIED_DONE || t->way != THIS)
        Py_CLEAR(t->bytes);
    return tried;
}

static PyObject *pipe_read(PyObject *me, PyObject *const *args, size_t count, PyObject *names)
{
    struct file_call t = {.mode = -1, .count = 1};
    Py_ssize_t size = is_for_us(args, count, names, &t.fd) ? PyNumber_AsSsize_t(args[1], PyExc_OverflowError) : 0;

    if (size <= 0) { /* 0 never waits */
        PyErr_Clear();
        return call(me, STOCK, args, count, names);
    }
    t.size = (size_t)size;
    t.way = way_to_read(t.fd, t.size);
    if (t.way == THIS && try_until_done(&t, try_read, wait_for_file) < 0)
        return NULL;
    if (t.way != THIS)
        return call(me, t.way, args, count, NULL);
    if (t.done < t.size)
        _PyBytes_Resize(&t.bytes, (Py_ssize_t)t.done);
    return t.bytes;
}

/* The others return how many bytes. */
static PyObject *run(PyObject *me, struct file_call *t, PyObject *const *args, size_t count)
{
    t->way = t->sends ? way_to_write(t->fd, t->size) : way_to_read(t->fd, t->size);
    if (t->way == THIS && try_until_done(t, try_call, wait_for_file) < 0)
        return NULL;
    return t->way == THIS || t->done ? PyLong_FromSize_t(t->done) : call(me, t->way, args, count, NULL);
}

static PyObject *pipe_write(PyObject *me, PyObject *const *args, size_t count, PyObject *names)
{
    struct file_call t = {.mode = -1, .sends = 1, .count = 1};
    Py_buffer buffer;

    if (!is_for_us(args, count, names, &t.fd) || PyUnicode_Check(args[1]) || PyObject_GetBuffer(args[1], &buffer, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        return call(me, STOCK, args, count, names);
    }
    t.parts = &(struct iovec){buffer.buf, (size_t)buffer.len};
    t.size = (size_t)buffer.len;
    PyObject *result = t.size ? run(me, &t, args, count) : call(me, STOCK, args, count, NULL);
    PyBuffer_Release(&buffer);
    return result;
}

static PyObject *run_with_buffers(PyObject *me, PyObject *const *args, size_t count, PyObject *names, int sends)
{
    struct file_call t = {.mode = -1, .sends = sends};
    struct buffers buffers;

    if (!is_for_us(args, count, names, &t.fd) || !take_buffers(&buffers, args[1], sends ? PyBUF_SIMPLE : PyBUF_WRITABLE))
        return call(me, STOCK, args, count, names);
    t.parts = buffers.parts;
    t.count = buffers.count;
    t.size = buffers.size;
    PyObject *result = run(me, &t, args, count);
    release_buffers(&buffers);
    return result;
}

static PyObject *pipe_readv(PyObject *me, PyObject *const *args, size_t count, PyObject *names)
{
    return run_with_buffers(me, args, count, names, 0);
}

static PyObject *pipe_writev(PyObject *me, PyObject *const *args, size_t count, PyObject *names)
{
    return run_with_buffers(me, args, count, names, 1);
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

static PyMethodDef functions[] = {
    {"pipe_function", pipe_function, METH_VARARGS,
     "(stock, other): what stands in for os.read, readv, write or writev; what it doesn't do is done by the other."},
    {0},
};

const struct entries entries_pipes = {.functions = functions};
