"""`bench workers`: requests a second of gunicorn's workers, which run the same application."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial, reduce
from typing import Any, TypeVar

import click

from lwp.bench import measure
from lwp.bench.command import Found, chosen, show_list
from lwp.bench.measure import Failed
from lwp.terminal.options import Json, json_option

from . import NOT_INSTALLED, serving
from .io import counts, measure_rows, show
from .load import compiled

F = TypeVar("F", bound=Callable[..., Any])


def server_options(connections: str) -> Callable[[F], F]:
    """What a command that measures servers is asked: names, connections, seconds, rounds, only_list, json_to."""
    options = (
        click.argument("names", nargs=-1, metavar="[NAME]..."),
        click.option(
            "--connections", callback=counts, default=connections, metavar="N,...", help=f"At once.  [{connections}]"
        ),
        click.option(
            "--seconds", type=click.FloatRange(0.01, 60), default=2, metavar="S", help="For each sample.  [2]"
        ),
        click.option("--rounds", type=click.IntRange(2, 1000), default=5, metavar="N", help="Samples of each.  [5]"),
        click.option("--list", "only_list", is_flag=True, help="List the rows."),
        json_option,
    )
    return lambda command: reduce(lambda function, option: option(function), reversed(options), command)


@click.command(short_help="How many requests a second gunicorn's workers answer.")
@server_options("50,1000")
def workers(
    names: tuple[str, ...],
    connections: tuple[int, ...],
    seconds: float,
    rounds: int,
    only_list: bool,
    json_to: Json | None,
) -> int:
    """How many requests a second gunicorn's workers answer.

    An application of Flask, whose page computes for about a millisecond or sleeps for ten, runs on gthread, gevent and
    lwp_gunicorn.Worker, one worker each; the worker's processor time for a request is measured too. The worker has one
    core, the load another. NAME is one of --list, or the part before a dash for all that begin so.

    Exit status 1: a server failed or gave a wrong answer; 130: Ctrl-C.
    """
    rows = chosen(names, serving.rows(serving.WORKERS, connections))
    if only_list:
        return show_list(rows)
    ways = [way for way in serving.WORKERS if way.there]
    missing = {way.library: NOT_INSTALLED for way in serving.WORKERS if not way.there}
    return measure_servers(
        rows, ways, serving.Load(seconds, rounds, 0), missing, partial(show, base=ways[0].text), json_to
    )


def measure_servers(
    rows: list[serving.Row],
    ways: list[serving.Way],
    load: serving.Load,
    missing: dict[str, str],
    show: Callable[[list[serving.Served], dict[str, str]], object],
    json_to: Json | None,
) -> int:
    """Measures the rows, each server on one core and the load on another.  Returns the command's exit status.

    missing: why packages are not measured.
    """
    if why := serving.descriptors(max((row.connections for row in rows), default=0)):
        raise click.BadParameter(why, param_hint="--connections")
    try:
        compiled()
    except Failed as error:
        raise click.UsageError(str(error)) from None
    cores = serving.cores(True)
    about = measure.machine() | {"on": cores.text, "rounds": f"{load.rounds} of {load.seconds:g} s"}
    found = Found(len(rows), "rows", "bench: {operation}: {vs}: {reason}")
    found.missing = [{"vs": library, "reason": reason} for library, reason in missing.items()]
    with suppress(KeyboardInterrupt):
        measure_rows(found, rows, ways, load, cores)
    return found.show(
        lambda: show(found.results, about),
        (f"{library} {reason}" for library, reason in missing.items()),
        {"machine": about, "cores": asdict(cores), **asdict(load)},
        json_to,
    )
