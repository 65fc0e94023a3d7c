/* What a thread on a scheduler does in the methods of ssl.SSLSocket that wait: patch/blocking/tls_sockets.py says how, and why so. */
#include "kernel/base/park.h"
#include "python/rooms.h"
#include "python/green/sockets/transfer.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>

enum { TLS_READ, TLS_WRITE, TLS_SEND, TLS_DO_HANDSHAKE, TLS_UNWRAP, TLS_METHODS };

static struct {
    PyObject *want_read, *want_write; /* ssl.SSLWantReadError, ssl.SSLWantWriteError */
    PyObject *make_turn;              /* makes the lock */
    PyObject *stock[TLS_METHODS];
    PyObject *sslobj, *turn, *acquire, *release; /* names */
} tls;

/* As the stock messages name them. */
static const char *const operations[TLS_METHODS] = {"read", "write", "write", "handshake", "read"};

struct tls_call {
    PyObject *const *stack; /* as PyObject_Vectorcall() takes it, from the socket on */
    size_t count;
    PyObject *names;
    PyObject *turn; /* the lock that is held in each try */
    int method;
};

static void set_blocking(int fd, int blocks)
{
    ioctl(fd, FIONBIO, &(int){!blocks}); /* as CPython does it */
}

static PyObject *call_stock(const struct tls_call *c)
{
    return PyObject_Vectorcall(tls.stock[c->method], c->stack, c->count, c->names);
}

/* Without its argument `block`: the stock method would take the timeout 0 for the socket's own, and block. */
static PyObject *handshake(const struct tls_call *c)
{
    size_t given = c->count + (size_t)(c->names ? PyTuple_GET_SIZE(c->names) : 0);

    return given == 2 ? PyObject_CallOneArg(tls.stock[c->method], c->stack[0]) : call_stock(c);
}

