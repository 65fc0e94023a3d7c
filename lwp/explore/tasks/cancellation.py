"""Which tasks of asyncio a run may cancel, and how it does so: lwp/native/python/explore/tasks/loops.c calls this.

A task may be cancelled as by its `cancel()`, or by a timeout of its own, whose time may have come at any await.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def may_cancel(task: Any) -> bool:
    """Whether it is none of the test's own: what run_until_complete() runs, and what anyio's plugin runs tests in."""
    callbacks = (getattr(callback, "__name__", "") for callback, _ in task._callbacks or ())
    runs_tests = getattr(task.get_coro(), "__qualname__", "") == "TestRunner._run_tests_and_fixtures"
    return not (runs_tests or "_run_until_complete_cb" in callbacks)


def tasks_with_timeouts() -> list[Any]:
    """In the order of their times."""
    return [task for _, task in _timeouts()]


def cancel(number: int, by_timeout: bool) -> None:
    """number: of native, which is an attribute of the task."""
    import asyncio

    if not by_timeout:
        tasks = asyncio.all_tasks()
        next(task for task in tasks if getattr(task, "_explore_index", None) == number).cancel()
        return
    timer = next(timer for timer, task in _timeouts() if getattr(task, "_explore_index", None) == number)
    if _name_of(timer) == _OF_ANYIO:  # it looks whether its time has come
        timer._callback.__self__.deadline = timer._loop.time()
    else:
        timer._run()
        timer.cancel()


_OF_ANYIO, _OF_ASYNCIO, _OF_WAIT_FOR = "CancelScope._timeout", "Timeout._on_timeout", "_release_waiter"


def _name_of(timer: Any) -> str:
    return getattr(timer._callback, "__qualname__", "")


def _timeouts() -> Iterator[tuple[Any, Any]]:
    """Timers that are timeouts of a task: of asyncio, of async_timeout, which has the same names, and of anyio."""
    import asyncio

    loop: Any = asyncio.get_running_loop()
    for timer in sorted(loop._scheduled):
        name = "" if timer._cancelled else _name_of(timer)
        task = None
        if name == _OF_ASYNCIO:
            task = timer._callback.__self__._task
        elif name == _OF_ANYIO:
            task = timer._callback.__self__._host_task
        elif name == _OF_WAIT_FOR:  # of 3.11, whose later versions have a Timeout
            task = next(
                (one for one in asyncio.all_tasks() if getattr(one, "_fut_waiter", None) is timer._args[0]), None
            )
        if task is not None:
            yield timer, task


def says_that_it_struck(error: BaseException, by_timeout: bool) -> bool:
    """Whether an exception that ends a test only says that a task was cancelled, or that its timeout has fired."""
    import asyncio

    if isinstance(error, BaseExceptionGroup):
        return all(says_that_it_struck(one, by_timeout) for one in error.exceptions)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError | asyncio.CancelledError):  # a TimeoutError has the other one as its cause
            return isinstance(cause, TimeoutError) is by_timeout
        cause = cause.__cause__
    return False
