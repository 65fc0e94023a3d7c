/* What a thread on a scheduler does in the methods of socket.socket that wait.
 *
 * THE DESIGN.  Each makes its system call at once, with MSG_DONTWAIT, and waits in the scheduler's poller only after EAGAIN, or if the call
 * before has shown that nothing is left (green/poller.h).  The descriptor's own mode stays as it is.  recv, recv_into, send and sendall
 * make the call here (stream.c).  The others have CPython's own method make it, which knows addresses and ancillary data, so that it never
 * waits (trial.c, connect.c).
 *
 * They are method descriptors in the dictionary of the class socket.socket (patch/blocking/sockets.py), over those that it inherits from
 * _socket.socket.  A thread that has its LWP to itself, a socket with timeout 0, flags that say not to wait, and what the stock method
 * would refuse go on to the inherited one.
 *
 * REJECTED.  The way of python/reading/swap.h, which changes _socket's PyMethodDef: it would reach sockets that don't tell when they close. */
#ifndef RUNTIME_PYTHON_SOCKETS_TRANSFER_H
#define RUNTIME_PYTHON_SOCKETS_TRANSFER_H

#include "green/green.h"
#include "python/python.h"
#include "python/green/io/sockets/object.h"
#include "python/green/io/tries.h"

#include <stdint.h>
#include <sys/types.h>

/* ---- the methods ------------------------------------------------------------------------------------------------- */

enum { MOST_ARGUMENTS = 8 };

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

extern struct socket_methods {
    PyObject *stock[METHODS]; /* what socket.socket inherits */
    PyObject *look_up;        /* (socket, address): the address with its host by number; of Python, since a helper does it */
} socket_methods;

typedef PyObject *socket_method(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

socket_method socket_recv, socket_recv_into, socket_send, socket_sendall;
socket_method socket_recvfrom, socket_recvfrom_into, socket_recvmsg, socket_recvmsg_into, socket_sendto, socket_sendmsg;
socket_method socket_connect, socket_connect_ex;
PyObject *socket_accept(PyObject *self, PyObject *unused);

/* Calls a stock method. */
PyObject *socket_call(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

/* Calls the method that socket_way() has returned. */
PyObject *socket_go_way(PyObject *way, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

/* recv_into and recvfrom_into, which alone take keywords, for a call that has some. */
PyObject *socket_by_position(int method, socket_method *call, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

/* A method of `type` for the list, as (name, descriptor), in place of *stock.  0, or -1 with an exception. */
int socket_add_method(PyObject *list, PyTypeObject *type, PyMethodDef *def, PyObject **stock);

/* ---- one call ---------------------------------------------------------------------------------------------------- */

struct transfer {
    PyObject *self;
    char *data;    /* NULL: recv's, and *bytes are made for it */
    size_t size, done; /* of the bytes */
    int flags, sends;
    int all;       /* it sends until all is sent */
    int error;     /* why a wait has ended: ETIMEDOUT, EBADF, ...; 0: it has not, or by what a signal handler raised */
    int64_t deadline;
    const char *operation; /* what has timed out, in the message */
    PyObject *bytes;
    struct poller_try attempt;
};

/* Which way a call goes.  NULL: this way, and the caller has a transfer with self, flags and deadline; otherwise the stock method.  flags:
 * an argument, or NULL. */
PyObject *socket_way(int method, PyObject *self, PyObject *flags, PyObject *names, struct transfer *t);

/* Has the stock method make the call, so that it doesn't wait (trial.c). */
PyObject *socket_try(int method, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

/* The end of a socket's timeout that begins now. */
int64_t transfer_deadline(int64_t timeout);

/* The system calls of recv, recv_into, send and sendall, until one has succeeded, or all is sent.  0, or -1 with an exception. */
int transfer_run(struct transfer *t);

/* The beginning of each try.  0: the call is made now; otherwise what the try has found. */
enum tried transfer_begin(struct transfer *t);

/* A wait after a try, for try_until_done(), of what begins with a struct transfer: until the poller says that a call may succeed. */
enum tried transfer_wait(void *transfer);

/* The same for a Unix socket whose peer's queue is full: nothing says when it isn't, since poll(2) finds the sender writable. */
enum tried transfer_wait_a_moment(struct transfer *t);

/* What comes of a sleep's result: 0, an errno, or -1 with an exception. */
enum tried transfer_woken(struct transfer *t, int result);

/* ---- addresses --------------------------------------------------------------------------------------------------- */

/* Replaces a host's name in the address by its number, because the stock method would look the name up, and block this LWP.  -1 with an
 * exception. */
int socket_look_up(PyObject *self, PyObject **address);

/* Of level SOL_SOCKET; -1: it can't be had. */
int socket_option(int fd, int option);

#endif
