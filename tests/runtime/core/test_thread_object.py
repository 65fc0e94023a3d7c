"""A Thread before its start: what was said in the call is in it, as in threading's."""

from __future__ import annotations

import contextvars
import copy
import io
import pickle
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from conftest import Child, in_child, run_thread

import runtime
from runtime import scheduler, sync


def work(*args: Any) -> None: ...


def new(text: str) -> str:
    """Equal to `text` and not interned: names that a program makes at run time."""
    return "".join(list(text))


Call = tuple[tuple[Any, ...], Mapping[str, Any]]

CALLS: dict[str, Call] = {
    "nothing": ((), {}),
    "target": ((), {"target": work}),
    "all by place": ((None, work, "x", (1, 2), {"a": 3}), {}),
    "all by name": ((), {"group": None, "target": work, "name": "x", "args": [1], "kwargs": {"a": 3}, "daemon": True}),
    "names made at run time": ((), {new("target"): work, new("args"): (1,), new("daemon"): True}),
    "a number for a name": ((), {"name": 17}),
    "no name": ((), {"name": "", "target": work}),
    "a target without a name": ((), {"target": object()}),
    "daemon false": ((), {"daemon": False}),
    "daemon is anything": ((), {"daemon": "yes"}),
    "kwargs none": ((None, work, None, (), None), {}),
    "a group": ((1,), {}),
    "too many": ((None, work, "x", (), {}, True), {}),
    "unknown": ((), {"goal": work}),
    "twice": ((None, work), {"target": work}),
    "a bad name": ((), {"name": type("Bad", (), {"__str__": lambda self: 1 / 0, "__bool__": lambda self: 1 / 0})()}),
}


def made(cls: Callable[..., threading.Thread], call: Call) -> Any:
    args, kwargs = call
    try:
        thread: Any = cls(*args, **kwargs)
    except Exception as error:
        return type(error)
    return (
        re.sub(r"\d+", "N", thread.name) if not kwargs.get("name") else thread.name,
        thread.daemon,
        thread._target,
        thread._args,
        thread._kwargs,
        thread._stderr is sys.stderr,
        thread.ident,
        thread.is_alive(),
        re.sub(r"\d+", "N", repr(thread)),
    )


class Derived(runtime.Thread):
    pass


class WithInit(runtime.Thread):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


@pytest.mark.parametrize("cls", [runtime.Thread, Derived, WithInit])
@pytest.mark.parametrize("what", CALLS)
def test_the_calls_message(what: str, cls: type[runtime.Thread]) -> None:
    theirs = made(threading.Thread, CALLS[what])
    if isinstance(theirs, tuple):
        theirs = (*theirs[:-1], theirs[-1].replace("<Thread(", f"<{cls.__name__}("))
    assert made(cls, CALLS[what]) == theirs


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("twice", "target"),
        ("too many", "positional"),
        ("unknown", r"^Thread\.__init__\(\) got an unexpected keyword argument 'goal'$"),  # as threading says it
    ],
)
def test_a_wrong_argument_is_named(what: str, text: str) -> None:
    args, kwargs = CALLS[what]
    with pytest.raises(TypeError, match=text):
        runtime.Thread(*args, **kwargs)


def test_daemon_and_stderr_are_those_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    here = io.StringIO()

    for daemon in (True, False):
        run_thread(runtime.Thread(target=lambda: seen.append(runtime.Thread().daemon), daemon=daemon))
    for stderr in (here, None):
        monkeypatch.setattr(sys, "stderr", stderr)
        seen.append(vars(runtime.Thread())["_stderr"])
    monkeypatch.delattr(sys, "stderr")
    seen.append(vars(runtime.Thread())["_stderr"])
    monkeypatch.undo()
    assert seen == [True, False, here, None, None]


