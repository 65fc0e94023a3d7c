/* The methods of socket.socket that are made here, as a list for patch/blocking/sockets.py, and the two that end a socket. */
#include "green/green.h"
#include "python/rooms.h"
#include "python/green/sockets/transfer.h"

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Called when a socket object gives its descriptor away or dies without close().  The poller knows a registration by (object address,
 * number), and another socket may get both.  socket.close() tells the pollers itself (patch/blocking/closing.py). */
static PyObject *socket_detach(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int fd = fd_of(self);

    if (fd >= 0)
        green_fd_disowned(fd);
    return socket_call(socket_methods.stock[DETACH], self, args, count, names);
}

static PyObject *socket_del(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int fd = fd_of(self);

    if (fd >= 0)
        green_fd_closing(fd);
    PyObject *result = socket_call(socket_methods.stock[DEL], self, args, count, names);
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
    Py_XSETREF(socket_methods.stock[method], stock);
    Py_XSETREF(socket_methods.other[method], Py_NewRef(other ? other : stock));
    PyObject *made = PyDescr_NewMethod(type, def), *pair = made ? Py_BuildValue("(sN)", def->ml_name, made) : NULL;
    int result = pair ? PyList_Append(list, pair) : -1;
    Py_XDECREF(pair);
    return result;
}

static PyObject *list_methods(PyObject *module, PyObject *args)
{
    PyTypeObject *type;
    PyObject *others;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!:socket_methods", &PyType_Type, &type, &PyDict_Type, &others))
        return NULL;
    if (!socket_object.fd)
        return PyErr_Format(PyExc_RuntimeError, "socket_object_at() comes first");
    socket_object.base = type->tp_base;
    PyObject *list = PyList_New(0);
    for (int method = 0; list && method < METHODS; method++)
        if (add_method(list, method, type, others) < 0)
            Py_CLEAR(list);
    return list;
}

static PyMethodDef functions[] = {
    {"socket_methods", list_methods, METH_VARARGS,
     "(socket.socket, {name: function}): [(name, method), ...] for threads on a scheduler.  What they don't do is done by the\n"
     "functions."},
    {0},
};

int python_add_sockets(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
