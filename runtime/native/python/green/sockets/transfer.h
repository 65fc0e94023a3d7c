/* What a thread on a scheduler does in the methods of socket.socket that wait.
 *
 * THE DESIGN.  Each makes its system call at once, with MSG_DONTWAIT, and waits in the scheduler's poller only after EAGAIN, or if the call
 * before has shown that nothing is left (green/poller.h).  The descriptor's own mode stays as it is.  recv, recv_into, send and sendall
 * make the call here (stream.c).  The others have CPython's own method make it, which knows addresses and ancillary data, so that it never
 * waits (trial.c, connect.c).
 *
 * They are method descriptors in the dictionary of the class socket.socket (patch/blocking/sockets.py), over those that it inherits from
 * _socket.socket.  A thread that has its LWP to itself, a socket with timeout 0, and what the stock method would refuse go on to the
 * inherited one.  Rare flags, which change what a short or a blocking call means, go on to `other`: the way through Python.
 *
 * REJECTED.  The way of python/explore/swap.h, which changes _socket's PyMethodDef: it would reach sockets that don't tell when they close.
 *
 * If a socket object can't be read (object.h) there are no such methods, and all calls go through Python. */
#ifndef RUNTIME_PYTHON_SOCKETS_TRANSFER_H
#define RUNTIME_PYTHON_SOCKETS_TRANSFER_H

#include "green/green.h"
#include "python/python.h"
#include "python/green/sockets/object.h"

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
    PyObject *other[METHODS]; /* through Python */
} socket_methods;

typedef PyObject *socket_method(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

socket_method socket_recv, socket_recv_into, socket_send, socket_sendall;
socket_method socket_recvfrom, socket_recvfrom_into, socket_recvmsg, socket_recvmsg_into, socket_sendto, socket_sendmsg;
socket_method socket_connect, socket_connect_ex;
PyObject *socket_accept(PyObject *self, PyObject *unused);

/* Calls one of `stock` or `other`. */
PyObject *socket_call(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names);

/* ---- one call ---------------------------------------------------------------------------------------------------- */

struct transfer {
    PyObject *self;
    char *data;
    size_t size;
    int flags, sends;
    int64_t deadline;
};

/* Who goes this way.  NULL: the caller does, and has a transfer with self, flags and deadline.  Else what to call.  names: no keywords are
 * taken here.  flags: an argument, or NULL. */
PyObject *socket_way(int method, PyObject *self, PyObject *flags, PyObject *names, struct transfer *t);

/* The end of a socket's timeout that begins now. */
int64_t transfer_deadline(int64_t timeout);

/* Waits if the descriptor is known to have nothing: 1, the caller makes its call; 0, it asks again; -1 with an exception. */
int transfer_begin(const struct transfer *t, struct poller_try *attempt);

/* With the GIL for no more than it takes to copy a little.  What recv(2) or send(2) returned, with errno. */
ssize_t transfer_now(const struct transfer *t, int fd);

/* After a call: 1, it is done; 0, it is to be made again; -1 with an exception. */
int transfer_end(const struct transfer *t, const struct poller_try *attempt, ssize_t length);

/* The three in turn, until it is done.  The number of bytes, or -1 with an exception.  transfer_all: until all are sent; 0, or -1. */
ssize_t transfer_once(const struct transfer *t);
int transfer_all(struct transfer *t);

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* Until the poller says that a call may succeed: 0, or why the wait has ended: ETIMEDOUT, EBADF, ...; -1 with what a signal handler
 * raised. */
int transfer_sleep(const struct transfer *t, const struct poller_try *attempt);

/* The same for a Unix socket whose peer's queue is full: nothing says when it isn't, for poll(2) finds the sender writable. */
int transfer_sleep_a_moment(const struct transfer *t);

/* What came of a sleep: 0, or -1 with an exception. */
int transfer_raise_unless_woken(int result);

int transfer_wait(const struct transfer *t, const struct poller_try *attempt); /* transfer_sleep(), and this */

/* ---- addresses --------------------------------------------------------------------------------------------------- */

/* Whether its host is to be looked up, which the stock method would do on this LWP. */
int socket_is_name(PyObject *self, PyObject *address);

/* Of level SOL_SOCKET; -1: it can't be had. */
int socket_option(int fd, int option);

#endif
