"""What reports tell of groups: who is in which, and who has cancelled whom."""

# ruff: noqa: PT012  # what is raised comes out of a block

from __future__ import annotations

import _thread
import json
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import lwp
from kinds import FOREVER, both, until, until_asleep

from lwp.observe.watchdog import report
from runtime import Cancelled, Group, Thread, shield, tls
from runtime.pool import Executor
from runtime.scheduler import waiting
from runtime.sync import Barrier, Event, Lock


def waits_of(task: Any) -> list[Any]:
    return [wait for wait in waiting().waits if wait.ident == task.thread.ident]


@both
def test_a_wait_has_its_group_and_why_it_is_cancelled() -> None:
    go = Event()

    def tidies() -> None:
        try:
            Event().wait(FOREVER)
        finally:
            with shield():
                go.wait(FOREVER)

    with Group() as group, shield():  # the block is cancelled too
        try:
            task = group.spawn(tidies)
            until_asleep(task)
            [found] = waits_of(task)
            assert found.group.startswith("group at test_seen.py:")
            assert found.cancelled == ""
            assert f"(tidies)' of {found.group} waits for event" in str(found)
            if task.thread._lwp_scheduler is None:
                assert tls.inspect(task.thread).group == found.group
            group.cancel()
            until(lambda: any(str(go) == wait.what for wait in waits_of(task)))
            [found] = waits_of(task)
            assert found.cancelled.startswith("cancel() by '")
            assert f" of {found.group} (cancelled: cancel() by '" in str(found)
            assert found.cancelled in report("why")
        finally:
            go.set()
    assert not any(wait.group for wait in waiting().waits)


@both
def test_why_it_is_cancelled() -> None:
    why: list[str] = []
    begun: list[int] = []

    def waits() -> None:
        try:
            begun.append(1)
            Event().wait(FOREVER)
        except Cancelled as cancelled:
            why.append(str(cancelled))
            raise

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ExceptionGroup), Group() as group:
        until_asleep(group.spawn(waits))
        group.spawn(fails)
    assert why.pop().endswith("(fails)'")
    with pytest.raises(TimeoutError), Group(timeout=0.001) as group:
        group.spawn(waits)
        waits()
    assert set(why) == {"its deadline"}
    why.clear()
    begun.clear()
    with Executor(1) as executor:
        future = executor.submit(waits)
        until(lambda: len(begun) == 1)
        future.cancel(running=True)
    assert why.pop().startswith("cancel() by '")
    with Group() as group:
        inner = group.spawn(waits_in_a_group, waits)
        until(lambda: len(begun) == 2)
        inner.cancel()
    assert [text.partition(" by ")[0] for text in why] == ["cancel()"]


def waits_in_a_group(waits: Any) -> None:
    with Group() as group:
        group.spawn(waits)


@pytest.mark.parametrize("green", [[], ["--green"]], ids=["lwps", "green"])
def test_the_report_and_the_timeline(green: list[str], tmp_path: Path) -> None:
    source = """
import threading
from runtime import Group
from runtime.pool import Executor
from runtime.sync import Barrier, Event, Lock

there = Barrier(3)

def waits():
    there.wait()
    Event().wait(1000)

def fails():
    there.wait()
    raise ValueError("no")

try:
    with Group() as group:
        group.spawn(waits)
        group.named("reader 1").spawn(waits)
        group.spawn(fails)
except* ValueError:
    pass
with Executor(1) as executor:
    call = executor.submit(Event().wait, 1000)
    while not call.running():
        threading.Event().wait(0.001)
    call.cancel(running=True)
try:
    with Group(timeout=0.001):
        Event().wait(1000)
except TimeoutError:
    pass
"""
    program, out = tmp_path / "prog.py", tmp_path / "trace.json"
    program.write_text(source)
    said = lwp("run", *green, "--report", "--trace", out, program).stderr
    lines = [" ".join(line.strip("│").replace("│", "").split()) for line in said.splitlines()]
    assert "groups 2" in lines
    assert "their tasks 3" in lines
    assert "of them cancelled 2" in lines
    assert "calls of executors that were cancelled 1" in lines
    assert any(line.startswith("cancelled: group at prog.py:18 ValueError in 'Thread-") for line in lines), lines
    assert "cancelled: a call of an executor cancel() by 'MainThread'" in lines
    assert any(line.startswith("cancelled: group at prog.py:") and line.endswith("its deadline") for line in lines)

    events = json.loads(out.read_text())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    arrows = [event for event in events if event["name"] == "cancels"]
    begins = {arrow["id"]: names[arrow["tid"]] for arrow in arrows if arrow["ph"] == "s"}
    found = sorted((begins[arrow["id"]], names[arrow["tid"]]) for arrow in arrows if arrow["ph"] == "f")
    called = [(source.partition("(")[2], target.partition("(")[2] or target) for source, target in found]
    for task in ("waits)", "reader 1"):
        # The failed task asks the block's thread first, which may ask the others before the failed task does.
        assert {source for source, target in called if target == task} in ({"fails)"}, {""}, {"fails)", ""}), found
    assert any(target.startswith("ThreadPoolExecutor") for _, target in called)
    outcomes = [event["args"].get("outcome", "") for event in events if event["name"].startswith("blocked")]
    assert sum(outcome.startswith("cancelled: ValueError in 'Thread-") for outcome in outcomes) >= 2
    assert "cancelled: cancel() by 'MainThread'" in outcomes
    assert "cancelled: its deadline" in outcomes
    lives = [event for event in events if event["name"] == "life" and "group" in event["args"]]
    assert {names[event["tid"]].partition(" ")[2] for event in lives} >= {"(fails)", "(waits)"}
    assert {event["args"]["group"] for event in lives if "(" in names[event["tid"]]} == {"group at prog.py:18"}


