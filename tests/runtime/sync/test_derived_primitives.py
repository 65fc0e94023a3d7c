"""Classes derived from Event, Semaphore, Condition and Barrier: what they replace of threading's Python is used."""

from __future__ import annotations

import abc
import copy
import operator
import pickle
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from conftest import TREE, Child
from sync_helpers import PATIENCE, until, wait_until_asleep

import runtime
from runtime import sync
from runtime.scheduler import Scheduler

#: The primitives, with methods that need no arguments.
METHODS = {
    "Condition": ["wait", "notify", "notify_all", "__enter__", "acquire", "release"],
    "Semaphore": ["acquire", "release", "__enter__"],
    "BoundedSemaphore": ["acquire", "release", "__enter__"],
    "Event": ["set", "clear", "wait", "is_set"],
    "Barrier": ["wait", "reset", "abort"],
}


@pytest.fixture(params=[threading, sync], ids=["stock", "ours"])
def kit(request: pytest.FixtureRequest) -> Any:
    return request.param


def made(kit: Any, name: str) -> Any:
    return getattr(kit, name)(2) if name == "Barrier" else getattr(kit, name)()


@contextmanager
def threads(number: int, target: Callable[[], Any], waiting: Callable[[], int]) -> Iterator[list[Any]]:
    """In them target() runs; its results.  They wait at the begin of the block, and have ended after it."""
    results: list[Any] = []
    started = [runtime.Thread(target=lambda: results.append(target()), daemon=True) for _ in range(number)]
    for thread in started:
        thread.start()
    until(lambda: waiting() == number)
    yield results
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "not woken"


def by_name(kit: Any, name: str) -> Any:
    """A class that overrides all methods, and calls those of its base by the name of that, as in Event.set(self)."""
    base = getattr(kit, name)

    def method(called: str) -> Callable[..., Any]:
        return lambda self, *args, **named: getattr(base, called)(self, *args, **named)

    overridden = {"__init__", "__exit__", "wait_for", *METHODS[name]} & set(dir(base))
    return type(f"{name}ByName", (base,), {called: method(called) for called in overridden})


def elsewhere(kit: Any, name: str, attribute: str) -> Any:
    """A class that keeps what is written to that attribute in a list."""

    def write(self: Any, value: object) -> None:
        vars(self).setdefault("written", []).append(value)

    return type("Elsewhere", (getattr(kit, name),), {attribute: property(lambda self: self.written[-1], write)})


def other_lock(kit: Any, name: str) -> Any:
    base = getattr(kit, name)

    def init(self: Any, *args: object) -> None:
        base.__init__(self, *args)
        self._cond = kit.Condition(kit.RLock())

    return type("OtherLock", (base,), {"__init__": init})


def empty(kit: Any, name: str) -> Any:
    return type("Empty", (getattr(kit, name),), {})


def by_class(kinds: list[Any], *args: object) -> dict[str, Callable[[], Any]]:
    return {kind.__name__: partial(kind, *args) for kind in kinds}


# ---- Semaphore -------------------------------------------------------------------------------------------------------


def semaphores(kit: Any) -> dict[str, Callable[[], Any]]:
    """Semaphores with a value of 2, each kept in another way."""

    class WithoutInit(kit.Semaphore):
        def __init__(self, value: int) -> None:
            self._cond = kit.Condition()
            self._value = value

    class Slots(kit.Semaphore):
        __slots__ = ("_value",)

    class Bounded(kit.BoundedSemaphore):
        def release(self, n: int = 1) -> None:
            with self._cond:
                self._initial_value = max(self._initial_value, self._value + n)
            super().release(n)

    class BoundedWithoutInit(kit.BoundedSemaphore):
        def __init__(self, value: int) -> None:
            kit.Semaphore.__init__(self, value)
            self._initial_value = 1000

    usual = [make(kit, "Semaphore") for make in (other_lock, empty, by_name)]
    bounded = [Bounded, BoundedWithoutInit, by_name(kit, "BoundedSemaphore")]
    return by_class([elsewhere(kit, "Semaphore", "_value"), *usual, WithoutInit, Slots, *bounded], 2)


