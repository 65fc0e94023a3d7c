"""runtime's primitives and Timer against threading's: each case runs over both, and the same must come of it."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib.util
import inspect
import math
import os
import pickle
import queue
import re
import signal
import sys
import threading
import time
import types
import unittest
import warnings
import weakref
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from conftest import FREE_THREADED, in_child, needs_gil, run_thread
from kinds import is_free
from sync_helpers import PATIENCE, wait_until_asleep

import runtime
from runtime import sync, thread

NAMES = ("Lock", "RLock", "Event", "Semaphore", "BoundedSemaphore", "Condition", "Barrier")
Kit = Any  # the primitives of one side, by threading's names
KITS: dict[str, Kit] = {
    side: types.SimpleNamespace(side=side, Timer=timer, **{name: getattr(module, name) for name in NAMES})
    for side, module, timer in (("stock", threading, threading.Timer), ("ours", sync, thread.Timer))
}

NAN, INF, MAX = math.nan, math.inf, threading.TIMEOUT_MAX

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(params=list(KITS))
def kit(request: pytest.FixtureRequest) -> Kit:
    return KITS[request.param]


def make(kit: Kit, name: str) -> Any:
    return getattr(kit, name)(2) if name == "Barrier" else getattr(kit, name)()


class Interrupted(Exception):
    pass


def interrupt() -> None:
    raise Interrupted


class Started:
    """A call in a thread of its own; with `parked` the thread sleeps in it when the constructor returns."""

    def __init__(self, function: Callable[..., Any], *args: Any, parked: bool = True) -> None:
        self._outcome: list[tuple[str, Any]] = []
        self._begun = False

        def run() -> None:
            self._begun = True
            try:
                self._outcome.append(("returned", function(*args)))
            except Exception as error:
                self._outcome.append(("raised", type(error)))

        self.thread = runtime.Thread(target=run, daemon=True)
        self.thread.start()
        if parked:
            self.wait_until_asleep()

    def wait_until_asleep(self) -> None:
        while not self._begun:  # it sleeps on its way into the interpreter too
            time.sleep(0)
        wait_until_asleep(self.thread.native_id or 0)

    def outcome(self) -> tuple[str, Any]:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "not woken"
        return self._outcome[0]


def in_thread(function: Callable[[], Any]) -> Any:
    """What the function returns in a thread of its own."""
    how, value = Started(function, parked=False).outcome()
    assert how == "returned", value
    return value


def waited(condition: Any, timeout: float | None = None) -> bool:
    with condition:
        return bool(condition.wait(timeout))


def notify(condition: Any, n: int = 1) -> None:
    with condition:
        condition.notify(n)


# ---- calls that need no second thread: each must return, or raise, what stock does -----------------------------------

Case = Callable[[Kit], Any]


def held(lock: Any) -> Any:
    """The lock, held; an RLock by a thread that has ended."""
    in_thread(lock.acquire)
    return lock


def twice(kit: Kit) -> Any:
    lock = kit.RLock()
    lock.acquire()
    lock.acquire()
    return lock


def locked(condition: Any) -> Any:
    condition.acquire()
    return condition


def error(call: Callable[[], Any]) -> Any:
    """The type of what it raises, where the text is the interpreter's or has changed between its releases."""
    try:
        return "returned", call()
    except Exception as raised:
        return type(raised)


def broken(barrier: Any, timeout: Any) -> tuple[Any, ...]:
    return error(lambda: barrier.wait(timeout)), barrier.broken, barrier.n_waiting


def warned(call: Callable[[], Any]) -> tuple[Any, ...]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [(one.category, str(one.message), one.filename) for one in caught]


BAD_TIMES = [-2, -0.5, -1e-9, -INF, -1e30, -(2**70), NAN, "1", None, b"", [], 1j, Decimal("0.1"), Fraction(1, 2)]
TIMES = [-1, -1.0, 0, 0.0, -0.0, 0.001, 1, True, MAX, MAX + 0.5, INF, 1e30, 2**62, 2**70]  # of a lock that is free
SHORT_TIMES = [0, 0.0, 0.001, False, 1e-9, 5e-324]  # of one that isn't


def acquires(lock: Callable[[Kit], Any], times: list[Any]) -> list[Case]:
    """Lock.acquire(blocking=True, timeout=-1), by position and by keyword."""
    return [
        *(lambda kit, t=t: lock(kit).acquire(True, t) for t in [*times, *BAD_TIMES]),
        *(lambda kit, t=t: lock(kit).acquire(timeout=t) for t in [*times, *BAD_TIMES]),
        *(lambda kit, t=t: lock(kit).acquire(blocking=1, timeout=t) for t in SHORT_TIMES),
        *(lambda kit, t=t: lock(kit).acquire(False, t) for t in [-1, -1.0, 0, 1, -2, NAN, "1", 1e30]),
        *(lambda kit, b=b: lock(kit).acquire(b) for b in [False, 0]),
        *(lambda kit, b=b: lock(kit).acquire(blocking=b) for b in [False, 0]),
    ]


#: Truth values: on 3.11 blocking has to be an int.
BLOCKING = [True, 1, -1, 2, "", "x", [0], None, NAN, 2**40, 2**70, -(2**70)]

#: Timeouts of all but locks: what is not above 0 has passed.
WAITS = [0, 0.0, -1, -0.5, 0.001, 1e-9, False, NAN, -INF, -1e30, -(2**70), Decimal(-1), Fraction(-1, 2)]
#: Where stock adds it to the time: a Decimal is a TypeError then, and with NaN stock waits for ever, in a loop.
ADDED_WAITS = [t for t in WAITS if t == t and not isinstance(t, Decimal)]
BAD_WAITS = ["1", b"", [], 1j, INF, 1e30, 2**70, Decimal("0.1"), Fraction(1, 2)]
ADDED_BAD_WAITS = BAD_WAITS
if sys.version_info >= (3, 15):  # the conversion takes a Decimal
    ADDED_BAD_WAITS = [t for t in BAD_WAITS if not isinstance(t, Decimal)]

