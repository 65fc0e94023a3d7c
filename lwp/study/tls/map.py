"""The map of a thread: a picture by address, then tables of what the parts hold."""

from __future__ import annotations

import re
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ...terminal.output import size, table
from ..figures._svg import PARTS
from ..tlsmap import inspection
from ..tlsmap.inspection import Field, Inspection
from ..tlsmap.layout import Segment

_STACK_ROWS = 8
_BLOCK_ROWS = 26  # about; a part that is smaller than a row has one all the same
_BOX, _LEFT = 30, 24  # columns

_STYLES = {
    "unused": "dim",
    "surplus": "dim",
    "padding": "dim",
    **{kind: f"{'#ffffff' if kind == 'guard' else '#101010'} on {colour}" for kind, colour in PARTS.items()},
}


def signed(offset: int) -> str:
    return f"{offset:+,d}"


def plain(library: str) -> str:
    """An extension module's file name without the part that names the interpreter, because that is the same for all."""
    return re.sub(r"\.(cpython-[^.]*|abi3)\.so$", ".so", library)


def number(value: int) -> str:
    return f"{value:#x}" if value > 0xFFFF else f"{value:,}"


# ---- one thread ------------------------------------------------------------------------------------------------------


def one(thread: threading.Thread | int) -> tuple[Inspection, list[RenderableType]]:
    """A thread as data and as pictures."""
    seen = inspection.inspect(thread)
    kinds = {
        "lwp": "made by this runtime with clone(2)",
        "pthread": "made by pthread_create",
        "main": "the main thread, made by the kernel and the dynamic linker",
    }
    title = Text(f"Thread {seen.tid}, {kinds[seen.kind]}", style="bold")
    return seen, [
        title,
        Text("low addresses first; offsets are from the thread pointer (tp)\n", style="dim"),
        picture(seen),
        Text(),
        *_dtv(seen),
        *_fields("TCB", "what the thread pointer points at", seen.tcb, found=False),
        *_fields(
            "struct pthread",
            "glibc's descriptor, as far as its fields are known; `lwp doctor` says what confirmed each",
            seen.pthread,
            found=True,
        ),
        *_lists(seen),
    ]


@dataclass
class _Line:
    """A line of a box: an edge, or a row of what is in it."""

    left: str
    edge: str
    text: str
    style: str
    note: str


