"""Subinterpreters beside the runtime: it can't be imported there, and what it does to the process leaves them alone."""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any

import pytest
from conftest import environment, in_child, run_thread, run_threads

import runtime
from runtime import native, scheduler, sync
from runtime.scheduler import spawn

#: With it a child program finds subinterpreters.py of tests/.
BESIDE = {"PYTHONPATH": environment()["PYTHONPATH"]}


@pytest.mark.parametrize("own_gil", [False, True])
@pytest.mark.parametrize("first", ["main", "another"])
@in_child(env=BESIDE)
def test_it_is_refused_there_and_the_main_interpreter_goes_on(first: str, own_gil: bool) -> None:
    """A program that uses the runtime in the main interpreter and tries to in others."""
    from subinterpreters import PROGRAM, creator, execute

    if first == "main":
        runtime.install()
    for _ in range(3):
        interpreter = creator(own_gil)()
        execute(interpreter, PROGRAM)
        if first != "main":
            runtime.install()
        seen: list[int] = []
        for n in range(10):
            run_thread(threading.Thread(target=seen.append, args=(n,)))
        assert seen == list(range(10))
    assert native.lwp_started() == 30


@pytest.mark.parametrize("own_gil", [False, True])
@pytest.mark.parametrize("kind", ["ours", "installed", "green"])
@in_child(env=BESIDE)
def test_a_thread_goes_into_another_interpreter_and_comes_back(kind: str, own_gil: bool) -> None:
    """A thread makes an interpreter, runs in it and ends it; meanwhile others do the same, and some compute."""
    from subinterpreters import PROGRAM, api, creator, execute

    def work() -> None:
        for _ in range(2):
            interpreter = creator(own_gil)()
            execute(interpreter, PROGRAM)
            assert threading.current_thread().is_alive()
            assert threading.get_native_id() == threading.current_thread().native_id
            with lock:  # ours, after the thread has been in another interpreter
                done.append(threading.current_thread())
            api.destroy(interpreter)

    def deep(n: int) -> int:
        return n and deep(n - 1)

    def compute() -> None:
        while len(done) < 6 and not failed:
            deep(300)

    failed: list[Any] = []
    threading.excepthook = failed.append
    runtime.install(green=kind == "green")
    lock, done = threading.Lock(), []
    make: Any = runtime.Thread if kind == "ours" else threading.Thread
    workers = [make(target=work) for _ in range(3)]
    run_threads(workers + [make(target=compute) for _ in range(2 if kind != "green" else 0)])
    assert not failed, failed
    assert {done.count(thread) for thread in workers} == {2}


@pytest.mark.parametrize("own_gil", [False, True])
@in_child(env=BESIDE)
def test_an_interpreter_outlives_the_thread_that_has_made_it(own_gil: bool) -> None:
    """Its first frames are those of the interpreter that it makes: called from C, it has none of its own before."""

    from subinterpreters import api, creator, execute

    def deep(n: int) -> int:
        return n and deep(n - 1)

    def compute() -> None:
        begun.release()
        while not over:
            deep(100)

    before = set(map(str, api.list_all()))
    made: list[Any] = []
    spawn(made.extend, (itertools.starmap(creator(own_gil), [()]),)).join()
    assert len(made) == 1
    assert str(made[0]) not in before

    sys.setswitchinterval(1e-5)
    over, begun = False, sync.Semaphore(0)
    threads = [runtime.Thread(target=compute) for _ in range(4)]
    for thread in threads:  # one of them has the memory of the thread that has ended
        thread.start()
    for _ in threads:
        begun.acquire()
    for _ in range(50):
        execute(made[0], "def deep(n):\n    return n and deep(n - 1)\nfor _ in range(20):\n    deep(100)")
    over = True
    for thread in threads:
        thread.join()
    api.destroy(made[0])


@in_child
def test_imported_again_it_is_the_same() -> None:
    """Dropped from sys.modules and imported again: types and functions are the same, and both copies work."""
    runtime.install()
    threads: list[Any] = [threading.Thread, runtime.Thread]
    for _ in range(3):
        for name in [name for name in sys.modules if name.partition(".")[0] == "runtime"]:
            del sys.modules[name]
        import runtime as new

        threads.append(new.Thread)
    assert len(set(threads)) == 5
    seen: list[bytes] = []
    for _ in range(50):
        for cls in threads:
            run_thread(cls(target=lambda: seen.append(bytes(100))))
    assert len(seen) == 250
    from runtime.native import LWP

    assert issubclass(scheduler.LWP, LWP)