@pytest.mark.parametrize("kind", semaphores(threading))
def test_a_semaphore_of_a_derived_class(kit: Any, kind: str) -> None:
    semaphore = semaphores(kit)[kind]()
    assert semaphore._value == 2
    with semaphore as entered:
        assert (entered, semaphore._value) == (True, 1)
        assert semaphore.acquire(False) is True
        assert semaphore.acquire(blocking=False) is False
        assert semaphore.acquire(timeout=0.001) is False
        with pytest.raises(ValueError, match="can't specify timeout"):
            semaphore.acquire(False, 1)
        with threads(3, semaphore.acquire, lambda: len(semaphore._cond._waiters)) as results:
            semaphore.release(n=2)
            until(lambda: len(results) == 2)
            assert len(semaphore._cond._waiters) == 1
            with semaphore._cond:  # as one writes it who knows threading's
                semaphore._value += 1
                semaphore._cond.notify()
        assert results == [True] * 3
    assert semaphore._value == 1
    assert repr(semaphore).partition("value=1")[1]
    semaphore._value = 5
    assert [semaphore.acquire(False) for _ in range(6)] == [True] * 5 + [False]


def test_overridden_methods_of_a_semaphore(kit: Any) -> None:
    calls: list[Any] = []

    class Semaphore(kit.Semaphore):
        def acquire(self, *args: Any) -> bool:
            calls.append("acquire")
            return bool(super().acquire(*args))

        def release(self, n: int = 1) -> None:
            calls.append(n)
            super().release(n)

    semaphore = Semaphore()
    with semaphore:
        pass
    assert calls == [1]  # __enter__ is acquire of the base
    semaphore.release = lambda: calls.append("own")
    with semaphore:
        pass
    assert calls == [1, "own"]


def test_a_bound_that_is_raised(kit: Any) -> None:
    class Growing(kit.BoundedSemaphore):
        def grow(self) -> None:
            self._initial_value += 1
            self.release()

    for semaphore in (Growing(1), by_name(kit, "BoundedSemaphore")(1), kit.BoundedSemaphore(1)):
        with pytest.raises(ValueError, match="released too many times"):
            semaphore.release()
        if isinstance(semaphore, Growing):
            semaphore.grow()
        else:
            semaphore._initial_value += 1
            semaphore.release()
        assert (semaphore._value, semaphore._initial_value) == (2, 2)
        assert repr(semaphore).endswith("value=2/2>")
        with pytest.raises(ValueError, match="released too many times"):
            semaphore.release()


def test_events_set_while_threads_wait_reach_them() -> None:  # stock's would sleep on until a release() or set()
    semaphore, event = sync.Semaphore(0), sync.Event()
    for primitive, wait in ((semaphore, semaphore.acquire), (event, event.wait)):
        started = [runtime.Thread(target=wait, daemon=True) for _ in range(3)]
        for thread in started:
            thread.start()
        for thread in started:
            wait_until_asleep(thread.native_id or 0)
        if primitive is semaphore:
            semaphore._value = 5
        else:
            event._flag = True
        for thread in started:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "not woken"
    assert (semaphore._value, event.is_set()) == (2, True)


# ---- Event -----------------------------------------------------------------------------------------------------------


def events(kit: Any) -> dict[str, Callable[[], Any]]:
    class WithoutInit(kit.Event):
        def __init__(self) -> None:
            self._cond, self._flag = kit.Condition(), False

    class Overridden(kit.Event):
        def is_set(self) -> bool:
            return bool(self._flag)

        def set(self) -> None:
            with self._cond:
                self._flag = True
                self._cond.notify_all()

    usual = [make(kit, "Event") for make in (other_lock, empty, by_name)]
    return by_class([elsewhere(kit, "Event", "_flag"), *usual, WithoutInit, Overridden])


