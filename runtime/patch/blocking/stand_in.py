"""How a call of the standard library gets another one in its place: two lists, and decorators that add to them.

In a thread on a scheduler the stand-in runs, in a thread that has its LWP to itself the stock call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ... import native

__all__ = ["METHODS", "STAND_INS", "may_block", "replaces", "stands_in_for"]

#: (stock, what stands in for it); of two for the same the later one counts
STAND_INS: list[tuple[Any, Any]] = []
#: (class, name of the method, what stands in for it)
METHODS: list[tuple[type[Any], str, Any]] = []

may_block = native.may_block


def stands_in_for(stock: Any, *, always: bool = False) -> Callable[[Any], Any]:
    """Decorator for the function that a thread on a scheduler, or each, calls in place of the stock one, a builtin.

    What takes its place is a builtin function to a program, too (native/python/green/stand_in.c).  A class that stands
    in for a class has its name.
    """

    def decorate(function: Any) -> Any:
        if isinstance(stock, type):
            for name in ("__module__", "__name__", "__qualname__"):
                setattr(function, name, getattr(stock, name))
            STAND_INS.append((stock, function))
            return function
        call = native.stand_in(stock, function, always)
        STAND_INS.append((stock, call))
        return call

    return decorate


def replaces(cls: type[Any], *names: str) -> Callable[[Any], Any]:
    """Decorator for the function(stock, self, ...) that a thread on a scheduler calls in place of these methods."""

    def decorate(function: Any) -> Any:
        for name in names:
            METHODS.append((cls, name, _method(getattr(cls, name), function)))
        return function

    return decorate


def _is_refused(error: TypeError) -> bool:
    """Whether the call itself failed, for its arguments: then the stock method raises, in its own name."""
    assert error.__traceback__ is not None
    return error.__traceback__.tb_next is None


def _method(stock: Any, function: Any) -> Any:
    @wraps(stock)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if may_block():
            try:
                return function(stock, self, *args, **kwargs)
            except TypeError as error:
                if not _is_refused(error):
                    raise
        return stock(self, *args, **kwargs)

    return method
