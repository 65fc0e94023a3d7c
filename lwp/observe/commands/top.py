"""`top`: the threads of a running program as a table, asked from outside."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...terminal.options import seconds
from ...terminal.output import console, table
from ..asking import ask
from ..rows import Row
from ._pid import pid_argument

#: By what rows are sorted: a key from a row and its share of a CPU.
_BY: dict[str, Callable[[Row, float], Any]] = {
    "cpu": lambda row, share: -share,
    "time": lambda row, share: -(row.cpu or 0),
    "name": lambda row, share: row.name,
    "state": lambda row, share: row.state,
    "threads": lambda row, share: -row.count,
}


def draw(found: list[Row], left: int, width: int, shares: list[float]) -> Table:
    """Leaves out what doesn't fit: switches, placement, the ends of long names and waits.

    left: threads without a row.  shares: of a CPU, of each row.
    """
    placed = ("placed",) if any(row.placed for row in found) else ()
    drawn = table(
        "thread",
        "tid",
        "state",
        "waits for",
        "CPU",
        *placed,
        "switches",
        right=("tid", "CPU", "switches"),
        fixed=("thread", "tid", "state", "CPU", *placed, "switches"),
        optional=(*placed, "switches"),
    )
    for row, share in zip(found, shares, strict=True):
        name = Text(row.name)
        name.truncate(max(width // 4, 12), overflow="ellipsis")
        tid, switches = f"{row.tid or ''}", "" if row.switches is None else f"{row.switches:,}"
        cpu = "" if row.cpu is None else f"{share:.0%}"
        cells = [tid, row.state, row.waits, cpu, *[row.placed] * bool(placed), switches]
        drawn.add_row(name, *(Text(cell, overflow="ellipsis", no_wrap=True) for cell in cells))
    drawn.caption = count(found, left) + f", {left:,} more than fit" * bool(left)
    drawn.caption_justify = "left"
    return drawn


def count(found: list[Row], left: int) -> str:
    """How many threads these rows are of, and those without a row."""
    threads = left + sum(row.count for row in found)
    return f"{threads:,} thread{'s' * (threads != 1)}"


class _Top:
    """Asks, and knows from the time before what has changed."""

    def __init__(self, pid: int, by: str) -> None:
        self._pid = pid
        self._by = _BY[by]
        self._before: dict[object, float] = {}
        self._when = 0.0

    def look(self, width: int, most: int) -> Group:
        """Unanswered: the process can't be asked."""
        found = ask(self._pid, "rows")
        rows = [Row(**row) for row in found["rows"]]
        both = sorted(zip(rows, self._shares(rows), strict=True), key=lambda one: self._by(*one))
        threads = count(rows, found["left"])
        head = f"process {self._pid}: {threads}, {sum(share for _, share in both):.0%} of a CPU"
        shown, shares = [row for row, _ in both[:most]], [share for _, share in both[:most]]
        left = found["left"] + sum(row.count for row, _ in both[most:])
        return Group(Text(head), draw(shown, left, width, shares))

    def _shares(self, rows: list[Row]) -> list[float]:
        """Of a CPU, since the look before."""
        used: dict[object, float] = defaultdict(float)
        keys = [(row.tid, row.tid is None and (row.name, row.waits)) for row in rows]
        for row, key in zip(rows, keys, strict=True):  # some may have the same
            used[key] += row.cpu or 0
        passed = (now := time.monotonic()) - self._when
        shares = [max(0.0, used[key] - self._before.get(key, used[key])) / passed for key in keys]
        self._before, self._when = used, now
        return shares


@click.command(short_help="The threads of a running program, as a table.")
@pid_argument
@click.option("--sort", type=click.Choice(list(_BY)), default="cpu", help="Which rows come first.", show_default=True)
@click.option("--every", type=seconds(0.1), default="1", metavar="SECONDS", help="How often it looks (default 1).")
@click.option("--once", is_flag=True, help="Print the table once, after one look and that pause.")
def top(pid: int, sort: str, every: float, once: bool) -> int:
    """Show the threads of process PID: state, what each waits for and which thread holds that, and its share of a CPU.

    More than three threads that wait for alike things at one line share a row. A narrow terminal leaves out columns.
    The process must be one that `lwp ps` lists. Ctrl-C ends it. Where standard output is no terminal, it prints the
    table once.
    """
    screen = console()
    view = _Top(pid, sort)
    try:
        view.look(screen.width, screen.height - 5)
        time.sleep(every)
        if once or not screen.is_terminal:
            screen.print(view.look(screen.width, 1 << 20))
            return 0
        with Live(view.look(screen.width, screen.height - 5), console=screen, auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(every)
                live.update(view.look(screen.width, screen.height - 5), refresh=True)
    except KeyboardInterrupt:
        return 0
