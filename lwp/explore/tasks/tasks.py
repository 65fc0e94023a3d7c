"""What can be seen of tasks of asyncio, and of the handles of their loop, from outside. No code of the program runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

from ...core import printable
from ...reading.files import is_program
from ...reading.lines import chain, entered, kind_of_tasks
from ...reading.source import Place, variables

_NUMBERED = re.compile(r"Task-[0-9]+")


def name_of(task: Any, number: int) -> str:
    """Its name; asyncio's own counts on from run to run, and anyio's is what the task runs, so the number in this run
    stands in their place, and what the task runs."""
    name, what = str(task.get_name()), str(getattr(task.get_coro(), "__name__", ""))
    if not (_NUMBERED.fullmatch(name) or name.endswith(f".{getattr(task.get_coro(), '__qualname__', name)}")):
        return name
    return f"Task-{number} ({what})" if what else f"Task-{number}"


def frames_of(task: Any) -> list[FrameType]:
    """Of the coroutines of a task that waits, each of which awaits the one before it: the innermost first."""
    return [frame for _, frame in chain(task.get_coro())][::-1]


def awaited_by(task: Any, frames: Iterable[FrameType]) -> Any:
    """The primitive of asyncio in a method of which it waits; the tasks whose end it awaits, as a list; or None.

    frames: of frames_of().
    """
    for frame in frames:
        if is_program(frame.f_code.co_filename):
            break
        if _is_primitive(own := variables(frame).get("self")):
            return own
    future = task._fut_waiter
    several = [future, *getattr(future, "_children", ())]
    return [one for one in several if hasattr(one, "get_coro") and not one.done()] or None


def holds(frames: Iterable[FrameType]) -> Iterator[tuple[object, Place]]:
    """The primitives of asyncio in whose `async with` a task is that has these frames, and where that begins."""
    for frame in frames:
        code = frame.f_code
        for thing, line in entered(frame):
            if _is_primitive(thing):
                yield thing, Place(code.co_filename, line, printable(code.co_name), True, "", code, 0)


def _is_primitive(thing: object) -> bool:
    return kind_of_tasks(thing) not in ("", "task")


def begin_of(task: Any) -> Place | None:
    """Where its coroutine begins; None: it is a library's."""
    coroutine = task.get_coro()
    code = next((getattr(coroutine, name) for name in ("cr_code", "gi_code") if hasattr(type(coroutine), name)), None)
    return _begin(code)


def callback_of(handle: Any) -> Place | None:
    """Where the function begins that the handle calls; None: it is a library's."""
    function = handle._callback
    function = function.__func__ if type(function) is MethodType else function
    return _begin(function.__code__) if type(function) is FunctionType else None


def _begin(code: CodeType | None) -> Place | None:
    if code is None or not is_program(code.co_filename):
        return None
    return Place(code.co_filename, code.co_firstlineno, printable(code.co_name), True, "", code, 0)