/* With timeout 0: the call raises what it would have waited for. */
static PyObject *call_without_wait(const struct tls_call *c)
{
    PyObject *self = c->stack[0];
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

static int take_turn(const struct tls_call *c)
{
    PyObject *result = PyObject_CallMethodNoArgs(c->turn, tls.acquire);

    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Keeps an exception that is set. */
static void end_turn(const struct tls_call *c)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethodNoArgs(c->turn, tls.release);
    if (!result)
        PyErr_WriteUnraisable(c->turn);
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

/* One try.  The poller's count of events is read in the turn: no other thread's try comes between that and this one (green/poller.h).
 * The timeout is, too: that thread would have it at 0. */
static PyObject *try_in_turn(const struct tls_call *c, struct transfer *t, struct poller_try *attempt)
{
    if (take_turn(c) < 0)
        return NULL;
    *attempt = (struct poller_try){.owner = t->self, .fd = fd_of(t->self)};
    int is_first = t->deadline < 0;
    if (is_first)
        t->deadline = transfer_deadline(timeout_of(t->self));
    if (park_green)
        green_try(attempt);
    PyObject *result = NULL;
    if (attempt->fd < 0 && !is_first)
        transfer_raise_unless_woken(EBADF); /* another thread has closed it meanwhile */
    else
        result = attempt->fd >= 0 && timeout_of(t->self) != 0 ? call_without_wait(c) : call_stock(c);
    end_turn(c);
    return result;
}

/* As transfer_sleep(), also for a thread that has its LWP to itself. */
static int sleep_after_try(const struct transfer *t, const struct poller_try *attempt)
{
    unsigned found;

    return park_green ? transfer_sleep(t, attempt)
                      : scheduler_wait_fd(attempt->fd, t->sends ? POLLOUT : POLLIN, NULL, t->deadline, &found);
}

/* After an exception: 0, the call is to be made again; -1 with an exception. */
static int wait_after_try(struct transfer *t, const struct poller_try *attempt, const char *operation)
{
    if (!PyErr_ExceptionMatches(tls.want_read) && !PyErr_ExceptionMatches(tls.want_write))
        return -1;
    if (t->deadline == 0) /* the socket's own timeout is 0 */
        return -1;
    t->sends = PyErr_ExceptionMatches(tls.want_write);
    PyErr_Clear();
    int result = sleep_after_try(t, attempt);
    if (result != ETIMEDOUT)
        return transfer_raise_unless_woken(result);
    PyErr_Format(PyExc_TimeoutError, "The %s operation timed out", operation);
    return -1;
}

static PyObject *try_and_wait(struct tls_call *c)
{
    struct transfer t = {.self = c->stack[0], .deadline = -1};
    struct poller_try attempt = {0};
    PyObject *result;

    if (!(c->turn = turn_of(t.self)))
        return NULL;
    while (!(result = try_in_turn(c, &t, &attempt)) && wait_after_try(&t, &attempt, operations[c->method]) == 0)
        ;
    Py_DECREF(c->turn);
    return result;
}

/* ---- the methods ------------------------------------------------------------------------------------------------- */

static PyObject *tls_method(int method, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *stack[MOST_ARGUMENTS + 1] = {self};
    Py_ssize_t given = count + (names ? PyTuple_GET_SIZE(names) : 0);
    struct tls_call c = {stack, (size_t)count + 1, names, NULL, method};

    if (given > MOST_ARGUMENTS)
        return PyErr_Format(PyExc_TypeError, "%R got %zd arguments", tls.stock[method], given);
    memcpy(stack + 1, args, (size_t)given * sizeof *stack);
    /* A stock call would find another thread's try in its way, and raise SSLWantReadError for the timeout 0. */
    if (!scheduler_may_block() && !PyObject_HasAttr(self, tls.turn))
        return call_stock(&c);
    PyObject *sslobj = PyObject_GetAttr(self, tls.sslobj);
    if (!sslobj)
        return NULL;
    int is_plain = sslobj == Py_None;
    Py_DECREF(sslobj);
    return is_plain ? call_stock(&c) : try_and_wait(&c);
}

static PyObject *tls_read(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return tls_method(TLS_READ, self, args, count, names);
}

static PyObject *tls_write(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return tls_method(TLS_WRITE, self, args, count, names);
}

static PyObject *tls_send(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return tls_method(TLS_SEND, self, args, count, names);
}

static PyObject *tls_do_handshake(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return tls_method(TLS_DO_HANDSHAKE, self, args, count, names);
}

static PyObject *tls_unwrap(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    return tls_method(TLS_UNWRAP, self, args, count, names);
}

static PyMethodDef made[TLS_METHODS] = {
    [TLS_READ] = KEYWORDS("read", tls_read, "read($self, len=1024, buffer=None)\n--\n\n"),
    [TLS_WRITE] = KEYWORDS("write", tls_write, "write($self, data)\n--\n\n"),
    [TLS_SEND] = KEYWORDS("send", tls_send, "send($self, data, flags=0)\n--\n\n"),
    [TLS_DO_HANDSHAKE] = KEYWORDS("do_handshake", tls_do_handshake, "do_handshake($self, block=False)\n--\n\n"),
    [TLS_UNWRAP] = KEYWORDS("unwrap", tls_unwrap, "unwrap($self)\n--\n\n"),
};

static int add_method(PyObject *list, int method, PyTypeObject *type)
{
    PyObject *stock = PyObject_GetAttrString((PyObject *)type, made[method].ml_name);

    if (!stock)
        return -1;
    Py_XSETREF(tls.stock[method], stock);
    PyObject *descriptor = PyDescr_NewMethod(type, &made[method]);
    PyObject *pair = descriptor ? Py_BuildValue("(sN)", made[method].ml_name, descriptor) : NULL;
    int result = pair ? PyList_Append(list, pair) : -1;
    Py_XDECREF(pair);
    return result;
}

static int make_names(void)
{
    return (tls.sslobj = PyUnicode_InternFromString("_sslobj")) && (tls.turn = PyUnicode_InternFromString("_lwp_turn"))
                   && (tls.acquire = PyUnicode_InternFromString("acquire")) && (tls.release = PyUnicode_InternFromString("release"))
               ? 0
               : -1;
}

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
    PyObject *list = make_names() < 0 ? NULL : PyList_New(0);
    for (int method = 0; list && method < TLS_METHODS; method++)
        if (add_method(list, method, type) < 0)
            Py_CLEAR(list);
    return list;
}

static PyMethodDef tls_functions[] = {
    {"tls_methods", tls_methods, METH_VARARGS,
     "(ssl.SSLSocket, RLock, SSLWantReadError, SSLWantWriteError): [(name, method), ...] for threads on a scheduler."},
    {0},
};

int python_add_tls(PyObject *module)
{
    return PyModule_AddFunctions(module, tls_functions);
}
