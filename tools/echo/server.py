"""An echo server, a thread for each connection.  Prints its port and process id.  `gevent`: over gevent's threads."""

from __future__ import annotations

import sys

if "gevent" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import os
import resource
import socket
import threading
from contextlib import suppress

resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
threading.stack_size(256 << 10)


def echo(connection: socket.socket) -> None:
    with connection, suppress(ConnectionError):
        while data := connection.recv(1024):
            connection.sendall(data)


listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
print(listener.getsockname()[1], os.getpid(), flush=True)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
