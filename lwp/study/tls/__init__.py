"""`tls`: what a thread is made of, read from living threads.  A module for each view, imported when asked for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import click

from ...terminal.options import Json, html_option, json_option

_ALL = "*"


@click.command(short_help="Show what a thread is made of, read from a living one.")
@click.option("--threads", "count", type=click.IntRange(min=1), metavar="N", help="N threads side by side.")
@click.option("--diff", "diff", is_flag=True, help="A thread made by pthread_create beside one of ours.")
@click.option(
    "--variables",
    "module",
    is_flag=False,
    flag_value=_ALL,
    metavar="[MODULE]",
    help="__thread variables of all modules, or of one: libc, or libc.so.6, or its path.",
)
@json_option
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it as a picture.")
@html_option
def tls(
    count: int | None, diff: bool, module: str | None, json_to: Json | None, svg: Path | None, html: Path | None
) -> int:
    """Show what a thread is made of.

    Without options: the map of a thread that is made for it, with its stack, TLS block, TCB and struct pthread
    in the order of addresses, to scale within the stack and within the block. Everything is read from living threads.

    --diff ends with status 1 when something differs and no reason for it is known.
    """
    if sum((count is not None, diff, module is not None)) > 1:
        raise click.UsageError("--threads, --diff and --variables are three views: ask for one")
    from . import _output

    facts: Any
    status = 0
    with _output.parked(count or 1) as threads:
        if diff:
            from .diff import difference

            with _output.parked(1, threading.Thread) as (pthread,):
                facts, pictures = difference(pthread, threads[0])
            status = 1 if facts.unexplained else 0
        elif module is not None:
            from .variables import listing

            facts, pictures = listing(threads[0], None if module == _ALL else module)
        else:
            from . import map

            facts, pictures = map.side_by_side(threads) if count else map.one(threads[0])
    _output.show(facts, pictures, json_to, svg, html)
    return status
