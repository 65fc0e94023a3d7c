"""How commands print: tables and paragraphs that fit the terminal."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..core import Clone
from ..reading.files import printable_lines


def console(marked: bool = False) -> Console:
    """Standard output: in colour only on a terminal, and at least 80 columns wide, which it also is without a terminal.

    In fewer columns tables would lose columns and digits; a narrow terminal folds the lines.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks the letter µ is no reason to fail
    made = Console(highlight=marked, markup=marked, emoji=False)
    made.width = max(made.width, 80)
    return made


def _folded(text: str, width: int) -> str:
    """Words that are wider than that go on in the next line behind a dot or slash, otherwise behind an underscore."""

    def fold(found: re.Match[str]) -> str:
        word, lines = found[0], []
        while len(word) > width:
            ends = [word.rfind(sign, 0, width) + 1 for sign in "./_"]
            if not (end := max(ends[:2]) or ends[2]):
                break
            lines.append(word[:end])
            word = word[end:]
        return "\n".join([*lines, word])

    return re.sub(r"\S+", fold, text)


class _Table(Table):
    """A table whose columns are as wide as their longest word, as far as there is room for that."""

    optional: tuple[str, ...] = ()

    def add_row(self, *cells: Any, **options: Any) -> None:
        """With names that the program has chosen."""
        super().add_row(*(printable_lines(cell) if isinstance(cell, str) else cell for cell in cells), **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for name in reversed(self.optional):
            if sum(self._wanted(console, options)) > self._room(options):
                self.columns = [column for column in self.columns if str(column.header) != name]
        least, widths = self._wanted(console, options, least=True), self._wanted(console, options)
        # The widest column gives first, and words are broken only where there is no other way.
        for floor in (least, [1] * len(widths)):
            while sum(widths) > self._room(options):
                at = max(range(len(widths)), key=lambda at: widths[at] if widths[at] > floor[at] else 0)
                if widths[at] <= floor[at]:
                    break
                widths[at] -= 1
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width
            if not column.no_wrap:
                column._cells[:] = [_folded(cell, width) if isinstance(cell, str) else cell for cell in column._cells]
        yield from super().__rich_console__(console, options)

    def _wanted(self, console: Console, options: ConsoleOptions, least: bool = False) -> list[int]:
        """The width of each column without wrapping; with `least`, when it is wrapped at words."""
        return [
            max(
                Measurement.get(console, options, cell).minimum
                if least and not column.no_wrap
                else Measurement.get(console, options, cell).maximum
                for cell in (column.header, *column.cells)
            )
            for column in self.columns
        ]

    def _room(self, options: ConsoleOptions) -> int:
        return options.max_width - 2 * len(self.columns) + 1  # a space at the right of each, and one between two


def table(
    *columns: str, right: tuple[str, ...] = (), fixed: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> Table:
    """An empty table.

    right: columns of numbers.  fixed: columns that are not wrapped.  optional: columns that are left out, the last one
    first, where something would have to be wrapped.
    """
    made = _Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    made.optional = optional
    for name in columns:
        made.add_column(
            Text(name), justify="right" if name in right else "left", no_wrap=name in fixed, overflow="fold"
        )
    return made


def flags_line(asked: Clone) -> str:
    """The flags of a process-style LWP as they were asked for, and what was added to them."""
    names = " | ".join(f"CLONE_{flag.name}" for flag in asked) or "none"
    line = f"clone flags: {names}, exit signal SIGCHLD"
    if Clone.VM in asked:
        line += "; SETTLS, PARENT_SETTID and CHILD_CLEARTID are always added to CLONE_VM"
    return line


def flag_names(flags: Clone) -> list[str]:
    return [f"CLONE_{flag.name}" for flag in flags]


def size(count: int) -> str:
    """Bytes for people: "2.3 KiB"."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            whole = count / factor
            return f"{whole:.0f} {unit}" if count % factor == 0 else f"{whole:.1f} {unit}"
    return f"{count} B"


def time(ns: float) -> str:
    """Three digits and a unit."""
    units = (("s", 1e9), ("ms", 1e6), ("µs", 1e3))
    value, unit = next(((ns / least, unit) for unit, least in units if ns >= least), (ns, "ns"))
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def duration(seconds: float) -> str:
    """For people: "3.1 s", "12 min", "5 h", "3 days"."""
    for unit, factor in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.0f} {unit}"
    return f"{seconds:.1f} s"