@pytest.mark.parametrize("kind", events(threading))
def test_an_event_of_a_derived_class(kit: Any, kind: str) -> None:
    event = events(kit)[kind]()
    assert (event.is_set(), event._flag, event.wait(0)) == (False, False, False)
    assert event.wait(timeout=0.001) is False
    with threads(3, event.wait, lambda: len(event._cond._waiters)) as results:
        event.set()
    assert results == [True] * 3
    assert (event.is_set(), event._flag, event.wait()) == (True, True, True)
    assert repr(event).endswith(": set>")
    event.clear()
    assert (event.is_set(), event._flag) == (False, False)
    event._flag = True
    assert event.is_set()
    assert event.wait(0)
    event._at_fork_reinit()
    assert event.is_set()


# ---- Condition -------------------------------------------------------------------------------------------------------


class LastFirst(deque[Any]):
    def append(self, waiter: Any) -> None:
        self.appendleft(waiter)


def conditions(kit: Any) -> dict[str, Callable[[], Any]]:
    class WithoutInit(kit.Condition):
        def __init__(self) -> None:
            self._lock, self._waiters = kit.Lock(), deque()
            self.acquire, self.release = self._lock.acquire, self._lock.release

    class Methods(kit.Condition):
        def __init__(self) -> None:
            self._lock, self._waiters = kit.Lock(), deque()

        def acquire(self, *args: Any) -> bool:
            return bool(self._lock.acquire(*args))

        def release(self) -> None:
            self._lock.release()

    class Order(kit.Condition):
        def __init__(self) -> None:
            super().__init__()
            self._waiters = LastFirst()

    class OverLock(kit.Condition):
        def __init__(self) -> None:
            super().__init__(kit.Lock())

    return by_class([WithoutInit, Methods, Order, OverLock, empty(kit, "Condition"), by_name(kit, "Condition")])


@pytest.mark.parametrize("kind", conditions(threading))
def test_a_condition_of_a_derived_class(kit: Any, kind: str) -> None:
    condition = conditions(kit)[kind]()
    number = iter(range(3))

    def wait() -> int:
        with condition:
            mine = next(number)
            assert condition.wait()
            return mine

    for call in (condition.wait, condition.notify, condition.notify_all):
        with pytest.raises(RuntimeError, match="un-acquired lock"):
            call()
    with threads(3, wait, lambda: len(condition._waiters)) as results:
        with condition:
            condition.notify()
        until(lambda: len(results) == 1)
        assert repr(condition).endswith(", 2)>")
        assert condition.acquire()
        condition.notify_all()
        condition.release()
    assert results[0] == (2 if kind == "Order" else 0)
    assert sorted(results) == [0, 1, 2]
    assert condition.acquire(False)
    assert condition.wait(0.001) is False
    assert condition.wait_for(list, timeout=0.001) == []
    condition.release()
    with pytest.raises(RuntimeError):
        condition.release()
    condition._at_fork_reinit()
    assert not condition._waiters


def test_overridden_methods_of_a_condition(kit: Any) -> None:
    calls: list[Any] = []

    class Condition(kit.Condition):
        def acquire(self, *args: Any) -> bool:
            calls.append("acquire")
            return True

        def notify(self, n: int = 1) -> None:
            calls.append(n)

        def _is_owned(self) -> bool:
            calls.append("owned")
            return False

    condition = Condition(kit.Lock())
    assert condition.acquire()  # __init__ has put the lock's into the object
    assert condition._lock.locked()
    condition.notify_all()
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.wait(0)
    assert calls == [0, "owned"]
    condition.wait = calls.append
    assert condition.wait_for(lambda: calls[-1] is None)


def test_methods_that_a_condition_is_given(kit: Any) -> None:
    calls: list[str] = []
    condition = kit.Condition()
    condition.acquire = lambda: calls.append("acquire")
    condition.release = lambda: calls.append("release")
    condition.acquire()
    condition.release()
    with condition:
        pass
    assert calls == ["acquire", "release"]


def test_how_many_wait_for_a_condition(kit: Any) -> None:
    condition = kit.Condition()

    def wait() -> None:
        with condition:
            condition.wait()

    assert not condition._waiters
    with threads(2, wait, lambda: len(condition._waiters)), condition:
        assert condition._waiters
        condition.notify(2)
        assert not condition._waiters


# ---- Barrier ---------------------------------------------------------------------------------------------------------


