"""What a timeline's page and the live page share: which thread is drawn in which row, colours and words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field

from ...trace import Span, State, Timeline, Track

#: The colour-blind tell them apart too.
COLOURS = {
    State.RUNNING: "#0072b2",
    State.OUTSIDE: "#a8d4f0",
    State.WANTS_GIL: "#f0c442",
    State.BLOCKED: "#d55e00",
    State.STARTING: "#565a66",
    State.ENDING: "#565a66",
    State.SEEN: "#878d96",
    State.UNHEARD: "#cc79a7",
}
#: What is said of each colour.
LEGEND = (
    ("running Python: has the GIL", COLOURS[State.RUNNING]),
    ("in no wait that lwp sees: runs, in a system call, or wants the GIL", COLOURS[State.OUTSIDE]),
    ("seen: in a system call, or waiting for the GIL", COLOURS[State.SEEN]),
    ("waiting for the GIL", COLOURS[State.WANTS_GIL]),
    ("blocked: in a lock, join or the like", COLOURS[State.BLOCKED]),
    ("starting, ending", COLOURS[State.STARTING]),
    ("a notify() that met no waiter", COLOURS[State.UNHEARD]),
)
ARROWS = {"wakes": "#777777", "cancels": "#d55e00", "starts": "#5b8fc7", "ends": "#aaaaaa"}

_SHORT = 0.1  # of the whole time: threads that live for less share rows
_MANY = 40  # more threads than this that do the same are one row
_SIMPLE = 20  # spans; a thread that has more is not merged


@dataclass
class Row:
    """Threads that are drawn in a line, one after the other."""

    tracks: list[Track]
    shared: bool  #: by threads that live for a short time
    alike: list[Track] = field(default_factory=list)  #: threads that do what the only track does, and are not drawn


def _numberless(name: str) -> str:
    """The same for threads whose names differ in numbers only."""
    return re.sub(r"\d+", "#", name)


def _does(track: Track, least: int) -> Hashable:
    """What it does for that long, and whose name it has."""
    if len(track.spans) > _SIMPLE or track.marks:
        return track.number
    long = (span for span in track.spans if span.end - span.begin >= least)
    return _numberless(thread_name(track)), track.group, tuple((span.state, span.what, span.site) for span in long)


def rows(timeline: Timeline) -> list[Row]:
    """Puts each thread in the first row that is free when it begins; a thread that lives long has a row alone.

    Many that do the same all the time are one row, in which the first is drawn.
    """
    length = max(timeline.end - timeline.begin, 1)
    gap = length // 1000  # so that a thread can be told from the next
    found: list[Row] = []
    crowds: dict[Hashable, list[Track]] = defaultdict(list)
    for track in sorted(timeline.tracks, key=lambda track: track.begin):
        crowds[_does(track, length // 20)].append(track)
    drawn = []
    for first, *others in crowds.values():
        if len(others) >= _MANY and first.end - first.begin >= length * _SHORT:
            found.append(Row([first], False, others))
        else:
            drawn += [first, *others]
    for track in sorted(drawn, key=lambda track: track.begin):
        shared = track.end - track.begin < length * _SHORT
        free = (row for row in found if row.shared and row.tracks[-1].end + gap <= track.begin) if shared else iter(())
        if row := next(free, None):
            row.tracks.append(track)
        else:
            found.append(Row([track], shared))
    return sorted(found, key=lambda row: row.tracks[0].begin)


def thread_name(track: Track) -> str:
    """What the thread is called."""
    return track.name or f"thread {track.tid}"


def thread_names(timeline: Timeline) -> dict[int, str]:
    """The name of each track, by number."""
    return {track.number: thread_name(track) for track in timeline.tracks}


def about(track: Track, names: dict[int, str]) -> str:
    """Which thread it is."""
    group = f"of {track.group}" if track.group else ""
    return ", ".join(filter(None, [names[track.number], f"tid {track.tid}", group, track.placement]))


def label(row: Row, names: dict[int, str]) -> str:
    """The thread's name; for several threads what most are called, without their numbers, and how many there are."""
    if row.alike:
        return f"{1 + len(row.alike):,} threads: {_numberless(names[row.tracks[0].number])}"
    if len(row.tracks) == 1:
        return names[row.tracks[0].number]
    called = Counter(re.sub(r"^Thread-\d+ \((.*)\)$", r"\1", names[track.number]) for track in row.tracks)
    most, count = called.most_common(1)[0]
    if count == len(row.tracks):
        return f"{count} threads: {most}"
    return f"{len(row.tracks)} threads: {most} …" if count > 1 else f"{len(row.tracks)} threads"


def cut(text: str, length: int) -> str:
    """At most this number of its letters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def says(span: Span) -> str:
    """What is known of a span, to be read behind the name of its thread; not by which thread it was ended."""
    if span.state is State.SEEN:
        return f": seen: {span.what}"
    if span.state is State.UNHEARD:
        return f": notify() of {span.what} met no waiter, {span.site}"
    if span.state is not State.BLOCKED:
        return f": {span.state.value}"
    parts = [f" blocked: {span.what}", span.outcome]
    parts += [f"made at {span.made}" if span.made else "", f"waits at {span.site}" if span.site else ""]
    return "\n".join(filter(None, parts))
