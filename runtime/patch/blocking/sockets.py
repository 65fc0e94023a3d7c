"""The methods of socket.socket that wait: connecting, accepting, receiving and sending.

They are in C (native/python/green/io/sockets); here are the host names that they meet, and sendfile.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from typing import Any

from ... import native
from .files import PART, pread
from .names import getaddrinfo
from .stand_in import METHODS, may_block, replaces


def _looked_up(self: socket.socket, address: Any) -> Any:
    """The address of a host with a name, its host by number.  What is no port the stock call raises for."""
    host, port, *_ = address
    if not isinstance(port, int) or not 0 <= port < 1 << 16:
        return address
    return getaddrinfo(host, port, self.family, self.type, self.proto)[0][4]


METHODS += [(socket.socket, name, method) for name, method in native.socket_methods(socket.socket, _looked_up)]


_stock_sendfile = socket.socket.sendfile


@replaces(socket.socket, "sendfile")
def _sendfile(self: socket.socket, file: Any, offset: int = 0, count: int | None = None) -> int:
    """By pread and send: see _send_by_parts() of files.py."""
    if not may_block():
        return _stock_sendfile(self, file, offset, count)
    try:
        is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError):  # io.UnsupportedOperation is one
        is_file = False
    if not is_file or self.gettimeout() == 0:
        return int(self._sendfile_use_send(file, offset, count))  # type: ignore[attr-defined]
    self._check_sendfile_params(file, offset, count)  # type: ignore[attr-defined]
    sent, most = 0, sys.maxsize if count is None else count
    try:
        while sent < most and (part := pread(file.fileno(), min(most - sent, PART), offset + sent)):
            while part:  # with a timeout, send() may take less
                sent += (length := self.send(part))
                part = memoryview(part)[length:]
    finally:
        if sent:
            file.seek(offset + sent)
    return sent