CASES: dict[str, list[Case]] = {
    "Lock": [
        *(lambda kit, b=b: kit.Lock().acquire(b) for b in BLOCKING),
        *acquires(lambda kit: kit.Lock(), TIMES),
        *acquires(lambda kit: held(kit.Lock()), SHORT_TIMES),
        lambda kit: [(lock := kit.Lock()).acquire(), lock.locked(), lock.release(), lock.locked()],
        lambda kit: kit.Lock().release(),
        lambda kit: held(kit.Lock()).release(),  # by another thread
        lambda kit: kit.Lock().__enter__(),
        lambda kit: kit.Lock().__exit__(None, None, None),
        lambda kit: [(lock := held(kit.Lock())).__exit__(None, None, None), lock.locked()],
        lambda kit: [(lock := held(kit.Lock())).__exit__(), lock.locked()],
        lambda kit: [(lock := held(kit.Lock()))._at_fork_reinit(), lock.locked(), lock.acquire(False)],
        lambda kit: [(lock := kit.Lock()).acquire_lock(), lock.locked_lock(), lock.release_lock(), lock.locked_lock()],
        lambda kit: [(lock := kit.Lock()), repr(lock), repr(held(lock))],
        lambda kit: kit.Lock() == kit.Lock(),
        lambda kit: setattr(kit.Lock(), "name", 1),
        lambda kit: setattr(type(kit.Lock()), "name", 1),
    ],
    "RLock": [
        *(lambda kit, b=b: kit.RLock().acquire(b) for b in BLOCKING),
        *(lambda kit, b=b: twice(kit).acquire(b) for b in BLOCKING),
        *acquires(lambda kit: kit.RLock(), TIMES),
        *acquires(lambda kit: held(kit.RLock()), SHORT_TIMES),
        *acquires(twice, TIMES),
        lambda kit: kit.RLock().release(),
        lambda kit: held(kit.RLock()).release(),
        lambda kit: [(lock := twice(kit)), lock.release(), lock.release(), lock._is_owned(), lock.release()],
        lambda kit: [(lock := kit.RLock()).__enter__(), lock.__exit__(None, None, None), lock._is_owned()],
        lambda kit: kit.RLock().__exit__(None, None, None),
        *(lambda kit, lock=lock: lock(kit)._is_owned() for lock in (twice, lambda kit: held(kit.RLock()))),
        *(
            lambda kit, lock=lock: lock(kit)._recursion_count()
            for lock in (twice, lambda kit: held(kit.RLock()))
            if hasattr(threading.RLock(), "_recursion_count")  # since 3.11.3
        ),
        # Not that of a lock that another holds: stock takes it from its owner, ours is a RuntimeError.
        lambda kit: kit.RLock()._release_save(),
        lambda kit: [(lock := twice(kit)), lock._release_save(), lock._is_owned(), lock.acquire(False)],
        lambda kit: [(lock := kit.RLock())._acquire_restore(twice(kit)._release_save()), lock._release_save()],
        lambda kit: [(lock := held(kit.RLock()))._at_fork_reinit(), lock.acquire(False), lock._is_owned()],
        lambda kit: [repr(kit.RLock()), repr(twice(kit))],
        lambda kit: setattr(type(kit.RLock()), "name", 1),
        lambda kit: error(lambda: type(kit.RLock())(1)),  # refused or taken, by its version
        lambda kit: type("Derived", (type(kit.RLock()),), {"__init__": lambda self, *args: None})(2)._is_owned(),
    ],
    "Event": [
        *(lambda kit, t=t: kit.Event().wait(t) for t in [*WAITS, *BAD_WAITS]),
        *(lambda kit, t=t: kit.Event().wait(timeout=t) for t in WAITS),
        *(lambda kit, t=t: [(event := kit.Event()).set(), event.wait(t)] for t in [None, *WAITS, *BAD_WAITS]),
        lambda kit: [(event := kit.Event()).is_set(), event.set(), event.set(), event.is_set(), event.wait()],
        lambda kit: [(event := kit.Event()).set(), event.clear(), event.clear(), event.is_set()],
        lambda kit: [(event := kit.Event()).set(), event._at_fork_reinit(), event.is_set()],
        lambda kit: [(event := kit.Event()).set(), event.__init__(), event.is_set()],
        *(
            lambda kit, flag=flag: [(e := kit.Event())._flag, setattr(e, "_flag", flag), e._flag, e.is_set(), e.wait(0)]
            for flag in (True, False)
        ),
        lambda kit: [(e := kit.Event()).set(), setattr(e, "_flag", False), e.is_set(), e.wait(0)],
        lambda kit: [(event := kit.Event()), repr(event), event.set(), repr(event)],
        lambda kit: warned(kit.Event().isSet),
    ],
    "Semaphore": [
        *(lambda kit, n=n: kit.Semaphore(n) for n in [-1, -(2**70), -INF]),
        lambda kit: kit.BoundedSemaphore(-1),
        *(
            lambda kit, n=n: [(semaphore := kit.Semaphore(n)).acquire(), semaphore.acquire(timeout=0.001)]
            for n in [1, True, 2, 2**70, INF, 1.0, 2.0, sys.maxsize]
        ),
        *(lambda kit, n=n: kit.Semaphore(**n)._value for n in [{}, {"value": 3}]),
        lambda kit: kit.BoundedSemaphore(value=2)._initial_value,
        *(lambda kit, t=t: kit.Semaphore(0).acquire(True, t) for t in [*ADDED_WAITS, *ADDED_BAD_WAITS]),
        *(lambda kit, t=t: kit.Semaphore(0).acquire(timeout=t) for t in ADDED_WAITS),
        *(lambda kit, t=t: kit.Semaphore(1).acquire(True, t) for t in [None, *WAITS, *BAD_WAITS]),
        *(lambda kit, t=t: kit.Semaphore(0).acquire(False, t) for t in [None, 0, 1, "x"]),
        *(lambda kit, b=b: kit.Semaphore(1).acquire(b) for b in [True, False, 1, 0, "", "x"]),
        *(lambda kit, b=b: kit.Semaphore(0).acquire(blocking=b) for b in [False, 0, ""]),
        *(lambda kit, n=n: [(s := kit.Semaphore(0)).release(n), s._value] for n in [1, 2, 100, 0, -1, True]),
        *(lambda kit, n=n: [(s := kit.Semaphore(0)).release(n=n), s._value] for n in [1, 0]),
        *(lambda kit, n=n: [(s := kit.BoundedSemaphore(2)).acquire(), s.release(n), s._value] for n in [1, 2]),
        lambda kit: kit.BoundedSemaphore().release(),
        lambda kit: kit.BoundedSemaphore(0).release(),
        lambda kit: kit.BoundedSemaphore(2**62).release(2**62),
        lambda kit: [(s := kit.Semaphore(sys.maxsize)).release(), s.acquire(), s._value >= sys.maxsize],
        lambda kit: [(s := kit.Semaphore()).__enter__(), s._value, s.__exit__(None, None, None), s._value],
        lambda kit: kit.BoundedSemaphore().__exit__(None, None, None),
        lambda kit: [(s := kit.Semaphore(0)), setattr(s, "_value", 1), s.acquire(False), s.acquire(False), s._value],
        lambda kit: [(s := kit.Semaphore(0)), setattr(s, "_value", 2), s.release(), s._value],
        lambda kit: [repr(kit.Semaphore(3)), repr(kit.BoundedSemaphore(3))],
        lambda kit: issubclass(kit.BoundedSemaphore, kit.Semaphore),
    ],
    "Condition": [
        *(lambda kit, lock=lock: kit.Condition(getattr(kit, lock)()).wait(0) for lock in ("Lock", "RLock")),
        *(lambda kit, lock=lock: kit.Condition(getattr(kit, lock)()).notify() for lock in ("Lock", "RLock")),
        *(lambda kit, lock=lock: kit.Condition(getattr(kit, lock)()).notify_all() for lock in ("Lock", "RLock")),
        *(lambda kit, lock=lock: kit.Condition(getattr(kit, lock)()).release() for lock in ("Lock", "RLock")),
        lambda kit: kit.Condition(object()),
        lambda kit: [(c := kit.Condition()).acquire(), c.acquire(False), c.acquire(True, 5), c.acquire(timeout=5)],
        lambda kit: [(c := kit.Condition()).__enter__(), c.__exit__(None, None, None), c.release()],
        *(lambda kit, t=t: locked(kit.Condition()).wait(t) for t in [*WAITS, *BAD_WAITS]),
        *(lambda kit, t=t: locked(kit.Condition(lock=kit.Lock())).wait(timeout=t) for t in WAITS),
        *(lambda kit, n=n: locked(kit.Condition()).notify(n) for n in [0, 1, -1, True, 2**70, -(2**70), INF]),
        lambda kit: locked(kit.Condition()).notify(n=2),
        lambda kit: locked(kit.Condition()).notify_all(),
        *(lambda kit, t=t: locked(kit.Condition()).wait_for(lambda: 7, t) for t in [None, 0, -1, "x"]),
        *(lambda kit, t=t: locked(kit.Condition()).wait_for(list, timeout=t) for t in [0, -1, 0.001, "x", 1e30]),
        lambda kit: locked(kit.Condition()).wait_for(lambda: 1 / 0),
        lambda kit: kit.Condition().wait_for(list, 0),
        lambda kit: [(c := locked(kit.Condition())).acquire(), c.wait(0.001), c.release(), c.release(), c._is_owned()],
        *(lambda kit, lock=lock: locked(kit.Condition(getattr(kit, lock)()))._is_owned() for lock in ("Lock", "RLock")),
        lambda kit: [(c := locked(kit.Condition()))._at_fork_reinit(), c._is_owned()],
        lambda kit: [repr(kit.Condition()), repr(kit.Condition(kit.Lock())), repr(locked(kit.Condition()))],
        lambda kit: warned(locked(kit.Condition()).notifyAll),
        # Over locks of either side.
        *(
            lambda kit, lock=lock: [
                (c := locked(kit.Condition(lock()))).wait(0.001),
                c._is_owned(),
                c.notify(),
                c.release(),
            ]
            for lock in (threading.Lock, threading.RLock, threading._RLock, sync.Lock, sync.RLock)
        ),
    ],
    "Barrier": [
        *(lambda kit, n=n: error(lambda: kit.Barrier(n).parties) for n in [1, True, 0, -1]),  # >= 1 from 3.13 on
        lambda kit: [(b := kit.Barrier(parties=3, action=None, timeout=None)).n_waiting, b.broken, b.parties, repr(b)],
        *(lambda kit, t=t: kit.Barrier(1).wait(t) for t in [None, *WAITS, *BAD_WAITS]),
        *(lambda kit, t=t: kit.Barrier(1).wait(timeout=t) for t in WAITS),
        *(lambda kit, t=t: broken(kit.Barrier(2), t) for t in [*ADDED_WAITS, *ADDED_BAD_WAITS]),
        *(lambda kit, t=t: broken(kit.Barrier(2, None, t), None) for t in ADDED_WAITS),
        lambda kit: [(b := kit.Barrier(1)).wait(), b.wait(), b.reset(), b.wait(), b.broken],
        lambda kit: [(b := kit.Barrier(1)).abort(), b.broken, b.n_waiting, repr(b), b.wait()],
        lambda kit: [(b := kit.Barrier(1)).abort(), b.reset(), b.broken, b.wait()],
        lambda kit: [(seen := []), (b := kit.Barrier(1, lambda: seen.append(b.n_waiting))).wait(), seen],
        lambda kit: kit.Barrier(1, lambda: 1 / 0).wait(),
        lambda kit: broken(kit.Barrier(1, lambda: 1 / 0), None),
        lambda kit: error(lambda: setattr(kit.Barrier(1), "parties", 2)),
    ],
    "Timer": [
        lambda kit: [(t := kit.Timer(5, len)).interval, t.function, t.args, t.kwargs, t.finished.is_set()],
        lambda kit: [(t := kit.Timer(5, len, None, None)).args, t.kwargs],
        lambda kit: [(t := kit.Timer(interval=5, function=len, args=(1,), kwargs={"x": 2})).args, t.kwargs],
        lambda kit: [(t := kit.Timer(5, len)).cancel(), t.finished.is_set(), t.cancel()],
        lambda kit: [(t := kit.Timer(5, len)).daemon, t.is_alive(), t.ident, isinstance(t, threading.Thread)],
        lambda kit: kit.Timer(5, len).join(),
        lambda kit: kit.Timer(),
        lambda kit: kit.Timer(5),
        lambda kit: kit.Timer(5, len, (), {}, None),
    ],
}

