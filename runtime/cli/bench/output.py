"""The results as a table, as data, as a picture."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table
from rich.text import Text

from .._options import save_plot
from .._output import console, size, table, time
from .exploring import Rate
from .measure import Result
from .serving import BASE, WAYS, Figures, Served

__all__ = ["plot", "plot_served", "show", "show_rates", "show_served"]

LOAD_IS_FULL = 0.9  # of the time


def figure(value: float, unit: str) -> str:
    if unit == "ns":
        return time(value)
    return size(round(value)) if unit == "bytes" else f"{value:.1f}"


def span(ends: tuple[float, float]) -> str:
    return "{:.2f}-{:.2f}".format(*ends)


def show(results: list[Result], about: dict[str, str]) -> None:
    """What was measured where, and a table for each module compared with."""
    out = console()
    for name, value in about.items():
        out.print(f"{name + ':':11}{value}")
    for vs, mine in by_module(results).items():
        columns = ("runtime", vs.rpartition(".")[2], "ratio", "quartiles", "noise")
        rows = table("operation", *columns, right=columns, fixed=columns)
        for result in mine:
            rows.add_row(
                result.text,
                figure(result.ours, result.unit),
                figure(result.other, result.unit),
                Text(f"{result.ratio:.2f}", style="bold"),
                span(result.spread),
                span(result.noise),
            )
        out.print()
        out.print(rows)
        out.print(
            f"\nMedians. ratio: of runtime to {vs} in the same round, and its quartiles; noise: those of {vs} to {vs}, "
            "what is within them says nothing."
        )


def show_rates(rates: list[Rate], about: dict[str, str], peers: list[str]) -> None:
    """The same for `bench --explore`: a table of schedules a second, and one of times."""
    out = console()
    for name, value in about.items():
        out.print(f"{name + ':':11}{value}")
    for unit, title, number in (("runs/s", "schedules a second", "points"), ("s", "time it takes", "tried")):
        mine = [rate for rate in rates if rate.unit == unit]
        if not mine:
            continue
        columns = (number, "runtime", "spread", *peers)
        rows = table(title, *columns, right=columns, fixed=columns)
        for rate in mine:
            rows.add_row(
                rate.text,
                f"{rate.points if unit == 'runs/s' else rate.runs:,}",
                Text(speed(rate.value, unit), style="bold"),
                f"±{(rate.spread[1] - rate.spread[0]) / 2 / rate.value:.0%}",
                *(Text(beside(rate, peer)) for peer in peers),
            )
        out.print()
        out.print(rows)
    out.print(
        "\nMedians; half of the rounds are within the spread. points of a run: operations of primitives, and starts, "
        "joins and ends of threads; gil and opcode add theirs. tried: schedules."
        + " In brackets: how many times as fast runtime is, in the same round."
        * bool(peers)
    )


def beside(rate: Rate, peer: str) -> str:
    found = rate.peers.get(peer)
    if found is None:
        return "-"
    return f"{speed(found.value, rate.unit)} ({found.ratio:.{0 if found.ratio >= 10 else 1}f})"


def speed(value: float, unit: str) -> str:
    return time(value * 1e9) if unit == "s" else f"{value:,.0f}"


def show_served(results: list[Served], about: dict[str, str]) -> None:
    """The same for `bench --io`: for each kind of server a table of rates, and one of what belongs to them."""
    out = console()
    for name, value in about.items():
        out.print(f"{name + ':':11}{value}")
    for kind in dict.fromkeys(served.kind for served in results):
        mine = [served for served in results if served.kind == kind]
        for at in range(0, len(mine), 4):  # as many columns as 80 have room for
            for title, cell in (
                (f"{kind}: requests/s", rate_of),
                ("spread, CPU time each", cost_of),
                ("memory each", memory_of),
            ):
                out.print()
                out.print(served_table(title, mine[at : at + 4], cell))
    if not results:
        return
    out.print(
        f"\nMedians, by the number of connections. In brackets: the ratio to {BASE} in the same round. Half of the "
        "rounds are within the spread. CPU time: the server's, for a request. "
        "Memory: what the server has resident for a connection, without the kernel's."
    )
    if any(figures.load_busy > LOAD_IS_FULL for served in results for figures in served.ways.values()):
        out.print("*: the load was busy for more than nine tenths of the time, so the server may be faster.")


def served_table(title: str, results: list[Served], cell: Callable[[Figures], str]) -> Table:
    columns = [f"{served.connections:,}" for served in results]
    rows = table(title, *columns, right=tuple(columns), fixed=tuple(columns))
    for way in WAYS:
        cells = [served.ways.get(way.name) for served in results]
        if any(cells):
            rows.add_row(way.text, *("-" if figures is None else cell(figures) for figures in cells))
    return rows


def rate_of(figures: Figures) -> str:
    star = "*" * (figures.load_busy > LOAD_IS_FULL)
    ratio = "" if figures.ratio is None else f" ({figures.ratio:.{1 if figures.ratio >= 10 else 2}f})"
    return f"{star}{figures.rate:,.0f}{ratio}"


def cost_of(figures: Figures) -> str:
    low, high = figures.spread
    return f"±{(high - low) / 2 / figures.rate:.0%} {time(figures.cost_us * 1e3):>7}"


def memory_of(figures: Figures) -> str:
    return f"{figures.kib:,.1f} KiB"


def by_module(results: list[Result]) -> dict[str, list[Result]]:
    return {vs: [result for result in results if result.vs == vs] for vs in dict.fromkeys(r.vs for r in results)}


def plot(results: list[Result], path: str) -> None:
    """Draws the ratios, a panel for each module compared with."""
    from matplotlib.figure import Figure

    panels = by_module(results)
    height = 1.5 + 0.25 * max(map(len, panels.values()))
    picture = Figure(figsize=(2 + 5 * len(panels), height), layout="constrained")
    for axes, (vs, mine) in zip(picture.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        places = range(len(mine))
        axes.hlines(places, *zip(*(r.noise for r in mine), strict=True), color="lightgrey", linewidth=8, label="noise")
        axes.hlines(places, *zip(*(r.spread for r in mine), strict=True), color="tab:blue", label="quartiles")
        axes.plot([r.ratio for r in mine], places, "o", color="tab:blue", markersize=4, label="median")
        axes.axvline(1, color="grey", linewidth=0.8)
        axes.set(xscale="log", title=f"runtime against {vs}")
        axes.set(xlabel=f"time (or memory, calls) as a part of {vs}'s: left of 1 is better")
        low, high = axes.get_xlim()
        axes.minorticks_off()
        axes.set_xticks([x for e in range(-3, 4) for x in (10**e, 2 * 10**e, 5 * 10**e) if low <= x <= high])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_yticks(places, [result.text for result in mine])
        axes.invert_yaxis()
        axes.grid(True, axis="x", alpha=0.3)
    picture.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save_plot(picture, path)


def plot_served(results: list[Served], path: str) -> None:
    """Draws the rates, a panel for each kind of server."""
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(served.kind for served in results))
    picture = Figure(figsize=(1 + 5 * len(kinds), 4.5), layout="constrained")
    for axes, kind in zip(picture.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for number, way in enumerate(WAYS):
            mine = [
                (one.connections, one.ways[way.name]) for one in results if one.kind == kind and way.name in one.ways
            ]
            if mine:
                places, rates = [at for at, _ in mine], [figures.rate for _, figures in mine]
                low, high = zip(*(figures.spread for _, figures in mine), strict=True)
                axes.vlines(places, low, high, color=f"C{number}")
                axes.plot(places, rates, "o-", color=f"C{number}", markersize=4, label=way.text)
        axes.set(xscale="log", xlabel="connections", ylabel="requests a second", title=f"{kind}: median and quartiles")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(True, alpha=0.3)
    picture.legend(*picture.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save_plot(picture, path)
