"""runtime.explore(): what a user relies on, whatever the strategy."""

from __future__ import annotations

import _thread
import asyncio
import builtins
import concurrent.futures
import contextlib
import contextvars
import functools
import gc
import math
import os
import queue
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import explored
import pytest
from conftest import FREE_THREADED, in_child, in_forked_child, python, run_thread, run_threads
from corpus import together
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runtime
from lwp.explore import (
    BadToken,
    DeadlockFound,
    Inconclusive,
    Outcome,
    Result,
    Unwound,
    explore,
    replay,
)
from runtime import scheduler

Thread = threading.Thread

#: Made before anything is explored: CPython's own, unless pytest runs with --lwp.
LOCK = threading.Lock()
RLOCK = threading.RLock()
CONDITION = threading.Condition()
EVENT = threading.Event()
SIMPLE_QUEUE: queue.SimpleQueue[int] = queue.SimpleQueue()
LOCAL = threading.local()
VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


def found(test: Callable[[], object], **options: object) -> Result:
    result = explore(test, **{"runs": 2000, "seed": 1, **options})  # type: ignore[arg-type]
    assert result.outcome is Outcome.FOUND, result.report()
    assert result.replays == 10
    again = replay(test, result.token)
    assert (again.outcome, type(again.error)) == (Outcome.FOUND, type(result.error))
    return result


passes = functools.partial(explored.passes, runs=300)
passing = functools.partial(explored.passing, runs=300)


def take(first: Any, second: Any = None) -> None:
    with first, second or contextlib.nullcontext():
        pass


# ---- what is found ---------------------------------------------------------------------------------------------------


def test_an_exception_whose_class_each_run_makes_anew() -> None:
    def test() -> None:
        class Mine(Exception):
            pass

        def work() -> None:
            raise Mine

        together(work)

    result = explore(test, seed=1)
    assert (result.outcome, type(result.error).__name__, result.replays) == (Outcome.FOUND, "Mine", 10)


def test_a_deadlock_where_others_sleep_and_each_sleep_lasts_long() -> None:
    """They have their second, in which the run looks every millisecond, and not a thousand looks."""
    end = threading.Event()
    other = Thread(target=end.wait)
    other.start()

    def test() -> None:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    slack = Path(f"/proc/{os.getpid()}/timerslack_ns")
    before = slack.read_text()
    slack.write_text("5000000")
    try:
        assert isinstance(found(test).error, DeadlockFound)
    finally:
        slack.write_text(before)
        end.set()
        other.join()


def test_a_deadlock() -> None:
    def test() -> None:
        a, b = threading.Lock(), threading.Lock()
        together(lambda: take(a, b), lambda: take(b, a))

    result = found(test)
    assert isinstance(result.error, DeadlockFound)
    assert result.deviations == 1
    assert len(result.token) <= 30


def test_daemon_threads_may_be_left() -> None:
    ended = []

    def test() -> None:
        def wait() -> None:
            try:
                threading.Event().wait()
            finally:
                ended.append(1)

        Thread(target=wait, daemon=True).start()

    passes(test)
    assert ended  # those that had begun were unwound


@in_child
def test_a_livelock_waits_for_another_thread_once() -> None:
    """The other might end it, so it gets a second; not a wait for each sleep of the livelock."""
    import resource

    from lwp.explore import Outcome, explore

    def test() -> None:
        while True:
            time.sleep(0.001)

    never = threading.Event()
    threading.Thread(target=never.wait, daemon=True).start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    assert explore(test, runs=1).outcome is Outcome.FOUND
    # A second of milliseconds, and whatever else sleeps.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before < 2_500


def test_a_race_between_bytecodes_needs_no_gil() -> None:
    def test() -> None:
        count = [0]

        def add() -> None:
            count[0] = count[0] + 1

        together(add, add)
        assert count == [2]

    assert found(test).free_threaded_only
    passes(test, granularity="sync")
    passes(test, granularity="gil")


def test_a_pool_kept_from_call_to_call_is_reported() -> None:
    pool = concurrent.futures.ThreadPoolExecutor(2)
    result = explore(lambda: pool.submit(abs, -1).result(), runs=50, seed=1)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "left threads behind" in result.report()


