"""The facts of moment.py in lines: what `lwp dump` prints, and the watchdog reports."""

from __future__ import annotations

import linecache
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..core import printable
from ..reading.files import is_library, is_runtimes_own
from .crowds import FEW, left, like_it, some
from .waits import circle_line

#: The outermost frames of a thread, which are the same for all.
_BOOTSTRAP = ("Thread._bootstrap", "Thread._bootstrap_inner", "Thread.run")
#: Files whose frames are not the program's, nor are the frames below them.
_BELOW = (
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "command", "_main.py"),
    os.path.join("_pytest", "python.py"),
    os.path.join("_pytest", "fixtures.py"),
)


def stack_lines(stack: list[list[Any]], all_frames: bool = True) -> Iterator[str]:
    """From the outermost call on, without the frames that all threads have.

    stack: file, line and function of each frame, from the innermost one on.
    all_frames: otherwise the frames of libraries outside of the program's innermost frame are only counted, and those
    below the program, and the runtime's inside of it, left out.
    """
    below = (at for at, (file, *_) in enumerate(stack) if file.endswith(_BELOW))
    shown = list(stack) if all_frames else stack[: next(below, len(stack))]
    while shown and shown[-1][2] in _BOOTSTRAP:
        shown.pop()
    while not all_frames and len(shown) > 1 and is_runtimes_own(shown[0][0]):
        del shown[0]
    of_library = [is_library(file) for file, *_ in shown]
    inner = of_library.index(False) if False in of_library else len(shown)
    left_out = 0
    for at in reversed(range(len(shown))):
        file, line, function = shown[at]
        if of_library[at] and at > inner and not all_frames:
            left_out += 1
            continue
        if left_out:
            yield f"  ({left_out} frame{'s' * (left_out > 1)} of libraries)"
            left_out = 0
        yield printable(f'  File "{file}", line {line}, in {function.rpartition("<locals>.")[2]}')
        if text := linecache.getline(file, line).strip():
            yield f"    {printable(text)}"


def task_lines(crowds: list[dict[str, Any]], why_not: str, now: float) -> Iterator[str]:
    """What is told of all tasks, as tasks.py has them.  now: time.monotonic()."""
    if why_not:
        yield f"tasks of asyncio are not shown: {why_not}"
    for loop in dict.fromkeys(crowd["loop"] for crowd in crowds):
        own = [crowd for crowd in crowds if crowd["loop"] == loop]
        yield f"tasks of {loop}: {sum(len(crowd['tasks']) for crowd in own):,}"
        for crowd in own:
            tasks = sorted(crowd["tasks"], key=lambda name: (len(name), name))
            many, names = len(tasks) > 1, some(tasks, repr)
            does, wait = crowd["state"].replace("waits", "wait") if many else crowd["state"], crowd["wait"]
            if wait:
                until = ("the first's " if many else "its ") + ("end" if wait["kind"] == "sleep" else "timeout")
                does += f" for {wait['for']}{like_it(wait['things'])}{left(wait['deadline'], now, until)}"
            does += f", at {crowd['at']}" if crowd["at"] else ""
            yield f"  {len(tasks):,} tasks: {does}: {names}" if len(tasks) > FEW else f"  {names}: {does}"


def _waits(wait: dict[str, Any], now: float, many: bool) -> str:
    times = f"{'the first ' * many}for {now - wait['since']:.1f} s{left(wait['deadline'], now)}"
    return f"wait{'' if many else 's'} for {wait['for']}{like_it(wait['things'])}, {times}"


def head_line(crowd: dict[str, Any], now: float) -> str:
    """What a crowd's threads are called and do."""
    threads = crowd["threads"]
    many = len(threads) > 1
    about = f" of {crowd['group']}" if crowd["group"] else ""
    about += f" (cancelled: {crowd['cancelled']})" if crowd["cancelled"] else ""
    state = crowd["state"].replace("waits", "wait" if many else "waits", 1)
    lasts = "" if crowd["since"] is None else f", {'the first ' * many}for {now - crowd['since']:.1f} s"
    does = _waits(crowd["wait"], now, many) if crowd["wait"] else state + lasts
    if len(threads) > FEW:
        return f"{len(threads):,} threads{about}: {does}: {some(threads, lambda one: repr(one['name']))}"
    return ", ".join(_with_tid(one) for one in threads) + f"{about}: {does}"


def _with_tid(thread: dict[str, Any]) -> str:
    placed = f", {thread['placed']}" * bool(thread["placed"])
    return repr(thread["name"]) + (f" (tid {thread['tid']}{placed})" if thread["tid"] else "")


def lines(found: dict[str, Any], all_frames: bool = False) -> Iterator[str]:
    """Deadlocks first, then the threads, those of a deadlock and the largest crowds first, then tasks and the rest."""
    now = found["now"]
    for circle in found["circles"] + found["pools"]:
        yield circle_line(circle["deadlock"], circle["text"])
    for lock in found["lost"]:
        yield lock["text"]
    in_circles = {name for circle in found["circles"] + found["pools"] + found["lost"] for name in circle["threads"]}
    for crowd in sorted(found["crowds"], key=lambda crowd: crowd["threads"][0]["name"] not in in_circles):
        yield ""
        yield head_line(crowd, now)
        yield from stack_lines(crowd["stack"], all_frames)
    if found["tasks"] or found["why_no_tasks"]:
        yield ""
        yield from task_lines(found["tasks"], found["why_no_tasks"], now)
    yield from _besides(found)


def _besides(found: dict[str, Any]) -> Iterator[str]:
    if any(found[name] for name in ("without_python", "schedulers", "cancellations")):
        yield ""
    for (name, state), count in Counter((one["name"], one["state"]) for one in found["without_python"]).items():
        yield f"no Python: {f'{count:,} x ' * (count > 1)}{name}, {state}"
    for one in found["schedulers"]:
        does = f"runs {one['runs']!r}" if one["runs"] else "idle"
        yield f"scheduler on tid {one['tid']}: {does}, {one['ready']} ready, {one['switches']:,} switches"
    for one in found["cancellations"]:
        yield f"cancelled: {one['whom']}: {one['why']}"
