"""`locks`: for what a running program's threads wait, and for how long, asked from outside."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ..observe.asking import PATIENCE, Unanswered, ask, command
from ._locks import Files, print_tables
from ._options import Json, json_option, profile_options, seconds
from ._output import console

__all__ = ["locks"]


def _count(pid: int, lasts: float, stacks: bool) -> dict[str, Any]:
    """The facts of so many seconds; of a program that counts already, of all the time since it has begun.

    Unanswered: the process can't be asked, or its Python doesn't answer.
    """
    begun = ask(pid, "locks", lasts=lasts + 2 * PATIENCE)["begun"]
    try:
        if begun:
            time.sleep(lasts)
        return ask(pid, "locks", stacks=stacks)
    finally:
        if begun:
            ask(pid, "locks_end")


@click.command(short_help="For which locks a running program's threads wait.")
@click.argument("pid", type=click.IntRange(1))
@click.option(
    "--seconds", "lasts", type=seconds(0.1, 3600), default="10", metavar="N", help="For how long (default 10)."
)
@json_option
@profile_options
def locks(pid: int, lasts: float, json_to: Json | None, pprof: Path | None, speedscope: Path | None) -> None:
    """Count for N seconds for what the threads of process PID wait, and for how long: locks, conditions, queues,
    semaphores, events, joins, and the GIL.

    The process must be one that `lwp ps` lists. A program that runs with --locks tells at once all that it has counted.
    """
    try:
        facts = _count(pid, lasts, stacks=bool(json_to or pprof or speedscope))
    except Unanswered as error:
        raise click.ClickException(str(error)) from None
    for text in Files(None, pprof, speedscope).write(facts, command(pid)):
        raise click.ClickException(text)
    if json_to is None or not json_to.take(facts):
        print_tables(console(), facts)
