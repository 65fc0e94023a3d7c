/* What is in an object of _socket.socket: CPython doesn't publish where. */
#ifndef RUNTIME_PYTHON_SOCKETS_OBJECT_H
#define RUNTIME_PYTHON_SOCKETS_OBJECT_H

#include "python/python.h"

#include <string.h>

extern struct socket_object {
    size_t fd, timeout; /* offsets */
    PyTypeObject *base; /* _socket.socket; NULL before socket_object_find() */
} socket_object;

/* Finds both places, in an object with known values.  0, or -1 with an exception that says that they can't be found. */
int socket_object_find(PyTypeObject *base);

static inline int fd_of(PyObject *socket)
{
    int fd;

    memcpy(&fd, (char *)socket + socket_object.fd, sizeof fd);
    return fd;
}

/* ns; negative: none */
static inline int64_t timeout_of(PyObject *socket)
{
    int64_t timeout;

    memcpy(&timeout, (char *)socket + socket_object.timeout, sizeof timeout);
    return timeout;
}

static inline void set_timeout(PyObject *socket, int64_t timeout)
{
    memcpy((char *)socket + socket_object.timeout, &timeout, sizeof timeout);
}

/* A socket object with timeout 0 on the same descriptor, for one call.  CPython calls poll(2) before each call on a socket with a timeout,
 * for that timeout, and the LWP would sleep there.  The descriptor is in non-blocking mode then, so only the object's timeout says that
 * it should wait.  That timeout can't be set to 0 meanwhile, because other threads may use the object.  NULL with an exception. */
PyObject *socket_twin(PyObject *socket);
void socket_end_twin(PyObject *twin);

#endif