def barriers(kit: Any) -> dict[str, Callable[[], Any]]:
    class WithoutInit(kit.Barrier):
        def __init__(self, parties: int) -> None:
            self._cond = kit.Condition()
            self._parties, self._action, self._timeout = parties, None, None
            self._state = self._count = 0

    class Further(elsewhere(kit, "Barrier", "_count")):
        def wait(self, timeout: float | None = None) -> int:
            return int(super().wait(timeout))

    usual = [make(kit, "Barrier") for make in (other_lock, empty, by_name)]
    return by_class([elsewhere(kit, "Barrier", "_count"), *usual, WithoutInit, Further], 2)


@pytest.mark.parametrize("kind", barriers(threading))
def test_a_barrier_of_a_derived_class(kit: Any, kind: str) -> None:
    barrier = barriers(kit)[kind]()
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (2, 0, False)
    with threads(1, lambda: barrier.wait(10), lambda: barrier.n_waiting) as indices:
        indices.append(barrier.wait(timeout=10))
    assert sorted(indices) == [0, 1]
    assert len(barrier._cond._waiters) == barrier._count == 0
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0)
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken
    barrier.abort()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert "broken" in repr(barrier)


# ---- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_a_primitive_that_was_not_begun(kit: Any, name: str) -> None:
    class Forgotten(getattr(kit, name)):
        def __init__(self) -> None:
            pass

    for call in METHODS[name]:
        with pytest.raises(AttributeError, match="'Forgotten' object has no attribute '"):
            getattr(Forgotten(), call)()


@pytest.mark.parametrize("name", METHODS)
def test_a_class_may_have_other_bases_too(kit: Any, name: str) -> None:
    class Silent:
        def __init_subclass__(cls) -> None:
            """Doesn't call the next one."""

        def of_mixin(self) -> int:
            return 1

    class Meta(abc.ABCMeta):
        def __setattr__(cls, attribute: str, value: object) -> None:
            assert attribute != "__bases__"
            super().__setattr__(attribute, value)

    base = getattr(kit, name)
    derived = type("Derived", (base,), {})
    classes = [
        type("First", (Silent, base), {}),
        type("Last", (base, Silent), {}),
        type("Abstract", (base, abc.ABC), {}),
        Meta("Other", (base,), {}),
        type("Again", (derived, base), {}),
        type("Twice", (type("One", (derived,), {}), type("Two", (derived,), {})), {}),
    ]
    for cls in classes:
        primitive = cls(2) if name == "Barrier" else cls()
        assert isinstance(primitive, base)
        assert vars(primitive).keys() == vars(made(threading, name)).keys()
        assert all(getattr(primitive, private) is value for private, value in vars(primitive).items())
        if isinstance(primitive, Silent):
            assert primitive.of_mixin() == 1


