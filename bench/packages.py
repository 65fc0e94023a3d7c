"""`bench programs`: servers of other packages on our threads and on stock threads."""

from __future__ import annotations

import os
from importlib.util import find_spec

import click

from lwp.bench.command import chosen, show_list, show_machine
from lwp.terminal.options import Json
from lwp.terminal.output import table

from . import serving
from .workers import measure_servers, server_options


def _why_not(name: str) -> str | None:
    if not find_spec(name):
        return "is not installed: pip install 'lwp-runtime[servers]'"
    return "has no server: set PGHOST" if name == "psycopg" and "PGHOST" not in os.environ else None


def show(results: list[serving.Served], about: dict[str, str]) -> None:
    """A line for each server: its rate on stock threads, and what the others do as a part of that."""
    out = show_machine(about)
    ways = [way.text for way in serving.STOCK_AND_OURS]
    for connections in dict.fromkeys(served.connections for served in results):
        columns = (f"{ways[0]}/s", *(title for way in ways[1:] for title in (way, f"CPU, {way}")))
        rows = table(f"{connections:,} connections", *columns, right=columns)
        for served in results:
            if served.connections == connections:
                rows.add_row(served.kind, *_cells(served))
        out.print()
        out.print(rows)
    if results:
        out.print(
            "\nRequests a second as a multiple of threading's in the same round: medians, and half of the spread of "
            "their middle half. CPU: the server's processor time for a request, as a multiple of threading's."
        )


def _cells(served: serving.Served) -> list[str]:
    base = served.ways.get(serving.BASE)
    cells = [f"{base.rate:,.0f}" if base else "-"]
    for way in serving.STOCK_AND_OURS[1:]:
        figures = served.ways.get(way.name)
        if not base or not figures or not figures.ratio_spread:
            cells += ["-", "-"]
            continue
        low, high = figures.ratio_spread
        cells += [f"{figures.ratio:.2f} ±{(high - low) / 2:.2f}", f"{figures.cost_us / base.cost_us:.2f}"]
    return cells


@click.command(short_help="How many requests a second servers of other packages answer.")
@server_options("16")
def programs(
    names: tuple[str, ...],
    connections: tuple[int, ...],
    seconds: float,
    rounds: int,
    only_list: bool,
    json_to: Json | None,
) -> int:
    """How many requests a second servers of other packages answer.

    Web servers, and http.server in front of what asks by gRPC, psycopg, ZeroMQ, SQLite, ctypes, websockets and celery,
    run on stock threads, `lwp run` and `lwp run --green`; the server's processor time for a request is measured too.
    The server has one core, the load another. For psycopg, PGHOST, PGUSER and PGDATABASE name a PostgreSQL. NAME is one
    of --list, or the part before a dash for all that begin so.

    Exit status 1: a server failed or gave a wrong answer; 130: Ctrl-C.
    """
    rows = chosen(names, serving.rows(serving.STOCK_AND_OURS, connections))
    if only_list:
        return show_list(rows)
    missing = {row.kind: why for row in rows if (why := _why_not(row.kind))}
    there = [row for row in rows if row.kind not in missing]
    return measure_servers(there, serving.STOCK_AND_OURS, serving.Load(seconds, rounds, 0), missing, show, json_to)
