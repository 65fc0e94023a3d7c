"""What `run` and `explore` share: a command line that ends in a program's own, and the way to that program."""

from __future__ import annotations

import sys

import click

__all__ = ["end_options_after", "forget_click", "takes_value"]


def takes_value(command: click.Command) -> set[str]:
    """The options whose value may be an argument of its own."""
    options = [option for option in command.params if isinstance(option, click.Option) and not option.is_flag]
    return {name for option in options for name in option.opts}


def end_options_after(args: list[str], at: int) -> list[str]:
    """args[at] is -m or -c: as for python, what follows its value is the program's, whatever it looks like."""
    after = at + (1 if len(args[at]) > 2 else 2)
    if after > len(args):  # the value is missing, which click tells
        return args
    return [*args[:after], "--", *args[after:]]


def forget_click() -> None:
    """The program imports what it would have imported: perhaps a click.py beside it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "click"]:
        del sys.modules[name]
