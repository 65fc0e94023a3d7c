"""Calls of the standard library that block, for threads on a scheduler: they leave the LWP to the others.

A call that would block waits first, by wait_fd(), until it won't.  One that is ready at once lets others run when its
thread has kept the LWP for a millisecond (native.may_block()).  In a thread that has its LWP to itself each is the
stock call.  `install(green=True)` puts them in their places: STAND_INS wherever a module has the stock one, METHODS in
the classes.  Open files on pipes are in streams.py.  What is in neither blocks the LWP: files on disks, opening
a named pipe, signal.pause, os.waitid, os.wait3, os.wait4, C code of others, the stock locks in C code.
"""

from __future__ import annotations

import errno
import fcntl
import os
import queue
import select
import selectors
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any

from . import native, streams
from .spawn import spawn
from .streams import would_block

__all__ = ["METHODS", "STAND_INS"]

#: (stock, what stands in for it)
STAND_INS: list[tuple[Any, Any]] = [(time.sleep, native.sleep), *streams.STAND_INS]
#: (class, name of the method, what stands in for it)
METHODS: list[tuple[type[Any], str, Any]] = []

_may_block = native.may_block
_IN, _OUT = select.POLLIN, select.POLLOUT


def _stands_in_for(stock: Any) -> Callable[[Any], Any]:
    """For a function that is called in a thread on a scheduler; in others the stock one is."""

    def decorate(function: Any) -> Any:
        @wraps(stock)
        def call(*args: Any, **kwargs: Any) -> Any:
            if _may_block():
                try:
                    return function(*args, **kwargs)
                except TypeError as error:
                    if not _is_refused(error):
                        raise
            return stock(*args, **kwargs)

        STAND_INS.append((stock, call))
        return call

    return decorate


def _is_refused(error: TypeError) -> bool:
    """Whether the arguments didn't fit the function that the caller called: the stock one says so in its own name."""
    assert error.__traceback__ is not None
    return error.__traceback__.tb_next is None


def _replaces(cls: type[Any], *names: str) -> Callable[[Any], Any]:
    """The same for methods: function(stock, self, ...)."""

    def decorate(function: Any) -> Any:
        for name in names:
            METHODS.append((cls, name, _method(getattr(cls, name), function)))
        return function

    return decorate


def _method(stock: Any, function: Any) -> Any:
    @wraps(stock)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _may_block():
            try:
                return function(stock, self, *args, **kwargs)
            except TypeError as error:
                if not _is_refused(error):
                    raise
        return stock(self, *args, **kwargs)

    return method


class _Patience:
    """What is left of a timeout in seconds; None has no end."""

    def __init__(self, timeout: float | None) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0)


def _wait(fd: int, events: int, patience: _Patience) -> None:
    """Until nothing of that fd would block; another thread may have been quicker when it had its turn.

    TimeoutError as a socket's.  OSError EBADF: it was closed meanwhile; the number may be another file's by now.
    """
    while not native.fd_ready(fd, events):
        if not native.wait_fd(fd, events, patience.left()):
            raise TimeoutError("timed out")


def _ask(attempt: Callable[[], Any], patience: _Patience) -> Any:
    """What attempt() gives when that is true, or at the end of patience: nothing tells when it has come to that."""
    pause = 0.0001
    while not (found := attempt()) and patience.left() != 0:
        native.sleep(pause)
        pause = min(pause * 2, 0.02)
    return found


