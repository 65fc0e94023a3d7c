"""Waiting for the first of several things, or for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from .. import native
from .cancellation import checked_seconds

_Thing = TypeVar("_Thing")

native.wait_thread_class(threading.Thread)

FIRST_COMPLETED = "FIRST_COMPLETED"  #: concurrent.futures' own, so that either's can be given
ALL_COMPLETED = "ALL_COMPLETED"


def wait(things: Iterable[_Thing], timeout: float | None = None, *, return_when: str = FIRST_COMPLETED) -> list[_Thing]:
    """Waits until the first of the things is ready, or all are.  Returns a list of the ready things, in the order
    given.

    A thing is a thread or LWP (it has ended), a Task or a Future of runtime.pool (it is done), an Event (it is set), or
    a Semaphore.  A semaphore that is returned has been acquired; others are left as they are, for other threads.

    FIRST_COMPLETED: the first ready thing, in the order given, decides.  If it is acquired, it is returned alone;
    otherwise all ready things are returned that need not be acquired.
    ALL_COMPLETED: waits for one thing after the other.  None of them may be one that would be acquired.  An Event that
    is cleared again counts if it was set when its turn came.

    timeout: seconds, after which the list has what is ready by then (with FIRST_COMPLETED it is empty), and nothing is
    acquired; None: no limit; 0 or less: it only looks.

    TypeError: something else is among the things, such as a lock, for which Semaphore(1) serves, a file, for
    which select does, an Event of threading's own, or an Event or Semaphore of a derived class; ALL_COMPLETED with a
    semaphore.  RuntimeError: a thread was not started, or is the calling thread.  ValueError: return_when.
    """
    if return_when not in (FIRST_COMPLETED, ALL_COMPLETED):
        raise ValueError(f"return_when must be FIRST_COMPLETED or ALL_COMPLETED, not {return_when!r}")
    given: tuple[Any, ...] = tuple(things)
    if return_when == FIRST_COMPLETED:
        return native.wait_things(given, timeout, False)  # native/python/groups/wait.c
    return _wait_for_all(given, timeout)


def _wait_for_all(given: tuple[Any, ...], timeout: float | None) -> list[Any]:
    native.wait_things(given, 0, True)  # refuses what can't be waited for, before the first sleep
    begun, left = time.monotonic(), timeout
    for thing in given:
        if not native.wait_things((thing,), left, True):
            return native.wait_things(given, 0, True)
        if timeout is not None:
            left = max(0, timeout - (time.monotonic() - begun))
    return list(given)


def as_completed(things: Iterable[_Thing], timeout: float | None = None) -> Iterator[_Thing]:
    """Yields the things of wait() as they become ready, like as_completed() of concurrent.futures.

    timeout: seconds from this call on.  TimeoutError: they are over, and not all things are ready.  Besides, what
    wait() raises.
    """
    rest = list(things)
    return _as_completed(rest, None if timeout is None else time.monotonic() + checked_seconds("timeout", timeout))


def _as_completed(rest: list[_Thing], until: float | None) -> Iterator[_Thing]:
    count = len(rest)
    while rest:
        ready = wait(rest, None if until is None else max(until - time.monotonic(), 0))
        if not ready:
            raise TimeoutError(f"{len(rest)} of {count} are not ready")
        for thing in ready:
            del rest[next(at for at, other in enumerate(rest) if other is thing)]
        yield from ready