@in_child(timeout=20)
def test_a_class_says_whether_its_threads_are_daemons() -> None:
    """Then the end of the program does not wait for them, and theirs are daemons too."""

    class Says(runtime.Thread):
        daemon = True

    class Asks(runtime.Thread):
        daemon: Any = property(lambda self: self.name == "asked")

    def work() -> None:
        inherited.append((threading.current_thread().name, runtime.Thread().daemon))
        done.release()
        sync.Event().wait()

    inherited: list[tuple[str, bool]] = []
    done = sync.Semaphore(0)
    for thread in (Says(name="says", target=work), Asks(name="asked", target=work)):
        thread.start()
        done.acquire()
    assert inherited == [("says", True), ("asked", True)]


def test_tools_find_a_thread_where_threading_has_it() -> None:
    """They look past properties: into the dict, and into the set of weak references."""
    seen: list[Any] = []
    thread = runtime.Thread(
        target=lambda: seen.extend([vars(threading.current_thread())["_ident"], threading.get_ident()])
    )
    assert (vars(thread)["_name"], vars(thread)["_ident"]) == (thread.name, None)
    run_thread(thread)
    assert seen == [thread.ident] * 2
    assert thread in threading._dangling
    number = id(thread)
    del thread
    assert number not in map(id, threading._dangling)


@in_child
def test_the_class_leaves_name_and_ident_to_the_thread() -> None:
    """memray puts its own there."""
    classes = (threading.Thread, runtime.Thread)
    for install in (lambda: None, runtime.install, runtime.uninstall):
        install()
        assert not [cls for cls in classes for name in ("_name", "_ident") if hasattr(cls, name)]


@in_child
def test_a_class_may_override_the_outermost_frames() -> None:
    class Inner(runtime.Thread):
        def _bootstrap_inner(self) -> None:
            seen.append("inner")
            super()._bootstrap_inner()

    class Outer(Inner):
        def _bootstrap(self) -> None:
            seen.append("outer")
            super()._bootstrap()

    seen: list[str] = []
    for kind, expected in ((runtime.Thread, []), (Inner, ["inner"]), (Outer, ["outer", "inner"])):
        thread = kind(target=lambda: seen.append("target"))
        run_thread(thread)
        assert seen == [*expected, "target"], seen
        assert not thread.is_alive()
        seen.clear()


@in_child
def test_threads_that_others_make_are_left_to_them() -> None:
    """A debugger makes them, or they began before install() or after uninstall()."""
    starter = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
    made: list[Any] = []

    def another(*args: Any, **kwargs: Any) -> Any:
        made.append(args)
        return before(*args, **kwargs)

    before: Any = getattr(threading, starter)
    seen: list[Any] = []
    runtime.install()
    setattr(threading, starter, another)
    for kind in (threading.Thread, runtime.Thread):
        thread = kind(target=lambda: seen.append(threading.current_thread()))
        run_thread(thread)
        assert not thread.is_alive()
        assert seen.pop() is thread
        assert not isinstance(getattr(thread, "_lwp", None), scheduler.LWP)
    assert len(made) == 2
    thread = runtime.Thread(target=int, stack_size=1 << 20)  # that only we can make
    run_thread(thread)
    assert len(made) == 2
    setattr(threading, starter, before)
    runtime.uninstall()
    thread = threading.Thread(target=lambda: seen.append(threading.current_thread()))
    run_thread(thread)
    assert seen.pop() is thread


@in_child(says="ArithmeticError: fails")
def test_get_ident_is_asked_for_at_a_threads_end() -> None:
    """By its name in threading: pebble hears there of the end of threads."""
    calls = []

    def get_ident() -> int:
        calls.append(before())
        return calls[-1]

    def fails() -> int:
        raise ArithmeticError("fails")

    before, threading.get_ident = threading.get_ident, get_ident
    ended = runtime.Thread(target=int)
    run_thread(ended)
    threading.get_ident = fails
    run_thread(runtime.Thread(target=int))
    threading.get_ident = before
    assert calls == [ended.ident]
    assert threading.enumerate() == [threading.main_thread()]