def _on_lwp(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Called in a thread with an LWP of its own, while the caller's goes on with others."""
    result: list[Any] = []

    def call() -> None:
        try:
            result.extend((function(*args, **kwargs), None))
        except BaseException as error:
            result.extend((None, error))

    spawn(call).join()
    value, error = result
    if error is not None:
        raise error
    return value


# ---- what ends a wait for a descriptor -------------------------------------------------------------------------------


class _Wait:
    """A select() or poll() that waits, see _wait_for_any()."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._signal = -1
        self.closed: set[int] = set()  # of its descriptors, those that were closed meanwhile

    def note_closing(self, fd: int) -> None:
        """Whether the thread sleeps by now or will later: from here on the epoll is ready."""
        self.closed.add(fd)
        if self._signal < 0:
            self._signal = os.eventfd(1)
            with suppress(ValueError):  # it was left meanwhile
                self._epoll.register(self._signal, _IN)

    def __del__(self) -> None:
        if self._signal >= 0:
            _stock_close(self._signal)


#: For each descriptor: those that wait for it.
_waits: dict[int, set[_Wait]] = {}


def _close(fd: int, close: Callable[[], Any]) -> Any:
    """close(), and the green threads that wait for the descriptor get EBADF; those of stock threads wait on.

    The kernel says nothing to those who wait in an epoll for what is closed.
    """
    for wait in tuple(_waits.get(fd, ())):
        wait.note_closing(fd)
    native.fd_closing(fd)
    try:
        return close()
    finally:
        native.fd_closed(fd)


def _closes(stock: Any) -> Any:
    """For a function that closes a descriptor, in all threads."""

    @wraps(stock)
    def call(*args: Any, **kwargs: Any) -> Any:
        fd = args[0] if args else kwargs.get("fd")
        return _close(fd, partial(stock, *args, **kwargs)) if isinstance(fd, int) else stock(*args, **kwargs)

    return call


def _closing_method(stock: Any) -> Any:
    """For a method that closes the descriptor that fileno() gives, in all threads."""

    @wraps(stock)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            fd = self.fileno() if getattr(self, "closefd", True) else -1
        except ValueError:  # it is closed
            fd = -1
        close = partial(stock, self, *args, **kwargs)
        return _close(fd, close) if isinstance(fd, int) and fd >= 0 else close()  # a test may have a mock there

    return method


_stock_close = os.close
STAND_INS += [(stock, _closes(stock)) for stock in (os.close, socket.close)]
METHODS += [
    (cls, name, _closing_method(getattr(cls, name)))
    for cls, name in ((socket.socket, "_real_close"), (selectors.EpollSelector, "close"), (streams.Raw, "close"))
]


# ---- files and processes ---------------------------------------------------------------------------------------------


@_stands_in_for(os.read)
def _read(fd: int, length: int, /) -> bytes:
    if not native.fd_ready(fd, _IN) and would_block(fd):
        _wait(fd, _IN, _Patience(None))
    return _stock_read(fd, length)


@_stands_in_for(os.readv)
def _readv(fd: int, buffers: Any, /) -> int:
    if not native.fd_ready(fd, _IN) and would_block(fd):
        _wait(fd, _IN, _Patience(None))
    return _stock_readv(fd, buffers)


@_stands_in_for(os.write)
def _write(fd: int, data: Any, /) -> int:
    if not stat.S_ISFIFO(os.fstat(fd).st_mode) or not os.get_blocking(fd):
        return _stock_write(fd, data)
    try:
        view = memoryview(data).cast("B")
    except TypeError:
        return _stock_write(fd, data)  # says it
    written = 0
    with view as rest:
        while written < len(rest) and _may_block():  # a pipe that is ready takes so much without blocking (pipe(7))
            _wait(fd, _OUT, _Patience(None))
            written += _stock_write(fd, rest[written : written + select.PIPE_BUF])
    return written


@_stands_in_for(os.waitpid)
def _waitpid(pid: int, options: int, /) -> tuple[int, int]:
    found = _stock_waitpid(pid, options | os.WNOHANG)  # says, too, what is no child of ours
    if found[0] or options & os.WNOHANG:
        return found
    if pid > 0 and not options:
        with suppress(OSError):  # no memory, or descriptors: then it is done as for many
            fd = os.pidfd_open(pid)
            try:
                native.wait_fd(fd, _IN)
            finally:
                os.close(fd)

    def attempt() -> tuple[int, int] | None:
        found = _stock_waitpid(pid, options | os.WNOHANG)
        return found if found[0] else None

    result: tuple[int, int] = _ask(attempt, _Patience(None))
    return result


@_stands_in_for(os.wait)
def _wait_any() -> tuple[int, int]:
    found: tuple[int, int] = _waitpid(-1, 0)
    return found


_stock_read, _stock_readv, _stock_write, _stock_waitpid, _stock_system = (
    os.read,
    os.readv,
    os.write,
    os.waitpid,
    os.system,
)


@_stands_in_for(os.system)
def _system(command: Any) -> int:
    return int(_on_lwp(_stock_system, command))


try:
    import _multiprocessing  # type: ignore[import-not-found]
except ImportError:
    pass
else:

    class _SemLock(_multiprocessing.SemLock):  # type: ignore[misc]
        """Of multiprocessing's locks and queues."""

        def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
            if not _may_block() or not block:
                return bool(super().acquire(block, timeout))
            return bool(_ask(partial(super().acquire, False), _Patience(timeout)))

        def __enter__(self) -> bool:
            return self.acquire()

    STAND_INS.append((_multiprocessing.SemLock, _SemLock))


def _lock_file(stock: Any, fd: Any, operation: int, *rest: Any) -> None:
    def attempt() -> bool:
        try:
            stock(fd, operation | fcntl.LOCK_NB, *rest)
        except BlockingIOError:
            return False
        return True

    if operation & (fcntl.LOCK_NB | fcntl.LOCK_UN):
        stock(fd, operation, *rest)
    else:
        _ask(attempt, _Patience(None))


for _lock in (fcntl.flock, fcntl.lockf):
    _stands_in_for(_lock)(partial(_lock_file, _lock))


# ---- signals ---------------------------------------------------------------------------------------------------------


_stock_sigtimedwait = signal.sigtimedwait


@_stands_in_for(signal.sigtimedwait)
def _sigtimedwait(signals: Any, timeout: float, /) -> Any:
    if timeout <= 0:
        return _stock_sigtimedwait(signals, timeout)
    return _ask(lambda: _stock_sigtimedwait(signals, 0), _Patience(timeout))


@_stands_in_for(signal.sigwaitinfo)
def _sigwaitinfo(signals: Any, /) -> Any:
    return _ask(lambda: _stock_sigtimedwait(signals, 0), _Patience(None))


@_stands_in_for(signal.sigwait)
def _sigwait(signals: Any) -> signal.Signals:
    return signal.Signals(_sigwaitinfo(signals).si_signo)


# ---- sockets ---------------------------------------------------------------------------------------------------------


#: Where the flags stand among the arguments.
_FLAGS = {"accept": 0, "recv": 1, "recvfrom": 1, "recv_into": 2, "recvfrom_into": 2, "recvmsg": 2, "recvmsg_into": 2}


def _only_tries(timeout: float | None, flags: Any) -> bool:
    """Whether the call doesn't wait, or is refused for its flags."""
    return timeout == 0 or not isinstance(flags, int) or bool(flags & socket.MSG_DONTWAIT)


@_replaces(socket.socket, "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "accept")
def _receive(stock: Any, self: socket.socket, *args: Any, **kwargs: Any) -> Any:
    flags = kwargs.get("flags", args[_FLAGS[stock.__name__]] if len(args) > _FLAGS[stock.__name__] else 0)
    if not _only_tries(timeout := self.gettimeout(), flags):  # that it is closed, the stock call says
        _wait(self.fileno(), _IN, _Patience(timeout))
    return stock(self, *args, **kwargs)


def _send(call: Callable[[int], Any], sock: socket.socket, patience: _Patience) -> Any:
    """call(MSG_DONTWAIT), as soon as something fits: without that flag it would wait until all does."""
    while True:
        _wait(sock.fileno(), _OUT, patience)
        with suppress(BlockingIOError):
            return call(socket.MSG_DONTWAIT)


def _send_flagged(sock: socket.socket, data: Any, flags: int, flag: int) -> int:
    return _stock_send(sock, data, flags | flag)


@_replaces(socket.socket, "send")
def _socket_send(stock: Any, self: socket.socket, data: Any, flags: int = 0, /) -> int:
    if _only_tries(timeout := self.gettimeout(), flags):
        return int(stock(self, data, flags))
    return int(_send(partial(_send_flagged, self, data, flags), self, _Patience(timeout)))


@_replaces(socket.socket, "sendall")
def _socket_sendall(stock: Any, self: socket.socket, data: Any, flags: int = 0, /) -> None:
    timeout = self.gettimeout()
    if _only_tries(timeout, flags) or self.fileno() < 0 or (rest := _bytes_of(data)) is None or not len(rest):
        return stock(self, data, flags)  # type: ignore[no-any-return]
    patience, sent = _Patience(timeout), 0
    with rest:
        while sent < len(rest) and _may_block():
            sent += _send(partial(_send_flagged, self, rest[sent:], flags), self, patience)


def _bytes_of(data: Any) -> memoryview | None:
    """None: it is no bytes-like object, or not in one piece, which the stock call says."""
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


@_replaces(socket.socket, "sendto")
def _socket_sendto(stock: Any, self: socket.socket, data: Any, *flags_and_address: Any) -> int:
    flags, address = (0, 0, *flags_and_address)[-2:]
    if not 1 <= len(flags_and_address) <= 2 or _only_tries(timeout := self.gettimeout(), flags):
        return int(stock(self, data, *flags_and_address))
    return int(_send(lambda flag: stock(self, data, flags | flag, address), self, _Patience(timeout)))


@_replaces(socket.socket, "sendmsg")
def _socket_sendmsg(
    stock: Any, self: socket.socket, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None, /
) -> int:
    if _only_tries(timeout := self.gettimeout(), flags):
        return int(stock(self, buffers, ancillary, flags, address))
    return int(_send(lambda flag: stock(self, buffers, ancillary, flags | flag, address), self, _Patience(timeout)))


@_replaces(socket.socket, "sendfile")
def _socket_sendfile(stock: Any, self: socket.socket, file: Any, offset: int = 0, count: int | None = None) -> int:
    return int(self._sendfile_use_send(file, offset, count))  # type: ignore[attr-defined]


def _connect(self: socket.socket, address: Any) -> int:
    """0 or errno."""
    timeout = self.gettimeout()
    if timeout == 0 or self.fileno() < 0:
        return _stock_connect_ex(self, address)
    patience = _Patience(timeout)
    if self.family in (socket.AF_INET, socket.AF_INET6) and _is_name(self.family, address):
        host, port, *_ = address
        address = _getaddrinfo(host, port, self.family, self.type, self.proto)[0][4]
    while (error := _connect_now(self, address, timeout)) == errno.EAGAIN:
        native.sleep(0.001)  # the backlog of a Unix socket is full, and there is nothing to wait for
        if patience.left() == 0:
            raise TimeoutError("timed out")
    if error != errno.EINPROGRESS:
        return error
    _wait(self.fileno(), _OUT, patience)
    error = _connect_now(
        self, address, timeout
    )  # says how it went; SO_ERROR would leave the socket unfit for another try
    return 0 if error == errno.EISCONN else error


def _connect_now(self: socket.socket, address: Any, timeout: float | None) -> int:
    self.settimeout(0)
    try:
        return _stock_connect_ex(self, address)
    finally:
        self.settimeout(timeout)


def _is_numeric(family: int, address: Any) -> bool:
    try:
        socket.inet_pton(family, address[0])
    except (OSError, TypeError, ValueError):
        return False
    return True


def _is_name(family: int, address: Any) -> bool:
    """Whether it has a host that is to be looked up; what is no address at all, connect() says."""
    right = isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str) and address[0]
    return bool(right) and not _is_numeric(family, address)


@_replaces(socket.socket, "connect")
def _socket_connect(stock: Any, self: socket.socket, address: Any, /) -> None:
    if self.gettimeout() == 0:
        return stock(self, address)  # type: ignore[no-any-return]
    try:
        error = _connect(self, address)
    except (OverflowError, TypeError):  # it is no address: connect_ex() has said that
        return stock(self, address)  # type: ignore[no-any-return]
    if error:
        raise OSError(error, os.strerror(error))


@_replaces(socket.socket, "connect_ex")
def _socket_connect_ex(stock: Any, self: socket.socket, address: Any, /) -> int:
    try:
        return _connect(self, address)
    except TimeoutError:
        return errno.EAGAIN
    except OSError as error:
        if error.errno != errno.EBADF:  # else it was closed meanwhile
            raise
        return errno.EBADF


_stock_send, _stock_connect_ex = socket.socket.send, socket.socket.connect_ex


def _resolver(stock: Any) -> Any:
    @_stands_in_for(stock)
    def resolve(*args: Any, **kwargs: Any) -> Any:
        return _on_lwp(stock, *args, **kwargs)

    return resolve


@_stands_in_for(socket.getaddrinfo)
def _getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    if host is None or any(_is_numeric(family, (host,)) for family in (socket.AF_INET, socket.AF_INET6)):
        return _stock_getaddrinfo(host, port, *args, **kwargs)  # nobody needs to be asked
    return _on_lwp(_stock_getaddrinfo, host, port, *args, **kwargs)


_stock_getaddrinfo = socket.getaddrinfo
for _stock in (socket.getnameinfo, socket.gethostbyname, socket.gethostbyname_ex, socket.gethostbyaddr):
    _resolver(_stock)


# ---- TLS -------------------------------------------------------------------------------------------------------------

try:
    import ssl
except ImportError:
    pass
else:

    @_replaces(ssl.SSLSocket, "read", "write", "send", "do_handshake", "unwrap")
    def _secure(stock: Any, self: ssl.SSLSocket, *args: Any, **kwargs: Any) -> Any:
        """One exchange may need both directions, so it is tried, and says what it waits for."""
        if (timeout := self.gettimeout()) == 0 or self._sslobj is None:  # type: ignore[attr-defined]
            return stock(self, *args, **kwargs)
        patience = _Patience(timeout)
        while True:
            self.settimeout(0)
            try:
                return stock(self, *args, **kwargs)
            except ssl.SSLWantReadError:
                events = _IN
            except ssl.SSLWantWriteError:
                events = _OUT
            finally:
                if (fd := self.fileno()) >= 0:  # unwrap() leaves another socket in its place
                    self.settimeout(timeout)
            if fd >= 0 and not native.wait_fd(fd, events, patience.left()):
                raise TimeoutError("The operation timed out")


# ---- many at once ----------------------------------------------------------------------------------------------------


def _wait_for_any(registered: dict[int, int], patience: _Patience) -> dict[int, int]:
    """The events by descriptor, as soon as there are any, or none after the timeout.  OSError as epoll says it.

    POLLNVAL: it was closed meanwhile.
    """
    with _stock_epoll() as every:
        wait = _Wait(every)
        for fd in registered:
            _waits.setdefault(fd, set()).add(wait)
        try:
            for fd, events in registered.items():
                with suppress(PermissionError):  # a file on a disk is ready to be read and written, and never for more
                    every.register(fd, events)
            while not (found := every.poll(0)) and (left := patience.left()) != 0:
                native.wait_fd(every.fileno(), _IN, left)
        except OSError as error:
            if error.errno != errno.EBADF or not wait.closed:
                raise
        finally:
            for fd in registered:  # an empty set stays: another thread may be about to add itself
                _waits[fd].discard(wait)
    return dict.fromkeys(wait.closed, select.POLLNVAL) if wait.closed else dict(found)


def _fd(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())


def _can_be_waited_for(timeout: Any) -> bool:
    """Whether the stock call, too, would wait for so long, and not say what is wrong with that."""
    return timeout is None or (isinstance(timeout, (int, float)) and timeout > 0)


_SHOWN = (_IN | select.POLLHUP | select.POLLERR, _OUT | select.POLLERR, select.POLLPRI)  # select(2)


@_stands_in_for(select.select)
def _select(read: Any, write: Any, exceptional: Any, timeout: Any = None, /) -> Any:
    try:
        kinds = list(read), list(write), list(exceptional)
    except TypeError:
        return _stock_select(read, write, exceptional, timeout)  # says it
    if not _can_be_waited_for(timeout):
        return _stock_select(*kinds, timeout)
    found = _stock_select(*kinds, 0)
    patience = _Patience(timeout)
    fds = [[(file, _fd(file)) for file in files] for files in kinds]
    registered: dict[int, int] = {}
    for files, events in zip(fds, (_IN, _OUT, select.POLLPRI), strict=True):
        for _, fd in files:
            registered[fd] = registered.get(fd, 0) | events
    while not any(found) and patience.left() != 0:
        said = _wait_for_any(registered, patience)
        if select.POLLNVAL in said.values():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        found = tuple(  # type: ignore[assignment]
            [file for file, fd in files if said.get(fd, 0) & shown] for files, shown in zip(fds, _SHOWN, strict=True)
        )
        if said and not any(found):  # it hung up, which select(2) doesn't show to who waits for something else
            native.sleep(min(0.01, patience.left() or 0.01))
    return found


_stock_select = select.select


class _Poll:
    """What select.poll() returns."""

    _stock: select.poll
    _registered: dict[int, int]
    _polled: bool  #: by a thread that waits

    def __new__(cls) -> _Poll:
        raise TypeError("cannot create 'select.poll' instances")

    # What doesn't fit, the stock methods say in their name.
    def register(self, *file_and_events: Any) -> None:
        self._stock.register(*file_and_events)
        file, events = (*file_and_events, _IN | select.POLLPRI | _OUT)[:2]
        self._registered[_fd(file)] = events

    def modify(self, *file_and_events: Any) -> None:
        self._stock.modify(*file_and_events)
        file, events = file_and_events
        self._registered[_fd(file)] = events

    def unregister(self, *file: Any) -> None:
        self._stock.unregister(*file)
        self._registered.pop(_fd(*file), None)

    def poll(self, *timeout: Any) -> list[tuple[int, int]]:
        """timeout: milliseconds; None or a negative one has no end."""
        if self._polled:
            raise RuntimeError("concurrent poll() invocation")
        milliseconds = timeout[0] if timeout else None
        if isinstance(milliseconds, (int, float)) and milliseconds < 0:
            milliseconds = None
        if len(timeout) > 1 or not _may_block() or not _can_be_waited_for(milliseconds):
            return self._stock.poll(*timeout)
        if found := self._stock.poll(0):
            return found
        patience = _Patience(None if milliseconds is None else milliseconds / 1000)
        registered = self._registered.copy()  # what is registered while it waits counts from the next poll() on
        self._polled = True
        try:
            events = _wait_for_any(registered, patience)
        finally:
            self._polled = False
        return [(fd, events[fd]) for fd in registered if fd in events]


_Poll.__module__, _Poll.__name__, _Poll.__qualname__ = "select", "poll", "poll"  # which repr() shows
_stock_poll = select.poll


@wraps(_stock_poll)
def _poll() -> _Poll:
    made = object.__new__(_Poll)
    made._stock, made._registered, made._polled = _stock_poll(), {}, False
    return made


STAND_INS.append((_stock_poll, _poll))
METHODS.append((selectors.PollSelector, "_selector_cls", staticmethod(_poll)))
METHODS.append((selectors.SelectSelector, "_select", staticmethod(_select)))


@_replaces(selectors.EpollSelector, "select")
def _epoll_select(stock: Any, self: selectors.EpollSelector, timeout: float | None = None) -> Any:
    found = stock(self, 0)
    if not found and (timeout is None or not timeout <= 0):
        with _closed_meanwhile():
            native.wait_fd(self.fileno(), _IN, timeout)
            found = stock(self, 0)
    return found


@contextmanager
def _closed_meanwhile() -> Iterator[None]:
    """Around the wait for an epoll.  When that is closed by another thread, nothing is found, as in the stock calls."""
    try:
        yield
    except ValueError as error:
        if "closed epoll" not in str(error):
            raise
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


class _Epoll:
    """What select.epoll() returns."""

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._stock = _stock_epoll(sizehint, flags)

    @classmethod
    def fromfd(cls, fd: int, /) -> _Epoll:
        made = cls.__new__(cls)
        made._stock = _stock_epoll.fromfd(fd)
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)  # closed, fileno, register, modify, unregister

    def __enter__(self) -> _Epoll:
        self._stock.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._stock.closed:
            _close(self._stock.fileno(), self._stock.close)

    def poll(self, timeout: Any = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """timeout: seconds; None or a negative one has no end."""
        seconds = None if isinstance(timeout, (int, float)) and timeout < 0 else timeout
        if not _may_block() or not _can_be_waited_for(seconds):
            return self._stock.poll(timeout, maxevents)
        found, patience = self._stock.poll(0, maxevents), _Patience(seconds)
        with _closed_meanwhile():
            while not found and patience.left() != 0:
                native.wait_fd(self._stock, _IN, patience.left())
                found = self._stock.poll(0, maxevents)
        return found


_stock_epoll = select.epoll
STAND_INS.append((select.epoll, _Epoll))

# Its get() waits for a lock of C; the same in Python waits for a semaphore of threading's.
STAND_INS.append((queue.SimpleQueue, queue._PySimpleQueue))  # type: ignore[attr-defined]
