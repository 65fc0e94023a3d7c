"""`run --chaos`: says, when the program fails, what was done to its threads."""

from __future__ import annotations

import os
import sys

import click

from ..core import printable
from ..terminal.ending import at_end, at_exception, failed
from ..terminal.running import WATCH, Options, RunOption, Tool


def _seed(value: str) -> int:
    from .chaos import any_seed

    if value != "any" and not (value.isascii() and value.isdecimal()):
        raise click.BadParameter(f"{value!r} is no seed, a number such as 7")
    return any_seed() if value == "any" else int(value)


OPTIONS = (
    RunOption(
        "--chaos",
        heading=WATCH,
        reports=True,
        fits=str.isdecimal,
        alone="any",
        type=_seed,
        metavar="[SEED]",
        help="Hold threads for a moment where it may matter; if it fails, say on stderr which and where.",
    ),
    RunOption(
        "--chaos-tasks",
        heading=WATCH,
        needs="--chaos",
        is_flag=True,
        help="Loops of asyncio run what is ready in any order, too.",
    ),
)


def begin(seed: int, tasks: bool) -> None:
    """Disturbs threads from now on. Says what it did when an exception ends a thread, and when the program fails.

    tasks: as Chaos has it.
    """
    from ..terminal.telling import teller
    from .chaos import Chaos

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


def _begin(options: Options, command: tuple[str, ...]) -> None:
    if options["chaos"] is not None:
        begin(options["chaos"], options["chaos_tasks"])


TOOL = Tool(OPTIONS, _begin)
