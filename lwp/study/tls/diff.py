"""A thread made by pthread_create beside one of ours, and what differs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import cast

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from ...terminal.output import table
from ..tlsmap.comparison import Comparison, Part, compare
from ..tlsmap.inspection import inspect
from .map import signed


def difference(pthread: threading.Thread, ours: threading.Thread) -> tuple[Comparison, list[RenderableType]]:
    """The comparison as data and as tables."""
    found = compare(inspect(pthread), inspect(ours))
    return found, list(_pictures(found))


def _pictures(found: Comparison) -> Iterator[RenderableType]:
    bytes_ = (sum(part.size for part in parts) for parts in (found.equal, found.explained, found.unexplained))
    yield Text("A thread that pthread_create made, and one of ours", style="bold")
    yield Text("{:,} bytes are equal, {:,} differ for a stated reason, {:,} are unexplained.".format(*bytes_))
    if found.unexplained:
        yield Text("\nunexplained", style="bold red")
        yield _differences(found.unexplained)
    yield Text.assemble(("\ndifferent for a reason", "bold yellow"), ("   offset, part, pthread, ours", "dim"))
    yield _differences(found.explained)
    yield Text("\nequal bytes", style="bold green")
    made = table("offset", "size", "part", right=("offset", "size"))
    for part in found.equal:
        made.add_row(*_where(part), f"{part.size:,}", part.field)
    yield made


def _differences(parts: tuple[Part, ...]) -> RenderableType:
    reasons: dict[str, list[Part]] = {}
    for part in _merged(parts):
        reasons.setdefault(part.reason, []).append(part)
    lines: list[RenderableType] = []
    for reason, some in reasons.items():
        rows = Table.grid(padding=(0, 2))
        for width, justify in ((7, "right"), (26, "left"), (14, "left"), (14, "left")):
            rows.add_column(width=width, justify=cast(JustifyMethod, justify))
        for part in some:
            rows.add_row(*_where(part), part.field, _shown(part.pthread), _shown(part.ours))
        lines += [Text(reason, style="italic"), rows] if reason else [rows]
    return Group(*lines)


def _merged(parts: tuple[Part, ...]) -> Iterator[Part]:
    """Joins runs of DTV entries that say the same into one line."""
    run: list[Part] = []
    for part in [*parts, None]:
        if run and (part is None or part.base != "dtv" or _same(part) != _same(run[0])):
            first, last = run[0], run[-1]
            name = first.field if first is last else f"{first.field} to {last.field.removeprefix('dtv')}"
            yield Part(first.base, first.offset, first.size, name, first.pthread, first.ours, first.reason)
            run.clear()
        if part is not None:
            run.append(part)


def _same(part: Part) -> tuple[bytes, bytes, str]:
    return part.pthread, part.ours, part.reason


def _where(part: Part) -> tuple[str]:
    return (f"{'dtv' if part.base == 'dtv' else ''}{signed(part.offset)}",)


def _shown(content: bytes) -> str:
    words = [int.from_bytes(content[at : at + 8], "little") for at in range(0, len(content), 8)]
    while len(words) > 1 and not words[-1]:
        words.pop()
    return "\n".join("-1" if word == (1 << 64) - 1 else f"{word:#x}" for word in words)
