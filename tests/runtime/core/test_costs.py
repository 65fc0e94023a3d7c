"""What operations cost, counted and not timed: system calls, memory, switches.  What makes one dearer shows here."""

from __future__ import annotations

import os
import re
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import FREE_THREADED, in_child, needs_fast_turns, needs_gil, python, run_thread, run_threads
from strace import calls_of_turns

import runtime
from runtime import native, sync

TURNS = 300


@pytest.mark.parametrize("more", [(), ("sigaltstack",)], ids=["six", "seven with faulthandler"])
def test_a_start_and_a_join_are_six_system_calls(more: tuple[str, ...], tmp_path: Path) -> None:
    """What each is for stands in docs/performance.md.  Of a glibc thread it is 20."""
    calls = calls_of_turns(TURNS, tmp_path, options=("-X", "faulthandler") if more else ())
    named = ["prctl"] if sys.version_info >= (3, 14) else []  # the kernel is told a Thread's name
    if FREE_THREADED:
        named.append("getrandom")  # by mimalloc: each thread has heaps of its own
    for name in ("clone", "set_robust_list", "rseq", "exit", "gettid", *named, *more):
        assert calls.pop(name) == TURNS, name
    # One for the join.  Now and then the GIL passes from hand to hand in another way, more often where much else runs;
    # one more in each turn would be twice as many.
    # Without a GIL start() sleeps until the thread has made its PyThreadState.
    futexes = 3 if FREE_THREADED else 1
    assert TURNS * (futexes - 0.5) < calls.pop("futex") < TURNS * (futexes + 0.5)
    assert not calls, "for example memory that was mapped, or signals that were blocked"


def _loaded_by(program: str) -> set[str]:
    return set(python("-c", f"{program}\nimport sys; print(*sys.modules)").stdout.split())


def test_a_programs_first_thread_loads_little_that_threading_does_not() -> None:
    """In milliseconds: typing 2, functools with collections 1.5, signal with its enums 1, importlib.util a half."""
    more = _loaded_by("import runtime; runtime.Thread(target=int).start()") - _loaded_by("import threading")
    little = {"__future__", "atexit", "errno", "faulthandler", "resource", "warnings", "_operator"}
    little |= {"importlib", "importlib._bootstrap", "importlib._bootstrap_external", "_xxsubinterpreters"}
    assert {name for name in more if name.partition(".")[0] != "runtime"} <= little


@needs_gil("a creator is woken at once")
def test_after_install_a_start_and_a_join_are_six_system_calls_too(tmp_path: Path) -> None:
    """Or a few more beside other load.  start() waits until the thread has begun; if that woke it at once, it would
    sleep for the GIL, its mutex and the end: twelve calls."""
    install = "import runtime, threading; runtime.install(); Thread = threading.Thread"
    calls = calls_of_turns(TURNS, tmp_path, first=install)
    assert calls.total() < TURNS * 8, calls


