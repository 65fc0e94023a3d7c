"""What a demo is: facts that --json prints as they are, and a text that is made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from .._options import Json, json_option
from .._output import console

__all__ = ["shows", "threads_option"]


def shows(run: Callable[..., Any], *options: Callable[[Any], Any]) -> Callable[[Callable[..., None]], click.Command]:
    """Decorator: a command with these options, which are run()'s parameters.

    The function shows the facts that run() returns: function(console, facts).  It is named as its module.
    """

    def decorate(show: Callable[..., None]) -> click.Command:
        def command(json_to: Json | None, **asked: Any) -> None:
            facts = run(**asked)
            if not (json_to and json_to.take(facts)):
                show(console(), facts)

        for option in (json_option, *reversed(options)):
            command = option(command)
        return click.command(show.__module__.rpartition(".")[2], help=show.__doc__)(command)

    return decorate


def threads_option(default: int, least: int = 1, most: int | None = None) -> Callable[[Any], Any]:
    """The option --threads, as the parameter count."""
    between = click.IntRange(least, most)
    return click.option(
        "--threads", "count", type=between, default=default, show_default=True, metavar="N", help="How many."
    )