#: Calls that don't fit the signature: a TypeError on both sides.  Its words are those of this or that argument parser.
MISFITS: list[Case] = [
    *(lambda kit, name=name: make(kit, name).acquire(1, 2, 3) for name in ("Lock", "RLock", "Semaphore", "Condition")),
    *(lambda kit, name=name: make(kit, name).acquire(wait=1) for name in ("Lock", "RLock", "Semaphore", "Condition")),
    *(lambda kit, name=name: make(kit, name).acquire(True, blocking=1) for name in ("Lock", "RLock", "Semaphore")),
    *(lambda kit, name=name: make(kit, name).release(1, 2) for name in ("Lock", "RLock", "Semaphore", "Condition")),
    lambda kit: locked(kit.Condition()).wait(1, 2),
    *(lambda kit, name=name: make(kit, name).wait(1, 2) for name in ("Event", "Barrier")),
    *(lambda kit, name=name: make(kit, name).wait(seconds=1) for name in ("Event", "Barrier", "Condition")),
    *(lambda kit, name=name: make(kit, name).wait(1, timeout=1) for name in ("Event", "Barrier", "Condition")),
    *(lambda kit, name=name: getattr(kit, name)(1, 2, 3, 4) for name in NAMES if name != "RLock"),
    *(lambda kit, name=name: getattr(kit, name)(what=1) for name in NAMES if name != "RLock"),
    *(lambda kit, call=call: call(kit.Lock()) for call in (pickle.dumps, copy.deepcopy, copy.copy)),
    *(lambda kit, call=call: call(kit.RLock()) for call in (pickle.dumps, copy.deepcopy, copy.copy)),
    *(lambda kit, name=name: make(kit, name) < make(kit, name) for name in NAMES),
    lambda kit: type("Derived", (type(kit.Lock()),), {}),
    *(lambda kit, state=state: kit.RLock()._acquire_restore(state) for state in (1, (1,), ("1", 2))),
    *(lambda kit, n=n: kit.Semaphore(n) for n in ("1", None, [])),
    *(lambda kit, n=n: kit.Semaphore().release(n) for n in ("1", None, [])),
    lambda kit: kit.Semaphore().release(count=1),
    lambda kit: locked(kit.Condition()).notify(1, 2),
    lambda kit: locked(kit.Condition()).notify(count=1),
    lambda kit: locked(kit.Condition()).notify_all(1),
    lambda kit: locked(kit.Condition()).wait_for(),
    lambda kit: kit.Event().set(1),
    lambda kit: kit.Barrier(),
    lambda kit: kit.Barrier(1).reset(1),
]


