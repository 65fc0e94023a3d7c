"""Descriptors that a program must not close by accident."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

#: Where install(green=True) has replaced os.close and the like, these look here (blocking/closing.py).
ours: set[int] = set()


@contextmanager
def kept_open(*fds: int) -> Iterator[None]:
    """Meanwhile a program that closes all numbers, or all that it finds, doesn't close these: it hasn't opened them."""
    ours.update(fds)
    try:
        yield
    finally:
        ours.difference_update(fds)
