"""The lines of the source that a story's events are told by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...observe.source import Place
from ..run.plans import Kind
from .events import RAISE, Event

__all__ = ["Line", "lines_of"]


@dataclass(eq=False)
class Line:
    """Events of one thread, one after the other, at one line of the source."""

    events: list[Event]
    resumed: bool = False  #: the thread was in the middle of it
    stopped: bool = False  #: it is left in the middle of it

    @property
    def thread(self) -> int:
        return self.events[0].thread

    @property
    def place(self) -> Place | None:
        return self.events[0].place

    @property
    def is_minor(self) -> bool:
        """Whether it synchronises nothing, or is a library's."""
        is_library = self.place is not None and not self.place.of_program
        return is_library or all(event.kind == Kind.CODE for event in self.events)

    @property
    def steps(self) -> int:
        return sum(not event.waits for event in self.events)


def lines_of(events: list[Event]) -> list[Line]:
    """Events as lines of the source: a new one where another thread goes on, or the same at another line."""
    found: list[Line] = []
    last: dict[int, Line] = {}
    for event in _without_begins(events):
        now = found[-1] if found else None
        before = last.get(event.thread)
        if now is not None and now is before and event.instead_of is None and _continues(now, event):
            now.events.append(event)
            continue
        line = Line([event])
        if before is not None and before is not now and _is_further(before.events[-1], event):
            line.resumed = before.stopped = True
        found.append(line)
        last[event.thread] = line
    return found


def _without_begins(events: list[Event]) -> Iterator[Event]:
    """That a thread begins is told only if it then does not go on."""
    begun: Event | None = None
    for event in events:
        if begun is not None:
            if event.thread != begun.thread:
                yield begun
            elif begun.instead_of is not None:
                event.instead_of, event.after = begun.instead_of, begun.after
                event.pending, event.keeping = begun.pending, begun.keeping
        begun = event if event.kind == Kind.BEGIN else None
        if begun is None:
            yield event
    if begun is not None:
        yield begun


def _continues(line: Line, event: Event) -> bool:
    before = line.events[-1]
    if event.kind == Kind.END:
        return not before.waits
    return not before.waits and before.kind != Kind.BEGIN and _is_same_line(before, event)


def _is_same_line(one: Event, other: Event) -> bool:
    a, b = one.place, other.place
    return a is not None and b is not None and (a.file, a.line) == (b.file, b.line)


def _is_further(one: Event, other: Event) -> bool:
    if one.place is None or other.place is None or other.kind in (Kind.END, Kind.WAKE):
        return False
    return _is_same_line(one, other) and (other.kind == RAISE or other.place.offset > one.place.offset)
