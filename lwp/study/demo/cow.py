"""`demo cow`: what another flow of control costs as the parent's memory grows."""

from __future__ import annotations

import mmap
import os
import random
import statistics
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from ...terminal.options import Json, check_plot, json_option, plot_option, save_plot
from ...terminal.output import console, table, time
from ..structures import lib
from ._shown import print_more

KINDS = ("fork", "vfork", "clone(CLONE_VM)", "thread")  # in the order of enum cost_kind
SIZES = (10, 30, 100, 300, 1000)  # MB touched, as far as --max-mb goes
ROUNDS = 21
MB = 1_000_000


@dataclass(frozen=True)
class Cost:
    """One kind at one size: nanoseconds from the call to the end of the child, waited for."""

    kind: str
    mb: int  #: touched by us
    rss_kb: int  #: VmRSS then
    page_tables_kb: int  #: VmPTE then
    best_ns: int
    median_ns: int
    low_ns: int  #: a quarter of the rounds took less
    high_ns: int  #: a quarter took more


def status_kb(name: str) -> int:
    """A line of /proc/self/status, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


def available_mb() -> int:
    """What may be touched without a process being killed for it, by the machine's and the control group's figures."""
    limits = []
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            limits.append(int(line.split()[1]) * 1024)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no such group, or "max": no limit
        limit = int((group / "memory.max").read_text())
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        limits.append(limit - int(used["anon"]))
    return min(limits) // MB


def measure(max_mb: int, progress: Callable[[], None]) -> list[Cost]:
    """Touches more and more memory and times each kind in rounds, so that what disturbs the machine disturbs all
    kinds."""
    sizes = [size for size in SIZES if size < max_mb] + [max_mb]
    page = mmap.PAGESIZE
    costs = []
    order = list(range(len(KINDS)))
    shuffle = random.Random(1).shuffle
    with mmap.mmap(-1, max_mb * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)  # a huge page has one entry where 512 pages have 512
        touched = 0
        for mb in sizes:
            end = mb * MB
            memory[touched:end:page] = b"\1" * len(range(touched, end, page))
            touched = end + -end % page
            times: list[list[int]] = [[] for _ in KINDS]
            for _ in range(ROUNDS):
                shuffle(order)
                for kind in order:
                    lib.cost_once(kind)  # not timed: pays for what another kind did to caches and page tables
                    ns = lib.cost_once(kind)
                    if ns < 0:
                        raise click.ClickException(f"{KINDS[kind]} at {mb} MB: {os.strerror(-ns)}")
                    times[kind].append(ns)
                progress()
            rss, tables = status_kb("VmRSS"), status_kb("VmPTE")
            for name, taken in zip(KINDS, times, strict=True):
                low, median, high = statistics.quantiles(taken, n=4)
                costs.append(Cost(name, mb, rss, tables, min(taken), round(median), round(low), round(high)))
    return costs


def plot(costs: list[Cost], path: str) -> None:
    """Draws the costs over the memory, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for kind in KINDS:
        mine = [cost for cost in costs if cost.kind == kind]
        memory = [cost.mb for cost in mine]
        axes.plot(memory, [cost.median_ns / 1000 for cost in mine], marker="o", label=kind)
        axes.fill_between(
            memory, [cost.low_ns / 1000 for cost in mine], [cost.high_ns / 1000 for cost in mine], alpha=0.25
        )
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="memory touched by the parent (MB)", ylabel="start to end of the child (µs)")
    axes.set_title("A child's cost and its parent's memory (median, middle half)")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    save_plot(figure, path)


@click.command("cow")
@click.option(
    "--max-mb", type=click.IntRange(min=10), default=1000, show_default=True, metavar="MB", help="Memory to grow to."
)
@plot_option
@json_option
def command(max_mb: int, plot_file: str | None, json_to: Json | None) -> None:
    """What fork, vfork, clone and a thread cost as memory grows.

    Touches memory page by page and times, at each size, a child that does nothing: from the call until it has
    ended and been waited for. Nothing of Python is in between.
    """
    if plot_file:
        check_plot(plot_file)
    if (room := available_mb()) < max_mb * 1.1:
        raise click.ClickException(f"{room} MB of memory are available: --max-mb {int(room / 1.2)} would do")
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("measuring", total=ROUNDS * (1 + sum(size < max_mb for size in SIZES)))
        try:
            costs = measure(max_mb, lambda: bar.advance(task))
        except OSError as error:  # mmap: a limit on address space
            raise click.ClickException(f"{max_mb} MB: {error.strerror}") from None
    alone = json_to is not None and json_to.alone
    if not alone:
        show(costs)
        print_more(console(), "cow")
    if json_to:
        facts: dict[str, Any] = {"page_size": mmap.PAGESIZE, "rounds": ROUNDS, "plot": plot_file}
        json_to.take({**facts, "rows": [asdict(cost) for cost in costs]})
    if plot_file:
        plot(costs, plot_file)
        if not alone:
            click.echo(f"\npicture: {plot_file}")


def show(costs: list[Cost]) -> None:
    out = console()
    rows = table("touched", "page tables", *KINDS, right=("touched", "page tables", *KINDS), fixed=KINDS)
    sizes = sorted({cost.mb for cost in costs})
    for mb in sizes:
        mine = [cost for cost in costs if cost.mb == mb]
        rows.add_row(f"{mb} MB", f"{mine[0].page_tables_kb} KiB", *(time(cost.best_ns) for cost in mine))
    out.print(rows)
    out.print(
        f"\nFrom the call until the child was waited for: the best of {ROUNDS} rounds, because a busy machine "
        "adds to the others. Page tables: VmPTE in /proc/self/status."
    )
    if len(sizes) > 1:
        grown = ", ".join(f"{kind} x{factor(costs, kind):.1f}" for kind in KINDS)
        out.print(f"\nFrom {sizes[0]} to {sizes[-1]} MB: {grown}.")
    out.print(
        "\nfork copies no memory (copy on write), but it copies the page tables: an entry for every page "
        "touched, write-protected in both. The others leave them alone: a child of vfork or clone(CLONE_VM) "
        "is a process that uses the parent's memory, a thread is the same process. How much memory there is "
        "does not matter to them."
    )


def factor(costs: list[Cost], kind: str) -> float:
    """How many times the cost of the smallest size the largest has."""
    mine = [cost.best_ns for cost in costs if cost.kind == kind]
    return mine[-1] / mine[0]
