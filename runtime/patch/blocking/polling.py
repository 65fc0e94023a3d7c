"""Many descriptors at once: select, poll, epoll, and the selectors over them."""

from __future__ import annotations

import errno
import os
import select
import selectors
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ... import native
from .closing import close_and_wake
from .stand_in import METHODS, replaces, stands_in_for
from .waiting import IN, OUT, Patience

may_poll = native.may_poll


def _fd(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())


def _can_be_waited_for(timeout: Any) -> bool:
    """Whether the stock call would wait with this timeout: it neither returns at once nor raises."""
    return timeout is None or (isinstance(timeout, (int, float)) and timeout > 0)


_SHOWN = (IN | select.POLLHUP | select.POLLERR, OUT | select.POLLERR, select.POLLPRI)  # select(2)


@stands_in_for(select.select, always=True)
def _select(read: Any, write: Any, exceptional: Any, timeout: Any = None, /) -> Any:
    if not may_poll():
        return _stock_select(read, write, exceptional, timeout)
    try:
        kinds = list(read), list(write), list(exceptional)
    except TypeError:
        return _stock_select(read, write, exceptional, timeout)  # which raises it
    if not _can_be_waited_for(timeout):
        return _stock_select(*kinds, timeout)
    found = _stock_select(*kinds, 0)
    patience = Patience(timeout)
    fds = [[(file, _fd(file)) for file in files] for files in kinds]
    registered: dict[int, int] = {}
    for files, events in zip(fds, (IN, OUT, select.POLLPRI), strict=True):
        for _, fd in files:
            registered[fd] = registered.get(fd, 0) | events
    while not any(found) and patience.left() != 0:
        said = native.wait_fds(registered, patience.left())
        if select.POLLNVAL in said.values():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        found = tuple(  # type: ignore[assignment]
            [file for file, fd in files if said.get(fd, 0) & shown] for files, shown in zip(fds, _SHOWN, strict=True)
        )
        if said and not any(found):  # a hang-up, and select(2) shows that to readers only
            native.sleep(min(0.01, patience.left() or 0.01))
    return found


_stock_select = select.select


class _Poll:
    """What select.poll() returns."""

    _stock: select.poll
    _registered: dict[int, int]
    _polled: bool  #: a thread waits in it

    def __new__(cls) -> _Poll:
        raise TypeError("cannot create 'select.poll' instances")

    # Arguments are passed on as they came, because the stock methods raise for wrong ones, in their own name.
    def register(self, *file_and_events: Any) -> None:
        self._stock.register(*file_and_events)
        file, events = (*file_and_events, IN | select.POLLPRI | OUT)[:2]
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
        if len(timeout) > 1 or not may_poll() or not _can_be_waited_for(milliseconds):
            return self._stock.poll(*timeout)
        if found := self._stock.poll(0):
            return found
        seconds = None if milliseconds is None else milliseconds / 1000
        registered = self._registered.copy()  # what is registered while it waits counts from the next poll() on
        self._polled = True
        try:
            events = native.wait_fds(registered, seconds)
        finally:
            self._polled = False
        return [(fd, events[fd]) for fd in registered if fd in events]


_Poll.__module__, _Poll.__name__, _Poll.__qualname__ = "select", "poll", "poll"  # which repr() shows
_stock_poll = select.poll


@stands_in_for(_stock_poll, always=True)
def _poll() -> _Poll:
    made = object.__new__(_Poll)
    made._stock, made._registered, made._polled = _stock_poll(), {}, False
    return made


METHODS.append((selectors.PollSelector, "_selector_cls", _poll))
METHODS.append((selectors.SelectSelector, "_select", _select))


_stock_epoll_select = selectors.EpollSelector.select


@replaces(selectors.EpollSelector, "select")
def _epoll_select(self: selectors.EpollSelector, timeout: float | None = None) -> Any:
    if not may_poll():
        return _stock_epoll_select(self, timeout)
    found = _stock_epoll_select(self, 0)
    if not found and (timeout is None or not timeout <= 0):
        with _closed_meanwhile():
            native.wait_fd(self.fileno(), IN, timeout)
            found = _stock_epoll_select(self, 0)
    return found


@contextmanager
def _closed_meanwhile() -> Iterator[None]:
    """For a wait in an epoll, which another thread may close; then nothing is found, as in the stock calls."""
    try:
        yield
    except ValueError as error:
        if "closed epoll" not in str(error):
            raise
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


@stands_in_for(select.epoll)
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
            close_and_wake(self._stock.fileno(), self._stock.close)

    def poll(self, timeout: Any = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """timeout: seconds; None or a negative one has no end."""
        seconds = None if isinstance(timeout, (int, float)) and timeout < 0 else timeout
        if not may_poll() or not _can_be_waited_for(seconds):
            return self._stock.poll(timeout, maxevents)
        found, patience = self._stock.poll(0, maxevents), Patience(seconds)
        with _closed_meanwhile():
            while not found and patience.left() != 0:
                native.wait_fd(self._stock, IN, patience.left())
                found = self._stock.poll(0, maxevents)
        return found


_stock_epoll = select.epoll
