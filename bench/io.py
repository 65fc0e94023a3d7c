"""`bench io`: how many requests a second servers answer, on our threads, stock threads, gevent and event loops."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace

import click
from rich.table import Table

from lwp.bench import measure
from lwp.bench.command import Found, chosen, progress, show_list, show_machine
from lwp.bench.measure import Failed
from lwp.terminal.options import Json, check_plot, json_option, plot_option, save_plot
from lwp.terminal.output import table, time

from . import NOT_INSTALLED, serving
from .load import compiled
from .serving import BASE, WAYS, Figures, Served

CONNECTIONS = "10,100,1000,4000"
LOAD_IS_FULL = 0.9  # of the time


def counts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in value.split(","))
    except ValueError:
        found = (0,)
    if min(found) < 1:
        raise click.BadParameter(f"{value!r}: it is numbers with commas between them, such as 10,100")
    return tuple(dict.fromkeys(found))


def _ways(green: bool, asked: tuple[str, ...]) -> tuple[list[serving.Way], list[str]]:
    """The columns, and the libraries of others, which are not installed."""
    others = [_elsewhere(name) for name in asked if "=" in name]
    ours = [way for way in serving.WAYS if not way.peer and not (green and way.name == "run")]
    peers = [way for way in serving.WAYS if way.peer]
    for name in asked:
        if "=" not in name and name != serving.BASE and not any(way.is_meant(name) for way in peers):
            known = [serving.BASE, *(way.name for way in peers)]
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint="--vs")
    wanted = [way for way in peers if not asked or any(way.is_meant(name) for name in asked)]
    missing = list(dict.fromkeys(way.library for way in wanted if not way.there))
    if asked and missing:
        raise click.BadParameter(f"{missing[0]} {NOT_INSTALLED}", param_hint="--vs")
    return [*ours, *(way for way in wanted if way.there), *others], missing


def _elsewhere(text: str) -> serving.Way:
    """WAY=PYTHON: the way in another checkout, whose virtual environment has that Python."""
    name, _, python = text.partition("=")
    found = [way for way in WAYS if way.name == name]
    if not found or not shutil.which(python):
        why = f"no program {python!r}" if found else f"{name!r} is none of {', '.join(way.name for way in WAYS)}"
        raise click.BadParameter(f"{text}: {why}", param_hint="--vs")
    return replace(found[0], name=text, text=text, python=python)


def measure_rows(
    found: Found, rows: list[serving.Row], ways: list[serving.Way], load: serving.Load, cores: serving.Cores
) -> None:
    wanted = [(row, [way for way in ways if row.kind in way.kinds]) for row in rows]
    with progress(load.rounds * sum(len(columns) for _, columns in wanted)) as (say, advance):
        for row, columns in wanted:
            say(row.name)
            served, failed = serving.compare(row, columns, load, cores, advance)
            found.results.append(served)
            found.failures += [{"operation": row.name, "vs": way, "reason": why} for way, why in failed.items()]
            found.done += 1


def show(results: list[Served], about: dict[str, str], base: str = BASE) -> None:
    """For each kind of server a table of rates, and some of what belongs to them."""
    out = show_machine(about)
    for kind in dict.fromkeys(served.kind for served in results):
        mine = [served for served in results if served.kind == kind]
        for at in range(0, len(mine), 4):  # as many columns as 80 have room for
            for title, cell in (
                (f"{kind}: requests/s", _rate_of),
                ("spread, CPU time each", _cost_of),
                ("memory each", _memory_of),
            ):
                out.print()
                out.print(_served_table(title, mine[at : at + 4], cell))
    if not results:
        return
    out.print(
        f"\nMedians, by the number of connections. In brackets: the ratio to {base} in the same round. Half of the "
        "rounds are within the spread. CPU time: the server's, for a request. "
        "Memory: what the server has resident for a connection, without the kernel's."
    )
    if any(figures.load_busy > LOAD_IS_FULL for served in results for figures in served.ways.values()):
        out.print("*: the load was busy for more than nine tenths of the time, so the server may be faster.")


def _served_table(title: str, results: list[Served], cell: Callable[[Figures], str]) -> Table:
    columns = [f"{served.connections:,}" for served in results]
    rows = table(title, *columns, right=tuple(columns), fixed=tuple(columns))
    for name, text in _texts(results).items():
        cells = [served.ways.get(name) for served in results]
        rows.add_row(text, *("-" if figures is None else cell(figures) for figures in cells))
    return rows


def _texts(results: list[Served]) -> dict[str, str]:
    """What the ways that have figures are called, by name and in their order."""
    measured = {name: name for served in results for name in served.ways}
    texts = {way.name: way.text for way in [*WAYS, *serving.WATCHED] if way.name in measured}
    return texts | {name: name for name in measured if name not in texts}


def _rate_of(figures: Figures) -> str:
    star = "*" * (figures.load_busy > LOAD_IS_FULL)
    ratio = "" if figures.ratio is None else f" ({figures.ratio:.{1 if figures.ratio >= 10 else 2}f})"
    return f"{star}{figures.rate:,.0f}{ratio}"


def _cost_of(figures: Figures) -> str:
    low, high = figures.spread
    return f"±{(high - low) / 2 / figures.rate:.0%} {time(figures.cost_us * 1e3):>7}"


def _memory_of(figures: Figures) -> str:
    return f"{figures.kib:,.1f} KiB"


def _plot(results: list[Served], path: str) -> None:
    """Draws the rates, a panel for each kind of server."""
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(served.kind for served in results))
    picture = Figure(figsize=(1 + 5 * len(kinds), 4.5), layout="constrained")
    for axes, kind in zip(picture.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for number, (name, text) in enumerate(_texts(results).items()):
            mine = [(one.connections, one.ways[name]) for one in results if one.kind == kind and name in one.ways]
            if mine:
                places, rates = [at for at, _ in mine], [figures.rate for _, figures in mine]
                low, high = zip(*(figures.spread for _, figures in mine), strict=True)
                axes.vlines(places, low, high, color=f"C{number}")
                axes.plot(places, rates, "o-", color=f"C{number}", markersize=4, label=text)
        axes.set(xscale="log", xlabel="connections", ylabel="requests a second", title=f"{kind}: median and quartiles")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(True, alpha=0.3)
    picture.legend(*picture.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save_plot(picture, path)


@click.command(short_help="How many requests a second servers answer; beside gevent, asyncio and uvloop.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--quick", is_flag=True, help="Two rounds of 0.3 s, if not asked for others.")
@click.option("--vs", "peers", multiple=True, metavar="WAY", help="A peer, or WAY=PYTHON; may be given again.  [all]")
@click.option("--watched", is_flag=True, help="What --trace FILE --last 30 and --locks cost, in place of peers.")
@click.option("--green", is_flag=True, help="Without `lwp run` on threads that have LWPs of their own.")
@click.option("--connections", callback=counts, default=CONNECTIONS, metavar="N,...", help=f"At once.  [{CONNECTIONS}]")
@click.option("--seconds", type=click.FloatRange(0.01, 60), metavar="S", help="For each sample.  [1]")
@click.option("--rounds", type=click.IntRange(2, 1000), metavar="N", help="Samples of each.  [5]")
@click.option(
    "--idle", type=click.IntRange(0), default=0, metavar="N", help="Connections more, which ask nothing.  [0]"
)
@click.option("--pin/--no-pin", default=True, help="The server has one core, the load another (the default), or all.")
@click.option("--list", "only_list", is_flag=True, help="List the rows.")
@json_option
@plot_option
def io(
    names: tuple[str, ...],
    quick: bool,
    peers: tuple[str, ...],
    watched: bool,
    green: bool,
    connections: tuple[int, ...],
    seconds: float | None,
    rounds: int | None,
    idle: int,
    pin: bool,
    only_list: bool,
    json_to: Json | None,
    plot_file: str | None,
) -> int:
    """How many requests a second servers answer.

    An echo, http.server, and an echo whose main thread waits for all connections by select run on stock threads, `lwp
    run`, `lwp run --green`, gevent, asyncio and uvloop; the server's processor time for a request is measured too. The
    server has one core, the load another. Each byte that comes back is compared. NAME is one of --list, or the part
    before a dash for all that begin so.

    --vs green=../before/.venv/bin/python serves by that Python, of another checkout, in turns with the others: so a
    change is compared with what was before it.

    Ctrl-C ends it; what was measured until then is shown.

    Exit status 1: a server failed or gave a wrong answer; 130: Ctrl-C.
    """
    load = serving.Load(seconds or (0.3 if quick else 1), rounds or (2 if quick else 5), idle)
    if watched and (peers or green):
        raise click.UsageError("--watched has ways of its own: leave out --vs and --green")
    columns, libraries = (serving.WATCHED, []) if watched else _ways(green, peers)
    cores = serving.cores(pin)
    wanted = chosen(names, serving.rows(WAYS, connections))
    if only_list:
        return show_list(wanted)
    if why := serving.descriptors(max(row.connections for row in wanted) + load.idle):
        raise click.BadParameter(why, param_hint="--connections")
    if plot_file:
        check_plot(plot_file)
    try:
        compiled()
    except Failed as error:
        raise click.UsageError(str(error)) from None
    about = measure.machine()
    about["on"] = cores.text
    about["rounds"] = f"{load.rounds} of {load.seconds:g} s" + f", {load.idle:,} idle connections" * bool(load.idle)
    found = Found(len(wanted), "rows", "bench: {operation}: {vs}: {reason}")
    found.missing = [{"vs": library, "reason": NOT_INSTALLED} for library in libraries]
    with suppress(KeyboardInterrupt):
        measure_rows(found, wanted, columns, load, cores)
    return found.show(
        lambda: show(found.results, about),
        (f"{one['vs']} {one['reason']}" for one in found.missing),
        {"machine": about, "cores": asdict(cores), "quick": quick, **asdict(load)},
        json_to,
        _plot,
        plot_file,
    )
