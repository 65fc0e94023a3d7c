"""What `run` and `explore` share: a command line that ends in a program's own, and the way to that program."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click


def options_before(command: click.Command, args: list[str]) -> Iterator[int]:
    """The places of the command's own options in a command line, and of the word after them, if there is one.

    -m and -c are the last options, since the program comes with them.
    """
    options = [option for option in command.params if isinstance(option, click.Option) and not option.is_flag]
    with_value = {name for option in options for name in option.opts}  # which may be an argument of its own
    at = 0
    while at < len(args) and args[at] != "--":
        yield at
        if not args[at].startswith("-") or args[at] == "-" or args[at].startswith(("-m", "-c")):
            break
        at += 2 if args[at] in with_value else 1


def end_options_after(args: list[str], at: int) -> list[str]:
    """args[at] is -m or -c. As for python, what follows its value belongs to the program, whatever it looks like."""
    after = at + (1 if len(args[at]) > 2 else 2)
    if after > len(args):  # the value is missing, and click says so
        return args
    return [*args[:after], "--", *args[after:]]


def forget_click() -> None:
    """Lets the program import what it would have imported, perhaps a click.py beside it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "click"]:
        del sys.modules[name]
