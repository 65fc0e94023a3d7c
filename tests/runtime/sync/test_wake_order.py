"""Which thread runs first after a wake-up, and that the woken thread runs whatever becomes of its waker.

As in CPython: the waker keeps the GIL until it blocks or its switch interval is over.  A waker that mostly sleeps next
defers the wake-up until then (runtime/native/python/threads/wake.c), hence the turns that two threads take here before.
On two processors they look instead of sleeping (spin.c), and seldom defer: what is said of dozes holds on one.
"""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, in_child, needs_fast_turns, needs_gil
from wake_order import check_order

import runtime
from runtime import sync


@pytest.fixture(params=["one processor", "all processors"])
def processors(request: pytest.FixtureRequest) -> None:
    if request.param == "one processor":
        request.getfixturevalue("one_processor")


# ---- the order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["install", "sync"])
@pytest.mark.usefixtures("processors")
@needs_gil("the woken thread runs at once")
def test_the_wakers_next_line_runs_before_the_woken_thread(way: str, tmp_path: Path) -> None:
    """The switch interval is long: the GIL passes only when its holder blocks."""
    check_order(tmp_path, way)


@needs_gil("the woken thread runs at once")
@in_child(prints="True 0\n")
def test_a_store_after_set_result_is_seen_with_the_result() -> None:
    """An event loop in a thread sets a future's result and then stores the context, as asgiref's async_to_sync does."""
    import concurrent.futures

    runtime.install()
    sys.setswitchinterval(1000)
    number: contextvars.ContextVar[int] = contextvars.ContextVar("number")
    loop = asyncio.new_event_loop()
    thread = runtime.Thread(target=loop.run_forever)
    thread.start()

    async def answer(value: int, future: concurrent.futures.Future[int], context: list[Any]) -> None:
        try:
            number.set(value)
            future.set_result(value)
        finally:
            context[0] = contextvars.copy_context()

    kept = []
    for turn in range(200):
        future: concurrent.futures.Future[int] = concurrent.futures.Future()
        context: list[Any] = [None]
        asyncio.run_coroutine_threadsafe(answer(turn, future, context), loop)
        assert future.result() == turn
        kept.append(context[0] and context[0][number])
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    print(kept == list(range(200)), kept.count(None))


# ---- a waker that doesn't come back ----------------------------------------------------------------------------------


def wake_and(what: str, rounds: int) -> None:
    """Two threads take turns, often enough for the last wake-up to be deferred; then the waker does something else."""

    def pair() -> tuple[Callable[[int], None], sync.Event, list[int], int, runtime.Thread]:
        there, back, ran, (reads, writes) = sync.Event(), sync.Event(), list[int](), os.pipe()

        def turns(count: int) -> None:
            for _ in range(count):
                there.set()
                back.wait()
                back.clear()

        def partner() -> None:
            for _ in range(100):
                there.wait()
                there.clear()
                back.set()
            there.wait()
            ran.append(1)
            os.write(writes, b"x")
            os.close(writes)

        thread = runtime.Thread(target=partner)
        thread.start()
        return turns, there, ran, reads, thread

    for _ in range(rounds):
        turns, there, ran, reads, thread = pair()

        def wake(turns: Callable[[int], None] = turns, there: sync.Event = there) -> None:
            turns(100)
            there.set()

        if what in ("its thread ends", "its stock thread ends"):
            waker = (threading if "stock" in what else runtime).Thread(target=wake)  # stock's may use our primitives
            waker.start()
            os.read(reads, 1)
            waker.join()
        else:
            wake()
        if what == "it computes":
            while not ran:
                pass
        elif what == "it reads":
            os.read(reads, 1)
        elif what == "it selects":
            select.select([reads], [], [])
        elif what == "it blocks in C":
            ctypes.CDLL(None).read(reads, ctypes.create_string_buffer(1), 1)
        elif what == "it joins":
            thread.join()
        elif what == "it wakes others":
            while not ran:
                sync.Event().set()
                sync.Semaphore().release()
        elif what == "it forks":
            pid = os.fork()
            if pid == 0:
                again, there, _, reads, partner = pair()
                again(100)
                there.set()
                partner.join()
                os._exit(0)
            os.read(reads, 1)
            assert os.waitpid(pid, 0)[1] == 0
        elif what == "it execs":
            os.execv("/bin/echo", ["echo", "execed"])
        thread.join()
        assert ran == [1]
        os.close(reads)
    print(rounds)


@pytest.mark.usefixtures("processors")
@pytest.mark.parametrize(
    "what",
    [
        "it computes",
        "it reads",
        "it selects",
        "it blocks in C",
        "it joins",
        "it wakes others",
        "its thread ends",
        "its stock thread ends",
        "it forks",
        "it execs",
    ],
)
def test_the_woken_thread_runs_whatever_its_waker_does_next(what: str, child: Child) -> None:
    assert child(wake_and, what, 20).stdout == ("execed\n" if what == "it execs" else "20\n")