def overdraft() -> None:
    lock = threading.Lock()
    balance = [100]

    def withdraw() -> None:
        if balance[0] >= 70:
            with lock:
                balance[0] -= 70

    together(withdraw, withdraw)
    assert balance[0] >= 0


@pytest.mark.parametrize("seed", range(8))
def test_a_find_is_shrunk_from_bytecodes_to_primitives(seed: int) -> None:
    result = found(overdraft, seed=seed)
    assert result.token.startswith("s-")
    assert result.deviations == 1


# ---- under control ---------------------------------------------------------------------------------------------------


def lock_made_at_import() -> None:
    seen = []
    together(lambda: take(LOCK), lambda: seen.append(LOCK.locked()))
    assert seen == [False]


def rlock_made_at_import() -> None:
    seen = []
    together(lambda: take(RLOCK, RLOCK), lambda: seen.append(RLOCK.acquire(blocking=False) and not RLOCK.release()))
    assert seen == [True]


def condition_made_at_import() -> None:
    def wait() -> None:
        with CONDITION:
            assert CONDITION.wait(1)

    def wake() -> None:
        with CONDITION:
            CONDITION.notify_all()

    together(wait, wake)


def event_made_at_import() -> None:
    EVENT.clear()
    together(EVENT.set, EVENT.clear)
    assert EVENT.is_set()


def simple_queue_made_at_import() -> None:
    together(lambda: SIMPLE_QUEUE.put(1), lambda: SIMPLE_QUEUE.put(2))
    assert [SIMPLE_QUEUE.get(), SIMPLE_QUEUE.get()] == [1, 2]


def derived_thread() -> None:
    class Mine(Thread):
        def run(self) -> None:
            order.append(self.name)

    order: list[str] = []
    run_threads([Mine(name="a"), Mine(name="b")])
    assert order == ["a", "b"]


def to_thread() -> None:
    order: list[int] = []

    async def main() -> None:
        await asyncio.gather(*(asyncio.to_thread(order.append, i) for i in range(2)))

    asyncio.run(main())
    assert order == [0, 1]


def barrier() -> None:
    gate = threading.Barrier(2)
    order: list[int] = []
    together(lambda: (gate.wait(), order.append(0)), lambda: (gate.wait(), order.append(1)))
    assert order == [0, 1]


def semaphore() -> None:
    permits = threading.BoundedSemaphore(1)
    seen = []

    def ask() -> None:
        if permits.acquire(blocking=False):
            permits.release()
            seen.append(1)

    together(lambda: take(permits), ask)
    assert seen


def threads_that_start_threads() -> None:
    order: list[int] = []
    inner = [Thread(target=order.append, args=(i,)) for i in range(2)]
    together(lambda: run_thread(inner[0]), lambda: run_thread(inner[1]))
    assert order == [0, 1]


def daemon() -> None:
    seen: list[int] = []
    Thread(target=seen.append, args=(1,), daemon=True).start()
    threading.Lock().acquire()
    assert seen


def start_new_thread() -> None:
    box: list[int] = []
    done = threading.Lock()
    done.acquire()

    def pop() -> None:
        try:
            box.pop()
        finally:
            done.release()

    _thread.start_new_thread(pop, ())
    Thread(target=box.append, args=(1,)).start()
    done.acquire()


def own_names() -> None:
    order: list[int] = []
    lock = runtime.sync.Lock()

    def add(i: int) -> None:
        with lock:
            order.append(i)

    run_threads([runtime.Thread(target=add, args=(i,)) for i in range(2)])
    assert order == [0, 1]


def pipe() -> None:
    r, w = os.pipe()
    got: list[bytes] = []
    try:
        together(lambda: got.append(os.read(r, 1)), lambda: os.write(w, b"a"), lambda: os.write(w, b"b"))
    finally:
        os.close(r)
        os.close(w)
    assert got == [b"a"]


@pytest.mark.parametrize(
    "test",
    [
        *(lock_made_at_import, rlock_made_at_import, condition_made_at_import, event_made_at_import),
        *(simple_queue_made_at_import, derived_thread, to_thread, barrier, semaphore),
        *(threads_that_start_threads, daemon, start_new_thread, own_names, pipe),
    ],
    ids=lambda test: test.__name__,
)
def test_under_control(test: Callable[[], None]) -> None:
    assert type(found(test).error) is (IndexError if test is start_new_thread else AssertionError)


