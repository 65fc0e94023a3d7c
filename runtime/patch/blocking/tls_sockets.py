"""The methods of ssl.SSLSocket that wait."""

from __future__ import annotations

from typing import Any

from ... import native
from .stand_in import replaces
from .waiting import IN, OUT, Patience

try:
    import ssl
except ImportError:
    pass
else:

    @replaces(ssl.SSLSocket, "read", "write", "send", "do_handshake", "unwrap")
    def _secure(stock: Any, self: ssl.SSLSocket, *args: Any, **kwargs: Any) -> Any:
        """An exchange may need to read and to write, so it is tried: the exception says what to wait for."""
        if (timeout := self.gettimeout()) == 0 or self._sslobj is None:  # type: ignore[attr-defined]
            return stock(self, *args, **kwargs)
        patience = Patience(timeout)
        while True:
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
                raise TimeoutError("The operation timed out")
