"""Handlers of signals in explored tests: a test that sets one runs as on the main thread, and none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
from corpus import together
from explored import comes_to, passing

from lwp.explore import Outcome, explore


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


SENDS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "raise_signal": lambda: signal.raise_signal(signal.SIGTERM),
    "pthread_kill": lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
@passing(runs=20)
def test_a_signal_of_the_test_calls_the_tests_handler(send: Callable[[], None]) -> None:
    seen: list[int] = []
    assert signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number)) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    together(send, send)
    assert seen == [signal.SIGTERM] * 2
    assert signal.signal(signal.SIGTERM, signal.SIG_IGN) is not signal.SIG_DFL
    send()


@passing(runs=20)
def test_ctrl_c_in_a_test_raises_there() -> None:
    together(int, int)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@comes_to(Outcome.FOUND, error=KeyboardInterrupt)
def test_ctrl_c_that_the_test_sends_is_found() -> None:
    together(int, int)
    os.kill(os.getpid(), signal.SIGINT)


def test_sigint_by_default_ends_the_process() -> None:
    def test() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        together(int, int)
        os.kill(os.getpid(), signal.SIGINT)

    assert explore(test, workers=2).name == "Died with status 130"


@comes_to(Outcome.INCONCLUSIVE, says="the test sets a handler for SIGALRM, the signal of a timer")
def test_a_handler_of_a_timer_is_inconclusive() -> None:
    together(int, int)
    signal.signal(signal.SIGALRM, lambda number, frame: None)


@passing(runs=20)
def test_a_test_may_take_a_timers_handler_for_that_of_another_thread() -> None:
    with pytest.raises(ValueError, match="SIGALRM"):
        signal.signal(signal.SIGALRM, lambda number, frame: None)
    together(int, int)


@passing(runs=20)
async def test_a_loop_of_asyncio_handles_signals() -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    thread = threading.Thread(target=SENDS["kill"])
    thread.start()
    await done.wait()
    thread.join()


@passing(runs=20)
def test_what_is_refused_elsewhere_is_refused_here() -> None:
    def elsewhere() -> None:
        with pytest.raises(ValueError, match="main thread"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    together(elsewhere, elsewhere)
    with pytest.raises(OSError, match="Invalid argument"):
        signal.signal(signal.SIGKILL, signal.SIG_IGN)
    with pytest.raises(TypeError):
        signal.signal(signal.SIGTERM, "handler")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Invalid argument"):
        os.kill(os.getpid(), 1000)