@pytest.mark.parametrize("name", ["__init__", "__new__"])
@in_child
def test_a_method_put_in_its_place_is_called(name: str) -> None:
    calls = []
    before: Any = getattr(runtime.Thread, name)

    def other(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        return before(self) if name == "__new__" else before(self, *args, **kwargs)

    setattr(runtime.Thread, name, staticmethod(other) if name == "__new__" else other)
    thread: Any = runtime.Thread(None, int, name="x")
    assert (thread.name, thread._target, calls) == ("x", int, [((None, int), {"name": "x"})])


@pytest.mark.parametrize("cls", [threading.Thread, runtime.Thread])
@pytest.mark.parametrize("call", [pickle.dumps, copy.deepcopy])
def test_a_thread_is_not_pickled(cls: type[threading.Thread], call: Callable[[threading.Thread], object]) -> None:
    thread = cls(target=work)
    private = "_thread.lock" if sys.version_info < (3, 13) else "_thread._ThreadHandle"
    if sys.version_info >= (3, 15):
        private += "|_contextvars.Context"  # whichever comes first among its attributes
    for _ in ("not started", "ended"):
        with pytest.raises(TypeError, match=f"^cannot pickle '({private})' object"):
            call(thread)
        if thread.ident is None:
            run_thread(thread)


class InSlots:
    __slots__ = ("slot",)


@pytest.mark.parametrize("bases", [(threading.Thread,), (runtime.Thread,), (InSlots, runtime.Thread)], ids=str)
def test_a_thread_is_copied(bases: tuple[type, ...]) -> None:
    thread: Any = type("Derived", bases, {})(target=work, name="x")
    thread.own, thread.slot = [1], [2]
    copied = copy.copy(thread)
    assert (copied.name, copied.daemon, copied.ident) == ("x", False, None)
    assert copied.own is thread.own
    assert copied.slot is thread.slot
    run_thread(copied)


def test_many_leave_nothing() -> None:
    """References are counted by hand in there."""
    args, kwargs, name = (object(),), {"a": object()}, new("a name")
    counts = [sys.getrefcount(thing) for thing in (work, args, kwargs, name)]
    for _ in range(1000):
        runtime.Thread(target=work, args=args, kwargs=kwargs, name=name)
        with pytest.raises(TypeError):
            runtime.Thread(None, work, name, args, kwargs, goal=1)
    assert [sys.getrefcount(thing) for thing in (work, args, kwargs, name)] == counts


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads have contexts from 3.14 on")
def test_a_thread_begins_with_its_creators_context_when_told_to(child: Child) -> None:
    def program() -> None:
        place = contextvars.ContextVar("place", default="nowhere")
        for kind in (runtime.Thread, threading.Thread):
            for options in ({}, {"context": contextvars.Context()}):
                place.set("made")
                thread = kind(target=lambda: (print(place.get()), place.set("thread")), **options)
                place.set("started")
                run_thread(thread)
                print(place.get())

    for inherit, seen in (("1", "started"), ("0", "nowhere")):
        out = child(program, env={"PYTHON_THREAD_INHERIT_CONTEXT": inherit}).stdout.split()
        assert out == [seen, "started", "nowhere", "started"] * 2


def test_a_thread_that_is_being_started_can_not_be_joined() -> None:
    """It is in enumerate() by then, as in threading, and another thread may find it there."""
    refused: list[str] = []

    class Found(runtime.Thread):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_ident" and value is not None:
                with pytest.raises(RuntimeError) as info:
                    self.join()
                refused.append(str(info.value))

    run_thread(Found(target=work))
    assert refused == ["cannot join thread before it is started"]


@in_child
def test_a_thread_made_before_install_starts_once() -> None:
    import pytest

    ran = []
    thread: Any = threading.Thread(target=lambda: ran.append(threading.current_thread()))
    runtime.install()
    event, nested = thread._started, []

    class Interrupted:
        """Another caller starts the thread after the first has found that nobody has."""

        def is_set(self) -> bool:
            if not nested:
                nested.append(True)
                thread.start()
            return event.is_set()

    thread._started = Interrupted()
    with pytest.raises(RuntimeError, match="threads can only be started once"):
        thread.start()
    thread.join()
    assert ran == [thread]
