"""Handlers of signals in explored tests: a test that sets one runs as on the main thread, and none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable

import pytest
from corpus import together

from lwp.explore import Outcome, explore


def passes(test: Callable[[], object], runs: int = 20) -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    result = explore(test, runs=runs, seed=1)
    assert result.outcome in (Outcome.BUDGET_SPENT, Outcome.EXHAUSTED), result.report()
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


def sends(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGTERM)
    elif how == "raise_signal":
        signal.raise_signal(signal.SIGTERM)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


@pytest.mark.parametrize("how", ["kill", "raise_signal", "pthread_kill"])
def test_a_signal_of_the_test_calls_the_tests_handler(how: str) -> None:
    def test() -> None:
        seen: list[int] = []
        assert signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number)) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        together(lambda: sends(how), lambda: sends(how))
        assert seen == [signal.SIGTERM] * 2
        assert signal.signal(signal.SIGTERM, signal.SIG_IGN) is not signal.SIG_DFL
        sends(how)

    passes(test)


def test_ctrl_c_in_a_test_raises_there() -> None:
    def test() -> None:
        together(lambda: None, lambda: None)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    passes(test)


def test_ctrl_c_that_the_test_sends_is_found() -> None:
    def test() -> None:
        together(lambda: None, lambda: None)
        os.kill(os.getpid(), signal.SIGINT)

    result = explore(test)
    assert (result.outcome, type(result.error)) == (Outcome.FOUND, KeyboardInterrupt)


def test_sigint_by_default_ends_the_process() -> None:
    def test() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        together(lambda: None, lambda: None)
        os.kill(os.getpid(), signal.SIGINT)

    assert explore(test, workers=2).name == "Died with status 130"


def test_a_handler_of_a_timer_is_inconclusive() -> None:
    def test() -> None:
        together(lambda: None, lambda: None)
        signal.signal(signal.SIGALRM, lambda number, frame: None)

    result = explore(test)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "the test sets a handler for SIGALRM, the signal of a timer" in result.report()

    def takes_it_for_another_thread() -> None:
        with pytest.raises(ValueError, match="SIGALRM"):
            signal.signal(signal.SIGALRM, lambda number, frame: None)
        together(lambda: None, lambda: None)

    passes(takes_it_for_another_thread)


def test_a_loop_of_asyncio_handles_signals() -> None:
    async def waits() -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
        thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM))
        thread.start()
        await done.wait()
        thread.join()

    passes(lambda: asyncio.run(waits()))


def test_what_is_refused_elsewhere_is_refused_here() -> None:
    def test() -> None:
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

    passes(test)
