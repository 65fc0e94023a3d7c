/* What a thread on a scheduler does in the methods of ssl.SSLSocket that wait: patch/blocking/tls_sockets.py says how and why. */
#include "kernel/base/park.h"
#include "python/args.h"
#include "python/green/scheduler.h"
#include "python/room.h"
#include "python/green/io/sockets/transfer.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>

enum { TLS_READ, TLS_WRITE, TLS_SEND, TLS_DO_HANDSHAKE, TLS_UNWRAP, TLS_METHODS };

static struct {
    PyObject *want_read, *want_write; /* ssl.SSLWantReadError, ssl.SSLWantWriteError */
    PyObject *make_turn;              /* makes the lock */
    PyObject *turn;                   /* the name of the lock among the socket's attributes */
    PyObject *stock[TLS_METHODS];
} tls;

/* As the stock messages name them. */
static const char *const operations[TLS_METHODS] = {"read", "write", "write", "handshake", "read"};

struct tls_call {
    struct transfer t; /* deadline: -1 before the first try */
    PyObject *stack[MOST_ARGUMENTS + 1]; /* as PyObject_Vectorcall() takes it, from the socket on */
    Py_ssize_t count;
    PyObject *names;
    PyObject *turn; /* the lock that is held in each try */
    int method;
    PyObject *result;
};

static void set_blocking(int fd, int blocks)
{
    ioctl(fd, FIONBIO, &(int){!blocks}); /* as CPython does it */
}

static PyObject *call_stock(const struct tls_call *c)
{
    return PyObject_Vectorcall(tls.stock[c->method], c->stack, (size_t)c->count + 1, c->names);
}

/* It leaves out the argument `block`, because the stock method would take the timeout 0 for the socket's own, and block. */
static PyObject *handshake(const struct tls_call *c)
{
    return c->count + (c->names ? PyTuple_GET_SIZE(c->names) : 0) == 1 ? PyObject_CallOneArg(tls.stock[c->method], c->t.self)
                                                                       : call_stock(c);
}

/* Calls with timeout 0, so that the call raises what it would have waited for. */
static PyObject *call_without_wait(const struct tls_call *c)
{
    PyObject *self = c->t.self;
    int64_t timeout = timeout_of(self);
    int fd = fd_of(self);

    if (timeout < 0)
        set_blocking(fd, 0);
    set_timeout(self, 0);
    PyObject *result = c->method == TLS_DO_HANDSHAKE ? handshake(c) : call_stock(c);
    /* Otherwise it is closed, or given away, or has another timeout now. */
    if (fd_of(self) == fd && timeout_of(self) == 0) {
        set_timeout(self, timeout);
        if (timeout < 0)
            set_blocking(fd, 1);
    }
    return result;
}

