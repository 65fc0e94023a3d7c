"""The map of a thread as a figure: to scale in the stack and in the block, but each part has room for its name."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..figures._page import Steps
from ..figures._svg import PARTS, Figure, arrow, group, rect, text
from ..tlsmap.inspection import Field, Inspection
from ..tlsmap.layout import Segment
from .map import exactly, notes, plain, signed, value

_LEFT, _BOX, _WIDTH = 112, 248, 440  # px
_LEAST, _FIELD = 22, 19
_STACK, _BLOCK = 110, 260


class _Part(NamedTuple):
    """What lies there, lowest address first."""

    name: str
    kind: str
    address: int
    size: int  #: bytes
    tall: int  #: px
    why: str
    fields: tuple[Field, ...] = ()


def _parts(seen: Inspection) -> list[_Part]:
    stack, (block, end) = seen.stack, seen.block
    found = []
    if stack.guard:
        low, high = stack.guard
        found.append(_Part("guard", "guard", low, high - low, _LEAST, "touching it is SIGSEGV"))
    used = max(_LEAST, round(_STACK * stack.used / stack.size))
    edge = stack.high - stack.used
    why = "no page of it was ever written; the stack grows from the high addresses to here"
    found.append(_Part("stack", "unused", stack.low, edge - stack.low, max(_LEAST, _STACK - used), why))
    why = "pages that were written, by earlier threads on it too"
    found.append(_Part("stack, used so far", "used", edge, stack.used, used, why))
    for segment in seen.layout.segments:
        fields = {"tcb": seen.tcb, "pthread": seen.pthread}.get(segment.kind, ())
        tall = _LEAST + _FIELD * len(fields) if fields else max(_LEAST, round(_BLOCK * segment.size / (end - block)))
        address = seen.thread_pointer + segment.offset
        found.append(_Part(plain(segment.name), segment.kind, address, segment.size, tall, _why(seen, segment), fields))
    return found


def _why(seen: Inspection, segment: Segment) -> str:
    if segment.kind == "pthread":
        return "glibc's descriptor of the thread; of its fields these are known"
    if segment.kind == "tcb":
        return "what the thread pointer points at; compiled code reads these words"
    if segment.kind == "padding":
        return "what comes next begins at a multiple of its alignment"
    return "; ".join(notes(seen, segment, 1))


def steps_of(seen: Inspection) -> Steps:
    """The figure, and a step for each part of it and for each field."""
    parts = _parts(seen)
    drawn: list[str] = []
    steps: list[dict[str, Any]] = []
    about: dict[str, str] = {}
    y = 28
    drawn.append(text(_LEFT, 13, "low addresses first", "dim"))

    def step(what: str, why: str, address: int, size: int) -> str:
        offset = f", {signed(address - seen.thread_pointer)} from the thread pointer" if size < 1 << 14 else ""
        name = f"part {len(steps)}"
        more = f"{address:#x} to {address + size:#x}, {exactly(size)}{offset}"
        steps.append({"what": what, "why": why, "more": more, "states": {name: ("there", None, True)}})
        about[name] = f"{what}: {why}"
        return name

    for part in parts:
        drawn.append(text(_LEFT - 6, y + 4, f"{part.address:#x}", "mono dim", "end"))
        if part.address == seen.thread_pointer:
            drawn.append(arrow(_WIDTH - 40, y, _LEFT + _BOX + 2))
            drawn.append(text(_WIDTH - 36, y + 4, "tp", "head"))
        elif part.address > seen.stack.high - 1:
            drawn.append(text(_LEFT + _BOX + 6, y + 4, signed(part.address - seen.thread_pointer), "mono dim"))
        ink = "inside white" if part.kind == "guard" else "inside"
        name = step(part.name, part.why, part.address, part.size)
        kind = "" if part.kind in PARTS else "plain"
        box = [
            rect(_LEFT, y, _BOX, part.tall, colour=PARTS.get(part.kind, "")),
            text(_LEFT + 8, y + 15, part.name, ink),
            text(_LEFT + _BOX - 8, y + 15, exactly(part.size), ink, "end"),
        ]
        drawn.append(group(box, f"part {kind} there", part=name))
        for at, field in enumerate(part.fields):
            top = y + _LEAST + _FIELD * at
            name = step(f"{field.name} = {value(field)}", field.users, seen.thread_pointer + field.offset, field.size)
            line = [
                rect(_LEFT + 6, top, _BOX - 12, _FIELD - 2, colour=PARTS[part.kind]),
                text(_LEFT + 12, top + 13, field.name, "inside"),
                text(_LEFT + _BOX - 12, top + 13, signed(field.offset), "inside", "end"),
            ]
            drawn.append(group(line, "part field there", part=name))
        y += part.tall
        if part.kind == "used" and part.address + part.size != seen.block[0]:
            drawn.append(text(_LEFT + 8, y + 22, "elsewhere:", "dim"))
            y += 36
    drawn.append(text(_LEFT - 6, y + 4, f"{seen.block[1]:#x}", "mono dim", "end"))
    return Steps(Figure("The map of a thread, low addresses first", _WIDTH, y + 12, "".join(drawn)), steps, about)
