"""How a call of the standard library is replaced: two lists, and decorators that add to them.

In a thread on a scheduler a function's stand-in runs, in a thread that has its LWP to itself the stock call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from types import BuiltinFunctionType
from typing import Any

from ... import native

#: (stock, what stands in for it); of two for the same function the later one counts
STAND_INS: list[tuple[Any, Any]] = []
#: (class, name of the method, what stands in for it)
METHODS: list[tuple[type[Any], str, Any]] = []

may_block = native.may_block


def stands_in_for(stock: Any, *, always: bool = False) -> Callable[[Any], Any]:
    """Decorator for the function that a thread on a scheduler calls in place of a builtin; with `always` each thread
    does.

    A program takes the replacement for a builtin function too (native/python/green/stand_in.c).  A class that stands in
    for a class has its name.  A function of Python that somebody has put in the builtin's place before, as ipykernel's
    input(), stays.
    """

    def decorate(function: Any) -> Any:
        if isinstance(stock, type):
            for name in ("__module__", "__name__", "__qualname__"):
                setattr(function, name, getattr(stock, name))
            STAND_INS.append((stock, function))
            return function
        if type(stock) is not BuiltinFunctionType:
            return function
        call = native.stand_in(stock, function, always)
        STAND_INS.append((stock, call))
        return call

    return decorate


def replaces(cls: type[Any], name: str) -> Callable[[Any], Any]:
    """Decorator for the function that stands in for this method in all threads, under its name and with its text."""

    def decorate(function: Any) -> Any:
        METHODS.append((cls, name, update_wrapper(function, getattr(cls, name))))
        return function

    return decorate
