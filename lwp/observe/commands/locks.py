"""`locks`: for what a running program's threads wait, and for how long, asked from outside."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ...terminal.options import Json, json_option, seconds, speedscope_option
from ...terminal.output import console
from ..asking import PATIENCE, Unanswered, ask, command
from ..profiles import speedscope as stacks_of
from ._locks import print_tables, write_json
from ._pid import pid_argument


def _count(pid: int, lasts: float, stacks: bool) -> dict[str, Any]:
    """The facts of so many seconds; of a program that counts already, of all the time since it has begun.

    Unanswered: the process can't be asked, or its Python doesn't answer.
    """
    if not ask(pid, "locks", lasts=lasts + 2 * PATIENCE)["begun"]:
        click.echo(f"lwp: process {pid} counts already, and this is what it has counted so far", err=True)
        return ask(pid, "locks", stacks=stacks)
    click.echo(f"lwp: process {pid} counts for {lasts:g} s; Ctrl-C ends that", err=True)
    try:
        with suppress(KeyboardInterrupt):
            time.sleep(lasts)
        return ask(pid, "locks", stacks=stacks)
    except Unanswered as error:
        raise Unanswered(f"{error}; what it has counted is lost, which `lwp run --locks` prints at its end") from None
    finally:
        with suppress(Unanswered):  # the first question has said why
            ask(pid, "locks_end")


@click.command(short_help="For which locks a running program's threads wait.")
@pid_argument
@click.option(
    "--seconds", "lasts", type=seconds(0.1, 3600), default="10", metavar="N", help="For how long (default 10)."
)
@json_option
@speedscope_option
def locks(pid: int, lasts: float, json_to: Json | None, speedscope: Path | None) -> None:
    """Count for N seconds for what the threads of process PID wait, and for how long: locks, conditions, queues,
    semaphores, events, joins, and the GIL.

    The rows with the longest total come first. "taken": how often, also without a wait; a wait that goes on, or was
    given up, has taken nothing. "peak": the most threads that waited at one time. What threads wait for until something
    happens, such as an event, stands apart below, because a thread without work waits like that, too.

    The process must be one that `lwp ps` lists. One that counts already, under `lwp run --locks` or for another
    `lwp locks`, tells at once what it has counted since that began.
    """
    facts = _count(pid, lasts, stacks=bool(json_to or speedscope))
    if speedscope is not None and (wrong := write_json(speedscope, stacks_of(facts, command(pid)))):
        raise click.ClickException(wrong)
    if json_to is None or not json_to.take(facts):
        print_tables(console(), facts)
