"""How commands print: tables and paragraphs that fit the terminal."""

from __future__ import annotations

import io
import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..scheduler import Clone


def console(marked: bool = False) -> Console:
    """Standard output: colour only on a terminal, 80 columns when there is none to ask, and at least.

    In fewer, tables would lose columns and digits; a narrow terminal folds the lines.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the letter µ is no reason to fail
    made = Console(highlight=marked, markup=marked, emoji=False)
    made.width = max(made.width, 80)
    return made


def table(*columns: str, right: tuple[str, ...] = (), fixed: tuple[str, ...] = ()) -> Table:
    """An empty table.  right: columns of numbers.  fixed: columns that are not wrapped."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
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
    value, unit = (ns / 1e6, "ms") if ns >= 1e6 else (ns / 1e3, "µs") if ns >= 1e3 else (ns, "ns")
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
