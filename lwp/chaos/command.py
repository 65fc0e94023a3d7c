"""`run --chaos`: says, when the program fails, what was done to its threads."""

from __future__ import annotations

import os
import sys

from ..core import printable
from ..terminal.ending import at_end, at_exception, failed
from ..terminal.telling import teller
from .chaos import Chaos


def begin(seed: int, tasks: bool) -> None:
    """Disturbs threads from now on. Says what it did when an exception ends a thread, and when the program fails.

    tasks: as Chaos has it.
    """
    chaos = Chaos(seed, tasks)
    tell = teller(os.dup(sys.stderr.fileno()))  # the program may close or replace it

    def tell_acts(why: str) -> None:
        if chaos.held():
            tell("".join(f"lwp: chaos: {line}\n" for line in [f"{why}; {chaos.report()[0]}", *chaos.report()[1:]]))

    def tell_end() -> None:
        if failed():
            tell_acts("the program has failed")
        chaos.end()

    at_exception(lambda error, thread: tell_acts(printable(f"{error} in {thread}")))
    at_end(tell_end)
    try:
        chaos.begin()
    except RuntimeError as error:
        print(f"lwp: {error}", file=sys.stderr)
        sys.exit(2)
