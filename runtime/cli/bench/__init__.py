"""`bench`: our threads and primitives against `threading`'s, on this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

import click
from rich.console import Console
from rich.progress import Progress

from .._names import unknown
from .._options import Json, check_plot, json_option, plot_option
from . import exploring, measure, serving
from .explorers import INSTALLED_AS, NONE, Row
from .explorers import rows as explored_rows
from .measure import Failed
from .operations import Operation, Unavailable, operations
from .output import plot, plot_served, show, show_rates, show_served

__all__ = ["bench"]

NOT_INSTALLED = "is not installed: pip install 'lwp-runtime[peers]'"


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...


R = TypeVar("R", bound=_Named)


def _chosen(names: tuple[str, ...], rows: list[R]) -> list[R]:
    """The rows that are meant: a name, or what comes before its dash, for all of these."""
    known = [row.name for row in rows]
    found = {name: [row for row in known if row == name or row.startswith(name + "-")] for name in names}
    for name, meant in found.items():
        if not meant:
            all_names = [*known, *(row.partition("-")[0] for row in known)]
            raise click.UsageError(unknown("operation", name, all_names, f"there are {', '.join(known)}"))
    chosen = {row for meant in found.values() for row in meant}
    return [row for row in rows if row.name in chosen] if names else rows


def _list(rows: Iterable[_Named]) -> int:
    for row in rows:
        click.echo(f"{row.name:20}{row.text}")
    return 0


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: operations, and what comes before the dash of several."""
    rows = [row.name for operation in operations(True) for row in operation.rows]
    if ctx.params.get("explore"):
        rows = [row.name for row in explored_rows()]
    elif ctx.params.get("io"):
        rows = [row.name for row in serving.rows(ctx.params.get("connections") or serving.CONNECTIONS)]
    return sorted({name for row in rows for name in (row, row.partition("-")[0]) if name.startswith(incomplete)})


def _check_modules(modules: tuple[str, ...]) -> None:
    for name in modules:
        try:
            there = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            there = None
        if there is None:
            raise click.BadParameter(f"no module {name!r}", param_hint="--vs")


@dataclass
class _Found:
    """What was measured, until all was or Ctrl-C came."""

    asked: int  #: operations, each with each module; rows
    done: int = 0
    results: list[Any] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        return self.done < self.asked

    def facts(self) -> dict[str, Any]:
        results = [asdict(result) for result in self.results]
        return {"stopped": self.stopped, "results": results, "missing": self.missing, "failures": self.failures}


def _measure(
    found: _Found, wanted: list[Operation], ours: str, modules: tuple[str, ...], quick: bool, core: int | None
) -> None:
    errors = Console(stderr=True)
    # Few refreshes: with --no-pin they are on the cores that are measured.
    with Progress(console=errors, transient=True, disable=not errors.is_terminal, refresh_per_second=2) as bar:
        task = bar.add_task("", total=len(modules) * sum(measure.rounds(operation, quick) for operation in wanted))
        for vs in modules:
            for operation in wanted:
                bar.update(task, description=operation.rows[0].name)
                done = {"operation": operation.rows[0].name, "vs": vs}
                try:
                    found.results += measure.compare(operation, ours, vs, quick, core, lambda: bar.advance(task))
                except Unavailable as error:
                    found.missing.append({**done, "reason": str(error)})
                except Failed as error:
                    found.failures.append({**done, "reason": str(error)})
                found.done += 1


# ---- --explore -------------------------------------------------------------------------------------------------------


def _peers(asked: tuple[str, ...] | None) -> list[str]:
    """Those that are asked for, or all that are installed."""
    there = [peer for peer, module in INSTALLED_AS.items() if importlib.util.find_spec(module)]
    for name in asked or ():
        if name not in INSTALLED_AS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(INSTALLED_AS)}", param_hint="--vs")
        if name not in there:
            raise click.BadParameter(f"{name} {NOT_INSTALLED}", param_hint="--vs")
    return [peer for peer in there if asked is None or peer in asked]


def _measure_rates(found: _Found, wanted: list[Row], peers: list[str], quick: bool, core: int | None) -> None:
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal, refresh_per_second=2) as bar:
        task = bar.add_task("", total=len(wanted) * exploring.rounds(quick))
        for row in wanted:
            bar.update(task, description=row.name)
            try:
                rate, missing = exploring.compare(row, peers, quick, core, lambda: bar.advance(task))
            except (Failed, Unavailable) as error:
                found.failures.append({"operation": row.name, "reason": str(error)})
            else:
                found.results.append(rate)
                found.missing += [
                    {"operation": row.name, "vs": peer, "reason": reason} for peer, reason in missing.items()
                ]
            found.done += 1


