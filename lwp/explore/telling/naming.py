"""The name of a find: what happened, and in which functions.

It stays the same from run to run, and as long as these functions keep their names; lines and schedules are not in it.
"""

from __future__ import annotations

import traceback
from types import CodeType

from ...core import printable
from ...reading.files import is_program, short
from ..results import Find
from ..run.plans import FINDS, Ending
from .story import Story

_MOST = 4  # functions


def name_of_error(error: BaseException) -> str:
    """By the program's function that raised, or by the library's if the program called none; of an assertion, which
    may be in a helper of many tests, by the outermost function too."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [code for code in codes if is_program(code.co_filename)] or codes
    return _name(type(error).__name__, [*own[-1:], *(own[:1] if isinstance(error, AssertionError) else ())])


def name_of_find(story: Story) -> str:
    """By where threads wait for each other, or by what they repeat."""
    if story.run.error is not None:
        return name_of_error(story.run.error)
    if story.ending == Ending.LIMIT:
        cycles = [story.cycle_of(thread) for thread in range(story.threads)]
        events = [event for found in cycles if found is not None for event in found[1]]
    else:
        events = [wait.event for wait in story.ring or story.waits]
    codes = {event.place.code for event in events if event.place is not None}
    kind = FINDS.get(story.ending, Find).__name__
    return _name(kind, sorted(codes, key=lambda code: (code.co_filename, code.co_qualname)))


def _name(kind: str, codes: list[CodeType]) -> str:
    functions = [
        printable(f"{short(code.co_filename)}:{code.co_qualname.rpartition('<locals>.')[2]}") for code in codes
    ]
    return " ".join([kind, *dict.fromkeys(functions[:_MOST])])
