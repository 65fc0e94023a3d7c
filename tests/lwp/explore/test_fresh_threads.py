"""The threads of a run find nothing of those of the run before, though without a GIL they have their PyThreadStates."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
from conftest import (
    count_calls,
    environment,
    in_child,
    in_forked_child,
    lines_between_marks,
    run_thread,
    run_threads,
    under_strace,
)
from explored import passes, passing

LOCAL = threading.local()
VARIABLE: contextvars.ContextVar[object] = contextvars.ContextVar("VARIABLE")


class Thing:
    pass


def _what_is_new() -> list[object]:
    hooks = sys.get_asyncgen_hooks()
    depth = sys.get_coroutine_origin_tracking_depth()
    loop = asyncio._get_running_loop()
    return [LOCAL.__dict__.copy(), VARIABLE.get(None), *hooks, depth, loop, sys.gettrace(), sys.exc_info()]


def _stain() -> None:
    LOCAL.value = Thing()
    VARIABLE.set(Thing())
    sys.set_asyncgen_hooks(print, print)
    sys.set_coroutine_origin_tracking_depth(3)
    asyncio._set_running_loop(Thing())  # type: ignore[arg-type]


def test_a_thread_finds_nothing_of_an_earlier_one() -> None:
    new: list[object] = []
    run_thread(threading.Thread(target=lambda: new.append(_what_is_new())))

    def test() -> None:
        found = []

        def work() -> None:
            found.append(_what_is_new())
            _stain()

        work()
        run_threads([threading.Thread(target=work) for _ in range(2)])
        assert found == new * 3

    passes(test, runs=40, granularity="sync")


@passing(runs=40, granularity="sync")
def test_a_trace_function_for_all_threads_is_not_a_later_threads() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append((sys.gettrace(), sys.getprofile())))
    if sys.version_info >= (3, 12):
        sys._setprofileallthreads(lambda *_: None)  # type: ignore[attr-defined]
    run_thread(thread)
    if sys.version_info >= (3, 12):
        sys._setprofileallthreads(None)  # type: ignore[attr-defined]
    assert found == [(None, None)]


@passing(runs=40)
def test_what_an_ended_thread_had_or_has_made_ends_as_soon_as_nobody_has_it() -> None:
    made: list[Thing] = []
    local: list[weakref.ref[Thing]] = []

    def work() -> None:
        made.append(Thing())
        LOCAL.value = Thing()
        local.append(weakref.ref(LOCAL.value))

    run_thread(threading.Thread(target=work))
    assert local[0]() is None
    reference = weakref.ref(made[0])
    made.clear()
    assert reference() is None


def test_a_finalizer_at_a_threads_end_may_sleep_and_set_what_it_ends() -> None:
    class Late:
        def __del__(self) -> None:
            with lock:
                LOCAL.value = VARIABLE.set(1)

    lock = threading.Lock()

    def work() -> None:
        assert not LOCAL.__dict__
        assert VARIABLE.get(None) is None
        LOCAL.late = Late()
        with lock:
            pass

    passes(lambda: run_threads([threading.Thread(target=work) for _ in range(3)]), runs=40)


@in_child
def test_after_it_there_are_as_many_states_as_before() -> None:
    from lwp.explore import explore

    before = len(sys._current_exceptions())
    assert explore(lambda: run_threads([threading.Thread(target=int) for _ in range(5)]), runs=40).error is None
    assert len(sys._current_exceptions()) == before


@in_child(timeout=60)
def test_a_child_that_another_thread_forks_meanwhile_has_threads_of_its_own() -> None:
    """The interpreter has deleted there what was kept for the explored threads."""
    import gc

    from lwp.explore import Outcome, explore

    asked, ask = os.pipe()
    answered, answer = os.pipe()

    def threads() -> None:
        run_threads([threading.Thread(target=gc.collect) for _ in range(3)])

    def fork() -> None:
        while os.read(asked, 1):
            os.write(answer, bytes([in_forked_child(threads) != 0]))

    def test() -> None:
        threads()
        os.write(ask, b"x")
        assert os.read(answered, 1) == b"\0"

    thread = threading.Thread(target=fork)
    thread.start()
    result = explore(test, runs=4, seed=1, granularity="sync")
    os.close(ask)
    thread.join()
    assert result.outcome is Outcome.BUDGET_SPENT, result.report()


PROGRAM = """
import os
from lwp.explore import explore
from without_pytest import together
def test():
    together(int, int)
explore(test, runs=10, granularity="sync")
os.access("/begin", 0)
print(explore(test, runs=200, strategy="random", granularity="sync").runs)
os.access("/end", 0)
"""


@pytest.mark.skipif(hasattr(sys, "gettotalrefcount"), reason="a debug build makes one more heap for each")
def test_the_threads_of_a_later_run_make_no_heaps(tmp_path: Path) -> None:
    """Each new thread would call getrandom(2), if it has heaps of its own, as without a GIL."""
    command = [*under_strace(tmp_path / "trace"), sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, check=True, timeout=100, env=environment(), capture_output=True, text=True)
    assert done.stdout == "200\n"
    assert count_calls(lines_between_marks(tmp_path / "trace"))["getrandom"] < 20
