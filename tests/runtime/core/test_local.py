"""threading.local in threads of each kind: CPython's own, which goes by the thread state that a thread runs with."""

from __future__ import annotations

import builtins
import ctypes
import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import NativeHelper, in_child, run_thread

import runtime
from runtime import Thread, tls
from runtime.scheduler import Scheduler, spawn


@pytest.fixture
def thread_states(native_helper: NativeHelper) -> str:
    return native_helper.thread_states


def test_local_is_threadings() -> None:
    assert tls.local is threading.local
    stock = threading.local
    with runtime.installed():
        assert threading.local is tls.local is stock


def by_thread(target: Callable[[], object]) -> None:
    run_thread(Thread(target=target))


def by_spawn(target: Callable[[], object]) -> None:
    spawn(target).join()


def as_green(target: Callable[[], object]) -> None:
    scheduler = Scheduler()
    scheduler.spawn(target)
    scheduler.run()


@pytest.mark.parametrize("run", [by_thread, by_spawn, as_green])
def test_values_are_each_threads_own_and_go_with_it(run: Callable[[Callable[[], object]], None]) -> None:
    gone: list[str] = []
    begun: list[int] = []

    class Local(threading.local):
        def __init__(self) -> None:
            begun.append(threading.get_ident())

    class Value:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            gone.append(self.name)

    local = Local()
    local.value = Value("main")

    def use() -> None:
        assert not hasattr(local, "value")
        local.value = Value("thread")
        assert begun[-1] == threading.get_ident()

    for number in range(1, 4):  # the second one has the first one's stack and TLS block
        run(use)
        assert (len(begun), gone) == (1 + number, ["thread"] * number)
    assert local.value.name == "main"


@in_child
def test_a_thread_state_may_be_deleted_and_used_by_any_thread(thread_states: str) -> None:
    shared: Any = builtins
    library = ctypes.CDLL(thread_states)
    runtime.install()
    shared.local, shared.event, shared.lock, shared.counts = threading.local(), threading.Event(), threading.RLock(), []
    code = b"local.count = getattr(local, 'count', 0) + 1; counts.append(local.count); event.wait(0)\nwith lock: pass"
    assert library.run_with_states(code, 200) == 0
    assert shared.counts == [1] * 200
    shared.counts.clear()
    assert library.run_in_threads(code, 50) == 0
    assert shared.counts == [*range(1, 51)]
