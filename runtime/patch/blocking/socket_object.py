"""Where an object of _socket.socket has its descriptor and its timeout, which CPython doesn't publish."""

from __future__ import annotations

import _socket
import os

from ... import native

__all__ = ["is_known"]


def _places() -> tuple[int, int] | None:
    """In bytes, found by known values; None: they were not found."""
    if _socket.socket.__dictoffset__ or _socket.socket.__weakrefoffset__:
        return None  # its objects can't be copied as bytes
    probe = _socket.socket(_socket.AF_UNIX)
    fds = native.find_in_object(probe, probe.fileno(), 4)
    timeouts = None
    for seconds, stored in ((12.5, 12_500_000_000), (0.25, 250_000_000), (None, -1_000_000_000), (0, 0)):
        probe.settimeout(seconds)
        found = native.find_in_object(probe, stored, 8)
        timeouts = found if timeouts is None else timeouts & found
    os.close(probe.detach())
    fds &= native.find_in_object(probe, -1, 4)
    return (fds.pop(), timeouts.pop()) if timeouts and len(fds) == len(timeouts) == 1 else None


def is_known() -> bool:
    """Whether C can read a socket object from now on."""
    try:
        places = _places()
    except OSError:  # no sockets are allowed here
        return False
    if places:
        native.socket_object_at(*places)
    return places is not None