def test_a_method_that_is_replaced_in_the_base(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    event = type("Derived", (kit.Event,), {})()
    monkeypatch.setattr(kit.Event, "wait", lambda self, timeout=None: "replaced")
    assert event.wait() == kit.Event().wait() == "replaced"


def test_the_arguments_of_methods_that_are_called_by_the_name_of_the_class() -> None:
    class Derived(sync.Event):
        pass

    for primitive in (sync.Event(), Derived()):
        for call in (
            lambda: sync.Event.set(),
            lambda: sync.Event.set(3),
            lambda: sync.Event.set(sync.Semaphore()),
            lambda primitive=primitive: sync.Event.set(primitive, 3),
            lambda primitive=primitive: primitive.set(3),
            lambda primitive=primitive: primitive.set(none=None),
            lambda primitive=primitive: sync.Event.wait(primitive, 0, 0),
            lambda primitive=primitive: primitive.wait(none=None),
        ):
            with pytest.raises(TypeError, match=r"argument|descriptor"):
                call()


def take_turns() -> None:
    """Green threads on one LWP, which a lock of threading's would stop; the runtime is not installed."""

    def wait_notified(condition: Any) -> None:
        with condition:
            condition.wait()

    def notify(condition: Any) -> None:
        with condition:
            condition.notify()

    def both(first: Callable[[Any], object], second: Callable[[Any], object], primitive: Any) -> None:
        done: list[object] = []
        on = Scheduler()
        for use in (first, second):
            on.spawn(lambda use=use: done.append(use(primitive)))
        on.run()
        assert len(done) == 2, primitive

    wait = operator.methodcaller("wait")
    for kinds, first, second in (
        (semaphores, lambda one: [one.acquire() for _ in range(3)], operator.methodcaller("release")),
        (events, wait, operator.methodcaller("set")),
        (conditions, wait_notified, notify),
        (barriers, wait, wait),
    ):
        for make in kinds(sync).values():
            both(first, second, make())


def test_green_threads_take_turns_in_what_is_derived(child: Child) -> None:
    def begin(*folders: str) -> None:
        sys.path[:0] = folders
        import test_derived_primitives

        test_derived_primitives.take_turns()

    child(begin, str(TREE / "tests"), str(TREE / "tests" / "runtime" / "sync"), timeout=30)


@pytest.mark.parametrize("name", METHODS)
def test_a_private_attribute_that_would_be_ignored_cannot_be_set(name: str) -> None:
    names = {
        "Condition": ["_lock", "_waiters"],
        "Barrier": ["_cond", "_action", "_timeout", "_parties", "_state", "_count"],
    }
    for private in names.get(name, ["_cond"]):
        setattr(made(threading, name), private, None)
        with pytest.raises(AttributeError, match=f"takes no attribute '{private}'"):
            setattr(made(sync, name), private, None)


# ---- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("derived", [False, True], ids=["itself", "derived"])
@pytest.mark.parametrize("name", METHODS)
def test_a_copy(kit: Any, name: str, derived: bool) -> None:
    cls = getattr(kit, name)
    if derived:
        cls = type("Derived", (cls,), {})
    original = cls() if name in ("Condition", "Event") else cls(2)
    original.own = [1]
    copied = copy.copy(original)
    assert type(copied) is cls
    assert copied is not original
    assert copied.own is original.own
    if name == "Event":
        original.set()
        assert (copied.is_set(), copy.copy(original).is_set()) == (False, True)
        assert (copied.wait(0), copy.copy(original).wait()) == (False, True)
    elif name == "Barrier":
        original.abort()
        assert (copied.broken, copy.copy(original).broken, copied.parties) == (False, True, 2)
    elif name != "Condition":
        original.acquire()
        assert (original._value, copied._value, copy.copy(original)._value) == (1, 2, 1)
        assert [copied.acquire(False) for _ in range(3)] == [True, True, False]
        copied.release(2)
        if name == "BoundedSemaphore":
            with pytest.raises(ValueError, match="too many"):
                copied.release()


@pytest.mark.parametrize("derived", [False, True], ids=["itself", "derived"])
@pytest.mark.parametrize("copies", [(0, 1), (1, 0), (1, 2)], ids=str)
def test_copies_of_a_condition_share_lock_and_waiters(kit: Any, derived: bool, copies: tuple[int, int]) -> None:
    original = (type("Derived", (kit.Condition,), {}) if derived else kit.Condition)()
    first = copy.copy(original)
    conditions = [original, first, copy.copy(first)]
    waiting, notified = (conditions[i] for i in copies)
    del original, first, conditions

    def wait() -> bool:
        with waiting:
            return bool(waiting.wait(PATIENCE))

    with threads(2, wait, lambda: len(notified._waiters)) as results, notified:
        notified.notify_all()
    assert results == [True, True]


@pytest.mark.parametrize("derived", [False, True], ids=["itself", "derived"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("call", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_what_cannot_be_pickled(kit: Any, name: str, derived: bool, call: Callable[[Any], Any]) -> None:
    cls = getattr(kit, name)
    if derived:
        cls = type(name, (cls,), {"__module__": __name__, "__qualname__": "Pickled"})
        globals()["Pickled"] = cls
    primitive = cls(2) if name == "Barrier" else cls()
    lock = "RLock" if name == "Condition" else "lock"
    with pytest.raises(TypeError, match=f"^cannot pickle '_thread.{lock}' object(\nwhen serializing|$)"):
        call(primitive)