# ---- a sleeper that dozes --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_processor")
@needs_gil("no wake-up is deferred")
@needs_fast_turns
@pytest.mark.parametrize(("interval", "dozes"), [(0.005, True), (0.001, False)])
@in_child
def test_no_doze_with_a_shorter_switch_interval(interval: float, dozes: bool) -> None:
    """How often a thread that took turns, and waits for the next, sleeps in a FUTEX_WAIT with a timeout, a doze."""
    sys.setswitchinterval(interval)
    there, back, rounds, turns = sync.Event(), sync.Event(), 100, 30

    def partner() -> None:
        for _ in range(rounds * turns + 1):  # it waits for the last one, and is looked at, when the others are over
            there.wait()
            there.clear()
            back.set()

    thread = runtime.Thread(target=partner)
    thread.start()
    seen = 0
    for _ in range(rounds):
        for _ in range(turns):
            there.set()
            back.wait()
            back.clear()
        operation = ""
        while operation not in ("0x80", "0x89"):  # 0x189: glibc's, for the GIL
            call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
            operation = call[2] if call[0] in ("202", "98") else ""
            os.sched_yield()
        seen += operation == "0x80"
    there.set()
    thread.join()
    assert bool(seen) is dozes, seen


@pytest.mark.usefixtures("one_processor")
@in_child(prints="40\n")
def test_handlers_run_in_a_doze_which_keeps_the_deadline() -> None:
    there, back, handled = sync.Event(), sync.Event(), 0
    raising = stop = False

    def partner() -> None:
        while not stop:
            there.wait()
            there.clear()
            back.set()

    def take_turns() -> None:
        for _ in range(50):
            there.set()
            back.wait()
            back.clear()

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        if raising:
            raise InterruptedError
        back.set()

    signal.signal(signal.SIGALRM, handler)
    thread = runtime.Thread(target=partner)
    thread.start()
    for seconds in (0.002, 0.012) * 10:  # in the doze, and after it
        for raising in (False, True):
            take_turns()
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                assert back.wait()
                assert not raising
                back.clear()
            except InterruptedError:
                assert raising
    for seconds in (0.001, 0.0055, 0.02) * 4:  # in the doze, at its end, and beyond it
        take_turns()
        begin = time.monotonic()
        assert not back.wait(seconds)
        assert time.monotonic() - begin >= seconds
    stop = True
    there.set()
    thread.join()
    print(handled)


@pytest.mark.usefixtures("one_processor")
@needs_gil("no wake-up is deferred")
@needs_fast_turns
@in_child
def test_handlers_run_when_a_doze_is_over() -> None:
    """If a doze's time is up too, the kernel says nothing of the signal; nor does it know of interrupt_main()'s."""
    there, back, rounds, turns, handled, missed = sync.Event(), sync.Event(), 100, 30, 0, 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        back.set()

    def main_is_in(operation: str) -> bool:
        call = Path(f"/proc/self/task/{os.getpid()}/syscall").read_text().split()
        return call[0] in ("202", "98") and call[2] == operation

    def partner() -> None:
        nonlocal missed
        for _ in range(rounds):
            for _ in range(turns):
                there.wait()
                there.clear()
                back.set()
            there.wait()
            there.clear()
            before = handled
            interrupted = False
            while handled == before:
                if not interrupted and main_is_in("0x80"):
                    _thread.interrupt_main(signal.SIGALRM)
                    interrupted = True
                elif main_is_in("0x89"):  # for good, and it has not looked; or it was there before us
                    missed += 1
                    back.set()
                    break

    signal.signal(signal.SIGALRM, handler)
    thread = runtime.Thread(target=partner)
    thread.start()
    for _ in range(rounds):
        for _ in range(turns + 1):
            there.set()
            back.wait()
            back.clear()
    thread.join()
    assert missed < rounds


def daemons_that_take_turns() -> None:
    """The interpreter ends while they sleep, doze, are woken and want the GIL."""
    events = [sync.Event() for _ in range(4)]

    def forever(mine: sync.Event, other: sync.Event) -> None:
        while True:
            mine.wait()
            mine.clear()
            other.set()

    for one, other in (events[:2], events[2:]):
        runtime.Thread(target=forever, args=(one, other), daemon=True).start()
        runtime.Thread(target=forever, args=(other, one), daemon=True).start()
        one.set()
    for _ in range(200):
        events[0].wait()


@pytest.mark.usefixtures("processors")
def test_the_interpreter_ends_while_threads_take_turns(child: Child) -> None:
    for _ in range(5):
        child(daemons_that_take_turns)
