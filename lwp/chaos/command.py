"""`run --chaos`: says, when the program fails, what was done to its threads."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..core import printable
from ..observe.watchdog import teller
from ..reading.folders import private
from ..terminal.ending import at_end, at_exception, failed
from .chaos import Chaos


def begin(seed: int, record: Path | None, tasks: bool) -> None:
    """Disturbs threads from now on. Says what it did when an exception ends a thread, and when the program fails.

    record: file for the order of what threads do. tasks: as Chaos has it.
    """
    chaos = Chaos(seed, record is not None, tasks)
    tell = teller(os.dup(sys.stderr.fileno()))  # the program may close or replace it

    def tell_acts(why: str) -> None:
        if chaos.held():
            tell("".join(f"lwp: chaos: {line}\n" for line in [f"{why}; {chaos.report()[0]}", *chaos.report()[1:]]))

    def tell_end() -> None:
        if failed():
            tell_acts("the program has failed")
        if record is not None:
            try:
                with open(record, "w", encoding="utf-8", opener=private) as file:
                    file.write(chaos.record())
            except OSError as error:
                tell(f"lwp: {record}: {error.strerror}\n")
        chaos.end()

    at_exception(lambda error, thread: tell_acts(printable(f"{error} in {thread}")))
    at_end(tell_end)
    try:
        chaos.begin()
    except RuntimeError as error:
        print(f"lwp: {error}", file=sys.stderr)
        sys.exit(2)