@contextmanager
def looking(lock: Lock) -> Iterator[list[tuple[Any, ...]]]:
    """The circles that another thread sees, which then releases the lock."""

    def looks() -> None:
        until(lambda: waiting().cycles)
        cycles.extend(waiting().cycles)
        lock.release()

    cycles: list[tuple[Any, ...]] = []
    looker = Thread(target=looks)
    looker.start()
    yield cycles
    looker.join()


@both
def test_a_circle_through_the_end_of_a_block() -> None:
    lock = Lock()
    lock.acquire()
    with looking(lock) as cycles, Group() as group:
        task = group.spawn(lock.acquire)
    [cycle] = cycles
    end, other = sorted(cycle, key=lambda wait: str(wait.kind))
    assert (end.kind, end.deadline, end.holder) == ("group", None, other.ident)
    assert end.what.endswith(f"(1 task: {other.name!r})")
    assert (other.kind, other.holder) == ("lock", end.ident)
    assert task.done()


@both
def test_a_circle_through_the_result_of_a_task() -> None:
    lock = Lock()
    lock.acquire()
    with looking(lock) as cycles, Group() as group:
        task = group.spawn(lock.acquire)
        assert task.result() is True
    [cycle] = cycles
    result, other = sorted(cycle, key=lambda wait: str(wait.kind))
    assert (result.kind, result.what, result.holder) == ("future", "<Task 'acquire' running>", other.ident)
    assert (other.kind, other.holder) == ("lock", result.ident)


# ---- tasks that can't be cancelled -----------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled block looks at what its tasks do after 20 ms, in place of a second."""
    monkeypatch.setattr(sys.modules[Group.__module__], "_LOOK", 0.02)


@pytest.mark.usefixtures("looks")
def test_a_task_in_a_stock_lock_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, there, said = _thread.allocate_lock(), Event(), []

    def show(message: object, kind: type[Warning], file: str, line: int, *_: Any) -> None:
        said.append((str(message), kind, Path(file).name, line))
        lock.release()

    def takes() -> None:
        there.set()
        lock.acquire()

    lock.acquire()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", show)
        line = takes.__code__.co_firstlineno
        with Group() as group:
            task = group.spawn(takes)
            there.wait()
            group.cancel()
    [(text, *where)] = said
    whose = f"{getattr(task.thread, 'name', '')!r} (test_seen.py:{line + 2} in takes)"
    assert text.startswith(f"group at test_seen.py:{line + 9} is cancelled, but {whose} sleeps in a lock")
    assert where == [RuntimeWarning, "test_seen.py", line + 9]


@pytest.mark.usefixtures("looks")
def test_no_report_for_a_cancelled_task_that_tidies_up() -> None:
    there = Barrier(5)

    def computes() -> None:
        there.wait()
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            sum(range(1000))

    def sleeps() -> None:
        there.wait()
        time.sleep(0.7)

    def tidies() -> None:
        there.wait()
        with shield():
            Event().wait(0.7)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Group() as group:
            for function in (computes, computes, sleeps, tidies):
                group.spawn(function)
            there.wait()
            group.cancel()