def _explore(
    names: tuple[str, ...], vs: tuple[str, ...] | None, quick: bool, core: int | None, only_list: bool, to: Json | None
) -> int:
    wanted = _chosen(names, explored_rows())
    if only_list:
        return _list(wanted)
    peers = _peers(vs)
    about = measure.machine()
    about["on"] = "all cores" if core is None else f"core {core} alone"
    found = _Found(len(wanted))
    with suppress(KeyboardInterrupt):
        _measure_rates(found, wanted, peers, quick, core)
    if to is None or not to.alone:
        show_rates(found.results, about, peers)
        for peer in INSTALLED_AS:
            if peer not in peers and vs is None:
                click.echo(f"not measured: {peer} {NOT_INSTALLED}")
        for one in found.missing:
            if one["reason"] != NONE:
                click.echo(f"not measured: {one['operation']}: {one['vs']}: {one['reason']}")
        if found.stopped:
            click.echo(f"stopped: {found.done} of {found.asked} operations")
    if to:
        to.take({"machine": about, "core": core, "quick": quick, "peers": peers, **found.facts()})
    for one in found.failures:
        click.echo(f"lwp: {one['operation']}: {one['reason']}", err=True)
    return 130 if found.stopped else 1 if found.failures else 0


# ---- --io ------------------------------------------------------------------------------------------------------------


def _counts(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        counts = tuple(int(part) for part in value.split(","))
    except ValueError:
        counts = (0,)
    if min(counts) < 1:
        raise click.BadParameter(f"{value!r}: it is numbers with commas between them, such as 10,100")
    return tuple(dict.fromkeys(counts))


def _ways(green: bool, asked: tuple[str, ...] | None) -> tuple[list[serving.Way], list[str]]:
    """The columns, and the libraries of others, which are not installed."""
    ours = [way for way in serving.WAYS if not way.peer and not (green and way.name == "run")]
    peers = [way for way in serving.WAYS if way.peer]
    for name in asked or ():
        if name != serving.BASE and not any(way.is_meant(name) for way in peers):
            known = [serving.BASE, *(way.name for way in peers)]
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint="--vs")
    wanted = [way for way in peers if asked is None or any(way.is_meant(name) for name in asked)]
    missing = list(dict.fromkeys(way.library for way in wanted if not way.there))
    if asked and missing:
        raise click.BadParameter(f"{missing[0]} {NOT_INSTALLED}", param_hint="--vs")
    return [*ours, *(way for way in wanted if way.there)], missing


def _measure_served(
    found: _Found, rows: list[serving.Row], ways: list[serving.Way], load: serving.Load, cores: serving.Cores
) -> None:
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal, refresh_per_second=2) as bar:
        wanted = [(row, [way for way in ways if row.kind in way.kinds]) for row in rows]
        task = bar.add_task("", total=load.rounds * sum(len(columns) for _, columns in wanted))
        for row, columns in wanted:
            bar.update(task, description=row.name)
            served, failed = serving.compare(row, columns, load, cores, lambda: bar.advance(task))
            found.results.append(served)
            found.failures += [{"operation": row.name, "vs": way, "reason": why} for way, why in failed.items()]
            found.done += 1


def _io(
    names: tuple[str, ...],
    ways: tuple[list[serving.Way], list[str]],
    connections: tuple[int, ...],
    load: serving.Load,
    cores: serving.Cores,
    quick: bool,
    only_list: bool,
    to: Json | None,
    plot_file: str | None,
) -> int:
    wanted = _chosen(names, serving.rows(connections))
    if only_list:
        return _list(wanted)
    columns, libraries = ways
    if why := serving.descriptors(max(row.connections for row in wanted) + load.idle):
        raise click.BadParameter(why, param_hint="--connections")
    if plot_file:
        check_plot(plot_file)
    about = measure.machine()
    about["on"] = cores.text
    about["rounds"] = f"{load.rounds} of {load.seconds:g} s" + f", {load.idle:,} idle connections" * bool(load.idle)
    found = _Found(len(wanted), missing=[{"vs": library, "reason": NOT_INSTALLED} for library in libraries])
    with suppress(KeyboardInterrupt):
        _measure_served(found, wanted, columns, load, cores)
    if to is None or not to.alone:
        show_served(found.results, about)
        for one in found.missing:
            click.echo(f"not measured: {one['vs']} {one['reason']}")
        if found.stopped:
            click.echo(f"stopped: {found.done} of {found.asked} rows")
    if to:
        to.take({"machine": about, "cores": asdict(cores), "quick": quick, **asdict(load), **found.facts()})
    if plot_file and found.results:
        plot_served(found.results, plot_file)
        if to is None or not to.alone:
            click.echo(f"picture: {plot_file}")
    for one in found.failures:
        click.echo(f"lwp: {one['operation']}: {one['vs']}: {one['reason']}", err=True)
    return 130 if found.stopped else 1 if found.failures else 0


