"""The methods of ssl.SSLSocket that wait.

An exchange may need to read and to write, so the stock method is tried with timeout 0, in C
(native/python/green/io/sockets/tls.c): the exception says what to wait for, and no poll(2) comes before.  The
descriptor stays registered in the poller, as a plain socket's does, so a wait needs no epoll_ctl(2).  Tries of one
socket take turns, because another thread must not find the timeout 0, and OpenSSL wants no two calls at once on one
connection.

With a timeout the descriptor is in non-blocking mode, and a try changes a field of the object, no more.  Without one
its mode is changed for each try, by ioctl(2): a record may come in parts, between which OpenSSL would wait in read(2).

Rejected; docs/measured/green.md has the processor time of each:
- Leaving the descriptor in non-blocking mode, which would spare those calls.  The mode is shared: by other processes,
  by C code that has the number, by the plain socket that unwrap() leaves.  A stock method would spin: in a call that
  has begun before, and after uninstall().
- A memory BIO, filled and emptied by our own recv and send.  It needs as many reads, and its time is the same: what is
  read beyond one record select() would not know, nor pending() tell, and unwrap() would take it from the plain socket.
  And another object would stand in for `_sslobj`, which stays after uninstall().
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from ... import native
from ...sync import RLock
from .stand_in import METHODS

try:
    import ssl
except ImportError:
    pass
else:

    def _closing_in_turn(stock: Any) -> Any:
        """Doesn't close in the middle of a try, or OpenSSL would go on to read or write the number's next file.

        A try takes less than a second.  A try whose thread has ended with the interpreter never gives back its turn.
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
    _methods = native.tls_methods(ssl.SSLSocket, RLock, ssl.SSLWantReadError, ssl.SSLWantWriteError)
    METHODS.extend((ssl.SSLSocket, name, method) for name, method in _methods)