def plain(value: Any) -> Any:
    """Without what tells the sides apart by right: addresses, idents, the module (threading under install())."""
    if isinstance(value, str):
        value = re.sub(r"0x[0-9a-f]+", "0x", value).replace("runtime.sync.", "threading.")
        return re.sub(r"owner=[1-9]\d*", "owner=me", value)
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, int) and value == threading.get_ident():
        return "my ident"
    return value if isinstance(value, bool | int | float | dict | type | None) else type(value).__name__


def outcome(case: Case, kit: Kit) -> tuple[Any, ...]:
    try:
        return "returned", plain(case(kit))
    except Exception as error:
        return "raised", type(error), plain(str(error))


def same(stock: tuple[Any, ...], ours: tuple[Any, ...]) -> bool:
    # Where stock fails in the midst of its Python, at a + or a <, the text is the operator's: the type must do.
    operator = (
        "unsupported operand" in stock[-1] or "not supported between" in stock[-1] if stock[0] == "raised" else False
    )
    return stock[:2] == ours[:2] if operator else stock == ours


@pytest.mark.parametrize("group", list(CASES))
def test_a_call_does_what_stock_does(group: str) -> None:
    different = []
    for case in CASES[group]:
        stock, ours = (outcome(case, kit) for kit in KITS.values())
        if not same(stock, ours):
            line = inspect.getsourcelines(case)[0][0].strip()
            different.append(f"{line}\n  with {case.__defaults__}: stock {stock}, ours {ours}")
    assert not different, "\n" + "\n".join(different)


def test_a_call_that_does_not_fit_is_a_type_error() -> None:
    for case in MISFITS:
        for side in KITS:
            line = inspect.getsourcelines(case)[0][0].strip()
            assert outcome(case, KITS[side])[:2] == ("raised", TypeError), f"{side}, {case.__defaults__}: {line}"


@pytest.mark.parametrize("name", ["Lock", "RLock"])
@pytest.mark.parametrize("method", ["__enter__", "__exit__", "acquire", "release"])
def test_a_bound_method_looks_like_stocks(kit: Kit, name: str, method: str) -> None:
    lock, other = make(kit, name), make(kit, name)
    bound = getattr(lock, method)
    assert isinstance(bound, types.BuiltinMethodType)
    assert (bound.__name__, bound.__self__) == (method, lock)
    assert bound == getattr(lock, method)
    assert hash(bound) == hash(getattr(lock, method))
    assert bound != getattr(other, method)
    assert len({bound, getattr(lock, method), getattr(other, method)}) == 2
    assert re.fullmatch(rf"<built-in method {method} of _thread\.R?[lL]ock object at 0x[0-9a-f]+>", repr(bound))
    assert repr(getattr(type(lock), method)).startswith(f"<method '{method}' of '_thread.")
    del lock  # what is bound keeps it
    assert bound.__self__ is not None
    with pytest.raises(AttributeError):
        bound.nothing  # noqa: B018
    with pytest.raises(TypeError):
        bound(nothing=1)
    if method == "__enter__" and sys.version_info >= (3, 15):
        with pytest.raises(TypeError):
            bound(False)
    elif method == "__enter__":
        assert bound(False) is True  # it is acquire by another name
        assert bound(False) is (name == "RLock")


def test_a_cycle_through_a_bound_method(kit: Kit) -> None:
    class Derived(type(kit.RLock())):
        pass

    lock = Derived()
    lock.leave = lock.__exit__
    gone = weakref.ref(lock)
    del lock
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="this Python has no _testcapi")
@pytest.mark.parametrize("name", ["Lock", "RLock"])
@in_child(prints="True\n")
def test_with_frees_the_lock_without_memory(name: str) -> None:
    """The way out allocates nothing."""
    import _testcapi

    lock, shortage = getattr(sync, name)(), MemoryError()

    def leave() -> None:
        with lock:
            _testcapi.set_nomemory(0, 0)
            raise shortage

    try:
        leave()
    except MemoryError:
        _testcapi.remove_mem_hooks()
    run_thread(threading.Thread(target=lambda: print(lock.acquire(False))))


