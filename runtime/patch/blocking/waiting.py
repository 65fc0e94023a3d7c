"""How a stand-in waits for what has no descriptor: by asking again, or for a helper that does the call."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ... import native
from ...scheduler import spawn

_stock_select = select.select
IN, OUT = select.POLLIN, select.POLLOUT


class Patience:
    """What is left of a timeout in seconds; None: no limit."""

    def __init__(self, timeout: float | None) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0)


def ask_until_true(attempt: Callable[[], Any], patience: Patience) -> Any:
    """Calls attempt() until its result is true or the time is up, and returns the last result.  For things without a
    descriptor."""
    pause = 0.0001
    while not (found := attempt()) and patience.left() != 0:
        if native.under_control() is not None:
            _stock_select((), (), (), pause)  # an explored thread's sleep takes no time
        native.sleep(pause)
        pause = min(pause * 2, 0.02)
    return found


def by_helper(stock: Any) -> Any:
    """A function that has a helper make the stock call.  All in C: no frame of a traceback keeps its arguments."""
    return partial(native.blocking, stock)


def on_helper(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a call on a helper (scheduler.blocking()); the caller's LWP runs other threads meanwhile."""
    if native.under_control() is not None:
        return _on_lwp(function, args, kwargs)
    return native.blocking(function, *args, **kwargs)


def on_helper_at_once(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    discard: Callable[[Any], object] | None = None,
) -> Any:
    """The same for a call that waits for another thread or process.  It never waits for its turn, because that other
    thread may need a helper too.

    discard: called with a result that nobody waits for any more.
    """
    if native.under_control() is not None:
        return _on_lwp(function, args, kwargs or {})
    return native.on_helper(function, args, kwargs, discard)


def _on_lwp(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """For an explored thread: it joins an LWP, because the explorer knows that operation."""
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
