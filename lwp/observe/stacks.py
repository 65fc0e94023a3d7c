"""A thread's stack in lines, as a traceback shows it."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from typing import Any

from ..core import printable
from ..reading.files import is_library, is_runtimes_own

#: The outermost frames of a thread, which are the same for all.
_BOOTSTRAP = ("Thread._bootstrap", "Thread._bootstrap_inner", "Thread.run")


def stack_lines(stack: list[list[Any]], all_frames: bool = True) -> Iterator[str]:
    """From the outermost call on, without the frames that all threads have.

    stack: file, line and function of each frame, from the innermost one on.
    all_frames: otherwise the frames of libraries outside of the program's innermost frame are only counted,
    and the runtime's inside of it left out.
    """
    shown = list(stack)
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
