"""A run that is over says nothing more: what its threads do as they are unwound stays out of the program's logs."""

from __future__ import annotations

import concurrent.futures
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest
from child_programs import Child
from conftest import run_thread

from lwp import native
from lwp.explore import LeftBehind, Outcome, explore


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


class OwnLogger(logging.Logger):
    def handle(self, record: logging.LogRecord) -> None:
        self.callHandlers(record)


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    logging.root.addHandler(handler)
    yield handler
    logging.root.removeHandler(handler)


@pytest.mark.parametrize("made", ["got", "of a class", "root"])
def test_a_worker_that_logs_whatever_its_job_raises(records: Records, made: str) -> None:
    logger = {"got": logging.getLogger("some.program"), "of a class": OwnLogger("own"), "root": logging.root}[made]
    if made == "of a class":
        logger.addHandler(records)

    def test() -> None:
        def job() -> None:
            logger.error("the job begins")
            begun.set()
            try:
                threading.Event().wait()
            except BaseException:
                logger.exception("the job has failed")
            finally:
                logger.error("the job has ended")

        begun = threading.Event()
        threading.Thread(target=job, daemon=True).start()
        begun.wait()
        raise AssertionError

    assert explore(test, runs=20, seed=1).outcome is Outcome.FOUND
    assert set(records.said) == {"the job begins"}


def test_a_pool_whose_callbacks_fail(records: Records) -> None:
    def test() -> None:
        def callback(future: concurrent.futures.Future[object]) -> None:
            future.result()

        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.submit(threading.Event().wait).add_done_callback(callback)
        raise AssertionError

    assert explore(test, runs=20, seed=1).outcome is Outcome.FOUND
    assert records.said == []


def test_what_threads_log_that_are_not_unwound(records: Records) -> None:
    def test() -> None:
        def work() -> None:
            try:
                raise ValueError
            except ValueError:
                logging.exception("work")

        run_thread(threading.Thread(target=work))

    result = explore(test, runs=20, seed=1)
    assert result.error is None
    assert records.said == ["work"] * (result.runs + 2 * (result.outcome is Outcome.EXHAUSTED))


def test_destructors_and_warnings_of_threads_that_are_unwound(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)

    class Guard:
        def __del__(self) -> None:
            raise RuntimeError

    def test() -> None:
        def work() -> None:
            guard = Guard()
            try:
                threading.Event().wait()
            finally:
                del guard
                warnings.warn("work has ended", stacklevel=1)

        threading.Thread(target=work).start()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: said.append(message)
        result = explore(test, runs=5)
    assert isinstance(result.error, LeftBehind)
    assert said == []


def test_a_destructor_that_fails_in_a_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: said.append(unraisable.exc_type))

    class Guard:
        def __del__(self) -> None:
            raise RuntimeError

    result = explore(Guard, runs=5)
    assert said == [RuntimeError] * result.runs


# ---- asyncio ---------------------------------------------------------------------------------------------------------


def a_loop_beside() -> None:
    import asyncio

    from lwp.explore import explore

    def test() -> None:
        async def wait() -> None:
            await asyncio.sleep(1000)

        async def wait_again() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                print("ends")
                await asyncio.sleep(1000)

        async def block() -> None:
            begun.set()
            threading.Event().wait()

        def run() -> None:
            loop.set_exception_handler(lambda loop, context: print(context))
            try:
                loop.run_forever()
            finally:
                loop.close()

        begun, loop = threading.Event(), asyncio.new_event_loop()
        threading.Thread(target=run, daemon=True).start()
        for function in (wait, wait_again, block, wait):
            asyncio.run_coroutine_threadsafe(function(), loop)
        begun.wait()
        loop.call_soon_threadsafe(threading.Event().wait)
        raise AssertionError

    result = explore(test, runs=10, seed=1, granularity="sync")
    assert result.replays == 10
    assert result.error is not None  # it holds what the last run has left until the process ends


def a_main_task() -> None:
    import asyncio

    from lwp.explore import explore

    def test() -> None:
        async def fail_at_the_end() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                print("ends")
                raise ValueError

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: print(context))
            tasks = [asyncio.create_task(fail_at_the_end()) for _ in range(2)]
            await asyncio.sleep(0)
            begun.set()
            await asyncio.gather(asyncio.to_thread(threading.Event().wait), *tasks)

        begun = threading.Event()
        threading.Thread(target=asyncio.run, args=(main(),)).start()
        begun.wait()
        raise AssertionError

    assert explore(test, runs=10, seed=1, granularity="sync").replays == 10


@pytest.mark.parametrize("program", [a_loop_beside, a_main_task])
def test_loops_and_tasks_that_are_unwound(child: Child, program: Callable[[], None]) -> None:
    done = child(program)
    assert (set(done.stdout.split()), done.stderr) == ({"ends"}, "")


# ---- what the last run has left --------------------------------------------------------------------------------------


def test_a_handler_that_a_run_leaves_in_the_root_logger_is_not_in_the_next_run(records: Records) -> None:
    seen: list[list[logging.Handler]] = []

    def test() -> None:
        seen.append(list(logging.root.handlers))
        logging.root.addHandler(logging.NullHandler())
        run_thread(threading.Thread(target=logging.error, args=("said",)))

    before = list(logging.root.handlers)
    result = explore(test, runs=10, seed=1)
    logging.root.handlers[:] = before
    assert len(seen) == result.runs > 1
    assert all(handlers == before for handlers in seen)
    assert records.said == ["said"] * result.runs


def test_the_first_call_of_a_logger_has_the_steps_of_later_calls() -> None:
    steps: list[int] = []
    loggers: list[logging.Logger] = []

    def test() -> None:
        def log() -> None:
            for _ in range(3):
                before = native.explore_steps()
                logger.debug("not said")
                steps.append(len(native.explore_steps()) - len(before))

        logger = logging.getLogger(f"never.asked.{len(loggers)}")
        loggers.append(logger)
        run_thread(threading.Thread(target=log))

    assert explore(test, runs=5, seed=1, granularity="sync").outcome is not Outcome.FOUND
    assert set(steps) == {0}
    assert not any(logger.isEnabledFor(logging.DEBUG) for logger in loggers)
    logger = logging.getLogger("never.asked.0")
    assert logger.isEnabledFor(logging.ERROR)
    logger.disabled = True
    assert not logger.isEnabledFor(logging.ERROR)
