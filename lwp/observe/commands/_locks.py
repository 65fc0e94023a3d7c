"""The tables of `run --locks` and `locks`, and a file beside them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ...reading.folders import private
from ...terminal.output import table, time

_MOST_ROWS = 20


# ---- a file ----------------------------------------------------------------------------------------------------------


def write_json(path: Path, data: Any) -> str:
    """Writes it; what went wrong, in words."""
    try:
        with open(path, "w", opener=private) as file:
            json.dump(data, file, indent=2)
            file.write("\n")
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


# ---- tables ----------------------------------------------------------------------------------------------------------


def _told(lock: dict[str, Any]) -> str:
    """Its name, and where it was made unless the name says so."""
    where = lock["made"]
    return lock["name"] if not where or where in lock["name"] else f"{lock['name']} ({where})"


def _add_waits(waited: Any, locks: list[dict[str, Any]]) -> None:
    for lock in locks:
        waits = lock["waits"]
        times = [time(1e9 * waits[key]) for key in ("longest", "p50", "p99")]
        taken = "" if lock["taken"] is None else f"{lock['taken']:,}"
        counts = f"{waits['count']:,}", taken
        waited.add_row(_told(lock), time(1e9 * waits["seconds"]), *counts, *times, f"{waits['most_at_once']:,}")


def _print_waits(console: Console, locks: list[dict[str, Any]]) -> None:
    from ..locks import HELD

    columns = ("waited for", "total", "waits", "taken", "longest", "p50", "p99", "peak")
    waited = table(*columns, right=columns[1:], fixed=columns[1:])
    held = [lock for lock in locks if lock["kind"] in HELD]
    _add_waits(waited, held)
    waited.add_section()
    if len(held) < len(locks):
        waited.add_row(Text("until something happens", style="italic"), *[""] * (len(columns) - 1))
    _add_waits(waited, [lock for lock in locks if lock["kind"] not in HELD])
    console.print(waited)


def _print_holds(console: Console, locks: list[dict[str, Any]]) -> None:
    columns = ("held", "longest", "since")
    held = table(*columns, right=("longest",), fixed=("longest",))
    for lock in locks:
        if not (holds := lock["holds"]):
            continue
        since = holds["longest_since"] or ""
        if "longest_by" in holds:  # the GIL
            since = f"by {holds['longest_by']!r}, in C{f' at {since}' if since else ''}"
        held.add_row(lock["name"], time(1e9 * holds["longest"]), since)
    if held.row_count:
        console.print()
        console.print(held)


def _print_unheard(console: Console, locks: list[dict[str, Any]]) -> None:
    columns = ("notify() met no waiter", "times", "last")
    unheard = table(*columns, right=("times",), fixed=("times",))
    for lock in locks:
        if found := lock["unheard"]:
            unheard.add_row(_told(lock), f"{found['count']:,}", found["last"])
    if unheard.row_count:
        console.print()
        console.print(unheard)


def print_tables(console: Console, facts: dict[str, Any]) -> None:
    """What threads have waited for, the longest waits first."""
    locks = facts["locks"]
    waited = [lock for lock in locks if lock["waits"]["count"]]
    console.print(f"Waits of {time(1e9 * facts['seconds'])}, by what threads waited for", style="bold")
    if not waited:
        console.print("No thread has waited for a lock.")
        _print_unheard(console, locks)
        return
    shown = waited[:_MOST_ROWS]
    _print_waits(console, shown)
    _print_holds(console, shown)
    _print_unheard(console, locks)
    others = len(waited) - len(shown)
    free = sum(lock["objects"] for lock in locks if not lock["waits"]["count"])
    left = [f"{others:,} more rows are in the JSON"] * bool(others)
    left += [f"no thread waited for {free:,} other lock{'s' * (free != 1)}"] * bool(free)
    left += [
        text
        for key, text in _LEFT_OUT.items()
        for text in [text.format(facts["left_out"][key])]
        if facts["left_out"][key]
    ]
    if left:
        console.print("; ".join(left), style="italic")


_LEFT_OUT = {
    "objects_without_a_row": "{:,} operations on locks that count by their line alone: there are too many at once",
    "stacks": "{:,} samples of stacks left out: there is room for 8,192",
    "stacks_cut": "{:,} samples of stacks have their 64 innermost lines",
}


# ---- run -------------------------------------------------------------------------------------------------------------


def begin(path: Path | None, program: str) -> None:
    """Counts from now on. At the program's end prints the tables.

    path: then all rows are written there, or the stacks if its name ends in .speedscope.json.
    """
    from ...terminal.ending import at_end, note_interrupt
    from .. import locks
    from ..profiles import speedscope

    stderr = os.dup(sys.stderr.fileno())  # the program may close or replace it
    locks.begin()

    def tell() -> None:
        facts = locks.facts()
        locks.end()
        with open(stderr, "w", errors="replace") as file:
            console = Console(file=file, highlight=False, markup=False, emoji=False)
            console.width = max(console.width, 80)
            print_tables(console, facts)
            if path is not None:
                stacks = path.name.endswith(".speedscope.json")
                if wrong := write_json(path, speedscope(facts, program) if stacks else facts):
                    print(f"lwp: {wrong}", file=file)
        note_interrupt()

    at_end(tell)
