"""The methods of ssl.SSLSocket that wait.

An exchange may need to read and to write, so the stock method is tried with timeout 0, in C
(native/python/green/sockets/tls.c): the exception says what to wait for, and no poll(2) comes before.  The
descriptor stays registered in the poller, as a plain socket's does, so a wait needs no epoll_ctl(2).  Tries of one
socket take turns: the timeout 0 is no other thread's, and OpenSSL wants no two calls at once on one connection.

With a timeout the descriptor is in non-blocking mode, and a try changes a field of the object, no more.  Without one
its mode is changed for each try, by ioctl(2): a record may come in parts, between which OpenSSL would wait in read(2).

Rejected; docs/green.md has the processor time of each:
- To leave the descriptor in non-blocking mode, which would spare those calls.  The mode is shared: by other processes,
  by C code that has the number, by the plain socket that unwrap() leaves.  The stock method would spin in it where no
  thread of ours comes before: in a call that has begun before, and after uninstall().
- A memory BIO, filled and emptied by our own recv and send.  It needs as many reads, and its time is the same: what is
  read beyond one record select() would not know, nor pending() tell, and unwrap() would take it from the plain socket.
  And another object would stand in for `_sslobj`, which stays after uninstall().
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from ... import native
from ...sync import RLock
from . import socket_object
from .stand_in import METHODS, replaces
from .waiting import IN, OUT, Patience

try:
    import ssl
except ImportError:
    pass
else:

    def _turn(sock: ssl.SSLSocket) -> RLock:
        try:
            return sock._lwp_turn  # type: ignore[attr-defined, no-any-return]
        except AttributeError:
            return vars(sock).setdefault("_lwp_turn", RLock())  # type: ignore[no-any-return]

    def _secure(stock: Any, self: ssl.SSLSocket, *args: Any, **kwargs: Any) -> Any:
        """Through Python, where a socket object can't be read from C: by settimeout, and with an epoll_ctl(2)."""
        if self._sslobj is None:  # type: ignore[attr-defined]
            return stock(self, *args, **kwargs)
        turn = _turn(self)
        with turn:
            if (timeout := self.gettimeout()) == 0:
                return stock(self, *args, **kwargs)
        patience = Patience(timeout)
        while True:
            with turn:
                timeout = self.gettimeout()
                self.settimeout(0)
                try:
                    return stock(self, *args, **kwargs)
                except ssl.SSLWantReadError:
                    events = IN
                except ssl.SSLWantWriteError:
                    events = OUT
                finally:
                    if (fd := self.fileno()) >= 0:  # unwrap() leaves another socket in its place
                        self.settimeout(timeout)
            if fd >= 0 and not native.wait_fd(fd, events, patience.left()):
                raise TimeoutError(f"The {_OPERATIONS[stock.__name__]} operation timed out")

    def _closing_in_turn(stock: Any) -> Any:
        """Not in the middle of a try, or OpenSSL would go on to read or write the number's next file.

        A try takes no second.  One whose thread has ended, as the interpreter does, never gives back its turn.
        """

        @wraps(stock)
        def method(self: ssl.SSLSocket, *args: Any) -> Any:
            turn: Any = vars(self).get("_lwp_turn")
            is_mine = turn is not None and turn.acquire(timeout=1)
            try:
                return stock(self, *args)
            finally:
                if is_mine:
                    turn.release()

        return method

    METHODS.append((ssl.SSLSocket, "_real_close", _closing_in_turn(vars(ssl.SSLSocket)["_real_close"])))

    #: As the stock messages name them.
    _OPERATIONS = {"read": "read", "write": "write", "send": "write", "do_handshake": "handshake", "unwrap": "read"}
    if socket_object.is_known():
        _methods = native.tls_methods(ssl.SSLSocket, RLock, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        METHODS.extend((ssl.SSLSocket, name, method) for name, method in _methods)
    else:
        replaces(ssl.SSLSocket, *_OPERATIONS)(_secure)
