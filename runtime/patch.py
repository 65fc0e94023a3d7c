"""The runtime behind `threading` and `_thread`, for a whole process."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import Any

from runtime import native, scheduler, thread

__all__ = ["install", "installed", "uninstall"]


def _start_new_thread(function: Callable[..., object], args: tuple[Any, ...], kwargs: Any = None, /) -> int:
    """Runs function(*args, **kwargs) in a new thread and returns its ident; as _thread.start_new_thread."""
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    lwp = scheduler.reserve()
    scheduler.begin(lwp, function, args, kwargs)
    return lwp.ident


_stock_count = _thread._count


def _count() -> int:
    """How many threads run Python besides the main one; as _thread._count."""
    return _stock_count() + native.running()


# What is put where; the stock value is remembered beside it.
_REPLACEMENTS: list[tuple[Any, str, Any]] = [
    (threading.Thread, "start", thread.Thread.start),
    (threading.Thread, "join", thread.Thread.join),
    (_thread, "start_new_thread", _start_new_thread),
    (_thread, "start_new", _start_new_thread),
    (_thread, "_count", _count),
]
if hasattr(threading, "_start_new_thread"):  # to 3.12
    _REPLACEMENTS.append((threading, "_start_new_thread", _start_new_thread))
    thread.known_starters.add(_start_new_thread)

_stock: list[Any] = []


def install() -> None:
    """From now on threads of threading.Thread, its subclasses and _thread.start_new_thread run on our LWPs.

    Threads that run already are not touched.  Calling it twice is harmless.
    """
    if not _stock:
        _stock.extend(getattr(owner, name) for owner, name, _ in _REPLACEMENTS)
        for owner, name, ours in _REPLACEMENTS:
            setattr(owner, name, ours)


def uninstall() -> None:
    """Gives threading and _thread back what install() has replaced.  Threads that run on our LWPs stay valid."""
    if _stock:
        for (owner, name, _), stock in zip(_REPLACEMENTS, _stock, strict=True):
            setattr(owner, name, stock)
        _stock.clear()


def installed() -> bool:
    """Whether install() is in force."""
    return bool(_stock)