@click.command(short_help="Measure threads and primitives against threading's.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete)
@click.option("--quick", is_flag=True, help="Fewer rounds, and 1,000 threads at once instead of 10,000: a minute.")
@click.option(
    "--vs",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="A module with threading's names to compare with, or greenlet or gevent; may be given again.  [threading]",
)
@click.option("--green", is_flag=True, help="Our green threads in place of those with LWPs of their own.")
@click.option("--explore", is_flag=True, help="How many schedules a second are explored; beside peers that are there.")
@click.option(
    "--io", is_flag=True, help="How many requests a second servers answer; beside gevent, asyncio and uvloop."
)
@click.option("--connections", callback=_counts, metavar="N,...", help="Of --io: at once.  [10,100,1000,4000]")
@click.option("--seconds", type=click.FloatRange(0.01, 60), metavar="S", help="Of --io: for each sample.  [1]")
@click.option("--rounds", type=click.IntRange(2, 1000), metavar="N", help="Of --io: samples of each.  [5]")
@click.option("--idle", type=click.IntRange(0), metavar="N", help="Of --io: connections more, which ask nothing.  [0]")
@click.option("--pin/--no-pin", default=True, help="Run on one core (the default), or on all.")
@click.option("--list", "only_list", is_flag=True, help="List the operations, or those of --explore or --io.")
@json_option
@plot_option
def bench(
    names: tuple[str, ...],
    quick: bool,
    modules: tuple[str, ...],
    green: bool,
    explore: bool,
    io: bool,
    connections: tuple[int, ...] | None,
    seconds: float | None,
    rounds: int | None,
    idle: int | None,
    pin: bool,
    only_list: bool,
    json_to: Json | None,
    plot_file: str | None,
) -> int:
    """Measure our threads and primitives against threading's.

    Each operation is done by runtime, by the other module and by the other one again, in turns that are shuffled, in a
    process of its own. Its result is checked. NAME is one of --list, or the part before a dash for all that begin so:
    lock, event, alive.  With --green all threads of ours are on one LWP; what makes no sense there, or what the other
    library doesn't have, is told at the end.

    With --explore: how many schedules a second explore() tries of small programs, and how long it takes to find one
    that fails, beside frontrun and interleave-test (which --vs may name), asked as their documentation says.

    With --io: how many requests a second servers answer, an echo and http.server, on stock threads, `lwp run`, `lwp run
    --green`, gevent (which --vs may name), asyncio and uvloop, and the server's processor time for each. The server has
    one core, the load another. Each byte that comes back is compared.

    Ctrl-C ends it; what was measured until then is shown.

    Exit status 1: an operation failed or gave a wrong result; 130: Ctrl-C.
    """
    if explore and io:
        raise click.UsageError("--explore and --io are two benchmarks")
    given = {"--connections": connections, "--seconds": seconds, "--rounds": rounds, "--idle": idle}
    if not io and (names_given := [name for name, value in given.items() if value is not None]):
        raise click.UsageError(f"{names_given[0]} is of --io")
    # The lowest core often serves the interrupts.
    core = max(os.sched_getaffinity(0)) if pin else None
    if explore:
        if green or plot_file:
            raise click.UsageError(f"--explore has no {'--green' if green else '--plot'}")
        return _explore(names, modules or None, quick, core, only_list, json_to)
    if io:
        load = serving.Load(seconds or (0.3 if quick else 1), rounds or (2 if quick else 5), idle or 0)
        connections = connections or serving.CONNECTIONS
        ways = _ways(green, modules or None)
        return _io(names, ways, connections, load, serving.cores(pin), quick, only_list, json_to, plot_file)
    modules = modules or ("threading",)
    ours = measure.GREEN if green else measure.OURS
    known = operations(quick)
    rows = _chosen(names, [row for operation in known for row in operation.rows])
    if only_list:
        return _list(rows)
    chosen = {row.name for row in rows}
    _check_modules(modules)
    if plot_file:
        check_plot(plot_file)

    wanted = [operation for operation in known if any(row.name in chosen for row in operation.rows)]
    about = measure.machine()
    found = _Found(len(modules) * len(wanted))
    with suppress(KeyboardInterrupt):
        _measure(found, wanted, ours, modules, quick, core)
    found.results = [result for result in found.results if result.operation in chosen]
    about["on"] = "all cores" if core is None else f"core {core} alone: waking an idle core is not part of it"
    alone = json_to is not None and json_to.alone
    if not alone:
        show(found.results, about)
        for one in found.missing:
            click.echo(f"not measured: {one['operation']}: {one['reason']}")
        if found.stopped:
            click.echo(f"stopped: {found.done} of {found.asked} operations")
    if json_to:
        json_to.take({"machine": about, "core": core, "quick": quick, **found.facts()})
    if plot_file and found.results:
        plot(found.results, plot_file)
        if not alone:
            click.echo(f"picture: {plot_file}")
    for one in found.failures:
        click.echo(f"lwp: {one['operation']}: {one['reason']}", err=True)
    return 130 if found.stopped else 1 if found.failures else 0