def test_with_holds_the_lock_and_frees_it_however_it_is_left(kit: Kit) -> None:
    for lock in (kit.Lock(), kit.RLock()):
        with lock as got:
            assert got is True
            assert not is_free(lock)
        assert is_free(lock)
        with pytest.raises(KeyError), lock:
            raise KeyError
        assert is_free(lock)
        for _ in range(2):
            with lock:
                continue
        assert is_free(lock)
        with pytest.raises(RuntimeError, match="release un"), lock:
            lock.release()
        assert is_free(lock)


def test_calls_keep_no_memory() -> None:
    cases = [case for group in CASES.values() for case in group] + MISFITS

    def blocks() -> int:
        for case in cases:
            outcome(case, KITS["ours"])
        gc.collect()
        return sys.getallocatedblocks()

    for _ in range(10):  # of threads that end with a lock taken, the names of the latest 1,000 are kept
        blocks()
    counts = [blocks() for _ in range(3)]
    assert counts[-1] - counts[0] < len(cases) // 4, counts  # one in each run of each case would be twice their number


# ---- as objects ------------------------------------------------------------------------------------------------------


def test_names_under_install() -> None:
    def names(kit: Kit) -> list[Any]:
        classes = [getattr(kit, name) for name in NAMES if name not in ("Lock", "RLock")]
        said = [re.sub(r"0x[0-9a-f]+", "0x", repr(make(kit, cls.__name__))) for cls in classes]
        return [(cls.__module__, cls.__qualname__, text) for cls, text in zip(classes, said, strict=True)]

    stock = names(KITS["stock"])
    with runtime.installed():
        assert names(KITS["ours"]) == stock
    for name in ("Lock", "RLock"):
        types_of = [type(make(kit, name)) for kit in KITS.values()]
        assert len({(cls.__module__, cls.__qualname__) for cls in types_of}) == 1


def test_weak_references(kit: Kit) -> None:
    for name in NAMES:
        one = make(kit, name)
        called: list[Any] = []
        reference = weakref.ref(one, called.append)
        assert reference() is one, name
        del one
        assert reference() is None, name
        assert called == [reference], name


def test_derived_classes_and_cycles(kit: Kit) -> None:
    gone: list[Any] = []
    for name in NAMES:
        if name == "Lock":
            continue  # its type is final

        class Derived(type(make(kit, name))):
            def __init__(self, *args: Any, value: Any) -> None:
                super().__init__(*args)
                self.value = value

        derived = Derived(2, value=5) if name == "Barrier" else Derived(value=5)
        assert derived.value == 5, name
        derived.value = derived
        gone.append(weakref.ref(derived))
        # Without a GIL classes that are made after the first thread stay, up to Python 3.13.
        if not FREE_THREADED or sys.version_info >= (3, 14):
            gone.append(weakref.ref(Derived))
        del derived, Derived
    gc.collect()
    assert not [reference for reference in gone if reference()]


def test_cycles_through_a_condition_s_lock_and_a_barrier_s_action(kit: Kit) -> None:
    class Part:
        acquire = release = locked = __call__ = lambda self: True  # locked: Condition has it too, from 3.14 on

    lock, action = Part(), Part()
    lock.condition = kit.Condition(lock)
    action.barrier = kit.Barrier(2, action)
    gone = weakref.ref(lock), weakref.ref(action)
    del lock, action
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


# ---- between threads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, MAX])
def test_sleepers_are_woken(kit: Kit, timeout: float | None) -> None:
    lock, rlock, event, semaphore = held(kit.Lock()), kit.RLock(), kit.Event(), kit.Semaphore(0)
    condition, barrier = kit.Condition(), kit.Barrier(2)
    of_lock = -1 if timeout is None else timeout
    rlock.acquire()
    sleepers = [
        Started(lock.acquire, True, of_lock),
        Started(lambda: [rlock.acquire(timeout=of_lock), rlock.release()][0]),
        Started(event.wait, timeout),
        Started(semaphore.acquire, True, timeout),
        Started(waited, condition, timeout),
        Started(lambda: barrier.wait(timeout) in (0, 1)),
    ]
    lock.release()
    rlock.release()
    event.set()
    semaphore.release()
    notify(condition)
    assert barrier.wait() in (0, 1)
    assert [sleeper.outcome() for sleeper in sleepers] == [("returned", True)] * 6


@pytest.mark.parametrize("name", ["Lock", "RLock"])
def test_a_lock_goes_from_one_to_the_next(kit: Kit, name: str) -> None:
    lock = make(kit, name)
    lock.acquire()
    sleepers = [Started(lambda: [lock.acquire(), lock.release()][0]) for _ in range(3)]
    lock.release()
    assert [sleeper.outcome() for sleeper in sleepers] == [("returned", True)] * 3
    assert lock.acquire(False)


def test_barrier_again_and_again(kit: Kit) -> None:
    acted: list[int] = []
    barrier = kit.Barrier(3, lambda: acted.append(barrier.n_waiting))
    for _ in range(5):
        threads = [Started(barrier.wait, parked=False) for _ in range(3)]
        assert sorted(thread.outcome() for thread in threads) == [("returned", index) for index in range(3)]
    assert acted == [3] * 5
    assert (barrier.n_waiting, barrier.broken) == (0, False)


@pytest.mark.parametrize("end", ["return", "raise"])
def test_a_thread_comes_to_a_barrier_during_the_action(kit: Kit, end: str) -> None:
    inside, go = threading.Event(), threading.Event()

    def action() -> None:
        inside.set()
        assert go.wait(PATIENCE)
        if end == "raise":
            raise Interrupted

    barrier = kit.Barrier(2, action)
    first = [Started(barrier.wait, parked=False) for _ in range(2)]
    assert inside.wait(PATIENCE)
    late = Started(barrier.wait)
    go.set()
    if end == "raise":
        assert {one.outcome() for one in first} == {("raised", Interrupted), ("raised", threading.BrokenBarrierError)}
        assert late.outcome() == ("raised", threading.BrokenBarrierError)
    else:
        assert {one.outcome() for one in first} == {("returned", 0), ("returned", 1)}
        assert {barrier.wait(), late.outcome()[1]} == {0, 1}


