"""threading's synchronisation primitives on our own futexes.

threading's methods stand over the machines of native/kernel/lock/ and native/waits/.

Lock and RLock are C types.  Event, Semaphore, Condition and Barrier are classes, as in threading, over C types.
"""

from __future__ import annotations

import sys
import threading
from time import monotonic as _time
from types import FunctionType

from . import native
from .native import BarrierBase, ConditionBase, EventBase, InPython, RLock, SemaphoreBase

TYPE_CHECKING = False  # typing's name, but importing typing takes longer than this whole module
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, SupportsIndex

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

#: Raised by Barrier.wait().  threading's own, so that `except` clauses for that catch it.
BrokenBarrierError = threading.BrokenBarrierError


class _Derivable:
    """What Event, Semaphore, Condition and Barrier share: how they are derived and copied."""

    __slots__ = ()

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        _keep_in_python(cls)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """For copy.copy().  pickle and deepcopy() look at what it is made of, and refuse the lock, as in threading."""
        if isinstance(self, InPython):
            return object.__reduce_ex__(self, protocol)
        lock = [self._lock] if isinstance(self, Condition) else []
        return _again, (*lock, native.allocate_lock(), self), vars(self)

    def __getstate__(self) -> object:
        return object.__getstate__(self)  # which takes our C struct for no obstacle, unlike object.__reduce_ex__()


def _again(*parts: Any) -> Any:
    original = parts[-1]
    made = original.__new__(type(original))
    made._copy(original)
    return made


# threading's classes keep their state in private attributes and methods, which a derived class may use and replace.  So
# a class that a program derives gets a further base, whose methods come before those in C.  They are threading's own on
# our locks, since threading's would stop all green threads of an LWP:
#
#     Derived, Event, _EventInPython, EventBase, _Derivable, InPython, object


def _keep_in_python(cls: Any) -> None:
    """Gives the class its further base, if it derives from one of ours itself."""
    bases = []
    for base in cls.__bases__:
        bases += [base, vars(base)["_lwp_in_python"]] if "_lwp_in_python" in vars(base) else [base]
    if len(bases) > len(cls.__bases__):
        type.__setattr__(cls, "__bases__", tuple(bases))  # a metaclass may have another


def _in_python(op: Any, cls: Any) -> Any:
    """The class of threading's methods for an object of a class that derives from cls."""
    if not isinstance(op, InPython):  # a mixin has an __init_subclass__() that doesn't call the next one
        for one in type(op).__mro__:
            if "_lwp_in_python" not in vars(one):
                _keep_in_python(one)
    return cls._lwp_in_python


class Event(EventBase, _Derivable):
    """A flag to wait for, not set at first; threading.Event."""

    def _init_in_python(self) -> None:
        _in_python(self, Event).__init__(self)

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: {'set' if self._flag else 'unset'}>"

    def isSet(self) -> bool:
        """is_set(), deprecated as in threading."""
        import warnings

        warnings.warn("isSet() is deprecated, use is_set() instead", DeprecationWarning, stacklevel=2)
        return self.is_set()


class Semaphore(SemaphoreBase, _Derivable):
    """A count of permits; threading.Semaphore.  `with semaphore:` takes one and gives it back.

    value: how many there are at first.  ValueError: it is negative.
    """

    def __init__(self, value: int = 1) -> None:
        if type(self) is Semaphore:
            self._begin(value, False)
        else:
            _in_python(self, Semaphore).__init__(self, value)

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
        if type(self) is BoundedSemaphore:
            self._begin(value, True)
        else:
            super().__init__(value)
            self._initial_value = value

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}: value={self._value}/{self._initial_value}>"


class Condition(ConditionBase, _Derivable):
    """Sleep until notified, giving a lock up meanwhile; threading.Condition.

    lock: ours, or any object with acquire and release; None for a new RLock.
    """

    def __init__(self, lock: Any = None) -> None:
        if type(self) is Condition:
            self._begin(RLock() if lock is None else lock)
        else:
            _in_python(self, Condition).__init__(self, lock)

    def __repr__(self) -> str:
        return f"<Condition({self._lock}, {len(self._waiters)})>"

    # For locks that are not ours, and for derived classes; what is left is dealt with in C.

    def _release_save(self) -> Any:
        if hasattr(self._lock, "_release_save"):
            return self._lock._release_save()
        self._lock.release()
        return None

    def _acquire_restore(self, state: Any) -> None:
        if hasattr(self._lock, "_acquire_restore"):
            self._lock._acquire_restore(state)
        else:  # it is held after the wait also if a cancellation comes now
            native.cancel_hold(self._lock.acquire)

    def _is_owned(self) -> bool:
        if hasattr(self._lock, "_is_owned"):
            return bool(self._lock._is_owned())
        if self._lock.acquire(False):
            self._lock.release()
            return False
        return True

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()
        if isinstance(self, InPython):
            self._waiters.clear()

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


class Barrier(BarrierBase, _Derivable):
    """Lets `parties` threads go on together; threading.Barrier.  ValueError, from Python 3.13 on: less than one.

    action: called by one of them when all have come, before they are let go.
    timeout: seconds that wait() waits unless told otherwise; None: no limit.
    """

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        if type(self) is not Barrier:
            _in_python(self, Barrier).__init__(self, parties, action, timeout)
            return
        if parties < 1 and sys.version_info >= (3, 13):  # before, threading takes it, and wait() never returns
            raise ValueError("parties must be >= 1")
        self._begin(parties, action, timeout, BrokenBarrierError)

    def __repr__(self) -> str:
        cls = type(self)
        where = f"<{cls.__module__}.{cls.__qualname__} at {id(self):#x}"
        return f"{where}: broken>" if self.broken else f"{where}: waiters={self.n_waiting}/{self.parties}>"


# ---- the bases of derived classes ------------------------------------------------------------------------------------


class _InDict:
    """An attribute that an object of a derived class has in its __dict__, where the interpreter has looked before."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, op: object, owner: type | None = None) -> Any:
        raise AttributeError(f"{type(op).__name__!r} object has no attribute {self._name!r}")


_names: dict[str, Any] = {
    "__name__": "threading",
    "Condition": Condition,
    "Lock": Lock,
    "RLock": RLock,
    "_allocate_lock": native.allocate_lock,
}


def _on_our_locks(value: Any) -> Any:
    if isinstance(value, property):  # none makes a lock
        return value
    for name in value.__code__.co_names:  # not all that is there: threads are, and would be kept
        if name in vars(threading):
            _names.setdefault(name, vars(threading)[name])
    function = FunctionType(value.__code__, _names, value.__name__, value.__defaults__, value.__closure__)
    function.__kwdefaults__ = value.__kwdefaults__
    return function


for _class in (Event, Semaphore, BoundedSemaphore, Condition, Barrier):
    _stock = getattr(threading, _class.__name__)
    _class._lwp_stock = getattr(_stock, "_lwp_stock", _stock)  # if this module is imported anew after install()
    _own: dict[str, Any] = {
        _name: _on_our_locks(_value)
        for _name, _value in vars(_class._lwp_stock).items()
        if isinstance(_value, FunctionType | property)
    }
    _base: Any = _class.__base__
    _bases: tuple[Any, ...] = (_base, InPython)
    if hasattr(_base, "_lwp_in_python"):  # BoundedSemaphore's
        _bases = (_base._lwp_in_python,)
    else:
        _own = {**{_name: _InDict() for _name in vars(_base) if not _name.startswith("__")}, **_own}
    _class._lwp_in_python = type(f"_{_class.__name__}InPython", _bases, {"__slots__": (), **_own})
