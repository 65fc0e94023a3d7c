"""`bench`: our threads and primitives against `threading`'s, on this machine; measure.py measures."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from ..terminal.names import unknown
from ..terminal.options import Json, check_plot, json_option, plot_option, save_plot
from ..terminal.output import console, size, table, time
from . import measure
from .measure import Failed, Result
from .operations import Operation, Unavailable, operations

R = TypeVar("R", bound=Any)  # with a name and a text


def chosen(names: tuple[str, ...], rows: list[R]) -> list[R]:
    """The rows that a name means; what stands before a dash means all that begin so."""
    known = [row.name for row in rows]
    found = {name: [row for row in known if row == name or row.startswith(name + "-")] for name in names}
    for name, meant in found.items():
        if not meant:
            all_names = [*known, *(row.partition("-")[0] for row in known)]
            raise click.UsageError(unknown("operation", name, all_names, f"there are {', '.join(known)}"))
    wanted = {row for meant in found.values() for row in meant}
    return [row for row in rows if row.name in wanted] if names else rows


def show_list(rows: Iterable[Any]) -> int:
    for row in rows:
        click.echo(f"{row.name:20}{row.text}")
    return 0


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: operations, and what comes before the dash of several."""
    rows = [row.name for operation in operations(True) for row in operation.rows]
    return sorted({name for row in rows for name in (row, row.partition("-")[0]) if name.startswith(incomplete)})


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _check_modules(modules: tuple[str, ...]) -> None:
    """A module that is not installed may lie in the current folder, as `python -m` has it."""
    for name in modules:
        if not _is_there(name):
            with suppress(FileNotFoundError):  # the folder is gone
                sys.path.append(os.getcwd())
            if not _is_there(name):
                raise click.BadParameter(f"no module {name!r}", param_hint="--vs")


@dataclass
class Found:
    """What was measured until all was done or Ctrl-C came."""

    asked: int  #: operations, each with each module; rows
    unit: str = "operations"
    failed: str = "lwp: {operation}: {reason}"  #: how a failure is told
    done: int = 0
    results: list[Any] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        return self.done < self.asked

    def show(
        self,
        show: Callable[[], object],
        missing: Iterable[str],
        facts: dict[str, Any],
        json_to: Json | None,
        plot: Callable[[list[Any], str], object] = lambda results, path: None,
        plot_file: str | None = None,
    ) -> int:
        """Shows it as text, JSON or a picture, as asked.  Returns the command's exit status."""
        alone = json_to is not None and json_to.alone
        if not alone:
            show()
            for line in missing:
                click.echo(f"not measured: {line}")
            if self.stopped:
                click.echo(f"stopped: {self.done} of {self.asked} {self.unit}")
        if json_to:
            results = [asdict(result) for result in self.results]
            found = {"results": results, "missing": self.missing, "failures": self.failures}
            json_to.take({**facts, "stopped": self.stopped, **found})
        if plot_file and self.results:
            plot(self.results, plot_file)
            if not alone:
                click.echo(f"picture: {plot_file}")
        for one in self.failures:
            click.echo(self.failed.format(**one), err=True)
        return 130 if self.stopped else 1 if self.failures else 0


@contextmanager
def progress(total: int) -> Iterator[tuple[Callable[[str], object], Callable[[], object]]]:
    """A bar on the terminal: a function that says what is measured, and one that says that a round is done."""
    errors = Console(stderr=True)
    # Few refreshes, because with --no-pin they run on the cores that are measured.
    with Progress(console=errors, transient=True, disable=not errors.is_terminal, refresh_per_second=2) as bar:
        task = bar.add_task("", total=total)
        yield lambda name: bar.update(task, description=name), lambda: bar.advance(task)


def _measure(
    found: Found, wanted: list[Operation], ours: str, modules: tuple[str, ...], quick: bool, core: int | None
) -> None:
    with progress(len(modules) * sum(measure.rounds(operation, quick) for operation in wanted)) as (say, advance):
        for vs in modules:
            for operation in wanted:
                say(operation.rows[0].name)
                done = {"operation": operation.rows[0].name, "vs": vs}
                try:
                    found.results += measure.compare(operation, ours, vs, quick, core, advance)
                except Unavailable as error:
                    found.missing.append({**done, "reason": str(error)})
                except Failed as error:
                    found.failures.append({**done, "reason": str(error)})
                found.done += 1