def test_a_barrier_can_be_used_from_its_action() -> None:  # where stock waits for itself
    for use in ("abort", "reset"):
        barrier = sync.Barrier(2, lambda: getattr(barrier, use)())  # noqa: B023
        threads = [Started(barrier.wait, parked=False) for _ in range(2)]
        assert [one.outcome() for one in threads] == [("raised", threading.BrokenBarrierError)] * 2
        assert barrier.broken is (use == "abort")


@in_child(prints="joined\n", env={"PYTHONMALLOC": "debug"})
def test_a_condition_made_anew_while_a_thread_sleeps_in_it() -> None:
    """The lock that the sleeper is to take back was the Condition's alone; what is freed is overwritten."""
    condition = sync.Condition(sync.Lock())
    sleeping = threading.Event()

    def sleep() -> None:
        with condition._lock:
            sleeping.set()
            condition.wait(0.1)

    thread = runtime.Thread(target=sleep)
    thread.start()
    sleeping.wait()
    lock = condition._lock
    with lock:
        condition.__init__(sync.Lock())
    del lock
    thread.join()
    print("joined")


def test_a_notification_is_not_lost_to_a_timeout(kit: Kit) -> None:
    # Two are notified, and woken one at a time: when the second's time is up it sleeps while the first wants the lock.
    condition = kit.Condition(kit.Lock())
    first, second = Started(waited, condition), Started(waited, condition, 0.1, parked=False)
    while not repr(condition).endswith(", 2)>"):
        time.sleep(0)
    deadline = time.monotonic() + 0.1
    with condition:
        condition.notify(2)
        while time.monotonic() < deadline:
            time.sleep(0.01)
        first.wait_until_asleep()
        second.wait_until_asleep()  # now for the lock
    assert first.outcome() == second.outcome() == ("returned", True)


@pytest.mark.parametrize(("of_condition", "of_lock"), [("stock", "ours"), ("ours", "stock")])
def test_a_condition_over_the_other_side_s_lock(of_condition: str, of_lock: str) -> None:
    for lock in ("Lock", "RLock"):
        condition = KITS[of_condition].Condition(make(KITS[of_lock], lock))
        sleepers = [Started(waited, condition, timeout) for timeout in (None, PATIENCE, None)]
        notify(condition)
        assert sleepers[0].outcome() == ("returned", True)
        with condition:
            condition.notify_all()
        assert [sleeper.outcome() for sleeper in sleepers] == [("returned", True)] * 3
        assert waited(condition, 0.001) is False


