"""`bench explore`: how many schedules a second explore() tries, beside the peers that are installed."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress

import click
from rich.text import Text

from lwp.bench import measure
from lwp.bench.command import Found, chosen, progress, show_list, show_machine
from lwp.bench.measure import Failed
from lwp.bench.operations import Unavailable
from lwp.terminal.options import Json, json_option
from lwp.terminal.output import table, time

from . import NOT_INSTALLED, exploring
from .explorers import INSTALLED_AS, NONE, Row, rows
from .exploring import Rate


def _peers(asked: tuple[str, ...]) -> list[str]:
    """Those that are asked for, or all that are installed."""
    there = [peer for peer, module in INSTALLED_AS.items() if importlib.util.find_spec(module)]
    for name in asked:
        if name not in INSTALLED_AS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(INSTALLED_AS)}", param_hint="--vs")
        if name not in there:
            raise click.BadParameter(f"{name} {NOT_INSTALLED}", param_hint="--vs")
    return [peer for peer in there if not asked or peer in asked]


def _measure(found: Found, wanted: list[Row], peers: list[str], quick: bool, core: int | None) -> None:
    with progress(len(wanted) * exploring.rounds(quick)) as (say, advance):
        for row in wanted:
            say(row.name)
            try:
                rate, missing = exploring.compare(row, peers, quick, core, advance)
            except (Failed, Unavailable) as error:
                found.failures.append({"operation": row.name, "reason": str(error)})
            else:
                found.results.append(rate)
                found.missing += [
                    {"operation": row.name, "vs": peer, "reason": reason} for peer, reason in missing.items()
                ]
            found.done += 1


def _show(rates: list[Rate], about: dict[str, str], peers: list[str]) -> None:
    """A table of schedules a second, and one of times."""
    out = show_machine(about)
    for unit, title, number in (("runs/s", "schedules a second", "points"), ("s", "time it takes", "tried")):
        if not (mine := [rate for rate in rates if rate.unit == unit]):
            continue
        columns = (number, "runtime", "spread", *peers)
        rows = table(title, *columns, right=columns, fixed=columns)
        for rate in mine:
            rows.add_row(
                rate.text,
                f"{rate.points if unit == 'runs/s' else rate.runs:,}",
                Text(_speed(rate.value, unit), style="bold"),
                f"±{(rate.spread[1] - rate.spread[0]) / 2 / rate.value:.0%}",
                *(Text(_beside(rate, peer)) for peer in peers),
            )
        out.print()
        out.print(rows)
    out.print(
        "\nMedians; half of the rounds are within the spread. points of a run: operations of primitives, and starts, "
        "joins and ends of threads; gil and opcode add theirs. tried: schedules."
        + " In brackets: how many times as fast runtime is, in the same round."
        * bool(peers)
    )


def _beside(rate: Rate, peer: str) -> str:
    if (found := rate.peers.get(peer)) is None:
        return "-"
    return f"{_speed(found.value, rate.unit)} ({found.ratio:.{0 if found.ratio >= 10 else 1}f})"


def _speed(value: float, unit: str) -> str:
    return time(value * 1e9) if unit == "s" else f"{value:,.0f}"


@click.command(short_help="How many schedules a second are explored; beside peers that are there.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--quick", is_flag=True, help="Fewer rounds, and shorter.")
@click.option("--vs", "peers", multiple=True, metavar="PEER", help="One of the peers; may be given again.  [all]")
@click.option("--pin/--no-pin", default=True, help="Run on one core (the default), or on all.")
@click.option("--list", "only_list", is_flag=True, help="List the operations.")
@json_option
def explore(
    names: tuple[str, ...], quick: bool, peers: tuple[str, ...], pin: bool, only_list: bool, json_to: Json | None
) -> int:
    """How many schedules a second explore() tries.

    Small programs are explored, and it is measured how long it takes to find one that fails, beside frontrun and
    interleave-test, asked as their documentation says. NAME is one of --list, or the part before a dash for all that
    begin so.

    Ctrl-C ends it; what was measured until then is shown.

    Exit status 1: an operation failed or gave a wrong result; 130: Ctrl-C.
    """
    core = max(os.sched_getaffinity(0)) if pin else None  # the lowest often serves the interrupts
    wanted = chosen(names, rows())
    if only_list:
        return show_list(wanted)
    there = _peers(peers)
    about = measure.machine()
    about["on"] = "all cores" if core is None else f"core {core} alone"
    found = Found(len(wanted), failed="bench: {operation}: {reason}")
    with suppress(KeyboardInterrupt):
        _measure(found, wanted, there, quick, core)
    missing = [f"{peer} {NOT_INSTALLED}" for peer in INSTALLED_AS if peer not in there and not peers]
    missing += [f"{one['operation']}: {one['vs']}: {one['reason']}" for one in found.missing if one["reason"] != NONE]
    facts = {"machine": about, "core": core, "quick": quick, "peers": there}
    return found.show(lambda: _show(found.results, about, there), missing, facts, json_to)
