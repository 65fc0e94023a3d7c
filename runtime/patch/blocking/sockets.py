"""The methods of socket.socket that wait: connecting, accepting, receiving and sending.

They are in C (native/python/sockets), for their usual arguments; what is here they call for rare flags and for
names to look up, and it stands in for them where a socket object can't be read from C.  sendfile is here alone.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ... import native
from . import socket_object
from .files import PART, pread
from .names import getaddrinfo, is_numeric
from .stand_in import METHODS, may_block, replaces
from .waiting import IN, OUT, Patience, wait_until_ready

_stock_send, _stock_connect_ex = socket.socket.send, socket.socket.connect_ex

#: Where the flags stand among the arguments.
_FLAGS = {"_accept": 0, "recv": 1, "recvfrom": 1, "recv_into": 2, "recvfrom_into": 2, "recvmsg": 2, "recvmsg_into": 2}

_NEVER_WAIT = socket.MSG_DONTWAIT | socket.MSG_OOB | socket.MSG_ERRQUEUE


def _only_tries(timeout: float | None, flags: Any) -> bool:
    """Whether the call doesn't wait, or is refused for its flags."""
    return timeout == 0 or not isinstance(flags, int) or bool(flags & _NEVER_WAIT)


@replaces(socket.socket, "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "_accept")
def _receive(stock: Any, self: socket.socket, *args: Any, **kwargs: Any) -> Any:
    flags = kwargs.get("flags", args[_FLAGS[stock.__name__]] if len(args) > _FLAGS[stock.__name__] else 0)
    if not _only_tries(timeout := self.gettimeout(), flags):  # the stock call raises if it is closed
        wait_until_ready(self.fileno(), IN, Patience(timeout))
    return stock(self, *args, **kwargs)


def _send(call: Callable[[int], Any], sock: socket.socket, patience: Patience) -> Any:
    """call(MSG_DONTWAIT), as soon as some bytes fit; without that flag it would block until all do."""
    while True:
        wait_until_ready(sock.fileno(), OUT, patience)
        with suppress(BlockingIOError):
            return call(socket.MSG_DONTWAIT)


def _send_flagged(sock: socket.socket, data: Any, flags: int, flag: int) -> int:
    return _stock_send(sock, data, flags | flag)


@replaces(socket.socket, "send")
def _socket_send(stock: Any, self: socket.socket, data: Any, flags: int = 0, /) -> int:
    if _only_tries(timeout := self.gettimeout(), flags):
        return int(stock(self, data, flags))
    return int(_send(partial(_send_flagged, self, data, flags), self, Patience(timeout)))


@replaces(socket.socket, "sendall")
def _socket_sendall(stock: Any, self: socket.socket, data: Any, flags: int = 0, /) -> None:
    timeout = self.gettimeout()
    if _only_tries(timeout, flags) or self.fileno() < 0 or (rest := _bytes_of(data)) is None or not len(rest):
        return stock(self, data, flags)  # type: ignore[no-any-return]
    patience, sent = Patience(timeout), 0
    with rest:
        while sent < len(rest) and may_block():
            sent += _send(partial(_send_flagged, self, rest[sent:], flags), self, patience)


def _bytes_of(data: Any) -> memoryview | None:
    """None if it is no bytes-like object, or not contiguous: the stock call raises for it."""
    try:
        view = memoryview(data)
    except TypeError:
        return None
    if not view.c_contiguous:
        return None
    try:
        return view.cast("B")
    except TypeError:  # of an odd format, as ctypes' arrays have it, or empty
        return memoryview(view.tobytes())


@replaces(socket.socket, "sendto")
def _socket_sendto(stock: Any, self: socket.socket, data: Any, *flags_and_address: Any) -> int:
    flags, address = (0, 0, *flags_and_address)[-2:]
    if not 1 <= len(flags_and_address) <= 2 or _only_tries(timeout := self.gettimeout(), flags):
        return int(stock(self, data, *flags_and_address))
    patience, address = Patience(timeout), _looked_up(self, address)
    return int(_send(lambda flag: stock(self, data, flags | flag, address), self, patience))


@replaces(socket.socket, "sendmsg")
def _socket_sendmsg(
    stock: Any, self: socket.socket, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None, /
) -> int:
    if _only_tries(timeout := self.gettimeout(), flags):
        return int(stock(self, buffers, ancillary, flags, address))
    patience, address = Patience(timeout), _looked_up(self, address)
    return int(_send(lambda flag: stock(self, buffers, ancillary, flags | flag, address), self, patience))


@replaces(socket.socket, "sendfile")
def _socket_sendfile(stock: Any, self: socket.socket, file: Any, offset: int = 0, count: int | None = None) -> int:
    """By pread and send: see _send_by_parts() of files.py."""
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


def _connect(self: socket.socket, address: Any) -> int:
    """0 or errno."""
    timeout = self.gettimeout()
    if timeout == 0 or self.fileno() < 0:
        return _stock_connect_ex(self, address)
    patience = Patience(timeout)
    address = _looked_up(self, address)
    while (error := _connect_now(self, address, timeout)) == errno.EAGAIN:
        native.sleep(0.001)  # the backlog of a Unix socket is full, and there is nothing to wait for
        if patience.left() == 0:
            raise TimeoutError("timed out")
    if error != errno.EINPROGRESS:
        return error
    wait_until_ready(self.fileno(), OUT, patience)
    # A second connect() returns the result of the first; SO_ERROR would leave the socket unfit for another try.
    error = _connect_now(self, address, timeout)
    return 0 if error == errno.EISCONN else error


def _connect_now(self: socket.socket, address: Any, timeout: float | None) -> int:
    self.settimeout(0)
    try:
        return _stock_connect_ex(self, address)
    finally:
        self.settimeout(timeout)


def _looked_up(self: socket.socket, address: Any) -> Any:
    """The address, its host by number.  The stock call raises for what is no address at all."""
    if self.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple) or len(address) < 2:
        return address
    host, port, *_ = address
    if not isinstance(host, str) or not isinstance(port, int) or not 0 <= port < 1 << 16:
        return address
    if host in ("", "<broadcast>") or is_numeric(self.family, address):
        return address
    return getaddrinfo(host, port, self.family, self.type, self.proto)[0][4]


@replaces(socket.socket, "connect")
def _socket_connect(stock: Any, self: socket.socket, address: Any, /) -> None:
    if self.gettimeout() == 0:
        return stock(self, address)  # type: ignore[no-any-return]
    try:
        error = _connect(self, address)
    except (OverflowError, TypeError):  # no address: the stock connect() raises in its own name
        return stock(self, address)  # type: ignore[no-any-return]
    if error:
        raise OSError(error, os.strerror(error))


@replaces(socket.socket, "connect_ex")
def _socket_connect_ex(stock: Any, self: socket.socket, address: Any, /) -> int:
    try:
        return _connect(self, address)
    except TimeoutError:
        return errno.EAGAIN
    except OSError as error:
        if error.errno != errno.EBADF:  # else it was closed meanwhile
            raise
        return errno.EBADF


if socket_object.is_known():
    _others = {name: method for cls, name, method in METHODS if cls is socket.socket}
    _quick = native.socket_methods(socket.socket, _others)
    METHODS[:] = [entry for entry in METHODS if entry[0] is not socket.socket or entry[1] not in dict(_quick)]
    METHODS += [(socket.socket, name, method) for name, method in _quick]