def test_a_queue_over_either_side_s_locks(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    for of_lock in KITS.values():
        with monkeypatch.context() as patch:
            patch.setattr(threading, "Lock", of_lock.Lock)
            patch.setattr(threading, "Condition", kit.Condition)
            numbers: queue.Queue[int | None] = queue.Queue(maxsize=2)
        assert type(numbers.mutex) is type(of_lock.Lock())
        assert type(numbers.not_empty) is kit.Condition
        exchange(numbers)


def exchange(numbers: queue.Queue[int | None]) -> None:
    """Sends numbers through the queue, from three threads to three others."""

    def produce(first: int) -> None:
        for number in range(first, first + 100):
            numbers.put(number, timeout=PATIENCE)

    def consume() -> int:
        total = 0
        while (number := numbers.get(timeout=PATIENCE)) is not None:
            total += number
            numbers.task_done()
        numbers.task_done()
        return total

    consumers = [Started(consume, parked=False) for _ in range(3)]
    producers = [Started(produce, first, parked=False) for first in (0, 100, 200)]
    assert [producer.outcome() for producer in producers] == [("returned", None)] * 3
    for _ in consumers:
        numbers.put(None, timeout=PATIENCE)
    assert sum(consumer.outcome()[1] for consumer in consumers) == sum(range(300))
    numbers.join()


# ---- signals ---------------------------------------------------------------------------------------------------------


OnSignal = Callable[[Callable[[], object]], Callable[[], None]]


@pytest.fixture
def on_signal() -> Iterator[OnSignal]:
    """send = on_signal(function): send(), in another thread, waits until this one sleeps and makes it call that."""
    before = signal.getsignal(signal.SIGUSR1)
    main, tid = threading.get_ident(), threading.get_native_id()

    def send() -> None:
        wait_until_asleep(tid)
        signal.pthread_kill(main, signal.SIGUSR1)

    def arm(function: Callable[[], object]) -> Callable[[], None]:
        signal.signal(signal.SIGUSR1, lambda *_: function())
        return send

    yield arm
    signal.signal(signal.SIGUSR1, before)


def sleep_and_wake(kit: Kit, name: str) -> tuple[Callable[[float], Any], Callable[[], Any]]:
    """A call that sleeps for so many seconds, or until the other call is made."""
    one = make(kit, name)
    match name:
        case "RLock":
            release = threading.Event()
            Started(lambda: one.acquire() and release.wait(PATIENCE) and one.release())
            return lambda timeout: one.acquire(timeout=timeout), release.set
        case "Event":
            return one.wait, one.set
        case "Lock" | "Semaphore":
            one.acquire()
            return lambda timeout: one.acquire(timeout=timeout), one.release
        case "Condition":
            return lambda timeout: waited(one, timeout), lambda: notify(one)
        case _:

            def wait(timeout: float = PATIENCE) -> bool:
                with contextlib.suppress(threading.BrokenBarrierError):
                    return one.wait(timeout) in (0, 1)
                return False

            return wait, wait


PRIMITIVES = ["Lock", "RLock", "Event", "Semaphore", "Condition", "Barrier"]


def test_ctrl_c_ends_the_sleep(kit: Kit) -> None:
    main = threading.get_native_id()

    def send() -> None:
        wait_until_asleep(main)
        os.kill(os.getpid(), signal.SIGINT)

    for name in PRIMITIVES:
        sleep, wake = sleep_and_wake(kit, name)
        sender = Started(send, parked=False)
        with pytest.raises(KeyboardInterrupt):
            sleep(PATIENCE)
        sender.outcome()
        # It has left no trace: the next thread to come sleeps, and a wake-up reaches it.
        next_one = Started(sleep, PATIENCE)
        wake()
        assert next_one.outcome() == ("returned", True), name


def test_after_a_handler_the_rest_of_the_time_is_slept(kit: Kit, on_signal: OnSignal) -> None:
    for name in PRIMITIVES:
        sleep, wake = sleep_and_wake(kit, name)
        ran: list[bool] = []
        sender = Started(on_signal(lambda: ran.append(True)), parked=False)  # noqa: B023
        begin = time.monotonic()
        assert sleep(0.2) is False, name
        assert time.monotonic() - begin >= 0.2, name
        sender.outcome()
        assert ran == [True], name
        wake()


def test_a_handler_wakes_its_own_thread(kit: Kit, on_signal: OnSignal) -> None:
    for name in PRIMITIVES[:-1]:
        sleep, wake = sleep_and_wake(kit, name)
        Started(on_signal(wake), parked=False)
        assert sleep(PATIENCE) is True, name


def test_a_handler_sleeps_where_its_thread_sleeps(kit: Kit, on_signal: OnSignal) -> None:
    event, condition = kit.Event(), kit.Condition()
    inner: list[bool] = []
    Started(on_signal(lambda: inner.append(event.wait(0.001)) or event.set()), parked=False)
    assert event.wait(PATIENCE) is True
    Started(on_signal(lambda: inner.append(waited(condition, 0.001)) or notify(condition)), parked=False)
    assert waited(condition, PATIENCE) is True
    assert inner == [False, False]


def test_a_notification_is_not_lost_when_a_handler_raises(on_signal: OnSignal) -> None:
    # In stock it is lost.
    condition, semaphore = sync.Condition(), sync.Semaphore(0)
    other: list[Started] = []

    def notify_and_raise() -> None:
        other.append(Started(waited, condition))
        notify(condition)  # us: we have waited longest
        raise Interrupted

    Started(on_signal(notify_and_raise), parked=False)
    with pytest.raises(Interrupted):
        waited(condition, PATIENCE)
    assert other[0].outcome() == ("returned", True)

    def release_and_raise() -> None:
        semaphore.release()
        raise Interrupted

    Started(on_signal(release_and_raise), parked=False)
    with pytest.raises(Interrupted):
        semaphore.acquire(timeout=PATIENCE)
    assert semaphore.acquire(False)


@pytest.mark.parametrize("make_condition", [sync.Condition, threading.Condition])
def test_an_rlock_is_had_again_whatever_a_handler_raises(
    make_condition: Callable[[Any], Any], on_signal: OnSignal
) -> None:
    """Otherwise the end of the `with` raises too, and Ctrl-C comes out as a RuntimeError."""
    lock = sync.RLock()
    condition = make_condition(lock)
    main = threading.get_native_id()
    ran = threading.Event()

    def keep_the_lock() -> None:
        wait_until_asleep(main)
        with lock:
            condition.notify()
            send()
            assert ran.wait(PATIENCE)

    send = on_signal(lambda: (ran.set(), interrupt()))
    keeper = Started(keep_the_lock, parked=False)
    lock.acquire()
    with pytest.raises(Interrupted), lock:
        condition.wait(PATIENCE)
    assert lock._recursion_count() == 1
    lock.release()
    assert keeper.outcome() == ("returned", None)


def test_a_handler_sleeps_while_its_thread_takes_the_lock_back(kit: Kit, on_signal: OnSignal) -> None:
    condition = kit.Condition()
    main = threading.get_native_id()
    inner: list[bool] = []
    send = on_signal(lambda: inner.append(waited(condition, PATIENCE)))

    def notify_both() -> None:
        wait_until_asleep(main)
        with condition:
            condition.notify()
            send()
        wait_until_asleep(main)  # in the handler
        notify(condition)

    notifier = Started(notify_both, parked=False)
    begin = time.monotonic()
    assert waited(condition, PATIENCE) is True
    assert inner == [True]
    assert time.monotonic() - begin < PATIENCE
    assert notifier.outcome() == ("returned", None)


def test_a_barrier_survives_a_handler_that_raises(kit: Kit, on_signal: OnSignal) -> None:
    barrier = kit.Barrier(3)
    sleeper = Started(barrier.wait)
    Started(on_signal(interrupt), parked=False)
    with pytest.raises(Interrupted):
        barrier.wait(PATIENCE)
    assert (barrier.broken, barrier.n_waiting) == (False, 1)
    more = Started(barrier.wait)
    barrier.wait(PATIENCE)
    assert sleeper.outcome()[0] == more.outcome()[0] == "returned"


# ---- fork ------------------------------------------------------------------------------------------------------------


def ends_well(check: Callable[[], object]) -> None:
    """For a forked child: ends it, with status 0 if the check holds."""
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
        status = 0 if check() else 2
    finally:
        os._exit(status)


def holds_in_child(check: Callable[[], object]) -> bool:
    """Whether the check holds in a forked child."""
    if (pid := os.fork()) == 0:
        ends_well(check)
    return os.waitpid(pid, 0)[1] == 0


def test_what_holds_across_a_fork(kit: Kit) -> None:
    lock, rlock, event, semaphore = kit.Lock(), kit.RLock(), kit.Event(), kit.Semaphore(2)
    with lock, rlock:
        event.set()
        assert holds_in_child(lambda: lock.locked() and not lock.acquire(False))
        assert holds_in_child(lambda: rlock._is_owned() and rlock.acquire(False))
        assert holds_in_child(lambda: rlock.release() is None and not rlock._is_owned())
        assert holds_in_child(lambda: lock._at_fork_reinit() is None and lock.acquire(False))
        assert holds_in_child(lambda: event.is_set() and event.wait())
        assert holds_in_child(
            lambda: semaphore.acquire(False) and semaphore.acquire(False) and not semaphore.acquire(False)
        )


def test_sleepers_are_lost_in_the_child_and_not_woken_there() -> None:
    lock, event, semaphore, condition = held(sync.Lock()), sync.Event(), sync.Semaphore(0), sync.Condition()
    sleepers = [Started(call) for call in (event.wait, semaphore.acquire, lambda: waited(condition), lock.acquire)]

    def wake() -> None:
        event.set()
        semaphore.release()
        notify(condition)
        lock.release()

    def check() -> bool:
        wake()
        again = Started(waited, condition)
        notify(condition)
        return (
            event.wait(0)
            and semaphore.acquire(False)  # not granted to the lost one
            and not semaphore.acquire(False)
            and lock.acquire(False)
            and again.outcome() == ("returned", True)
        )

    assert holds_in_child(check)
    wake()
    assert [sleeper.outcome() for sleeper in sleepers] == [("returned", True)] * 4


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("after", [0, 3])
def test_a_fork_in_a_handler_of_a_sleeper(before: int, after: int, on_signal: OnSignal) -> None:
    # The sleeper lives on in the child, where those before and after it in the queue are lost.
    event = sync.Event()
    others = [Started(event.wait) for _ in range(before)]
    pids: list[int] = []

    def fork() -> None:
        others.extend(Started(event.wait) for _ in range(after))
        pids.append(os.fork())
        if pids[0] == 0:
            for _ in range(10):  # on the stacks of the lost ones
                in_thread(lambda: [bytes(1000) for _ in range(100)])
            main = threading.get_native_id()
            Started(lambda: (wait_until_asleep(main), event.set()), parked=False)
        else:
            event.set()

    def check() -> bool:
        event.clear()
        late = [Started(event.wait) for _ in range(3)]
        event.set()
        return result and [one.outcome() for one in late] == [("returned", True)] * 3

    Started(on_signal(fork), parked=False)
    result = event.wait(PATIENCE)
    if pids[0] == 0:
        ends_well(check)
    assert result is True
    assert [one.outcome() for one in others] == [("returned", True)] * (before + after)
    assert os.waitpid(pids[0], 0)[1] == 0


# ---- the end of the interpreter --------------------------------------------------------------------------------------


@needs_gil("the end of the interpreter leaves daemon threads asleep")
@pytest.mark.parametrize("kind", ["Event", "Condition"])
@in_child(prints="woken\n")
def test_a_daemon_thread_that_the_end_stops_leaves_its_queue(kind: str) -> None:
    """One whose time is up wants the GIL, and ends there; from 3.14 on it pauses there for ever.

    An event's are no longer on its list by then.  One that a condition notifies before has a deferred wake-up, and has
    taken the debt off when it ends.
    """
    primitive, ready = getattr(sync, kind)(), sync.Semaphore(0)

    def sleep(seconds: float) -> None:
        with contextlib.nullcontext() if kind == "Event" else primitive:
            ready.release()
            primitive.wait(seconds)

    times = [0.3 + number / 100 for number in range(20)] if kind == "Event" else [1]
    threads = [runtime.Thread(target=sleep, args=(seconds,), daemon=True) for seconds in times]
    for one in threads:
        one.start()
        ready.acquire()

    class Last:
        # Deleted with sys.modules, when the globals are gone: what it calls is kept in it.
        def __init__(self) -> None:
            self.primitive, self.sleep, self.move, self.print = primitive, time.sleep, ctypes.memmove, print  # noqa: F821
            self.open, self.read, self.close = os.open, os.read, os.close
            self.calls = [f"/proc/self/task/{one.native_id}/syscall" for one in threads]
            self.stacks = [] if sys.version_info >= (3, 14) else [one._lwp._places[2] for one in threads]
            self.junk = (b"\x10" + bytes(7)) * 8192

        def is_there(self, call: str) -> bool:
            try:
                file = self.open(call, 0)
                found = self.read(file, 100)
                self.close(file)
            except OSError:
                return False
            return not found.startswith((b"34 ", b"73 "))  # pause; aarch64's is ppoll

        def __del__(self) -> None:
            if kind == "Condition":
                self.primitive.acquire()
                self.primitive.notify()
            while any(map(self.is_there, self.calls)):
                self.sleep(0.01)
            for high in self.stacks:  # as if others used them
                self.move(high - 65536, self.junk, 65536)
            self.primitive.set() if kind == "Event" else self.primitive.release()
            self.print("woken", flush=True)

    sys.modules["last"] = Last()


# ---- Timer -----------------------------------------------------------------------------------------------------------


def test_a_timer_calls_its_function(kit: Kit) -> None:
    calls: list[Any] = []

    def call(*args: Any, **kwargs: Any) -> None:
        calls.append((args, kwargs, threading.current_thread()))

    for interval in (0, -1, 0.01, *([NAN] if sys.version_info < (3, 14) else [])):  # since then no time to wait
        timer = kit.Timer(interval, call, [1, 2], {"x": 3})
        timer.start()
        timer.join(PATIENCE)
        assert calls.pop() == ((1, 2), {"x": 3}, timer)
        assert (timer.finished.is_set(), timer.is_alive()) == (True, False)
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            timer.start()


def test_a_cancelled_timer_does_not(kit: Kit) -> None:
    calls: list[int] = []
    before, asleep = (kit.Timer(delay, calls.append, (1,)) for delay in (0, PATIENCE))
    before.cancel()
    before.start()
    asleep.start()
    wait_until_asleep(asleep.native_id)
    asleep.cancel()
    for timer in (before, asleep):
        timer.join(PATIENCE)
        assert not timer.is_alive()
    assert calls == []


def test_what_a_timer_raises(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: seen.append((hook.exc_type, hook.thread)))
    for interval, function, error_type in ((0, lambda: 1 / 0, ZeroDivisionError), ("1", len, TypeError)):
        timer = kit.Timer(interval, function)
        timer.start()
        timer.join(PATIENCE)
        assert seen.pop() == (error_type, timer)
        assert not timer.finished.is_set()


# ---- CPython's own tests ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cpythons_lock_tests() -> None:
    lock_tests = pytest.importorskip("test.lock_tests", reason="this Python comes without its tests")
    suite = unittest.TestSuite()
    attributes = {"Event": "eventtype", "Condition": "condtype", "Barrier": "barriertype"}
    attributes |= dict.fromkeys(["Lock", "RLock"], "locktype") | dict.fromkeys(
        ["Semaphore", "BoundedSemaphore"], "semtype"
    )
    for name, attribute in attributes.items():
        case = type(name, (getattr(lock_tests, f"{name}Tests"),), {attribute: staticmethod(getattr(sync, name))})
        for test in unittest.defaultTestLoader.getTestCaseNames(case):
            # Those of timeouts sleep for half a second each; one takes the private Event._cond, which ours lacks.
            if "timeout" not in test and (name, test) != ("Event", "test_at_fork_reinit"):
                suite.addTest(case(test))
    result = unittest.TestResult()
    with runtime.installed():  # they expect reprs that say threading
        suite.run(result)
    assert result.testsRun > 70
    assert [text for _, text in result.failures + result.errors] == []
