"""Loops of asyncio in explored threads: the plan says which of the ready handles is called next."""

from __future__ import annotations

import functools
import heapq
import inspect
from collections.abc import Callable
from typing import Any

from ... import native
from ..results import CallbackRaised, DestroyedPending, Find, NeverRetrieved


def plain(test: Callable[..., Any]) -> Callable[..., Any]:
    """The test; an async function as one that runs it in a loop of its own."""
    if not inspect.iscoroutinefunction(test):
        return test
    import asyncio

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


def lost(context: dict[str, Any]) -> Find | None:
    """What a loop's exception handler is told of, and the test does not notice, as a find."""
    error, owner = context.get("exception"), context.get("task") or context.get("future")
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if error is None:
        return DestroyedPending(_called(owner)) if context.get("message", "").startswith("Task was destroyed") else None
    if "handle" not in context and owner is None:
        return None
    found: Find = CallbackRaised(text) if "handle" in context else NeverRetrieved(text)
    found.__cause__ = error
    return found.with_traceback(error.__traceback__)


def _called(task: Any) -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return f"{f'a task of {code.co_qualname}()' if code is not None else 'a task'} was destroyed while it was pending"


def is_own(loop: Any) -> bool:
    """Whether the loop is one of asyncio's own, which asks a selector for files and has the run's clock."""
    from asyncio.selector_events import BaseSelectorEventLoop as Own

    return isinstance(loop, Own) and getattr(loop.time, "__func__", None) is Own.time


def under_control(before: Callable[[Any], None]) -> Callable[[Any], None]:
    """In place of BaseEventLoop._run_once(): waits until something is to be done, and calls what was ready then."""

    def run_once(loop: Any) -> None:
        if native.explore_index() < 0 or not is_own(loop):
            before(loop)
            return
        causes: list[int] = vars(loop).setdefault("_explore_causes", [])
        files = _wait(loop)
        within = {file[0].fd for file in files if native.explore_within(file[0].fd)}
        loop._process_events([file for file in files if file[0].fd in within])
        others = len(loop._ready)
        loop._process_events([file for file in files if file[0].fd not in within])
        _ring(loop)
        left = len(loop._ready)
        while left := native.explore_turns(loop._ready, causes, others, left, _next_time(loop)):
            others = len(loop._ready)
            _ring(loop)

    return run_once


def woken(before: Callable[[Any], None]) -> Callable[[Any], None]:
    """In place of BaseSelectorEventLoop._write_to_self(), which wakes a loop for what another thread has added."""

    def write_to_self(loop: Any) -> None:
        if not native.explore_wake(loop._ready):
            before(loop)

    return write_to_self


_NEAR = 1e-4  #: seconds: SLACK of lwp/native/explore/able.c


def _next_time(loop: Any) -> float | None:
    """Of the loop's first timer, on its clock; None: it has none. Those that were cancelled are dropped."""
    timers = loop._scheduled
    while timers and timers[0]._cancelled:
        loop._timer_cancelled_count -= 1
        heapq.heappop(timers)._scheduled = False
    return timers[0]._when if timers else None


def _wait(loop: Any) -> Any:
    """Until a handle is ready, or for the first timers, or for files: returns which files are ready."""
    is_ready = bool(loop._ready or loop._stopping)
    time = _next_time(loop)
    if time is not None and not is_ready:
        time = max(one._when for one in loop._scheduled if one._when - time < _NEAR and not one._cancelled)
    if len(loop._selector.get_map()) > 1 or getattr(loop, "_signal_handlers", None):  # besides the one that wakes it
        rest = 0 if is_ready else None if time is None else max(time - native.explore_loop_time(), 0)
        return loop._selector.select(rest)
    if not is_ready and (time is None or time > _now(loop)):
        native.explore_idle(loop._ready, time)
    return ()


def _now(loop: Any) -> float:
    return native.explore_loop_time() + float(loop._clock_resolution)


def _ring(loop: Any) -> None:
    """Has the timers called for which it is time."""
    while (time := _next_time(loop)) is not None and time < _now(loop):
        timer = heapq.heappop(loop._scheduled)
        timer._scheduled = False
        loop._ready.append(timer)
