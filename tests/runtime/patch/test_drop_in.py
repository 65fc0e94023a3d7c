"""`from runtime import threading`: threading's names on the runtime, for programs, readers and type checkers."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading as stock
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, needs_mypy, run_thread

import runtime
from runtime import scheduler, sync, threading

PRIMITIVES = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]
OURS = [*PRIMITIVES, "Thread", "Timer", "current_thread"]


def test_it_has_all_of_threadings_names() -> None:
    names: dict[str, Any] = {}
    exec("from runtime.threading import *", names)
    assert set(stock.__all__) <= {*names, *threading.__all__}
    assert set(stock.__all__) <= set(dir(threading))
    for name in stock.__all__:
        owner = stock if name not in OURS else sync if name in PRIMITIVES else runtime.thread
        assert names[name] is getattr(owner, name), name
        assert getattr(threading, name) is names[name]
    with pytest.raises(AttributeError, match="nonsense"):
        threading.nonsense  # noqa: B018


def test_the_excepthook_that_is_set_there_is_called() -> None:
    seen: list[Any] = []
    before = threading.excepthook
    try:
        threading.excepthook = lambda args: seen.append(args.exc_type)
        run_thread(threading.Thread(target=lambda: 1 / 0))
        assert threading.excepthook is stock.excepthook is not before
    finally:
        threading.excepthook = before
    assert seen == [ZeroDivisionError]
    assert stock.excepthook is before


def parameters(thing: Any) -> list[tuple[str, Any, Any]]:
    return [(found.name, found.kind, found.default) for found in inspect.signature(thing).parameters.values()]


@pytest.mark.parametrize("name", [name for name in OURS if name != "RLock"])  # whose own says (*args, **kwargs) to 3.13
def test_signatures_are_threadings(name: str) -> None:
    ours = parameters(getattr(threading, name))
    if name == "Thread":  # and, by keyword, what only ours takes
        assert ours.pop() == ("options", inspect.Parameter.VAR_KEYWORD, inspect.Parameter.empty)
    try:
        theirs = parameters(getattr(stock, name))
    except ValueError:  # a function in C, which says nothing of itself
        assert ours == []
    else:
        assert ours == theirs


def test_signatures_of_what_threading_does_not_have() -> None:
    class Derived(threading.Thread):
        def __init__(self, number: int) -> None:
            super().__init__()

    assert parameters(threading.RLock) == []
    assert [name for name, _, _ in parameters(scheduler.LWP)] == ["stack_size"]
    assert [name for name, _, _ in parameters(Derived)] == ["number"]


USER = """
import queue as stock_queue
import threading as stock

import runtime
from runtime import queue, threading


def guarded(lock: stock.Lock, event: stock.Event, condition: stock.Condition, barrier: stock.Barrier) -> bool:
    with lock, condition:
        return event.wait(1) and barrier.wait() == 0


def counted(semaphore: stock.Semaphore, bounded: stock.BoundedSemaphore, thread: stock.Thread) -> None: ...


lock: threading.Lock = threading.Lock()
ok: bool = guarded(lock, threading.Event(), threading.Condition(threading.RLock()), threading.Barrier(1))
stock.Condition(lock), stock.Condition(threading.RLock()), stock.Condition(runtime.sync.Lock())
counted(threading.Semaphore(), threading.BoundedSemaphore(2), threading.Thread(stack_size=1 << 20))
local, hook, limit = threading.local(), threading.excepthook, threading.TIMEOUT_MAX
active: int = threading.active_count()
installed: bool = runtime.is_installed()
jobs: queue.Queue[int] = queue.Queue(3)
same: stock_queue.Queue[int] = jobs
least: int = queue.PriorityQueue[int]().get()
simple: queue.SimpleQueue[str] = queue.SimpleQueue()
try:
    item: int = jobs.get(timeout=1)
except (queue.Empty, stock_queue.Full):
    raise
"""


@needs_mypy
def test_type_checkers_take_ours_for_threadings(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text("from runtime import sync, threading\nthreading.Lok()\nsync.Event(1)\n")
    path = {} if ROOT.name == "site-packages" else {"MYPYPATH": str(ROOT)}  # there it looks by itself
    for name, says in (("user.py", "Success: no issues found"), ("wrong.py", "Found 2 errors in 1 file")):
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), name]
        done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=110, check=False)
        assert says in done.stdout, done.stdout


def test_is_installed() -> None:
    assert not runtime.is_installed()
    with runtime.installed():
        assert runtime.is_installed()


def test_install_takes_no_other_word_for_green() -> None:
    for call in (runtime.install, lambda green: runtime.installed(green=green).__enter__()):
        with pytest.raises(TypeError, match="green must be True or False, not 'no'"):
            call(green="no")
    assert not runtime.is_installed()