class Picture:
    """Lines of a box, with the address and offset of its edges at the left and notes at the right."""

    def __init__(self, seen: Inspection) -> None:
        self.seen = seen  #: what is drawn
        self._lines: list[_Line] = []

    def edge(self, address: int, offset: int | None, note: str = "", corners: str = "├┤", line: str = "─") -> None:
        left = f"{address:#14x} {'' if offset is None else signed(offset):>8} "
        self._lines.append(_Line(left, corners[0] + line * _BOX + corners[1], "", "", note))

    def row(self, text: str, style: str, note: str = "") -> None:
        self._lines.append(_Line(" " * _LEFT, "", text, style, note))

    def gap(self, text: str) -> None:
        self._lines.append(_Line(" " * _LEFT + text, " ", "", "", ""))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A note that is too long for its line goes on in the next row if that has no note, and otherwise makes another
        row."""
        room = options.max_width - _LEFT - _BOX - 3
        rest: list[str] = []  # of a note
        before = _Line("", "", "", "", "")
        for line in self._lines:
            if rest and (line.edge or line.note):
                for note in rest:
                    yield _drawn(_Line(" " * _LEFT, "", "", before.style, note))
                rest = []
            notes = textwrap.wrap(line.note, room) or rest or [""]
            yield _drawn(replace(line, note=notes[0]))
            rest, before = notes[1:], line

    def part(self, rows: int, label: str, bytes_: int, style: str, notes: list[str]) -> None:
        room = _BOX - 2 - len(amount := exactly(bytes_)) - 1
        label = label if len(label) <= room else label[: room - 1] + "…"
        for at in range(rows):
            text = f" {label:{room}} {amount} " if at == 0 else ""
            self.row(text, style, notes[at] if at < len(notes) else "")


def _drawn(line: _Line) -> Text:
    made = Text(line.left, style="dim", no_wrap=True)
    if line.edge:
        made.append(line.edge, style="not dim")
    else:
        made.append("│", style="not dim")
        made.append(f"{line.text:{_BOX}.{_BOX}}", style=f"not dim {line.style}")
        made.append("│", style="not dim")
    if line.note:
        made.append(f" {line.note}", style="not dim" if line.edge else "not dim italic")
    return made


def exactly(count: int) -> str:
    return f"{count:,} B" if count < 1 << 14 else size(count)


def picture(seen: Inspection) -> Picture:
    """Guard, stack and static block, to scale within the stack and within the block."""
    drawn, stack, low = Picture(seen), seen.stack, seen.layout.low
    corners = "┌┐"
    if stack.guard:
        drawn.edge(stack.guard[0], None, corners=corners)
        drawn.part(1, "guard", stack.guard[1] - stack.guard[0], _STYLES["guard"], ["touching it is SIGSEGV"])
        corners = "├┤"
    scale = -(-stack.size // _STACK_ROWS)
    used = max(1, round(stack.used / scale))
    drawn.edge(stack.low, None, f"one row is {exactly(scale)}", corners)
    drawn.part(
        max(1, _STACK_ROWS - used), "stack", stack.size, _STYLES["unused"], ["grows upwards here, not written yet"]
    )
    drawn.part(used, "used so far", stack.used, _STYLES["used"], [])
    block, end = seen.block
    if stack.high != block:
        drawn.edge(stack.high, None, corners="└┘")
        drawn.gap("  elsewhere:")
        corners = "┌┐"
    scale = -(-(end - block) // _BLOCK_ROWS // 32) * 32
    drawn.edge(block, low, f"one row is {exactly(scale)}", corners)
    for segment in seen.layout.segments:
        if segment.offset > low:
            if segment.offset == 0:
                drawn.edge(seen.thread_pointer, 0, "the thread pointer", "╞╡", "═")
            else:
                drawn.edge(seen.thread_pointer + segment.offset, segment.offset)
        rows = max(1, round(segment.size / scale))
        drawn.part(rows, plain(segment.name), segment.size, _STYLES[segment.kind], notes(seen, segment, rows))
    drawn.edge(end, seen.layout.high, corners="└┘")
    return drawn


def notes(seen: Inspection, segment: Segment, rows: int) -> list[str]:
    if segment.kind == "surplus":
        return ["for libraries that dlopen brings"]
    if segment.kind == "rseq" and seen.rseq:
        return [f"registered, on CPU {seen.rseq.cpu_id}" if seen.rseq.registered else "not registered"]
    if segment.module:
        return [f"{segment.module.image_size} B image, {segment.module.zero_size} B zero"]
    if segment.kind == "tcb":
        return ["dtv, pthread_self(), stack guard, pointer guard"]
    if segment.kind == "pthread":
        said = []
        for at in range(rows):  # the fields that begin in the bytes of that row
            begin, end = (segment.offset + segment.size * part // rows for part in (at, at + 1))
            said.append(", ".join(field.name for field in seen.pthread if begin <= field.offset < end))
        return said
    return []


def _heading(title: str, note: str) -> Text:
    return Text.assemble((title, "bold"), (f"  {note}", "dim"))


def _dtv(seen: Inspection) -> Iterator[RenderableType]:
    dtv = seen.dtv
    note = f"at {dtv.address:#x}, room for {dtv.length} modules, generation {dtv.generation}"
    yield _heading("DTV", note)
    made = table("id", "module", "state", "address", "from tp", "size", "gen.", right=("id", "from tp", "size", "gen."))
    states = {entry.module: entry for entry in dtv.entries}
    for module in seen.layout.modules:
        entry = states.get(module.id)
        state = entry.state if entry else "too short"
        address = seen.address_of(module)
        made.add_row(
            str(module.id),
            plain(module.short),
            state,
            "-" if address is None else f"{address:#x}",
            signed(address - seen.thread_pointer) if address is not None and module.static else "-",
            f"{module.size:,}",
            str(module.generation),
        )
    yield made
    yield Text()


def _fields(title: str, note: str, fields: tuple[Field, ...], found: bool) -> Iterator[RenderableType]:
    yield _heading(title, note)
    last = ("found by",) if found else ()
    made = table(
        "offset", "field", "value", "who reads it", *last, right=("offset",), fixed=("field", "value"), optional=last
    )
    for field in fields:
        last = (field.source,) if found else ()
        made.add_row(signed(field.offset), field.name, value(field), field.users, *last)
    yield made
    yield Text()


def value(field: Field) -> str:
    if field.size <= 8:
        return number(field.value)
    words = [field.content[at : at + 8] for at in range(0, field.size, 8)]
    if len(words) <= 3:
        return "\n".join(number(int.from_bytes(word, "little")) for word in words)
    return f"{sum(any(word) for word in words)} of {len(words)} words set"


def _lists(seen: Inspection) -> Iterator[RenderableType]:
    made = Table.grid(padding=(0, 2))
    made.add_row(Text("placement", style="bold"), seen.placement, "as the kernel says")
    if seen.group:
        made.add_row(Text("group", style="bold"), seen.group)
    robust, rseq = seen.robust, seen.rseq
    made.add_row(
        Text("robust list", style="bold"),
        "empty: no robust mutex is held" if robust.empty else f"first entry at {robust.first:#x}",
        f"futex word at {signed(robust.futex_offset)} from an entry",
    )
    if rseq:
        made.add_row(
            Text("rseq", style="bold"),
            f"cpu_id {rseq.cpu_id}" if rseq.registered else f"cpu_id {rseq.cpu_id}: not registered",
            f"{rseq.size} bytes at {signed(rseq.offset)}",
        )
    yield made


# ---- several ---------------------------------------------------------------------------------------------------------


def side_by_side(threads: list[threading.Thread]) -> tuple[dict[str, Any], list[RenderableType]]:
    """Several threads: same offsets, different addresses."""
    seen = [inspection.inspect(thread) for thread in threads]
    pictures: list[RenderableType] = [
        _heading(
            "1 thread" if len(seen) == 1 else f"{len(seen)} threads",
            "same offsets, different addresses; dynamic blocks lie anywhere\n",
        )
    ]
    for begin in range(0, len(seen), 3):
        some = seen[begin : begin + 3]
        made = table("", "from tp", *(f"thread {begin + at + 1}" for at in range(len(some))), right=("from tp",))

        def add(name: str, offset: str, addresses: list[int | None], style: str = "", made: Table = made) -> None:
            shown = ("-" if address is None else f"{address:#x}" for address in addresses)
            made.add_row(Text(name, style=style), offset, *shown)

        made.add_row("tid", "", *(str(one.tid) for one in some))
        # It has lines of its own, because a wide column would cost the labels their width.
        made.add_row("placement", "", *(one.placement.replace(", ", ",\n") for one in some))
        add("guard", "", [one.stack.guard[0] if one.stack.guard else None for one in some])
        add("stack", "", [one.stack.low for one in some])
        for segment in some[0].layout.segments:
            label = "TCB = thread pointer" if segment.offset == 0 else plain(segment.name)
            style = "bold" if segment.offset == 0 else ""
            add(label, signed(segment.offset), [one.thread_pointer + segment.offset for one in some], style)
        add("DTV", "", [one.dtv.address for one in some])
        for module in some[0].layout.modules:
            if not module.static:
                add(plain(module.short), "dynamic", [one.address_of(module) for one in some])
        pictures += [made, Text()]
    return {"threads": seen}, pictures
