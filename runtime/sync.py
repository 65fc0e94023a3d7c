"""threading's synchronisation primitives on our own futexes: the machines of native/sync/ behind threading's methods.

Lock and RLock are C types.  Event, Semaphore, Condition and Barrier are classes, as in threading, over C types.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from time import monotonic as _time
from typing import TYPE_CHECKING, Any

from . import native
from .native import BarrierBase, ConditionBase, EventBase, RLock, SemaphoreBase

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "Lock",
    "LockType",
    "RLock",
    "Semaphore",
]

#: The type of a Lock.
LockType = native.lock

native.allocate_lock.__module__ = "_thread"

#: Makes a lock, see LockType.  As in threading: a function to Python 3.12, from 3.13 on the type itself.
if TYPE_CHECKING:
    Lock = native.lock
else:
    Lock = native.allocate_lock if sys.version_info < (3, 13) else native.lock

#: Raised by Barrier.wait().  threading's own: who expects that one must catch ours.
BrokenBarrierError = threading.BrokenBarrierError


class Event(EventBase):
    """A flag to wait for, not set at first; threading.Event."""

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: {'set' if self.is_set() else 'unset'}>"

    def isSet(self) -> bool:
        """is_set(), deprecated as in threading."""
        import warnings

        warnings.warn("isSet() is deprecated, use is_set() instead", DeprecationWarning, stacklevel=2)
        return self.is_set()


class Semaphore(SemaphoreBase):
    """A count of permits; threading.Semaphore.  `with semaphore:` takes one and gives it back.

    value: how many there are at first.  ValueError: it is negative.
    """

    def __init__(self, value: int = 1) -> None:
        self._begin(value, False)

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: value={self._value}>"


if TYPE_CHECKING:

    class _Bounded(Semaphore, threading.BoundedSemaphore): ...

else:
    _Bounded = Semaphore


class BoundedSemaphore(_Bounded):
    """A semaphore that can't be released above its first value: ValueError; threading.BoundedSemaphore."""

    def __init__(self, value: int = 1) -> None:
        self._begin(value, True)
        self._initial_value = value

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: value={self._value}/{self._initial_value}>"


class Condition(ConditionBase):
    """Sleep until notified, giving a lock up meanwhile; threading.Condition.

    lock: ours, or any object with acquire and release; None for a new RLock.
    """

    def __init__(self, lock: Any = None) -> None:
        self._begin(RLock() if lock is None else lock)

    def __repr__(self) -> str:
        return f"<Condition({self._lock}, {self._waiting})>"

    # For locks that are not ours; ours are dealt with in C.

    def _release_save(self) -> Any:
        if hasattr(self._lock, "_release_save"):
            return self._lock._release_save()
        self._lock.release()
        return None

    def _acquire_restore(self, state: Any) -> None:
        if hasattr(self._lock, "_acquire_restore"):
            self._lock._acquire_restore(state)
        else:
            self._lock.acquire()

    def _is_owned(self) -> bool:
        if hasattr(self._lock, "_is_owned"):
            return bool(self._lock._is_owned())
        if self._lock.acquire(False):
            self._lock.release()
            return False
        return True

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Waits until predicate() is true, or for timeout seconds (None: no limit); the predicate's last value.

        RuntimeError: the lock isn't held.
        """
        end: float | None = None
        left = timeout
        result = predicate()
        while not result:
            if left is not None:
                if end is None:
                    end = _time() + left
                else:
                    left = end - _time()
                    if left <= 0:
                        break
            self.wait(left)
            result = predicate()
        return result

    def notifyAll(self) -> None:
        """notify_all(), deprecated as in threading."""
        import warnings

        warnings.warn("notifyAll() is deprecated, use notify_all() instead", DeprecationWarning, stacklevel=2)
        self.notify_all()


#: What threading's Barrier keeps in Python, and what else is private in it.
_PRIVATE = {
    "_cond",
    "_action",
    "_timeout",
    "_parties",
    "_state",
    "_count",
    "_enter",
    "_release",
    "_wait",
    "_exit",
    "_break",
}


def _names_in(cls: type) -> Iterator[str]:
    """The attributes that a class has, and those that its methods name."""
    for name, value in vars(cls).items():
        yield name
        functions = (value.fget, value.fset, value.fdel) if isinstance(value, property) else (value,)
        for function in functions:
            yield from getattr(getattr(function, "__code__", None), "co_names", ())


class Barrier(BarrierBase):
    """Lets `parties` threads go on together; threading.Barrier.  ValueError, from Python 3.13 on: less than one.

    action: called by one of them when all have come, before they are let go.
    timeout: seconds that wait() waits unless told otherwise; None: no limit.
    """

    # A derived class that names one of stock's private attributes keeps the barrier in them: it gets stock's methods,
    # which use them.  So does one whose __init__() does not call ours, see native/python/primitives/barrier.c.
    _stock = threading.Barrier
    _in_python = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not _PRIVATE.isdisjoint(_names_in(cls)):
            cls._in_python = True

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        if self._in_python:
            Barrier._stock.__init__(self, parties, action, timeout)  # type: ignore[arg-type]
            return
        if parties < 1 and sys.version_info >= (3, 13):  # before, threading takes it, and waits for ever
            raise ValueError("parties must be >= 1")
        self._begin(parties, action, timeout, BrokenBarrierError)

    def __repr__(self) -> str:
        cls = type(self)
        where = f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}"
        return f"{where}: broken>" if self.broken else f"{where}: waiters={self.n_waiting}/{self.parties}>"


for _name in ("_enter", "_release", "_wait", "_exit", "_break"):
    setattr(Barrier, _name, vars(threading.Barrier)[_name])  # by which stock's methods call each other