@passing()
def test_each_thread_has_its_own_local_data_and_context() -> None:
    def use(i: int) -> None:
        assert VARIABLE.get() == 0
        assert not hasattr(LOCAL, "value")
        LOCAL.value = i
        VARIABLE.set(i)
        time.sleep(0)
        assert LOCAL.value == VARIABLE.get() == i

    together(lambda: use(1), lambda: use(2))


@passing()
def test_the_test_runs_as_the_main_thread() -> None:
    assert threading.current_thread() is threading.main_thread()
    other = Thread(target=lambda: None)
    other.start()
    assert other.name.startswith("Thread-1 ")
    other.join()


# ---- time ------------------------------------------------------------------------------------------------------------


def test_time_passes_when_no_thread_can_go_on() -> None:
    def test() -> None:
        clocks = time.monotonic, time.perf_counter, time.time
        before = [clock() for clock in clocks]
        time.sleep(1000)
        assert not threading.Event().wait(1000)
        for clock, start in zip(clocks, before, strict=True):
            assert 1999.99 < clock() - start < 2002

    began = time.monotonic()
    passes(test, runs=20)
    assert time.monotonic() - began < 20


def test_many_runs_are_few_collections_of_all_objects() -> None:
    """Of 3 ms and more. Without a GIL each collection is one."""
    full: list[str] = []

    def hear(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and (FREE_THREADED or info["generation"] == 2):
            full.append(phase)

    gc.callbacks.append(hear)
    try:
        explore(lambda: together(int), runs=6500, strategy="random", seed=1)
    finally:
        gc.callbacks.remove(hear)
    assert len(full) < 4


def test_what_runs_leave_to_the_collector_does_not_pile_up() -> None:
    left: WeakSet[Any] = WeakSet()
    most = 0

    class Node:
        def __init__(self) -> None:
            self.itself = self

    def test() -> None:
        nonlocal most
        left.add(Node())
        most = max(most, len(left))
        together(int)

    explore(test, runs=2500, strategy="random", seed=1)
    assert most <= (1000 if FREE_THREADED else 100)


def test_sleeping_threads_wake_in_the_order_of_their_deadlines() -> None:
    def test() -> None:
        order: list[int] = []

        def after(seconds: int) -> None:
            time.sleep(seconds)
            order.append(seconds)

        together(lambda: after(2), lambda: after(1), lambda: after(3))
        assert order == [1, 2, 3]

    passes(test)
    result = explore(test, runs=2000, seed=1, early_timeouts=True)  # only where a sleep may end early the order differs
    assert result.outcome is Outcome.EARLY_TIMEOUT
    assert result.token.split("-")[0].endswith("e")
    assert replay(test, result.token).outcome is Outcome.EARLY_TIMEOUT


def test_a_program_that_spins_ends() -> None:
    def test() -> None:
        done: list[int] = []

        def spin() -> None:
            while not done:
                pass

        together(spin, lambda: done.append(1))

    passes(test, granularity="gil")
    passes(test, granularity="opcode")


def test_fairness_depends_on_the_run_alone() -> None:
    """Otherwise a token, which counts from the default schedule, means another one in another process."""
    steps: list[int] = []

    def test() -> None:
        lock, before = threading.Lock(), []
        Thread(target=lambda: steps.append(len(before))).start()
        for _ in range(2500):
            lock.locked()
            before.append(None)

    for one in (lambda: Thread(target=print).start(), test, test):  # in the first the main thread doesn't end last
        explore(one, strategy="dfs", runs=1, granularity="sync")
    assert 0 < min(steps) == max(steps) < 2500


# ---- what is out of control ------------------------------------------------------------------------------------------


def test_spinning_without_operations_is_inconclusive_at_sync() -> None:
    def test() -> None:
        done: list[int] = []

        def spin() -> None:
            while not done:
                pass

        spinner = Thread(target=spin)
        spinner.start()
        done.append(1) if spinner.name == "" else spin()

    result = explore(test, runs=3, granularity="sync")
    assert result.outcome is Outcome.INCONCLUSIVE
    with pytest.raises(Inconclusive, match=r"test_explore\.py:[0-9]+ in spin"):
        result.check()


def test_a_call_that_blocks_is_named() -> None:
    program = """
        import ctypes, os, threading
        from lwp.explore import explore

        libc, (r, w) = ctypes.CDLL(None), os.pipe()

        def test():
            thread = threading.Thread(target=lambda: libc.read(r, ctypes.create_string_buffer(1), 1))
            thread.start()
            thread.join()

        result = explore(test, runs=10)
        print(result.outcome.name, result.error)
        print(threading.active_count() > 0, explore(lambda: None, runs=10).outcome.name)
    """
    out = python("-c", textwrap.dedent(program))
    first, second = out.stdout.splitlines()
    assert first.startswith("INCONCLUSIVE a thread is blocked in a call that is not under control")
    assert "<string>:8 in <lambda>" in first
    assert second == "True EXHAUSTED"
    assert out.stderr == ""


def test_a_wait_for_a_file_beside_a_later_sleep_is_named() -> None:
    reading, writing = os.pipe()

    def read_a_byte() -> None:
        os.read(reading, 1)

    def test() -> None:
        thread = Thread(target=read_a_byte)
        thread.start()
        time.sleep(1)
        thread.join()

    try:
        result = explore(test, runs=1)
        assert result.outcome is Outcome.INCONCLUSIVE
        assert "waits for a file" in result.report()
        assert result.report().endswith("in read_a_byte")
        os.write(writing, b"x" * 20)
        passes(test, runs=20)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.slow
@in_child
def test_a_thousand_threads() -> None:  # what they have allocated stays with the process
    from lwp.explore import Outcome, explore

    def test() -> None:
        order: list[int] = []
        run_threads(threading.Thread(target=order.append, args=(number,)) for number in range(1000))
        assert order[-1] == 999

    result = explore(test, runs=20, seed=1, granularity="sync")
    assert result.outcome is Outcome.FOUND, result.report()
    assert result.replays == 10


@explored.comes_to(Outcome.INCONCLUSIVE, says="1,024 threads", runs=2)
def test_too_many_threads_are_inconclusive() -> None:
    together(*[lambda: None] * 1024)


def test_a_test_that_differs_from_call_to_call_is_never_a_pass() -> None:
    calls = []

    def test() -> None:
        run_thread(threading.Thread(target=calls.append, args=(1,)))
        assert len(calls) != 5

    result = explore(test, runs=100)
    assert result.outcome is Outcome.INCONCLUSIVE
    with pytest.raises(Inconclusive):
        result.check()


def test_a_test_without_threads_is_run_once() -> None:
    calls = []
    result = explore(lambda: calls.append(1))
    assert (result.outcome, result.runs, len(calls)) == (Outcome.EXHAUSTED, 1, 1)


# ---- known finds -----------------------------------------------------------------------------------------------------


class TestKnown:
    """Two deadlocks, of which the first comes before the second."""

    a, b, c, d = (threading.Lock() for _ in range(4))

    def ab(self) -> None:
        with self.a, self.b:
            pass

    def ba(self) -> None:
        with self.b, self.a:
            pass

    def cd(self) -> None:
        with self.c, self.d:
            pass

    def dc(self) -> None:
        with self.d, self.c:
            pass

    def both(self) -> None:
        works = [lambda: (self.ab(), self.cd()), lambda: (self.ba(), self.dc())]
        run_threads([Thread(target=work) for work in works])

    first = "DeadlockFound test_explore.py:TestKnown.ab test_explore.py:TestKnown.ba"
    second = "DeadlockFound test_explore.py:TestKnown.cd test_explore.py:TestKnown.dc"

    @pytest.mark.parametrize("seed", range(5))
    def test_a_find_of_the_same_kind_is_told_apart_and_stays_what_it_is(self, seed: int) -> None:
        result = explore(self.both, seed=seed, known=[self.first])
        assert (result.name, result.replays) == (self.second, 10)
        assert set(result.known) <= {self.first}

    @pytest.mark.parametrize("strategy", ["auto", "dfs", "dpor"])
    def test_what_is_known_is_counted(self, strategy: str) -> None:
        result = explore(self.both, strategy=strategy, granularity="sync", runs=300, known={self.first, self.second})
        assert result.error is None
        assert set(result.known) == {self.first, self.second}
        assert f"no failure except known ones:\n  {self.first}, in {result.known[self.first]} run" in result.report()

    def test_a_run_that_fails_as_known_behind_a_circle_that_is_no_deadlock(self) -> None:
        """The lock is a signal: the test, which holds it, and the thread that waits for it seem to wait for ever."""

        def test() -> None:
            signal = threading.Lock()
            signal.acquire()

            def waits() -> None:
                signal.acquire()
                raise KeyError("known")

            run_threads([Thread(target=waits), Thread(target=signal.release)])

        result = explore(test, runs=50, granularity="sync", known=["KeyError test_explore.py:waits"])
        assert result.error is None, result.report()
        assert list(result.known) == ["KeyError test_explore.py:waits"]

    def test_wrong_names(self) -> None:
        for known in ("AssertionError", [1]):
            with pytest.raises(TypeError, match="known must be names of finds, such as"):
                explore(self.both, known=known)  # type: ignore[arg-type]


# ---- isolation -------------------------------------------------------------------------------------------------------


def test_threads_of_a_failed_run_are_unwound() -> None:
    ended: list[str] = []

    def test() -> None:
        lock = threading.Lock()
        lock.acquire()

        def wait(how: Callable[[], object]) -> None:
            try:
                how()
            except Exception:
                ended.append("caught")
            except BaseException as error:
                ended.append(type(error).__name__)
                raise
            finally:
                ended.append("finally")

        condition, event, semaphore = threading.Condition(), threading.Event(), threading.Semaphore(0)
        with condition:
            for how in (lock.acquire, event.wait, semaphore.acquire, lambda: time.sleep(10**6)):
                Thread(target=wait, args=(how,)).start()
            wait(condition.wait)

    before = threading.active_count()
    result = explore(test, runs=1)
    assert result.outcome is Outcome.FOUND
    assert set(ended) == {"Unwound", "finally"}
    assert threading.active_count() == before
    assert issubclass(Unwound, BaseException)
    assert not issubclass(Unwound, Exception)


def test_a_lock_that_a_failed_run_has_kept_is_free_in_the_next() -> None:
    def test() -> None:
        LOCK.acquire()
        Thread(target=LOCK.acquire).start()

    assert found(test).replays == 10
    assert LOCK.acquire(blocking=False)
    LOCK.release()


@in_child
def test_threads_that_refuse_to_be_unwound() -> None:
    import contextlib

    from lwp.explore import LeftBehind, Outcome, explore

    def test() -> None:
        lock = threading.Lock()
        lock.acquire()

        def stubborn() -> None:
            while True:
                with contextlib.suppress(BaseException):
                    lock.acquire()

        threading.Thread(target=stubborn).start()

    result = explore(test, runs=10)
    assert isinstance(result.error, LeftBehind)
    assert result.replays == 10
    assert explore(lambda: None, runs=5).outcome is Outcome.EXHAUSTED


def test_threads_and_sleeps_are_real_afterwards() -> None:
    explore(lock_made_at_import, runs=200)
    run_thread(Thread(target=time.sleep, args=(0.001,)))
    began = time.monotonic()
    time.sleep(0.01)
    assert time.monotonic() - began >= 0.01


def test_other_threads_of_the_process_go_on_and_start_threads_that_are_not_explored() -> None:
    stop, started = threading.Event(), []

    def work() -> None:
        lock = threading.Lock()
        while not stop.is_set():
            with lock:
                run_thread(Thread(target=lambda: started.append(threading.get_native_id())))
            time.sleep(0.0001)

    thread = Thread(target=work)
    thread.start()
    try:
        passes(barrier_of_two, runs=3000)
    finally:
        stop.set()
        thread.join()
    assert started
    assert threading.get_native_id() not in started


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@passing(runs=20)
def test_processes_that_the_test_starts() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    together(lambda: subprocess.run(["true"], check=True), lambda: subprocess.run(["false"], check=False))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_an_explored_thread_forks_joins_threads_of_its_own() -> None:
    """A join that begins before its thread ends: it once slept as green threads do, which only green threads wake."""
    ended: list[int] = []

    def join_some() -> None:
        signal.alarm(60)
        for _ in range(200):
            thread = Thread(target=int)
            thread.start()
            thread.join()

    passes(lambda: together(lambda: ended.append(in_forked_child(join_some))), runs=3)
    assert set(ended) == {0}


def barrier_of_two() -> None:
    gate = threading.Barrier(2)
    together(gate.wait, gate.wait)


# ---- the interface ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: explore(print, strategy="best"), ValueError, "strategy"),
        (lambda: explore(print, strategy=3), ValueError, "strategy 3 is not one of auto, chance"),
        (lambda: explore(print, granularity="fine"), ValueError, "granularity must be auto, sync, gil, .* not 'fine'"),
        (lambda: explore(print, runs=0), ValueError, "runs must be a whole number from 1 on, not 0"),
        (lambda: explore(print, max_steps=-1), ValueError, "max_steps"),
        (lambda: explore(print, workers=0), ValueError, "workers"),
        (lambda: explore(print, seconds="x"), ValueError, "seconds must be a number from 0 on, or None, not 'x'"),
        (lambda: explore(print, seconds=math.nan), ValueError, "seconds must be .* not nan"),
        (lambda: explore(print, seed="x"), TypeError, "seed must be a whole number or None, not 'x'"),
        (lambda: explore(print, progress=3), TypeError, "progress must be a function or None, not 3"),
        (lambda: explore(3), TypeError, "test must be a function, .* not 3"),
        (lambda: runtime.explore(None), TypeError, "test must be a function, .* not None"),
        (lambda: runtime.explored(3), TypeError, "test must be a function"),
        (lambda: runtime.explored(runs=5)(3), TypeError, "test must be a function"),
        (lambda: replay("s-0", "s-0"), TypeError, "test must be a function, .* not 's-0'"),
        (lambda: replay(print, None), TypeError, "a token is a str such as s-1a3f-9.1-12.0, not NoneType"),
    ],
)
def test_wrong_arguments(call: Callable[[], object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("token", ["", "s", "x-0", "s-0-", "s-0-1", "s-0-2.1-1.1", "s-0-1.zz", "s-0-1z141z4.0"])
def test_bad_tokens(token: str) -> None:
    with pytest.raises(BadToken, match="is no token"):
        replay(lambda: None, token)


def test_the_greatest_numbers_of_a_token() -> None:
    result = replay(lambda: None, "s-0-1z141z3.sf")
    assert result.outcome is Outcome.INCONCLUSIVE  # no run has that step


def run_of_two() -> None:
    together(*[lambda: time.sleep(0)] * 2)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(), at=st.integers(0, 30), gone=st.integers(0, 3), number=st.integers(-(10**30), 10**30))
def test_a_damaged_token_is_refused_or_replayed(text: str, at: int, gone: int, number: int) -> None:
    """Letters are lost, others come in, or a number that no machine word holds."""
    whole = "s-1a3f-9.1-12.0-20.1"
    for token in (text, whole[:at] + text + whole[at + gone :], whole[:at] + str(number) + whole[at + gone :]):
        with contextlib.suppress(BadToken):
            assert replay(run_of_two, token).outcome in (Outcome.BUDGET_SPENT, Outcome.INCONCLUSIVE)


def test_a_token_of_bytecodes_is_for_one_version() -> None:
    with pytest.raises(ValueError, match=r"is for Python 2\.7"):
        replay(lambda: None, "o27-0-1.1")


def test_a_token_of_another_program_is_inconclusive() -> None:
    assert replay(barrier_of_two, "s-zzzz-3.1").outcome is Outcome.INCONCLUSIVE


def test_explore_in_explore_and_in_a_green_thread() -> None:
    def test() -> None:
        explore(lambda: None, runs=1)

    assert isinstance(explore(test, runs=1).error, RuntimeError)
    green = scheduler.Scheduler()
    errors: list[Exception] = []

    def inner() -> None:
        try:
            explore(lambda: None, runs=1)
        except RuntimeError as error:
            errors.append(error)

    green.spawn(inner)
    green.run()
    assert len(errors) == 1


@in_child
def test_a_scheduler_made_after_it_has_a_queue() -> None:
    from lwp.explore import explore
    from runtime.scheduler import Scheduler

    def test() -> None:
        run_thread(threading.Thread(target=list))

    explore(test, runs=3)
    scheduler, ran = Scheduler(), []
    for number in range(2):
        scheduler.spawn(ran.append, number)
    scheduler.run()
    assert sorted(ran) == [0, 1]


def test_the_module_can_be_called_and_decorates() -> None:
    assert runtime.explore(barrier_of_two, runs=10).runs == 10  # type: ignore[operator,unused-ignore]

    @runtime.explored(runs=500, seed=3)
    def test(a: int) -> None:
        lock_made_at_import()

    with pytest.raises(AssertionError) as error:
        test(1)
    assert any("Token" in note for note in error.value.__notes__)

    @runtime.explored
    def fine() -> None:
        barrier_of_two()

    fine()


def test_skips_come_out_and_a_keyboard_interrupt_of_the_test_is_found() -> None:
    def skip() -> None:
        raise unittest.SkipTest("not here")

    with pytest.raises(unittest.SkipTest):
        explore(skip)

    def interrupt() -> None:
        together(lambda: None)
        raise KeyboardInterrupt

    assert isinstance(found(interrupt).error, KeyboardInterrupt)
    result = found(lambda: together(interrupt))  # in a thread
    assert isinstance(result.error, KeyboardInterrupt)


def test_exit_status() -> None:
    passes(sys.exit, runs=5)
    assert isinstance(found(lambda: sys.exit(3)).error, SystemExit)


def test_seconds_are_a_limit() -> None:
    began = time.monotonic()
    result = explore(barrier_of_two, runs=10**9, seconds=0.2)
    assert 0.2 <= time.monotonic() - began < 10
    assert result.seconds >= 0.2
    assert 1 < result.distinct <= result.runs


SHARED = """
import threading

def test():
    order = []
    lock = threading.Lock()
    def work(i):
        with lock:
            order.append(i)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert order != [2, 0, 1]
"""


def test_a_sync_token_replays_on_each_python() -> None:
    thread = runtime.Thread(target=list)
    thread.start()
    getattr(thread, "_tstate_lock", None)  # to 3.12: from now on join() also does what threading's private code expects
    thread.join()
    scope: dict[str, Callable[[], None]] = {}
    exec(SHARED, scope)
    result = replay(scope["test"], "s-lsu9-5.3")  # found on 3.13
    assert (result.outcome, result.replays, result.token) == (Outcome.FOUND, 10, "s-lsu9-5.3")


def test_what_a_failed_run_left_to_the_collector_is_not_there_in_the_next() -> None:
    left: WeakSet[Any] = WeakSet()
    first, second = threading.Lock(), threading.Lock()

    class Node:
        def __init__(self) -> None:
            self.itself: Node | None = self

    def test() -> None:
        for _ in list(left):
            take(first)
        node = Node()
        left.add(node)
        together(lambda: take(first, second), lambda: take(second, first))
        node.itself = None

    found = explore(test, seed=1)
    assert found.outcome is Outcome.FOUND, found.report()
    assert found.replays == 10


def test_a_test_that_goes_by_addresses_is_told_so() -> None:
    kept: list[object] = []

    def test() -> None:
        low, high = sorted((threading.Lock(), threading.Lock()), key=id)
        kept.append(low)  # as if other addresses had been free
        first, second = (low, high) if len(kept) % 2 else (high, low)

        def work() -> None:
            take(first)
            if id(first) < id(second):
                take(second)

        together(work, work)

    before = builtins.id
    result = explore(test, strategy="dfs", granularity="sync")
    assert builtins.id is before
    assert result.outcome is Outcome.INCONCLUSIVE
    assert re.search(r"does not do the same each time .*; \S+test_explore.py:\d+ asks for id\(\), an", result.report())


def test_one_that_asks_for_ids_and_does_the_same_is_explored() -> None:
    def test() -> None:
        locks = sorted((threading.Lock(), threading.Lock()), key=id)
        together(*[lambda: take(*locks)] * 2)

    assert "id()" not in passes(test, strategy="dfs", granularity="sync").report()