# ---- showing ---------------------------------------------------------------------------------------------------------


def show_machine(about: dict[str, str]) -> Console:
    """Shows what was measured where; returns the console for the rest."""
    out = console()
    for name, value in about.items():
        out.print(f"{name + ':':11}{value}")
    return out


def _figure(value: float, unit: str) -> str:
    if unit == "ns":
        return time(value)
    return size(round(value)) if unit == "bytes" else f"{value:.1f}"


def _span(ends: tuple[float, float]) -> str:
    return "{:.2f}-{:.2f}".format(*ends)


def _show(results: list[Result], about: dict[str, str]) -> None:
    """A table for each module compared with."""
    out = show_machine(about)
    for vs, mine in _by_module(results).items():
        columns = ("runtime", vs.rpartition(".")[2], "ratio", "quartiles", "noise")
        rows = table("operation", *columns, right=columns, fixed=columns)
        for result in mine:
            rows.add_row(
                result.text,
                _figure(result.ours, result.unit),
                _figure(result.other, result.unit),
                Text(f"{result.ratio:.2f}", style="bold"),
                _span(result.spread),
                _span(result.noise),
            )
        out.print()
        out.print(rows)
        out.print(
            f"\nMedians. ratio: of runtime to {vs} in the same round, and its quartiles; noise: those of {vs} to {vs}, "
            "what is within them says nothing."
        )


def _by_module(results: list[Result]) -> dict[str, list[Result]]:
    return {vs: [result for result in results if result.vs == vs] for vs in dict.fromkeys(r.vs for r in results)}


def _plot(results: list[Result], path: str) -> None:
    """Draws the ratios, a panel for each module compared with."""
    from matplotlib.figure import Figure

    panels = _by_module(results)
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


# ---- the command -----------------------------------------------------------------------------------------------------


@click.command(short_help="Measure threads and primitives against threading's.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete)
@click.option("--quick", is_flag=True, help="Fewer rounds, and 1,000 threads at once instead of 10,000: a minute.")
@click.option(
    "--vs",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="A module with threading's names to compare with, installed or in the current folder; may be given again.  "
    "[threading]",
)
@click.option("--green", is_flag=True, help="Our green threads in place of threads with LWPs of their own.")
@click.option("--pin/--no-pin", default=True, help="Run on one core (the default), or on all.")
@click.option("--list", "only_list", is_flag=True, help="List the operations.")
@json_option
@plot_option
def bench(
    names: tuple[str, ...],
    quick: bool,
    modules: tuple[str, ...],
    green: bool,
    pin: bool,
    only_list: bool,
    json_to: Json | None,
    plot_file: str | None,
) -> int:
    """Measure our threads and primitives against threading's.

    Each operation is done by runtime, by the other module and by the other one again, in turns that are shuffled, in a
    process of its own. Its result is checked. NAME is one of --list, or the part before a dash for all that begin so:
    lock, event, alive.  With --green all threads of ours are on one LWP; operations that make no sense there, or that
    the other library lacks, are named at the end.

    A checkout of the sources compares servers and explorers with those of others too (python -m bench), and threads
    with gevent and greenlet (--vs bench.gevents, --vs bench.greenlets).

    Ctrl-C ends it; what was measured until then is shown.

    Exit status 1: an operation failed or gave a wrong result; 130: Ctrl-C.
    """
    core = max(os.sched_getaffinity(0)) if pin else None  # the lowest often serves the interrupts
    modules = modules or ("threading",)
    ours = measure.GREEN if green else measure.OURS
    known = operations(quick)
    rows = chosen(names, [row for operation in known for row in operation.rows])
    if only_list:
        return show_list(rows)
    asked = {row.name for row in rows}
    _check_modules(modules)
    if plot_file:
        check_plot(plot_file)

    wanted = [operation for operation in known if any(row.name in asked for row in operation.rows)]
    about = measure.machine()
    found = Found(len(modules) * len(wanted))
    with suppress(KeyboardInterrupt):
        _measure(found, wanted, ours, modules, quick, core)
    found.results = [result for result in found.results if result.operation in asked]
    about["on"] = "all cores" if core is None else f"core {core} alone: waking an idle core is not part of it"
    return found.show(
        lambda: _show(found.results, about),
        (f"{one['operation']}: {one['reason']}" for one in found.missing),
        {"machine": about, "core": core, "quick": quick},
        json_to,
        _plot,
        plot_file,
    )