/* The lock of a socket, a new reference. */
static PyObject *turn_of(PyObject *self)
{
    PyObject *turn = PyObject_GetAttr(self, tls.turn), *made, *dict;

    if (turn || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return turn;
    PyErr_Clear();
    made = PyObject_CallNoArgs(tls.make_turn);
    dict = made ? PyObject_GenericGetDict(self, NULL) : NULL;
    turn = dict ? Py_XNewRef(PyDict_SetDefault(dict, tls.turn, made)) : NULL; /* another thread may have been quicker */
    Py_XDECREF(dict);
    Py_XDECREF(made);
    return turn;
}

/* Keeps an exception that is set. */
static void end_turn(const struct tls_call *c)
{
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *result = call_method(c->turn, NAME("release"), NULL);

    if (!result)
        PyErr_WriteUnraisable(c->turn);
    Py_XDECREF(result);
    PyErr_SetRaisedException(raised);
}

/* Returns what the stock method does.  The poller's count of events is read in the turn, so that no other thread's try comes between
 * the reading and this try (green/poller.h).  The timeout is read there too, because another thread's try has it at 0. */
static PyObject *call_in_turn(struct tls_call *c)
{
    struct transfer *t = &c->t;
    int is_first = t->deadline < 0;

    t->attempt = (struct poller_try){.owner = t->self, .fd = fd_of(t->self)};
    if (is_first)
        t->deadline = transfer_deadline(timeout_of(t->self));
    if (park_green)
        green_try(&t->attempt);
    if (t->attempt.fd < 0 && !is_first) { /* another thread has closed it meanwhile */
        transfer_woken(t, EBADF);
        return NULL;
    }
    return t->attempt.fd >= 0 && timeout_of(t->self) != 0 ? call_without_wait(c) : call_stock(c);
}

static enum tried try_in_turn(void *call)
{
    struct tls_call *c = call;
    PyObject *taken = call_method(c->turn, NAME("acquire"), NULL);

    if (!taken)
        return TRIED_FAILED;
    Py_DECREF(taken);
    c->result = call_in_turn(c);
    end_turn(c);
    if (c->result)
        return TRIED_DONE;
    c->t.sends = PyErr_ExceptionMatches(tls.want_write);
    if ((!c->t.sends && !PyErr_ExceptionMatches(tls.want_read)) || c->t.deadline == 0) /* 0: the socket's own timeout is */
        return TRIED_FAILED;
    PyErr_Clear();
    return TRIED_WAIT;
}

/* As transfer_wait(), also for a thread that has its LWP to itself. */
static enum tried wait_after_try(void *call)
{
    struct transfer *t = call;
    unsigned found;

    return park_green ? transfer_wait(t)
                      : transfer_woken(t, python_wait_fd(t->attempt.fd, t->sends ? POLLOUT : POLLIN, NULL, t->deadline, &found));
}

/* ---- the methods ------------------------------------------------------------------------------------------------- */

/* Whether the connection is still in plain, or no more; -1 with an exception. */
static int is_plain(PyObject *self)
{
    PyObject *sslobj = get_attribute(self, NAME("_sslobj"));

    Py_XDECREF(sslobj);
    return sslobj ? sslobj == Py_None : -1;
}

static PyObject *tls_method(int method, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t given = count + (names ? PyTuple_GET_SIZE(names) : 0);
    struct tls_call c = {{.self = self, .deadline = -1, .operation = operations[method]}, {self}, count, names, NULL, method, NULL};

    if (given > MOST_ARGUMENTS)
        return PyErr_Format(PyExc_TypeError, "%R got %zd arguments", tls.stock[method], given);
    memcpy(c.stack + 1, args, (size_t)given * sizeof *args);
    /* A stock call would find another thread's try in its way, and raise SSLWantReadError for the timeout 0. */
    if (!python_may_block() && !PyObject_HasAttr(self, tls.turn))
        return call_stock(&c);
    int plain = is_plain(self);
    if (plain)
        return plain < 0 ? NULL : call_stock(&c);
    if (!(c.turn = turn_of(self)))
        return NULL;
    int result = try_until_done(&c, try_in_turn, wait_after_try);
    Py_DECREF(c.turn);
    return result < 0 ? NULL : c.result;
}

#define TLS_METHOD(name, method)                                                                          \
    static PyObject *tls_##name(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) \
    {                                                                                                     \
        return tls_method(method, self, args, count, names);                                              \
    }

TLS_METHOD(read, TLS_READ)
TLS_METHOD(write, TLS_WRITE)
TLS_METHOD(send, TLS_SEND)
TLS_METHOD(do_handshake, TLS_DO_HANDSHAKE)
TLS_METHOD(unwrap, TLS_UNWRAP)

static PyMethodDef made[TLS_METHODS] = {
    [TLS_READ] = KEYWORDS("read", tls_read, "read($self, len=1024, buffer=None)\n--\n\n"),
    [TLS_WRITE] = KEYWORDS("write", tls_write, "write($self, data)\n--\n\n"),
    [TLS_SEND] = KEYWORDS("send", tls_send, "send($self, data, flags=0)\n--\n\n"),
    [TLS_DO_HANDSHAKE] = KEYWORDS("do_handshake", tls_do_handshake, "do_handshake($self, block=False)\n--\n\n"),
    [TLS_UNWRAP] = KEYWORDS("unwrap", tls_unwrap, "unwrap($self)\n--\n\n"),
};

static PyObject *tls_methods(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyTypeObject *type;
    PyObject *make_turn, *want_read, *want_write;

    if (!PyArg_ParseTuple(args, "O!OOO:tls_methods", &PyType_Type, &type, &make_turn, &want_read, &want_write))
        return NULL;
    if (!socket_object.base || !PyType_IsSubtype(type, socket_object.base))
        return PyErr_Format(PyExc_RuntimeError, "socket_methods() comes first");
    Py_XSETREF(tls.make_turn, Py_NewRef(make_turn));
    Py_XSETREF(tls.want_read, Py_NewRef(want_read));
    Py_XSETREF(tls.want_write, Py_NewRef(want_write));
    Py_XSETREF(tls.turn, PyUnicode_InternFromString("_lwp_turn"));
    PyObject *list = tls.turn ? PyList_New(0) : NULL;
    for (int method = 0; list && method < TLS_METHODS; method++)
        if (socket_add_method(list, type, &made[method], &tls.stock[method]) < 0)
            Py_CLEAR(list);
    return list;
}

static PyMethodDef functions[] = {
    {"tls_methods", tls_methods, METH_VARARGS,
     "(ssl.SSLSocket, RLock, SSLWantReadError, SSLWantWriteError): [(name, method), ...] for threads on a scheduler."},
    {0},
};

const struct entries entries_tls = {.functions = functions};
