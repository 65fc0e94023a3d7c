"""Tests that hold for threads with an LWP of their own and for green ones, and how these are seen to sleep."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
from sync_helpers import PATIENCE, WAITS_IN, asleep, call_of_cancellable

from runtime import Thread, native
from runtime.scheduler import Scheduler, green_statistics, yield_
from runtime.sync import Event

FOREVER = 1000.0


class Failed(Exception):
    pass


def fail(text: str = "") -> None:
    raise Failed(text)


def wait_forever() -> None:
    Event().wait(FOREVER)


def my_scheduler() -> Any:
    """The calling thread's; None: it has an LWP of its own."""
    return getattr(native.current_thread(), "_lwp_scheduler", None)


def started(function: Callable[..., object], *args: object, **options: Any) -> Thread:
    """A thread of the calling one's kind."""
    thread = Thread(target=function, args=args, **{"scheduler": my_scheduler(), **options})
    thread.start()
    return thread


def is_free(lock: Any) -> bool:
    """Whether another thread can have it."""
    answers: list[bool] = []

    def ask() -> None:
        answers.append(lock.acquire(False))
        if answers[0]:
            lock.release()

    started(ask).join()
    return answers[0]


def directly(test: Callable[[], object]) -> None:
    test()


def on_a_scheduler(test: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def whole() -> None:
        try:
            test()
        except BaseException as error:
            errors.append(error)

    scheduler = Scheduler()
    scheduler.spawn(whole)
    scheduler.run()
    if errors:
        raise errors[0]


def both(test: Callable[..., object]) -> Callable[..., None]:
    """The test twice: in the main thread, whose groups are of LWPs, and in a green one; besides its parametrization."""

    @functools.wraps(test)
    def made(on: Callable[[Callable[[], object]], None], **given: Any) -> None:
        on(lambda: test(**given))

    names = (*inspect.signature(test).parameters, "on")
    named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    made.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    return pytest.mark.parametrize("on", [directly, on_a_scheduler], ids=["lwps", "green"])(made)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        yield_()
        time.sleep(0)


def _sleeps_where_it_can_be_cancelled(thread: Any) -> bool:
    """A green thread is one on the calling thread's only LWP."""
    if getattr(thread, "_lwp_scheduler", None) is None:
        return call_of_cancellable(thread.native_id) in (WAITS_IN, "ppoll")
    assert thread._lwp_scheduler is my_scheduler()
    before = green_statistics().switches
    yield_()  # to no other thread, if all others sleep
    return green_statistics().switches == before and bool(thread.is_alive())


def sleeps(thread: Any) -> bool:
    """Whether it sleeps, and not for the GIL."""
    return _sleeps_where_it_can_be_cancelled(thread) or asleep(thread.native_id)


def until_asleep(*tasks: Any) -> None:
    """Returns when all of them sleep, where they can be cancelled."""
    until(lambda: all(task.thread is not None and _sleeps_where_it_can_be_cancelled(task.thread) for task in tasks))
