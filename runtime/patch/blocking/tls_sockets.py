"""The methods of ssl.SSLSocket that wait."""

from __future__ import annotations

from typing import Any

from ... import native
from ...sync import RLock
from .stand_in import replaces
from .waiting import IN, OUT, Patience

try:
    import ssl
except ImportError:
    pass
else:

    def _turn(sock: ssl.SSLSocket) -> RLock:
        """One thread at a time has its turn, as long as a try takes: the socket has timeout 0 meanwhile.

        OpenSSL wants it, too: no two calls at once on one connection.
        """
        try:
            return sock._lwp_turn  # type: ignore[attr-defined, no-any-return]
        except AttributeError:
            return vars(sock).setdefault("_lwp_turn", RLock())  # type: ignore[no-any-return]

    def _secure(stock: Any, self: ssl.SSLSocket, *args: Any, **kwargs: Any) -> Any:
        """An exchange may need to read and to write, so it is tried: the exception says what to wait for.

        No poll(2) comes before a try.  The descriptor must be in non-blocking mode for it: a record may come in parts,
        between which OpenSSL would wait in read(2).  To leave it in that mode would have the stock calls of threads
        with an LWP of their own spin.
        """
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

    #: As the stock messages name them.
    _OPERATIONS = {"read": "read", "write": "write", "send": "write", "do_handshake": "handshake", "unwrap": "read"}
    replaces(ssl.SSLSocket, *_OPERATIONS)(_secure)