@needs_gil("a creator is woken at once")
@pytest.mark.parametrize("cores", ["one core", "all cores"])
@pytest.mark.parametrize("then", ["ends", "blocks in C", "sleeps here"])
@in_child
def test_a_creator_that_waits_for_its_thread_sleeps_once(then: str, cores: str) -> None:
    """It is woken when the GIL is free, not as soon as the thread has begun; then what the thread did first is done.

    CPython's sleeps for the GIL once more, and for its mutex.
    """
    runtime.install()
    if cores == "one core":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    done: list[int] = []
    reads, writes = os.pipe()

    def first(number: int) -> None:
        done.append(number)
        if then == "blocks in C":
            os.read(reads, 1)
        elif then == "sleeps here":
            over.wait()

    windows, starts, slept, seen = 10, 30, [], 0
    for window in range(windows):
        over = sync.Event()
        threads = [threading.Thread(target=first, args=(number,)) for number in range(starts)]
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        for number, thread in enumerate(threads):
            thread.start()
            seen += done[window * starts :] == list(range(number + 1))
        slept.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before)
        # No thread goes on before: it would want the GIL that the creator of the next one wants.
        over.set()
        if then == "blocks in C":
            os.write(writes, bytes(starts))
        for thread in threads:
            thread.join()
    # In a quarter of the windows at least: in the others another process may have had the core.
    assert sorted(slept)[windows // 4] < 1.5 * starts, slept
    assert seen > 0.8 * windows * starts


@needs_gil("a creator is woken at once")
@in_child
def test_after_install_a_start_and_a_join_are_two_wake_ups() -> None:
    """On all cores: of the new thread, and of its creator, by the kernel at the thread's end.  CPython's are five.

    Each sleep of a thread ends with a wake-up.
    """
    runtime.install()
    windows, starts, slept = 20, 30, []
    for _ in range(windows):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        for _ in range(starts):
            run_thread(threading.Thread(target=int))
        slept.append(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before)
    assert sorted(slept)[windows // 4] < 1.5 * starts, slept  # in the others another process may have had a core


@needs_gil("there is none to ask for")
@in_child
def test_a_creator_asks_a_thread_that_computes_for_the_gil() -> None:
    """After the switch interval: start() returns although the thread never gives up the GIL by itself."""
    runtime.install()
    for interval in (1e-6, 0.005, 0.05):
        sys.setswitchinterval(interval)
        computes = [True]

        def compute(computes: list[bool] = computes) -> None:
            while computes:
                pass

        thread = threading.Thread(target=compute)
        thread.start()
        computes.clear()
        thread.join()


@in_child
def test_a_thread_that_does_little_lives_in_two_pages() -> None:
    """One with the top of its stack, one with struct pthread and its first Python frames.  The rest is its objects'.

    From 3.14 on, whose interpreter has larger frames in C, a second one of stack.  Without a GIL each has
    heaps of its own.
    """
    event, began = sync.Event(), sync.Semaphore(0)

    def begin_and_wait() -> None:
        began.release()
        event.wait()

    def anonymous() -> int:
        # Counted by the page; what status says may lag by 64 pages a thread before Linux 6.2.
        return int(re.search(r"Anonymous:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text())[1]) << 10

    def start(many: int) -> list[runtime.Thread]:
        threads = [runtime.Thread(target=begin_and_wait) for _ in range(many)]
        for thread in threads:
            thread.start()
        for _ in threads:
            began.acquire()
        return threads

    some = start(10)
    before, many = anonymous(), 1000
    more = start(many)
    each = (anonymous() - before) / many
    event.set()
    for thread in some + more:
        thread.join()
    pages = 11 if "t" in sys.abiflags else 2 if sys.version_info < (3, 14) else 3
    assert each < pages * os.sysconf("SC_PAGESIZE") + 2048, each


def _ping_pong_event() -> tuple[Callable[[], Any], Callable[[], Any]]:
    ping, pong = sync.Event(), sync.Event()

    def serve() -> None:
        ping.wait()
        ping.clear()
        pong.set()

    def ask() -> None:
        ping.set()
        pong.wait()
        pong.clear()

    return serve, ask


def _ping_pong_semaphore() -> tuple[Callable[[], Any], Callable[[], Any]]:
    ping, pong = sync.Semaphore(0), sync.Semaphore(0)
    return lambda: (ping.acquire(), pong.release()), lambda: (ping.release(), pong.acquire())


def _ping_pong_lock() -> tuple[Callable[[], Any], Callable[[], Any]]:
    ping, pong = sync.Lock(), sync.Lock()
    ping.acquire()
    pong.acquire()
    return lambda: (ping.acquire(), pong.release()), lambda: (ping.release(), pong.acquire())


def _ping_pong_condition() -> tuple[Callable[[], Any], Callable[[], Any]]:
    condition, turn = sync.Condition(sync.Lock()), [0]

    def take(mine: int) -> None:
        with condition:
            while turn[0] != mine:
                condition.wait()
            turn[0] = 1 - mine
            condition.notify()

    return lambda: take(1), lambda: take(0)


@needs_fast_turns
@pytest.mark.usefixtures("one_processor")
@pytest.mark.parametrize("pair", [_ping_pong_event, _ping_pong_semaphore, _ping_pong_lock, _ping_pong_condition])
def test_two_threads_that_take_turns_switch_once_a_turn(
    pair: Callable[[], tuple[Callable[[], Any], Callable[[], Any]]],
) -> None:
    """On one core: a wake-up comes when the waker has given up the GIL, and the woken one needn't sleep for it.  Stock:
    five."""
    serve, ask = pair()
    windows, rounds, switches = 20, 100, []
    thread = runtime.Thread(target=lambda: [serve() for _ in range(windows * rounds)])
    thread.start()
    for _ in range(windows):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        switched = usage.ru_nvcsw + usage.ru_nivcsw
        for _ in range(rounds):
            ask()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        switches.append(usage.ru_nvcsw + usage.ru_nivcsw - switched)
    thread.join()
    # 2 a round, in a tenth of the windows at least; on an idle machine it is so in 19 of 20.  One in which another
    # process had the core says nothing, since after it the waker defers no wake-up for some hundred turns
    # (python/threads/wake.c).
    assert sorted(switches)[windows // 10] < 2.5 * rounds, switches


@in_child
def test_threads_that_begin_do_not_wait_for_the_gil_all_at_once() -> None:
    """Each sleeps until its turn, and then for the GIL.  All at once, they would ask for it again every 5 ms."""
    many = 3000
    threads = [runtime.Thread(target=int, stack_size=64 << 10) for _ in range(many)]
    ended = time.monotonic() + 30
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):  # computes
        assert time.monotonic() < ended
    assert resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before < 6 * many


@in_child
def test_few_of_a_thousand_short_threads_are_alive_at_once() -> None:
    """The creator holds the GIL, yet they get their turn early.  Otherwise each would need a stack of its own."""
    run_threads([runtime.Thread(target=int) for _ in range(1000)])
    assert native.context_counts()[0] < 64
