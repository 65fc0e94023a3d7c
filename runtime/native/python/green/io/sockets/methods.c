/* The methods of socket.socket that are made here, as a list for patch/blocking/sockets.py, and the two that end a socket. */
#include "green/green.h"
#include "python/room.h"
#include "python/green/io/sockets/transfer.h"

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
    [RECV] = KEYWORDS("recv", socket_recv, NULL),
    [RECV_INTO] = KEYWORDS("recv_into", socket_recv_into, NULL),
    [SEND] = KEYWORDS("send", socket_send, NULL),
    [SENDALL] = KEYWORDS("sendall", socket_sendall, NULL),
    [ACCEPT] = {"_accept", socket_accept, METH_NOARGS, NULL},
    [RECVFROM] = KEYWORDS("recvfrom", socket_recvfrom, NULL),
    [RECVFROM_INTO] = KEYWORDS("recvfrom_into", socket_recvfrom_into, NULL),
    [RECVMSG] = KEYWORDS("recvmsg", socket_recvmsg, NULL),
    [RECVMSG_INTO] = KEYWORDS("recvmsg_into", socket_recvmsg_into, NULL),
    [SENDTO] = KEYWORDS("sendto", socket_sendto, NULL),
    [SENDMSG] = KEYWORDS("sendmsg", socket_sendmsg, NULL),
    [CONNECT] = KEYWORDS("connect", socket_connect, NULL),
    [CONNECT_EX] = KEYWORDS("connect_ex", socket_connect_ex, NULL),
    [DETACH] = KEYWORDS("detach", socket_detach, NULL),
    [DEL] = KEYWORDS("__del__", socket_del, NULL),
};

int socket_add_method(PyObject *list, PyTypeObject *type, PyMethodDef *def, PyObject **stock)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, def->ml_name);

    if (!found)
        return -1;
    if (Py_IS_TYPE(found, &PyMethodDescr_Type))
        def->ml_doc = ((PyMethodDescrObject *)found)->d_method->ml_doc;
    Py_XSETREF(*stock, found);
    PyObject *made = PyDescr_NewMethod(type, def), *pair = made ? Py_BuildValue("(sN)", def->ml_name, made) : NULL;
    int result = pair ? PyList_Append(list, pair) : -1;
    Py_XDECREF(pair);
    return result;
}

static PyObject *list_methods(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyTypeObject *type;
    PyObject *look_up;

    if (!PyArg_ParseTuple(args, "O!O:socket_methods", &PyType_Type, &type, &look_up) || socket_object_find(type->tp_base) < 0)
        return NULL;
    Py_XSETREF(socket_methods.look_up, Py_NewRef(look_up));
    PyObject *list = PyList_New(0);
    for (int method = 0; list && method < METHODS; method++)
        if (socket_add_method(list, type, &methods[method], &socket_methods.stock[method]) < 0)
            Py_CLEAR(list);
    return list;
}

static PyMethodDef functions[] = {
    {"socket_methods", list_methods, METH_VARARGS,
     "(socket.socket, look_up): [(name, method), ...] for threads on a scheduler.  look_up(socket, address): the address, its host by\n"
     "number.  RuntimeError: socket objects are not as expected."},
    {0},
};

const struct entries entries_sockets = {.functions = functions};
