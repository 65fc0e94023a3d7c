"""The report of a find, on one screen."""

from __future__ import annotations

import itertools

from .plans import Ending
from .results import Result
from .source import name_of_file
from .story import RAISE, Event, Line, Story, lines_of
from .words import at, deviation, doing, headline, waiting

__all__ = ["closing", "report"]

_WIDTH = 100
_HEIGHT = 40
_MOST_WAITS = 8
_SWITCH = "━━▶"


def report(story: Story, result: Result) -> str:
    head = [_cut(headline(story))]
    if summary := _waits(story):
        head += ["", *summary]
    foot = ["", *_traceback(story), *closing(result)]
    room = _HEIGHT - len(head) - len(foot) - 1
    return "\n".join(line.rstrip() for line in [*head, "", *_Schedule(story).fitting(room), *foot])


def _cut(text: str, width: int = _WIDTH) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


# ---- who waits -------------------------------------------------------------------------------------------------------


def _waits(story: Story) -> list[str]:
    waits = [*story.ring, *(wait for wait in story.waits if wait not in story.ring)]
    names = max((len(story.name(wait.thread)) for wait in waits[:_MOST_WAITS]), default=0)
    lines = [_cut(f"  {story.name(wait.thread):{names}}  {waiting(story, wait)}") for wait in waits[:_MOST_WAITS]]
    if len(waits) > _MOST_WAITS:
        lines.append(f"  ... and {len(waits) - _MOST_WAITS} more threads wait")
    things = {wait.event.thing: None for wait in waits if wait.event.thing is not None}
    made = [f"{thing.name} was made at {thing.made}" for thing in things if thing.made]
    if made:
        lines.append(_cut(f"  {'; '.join(made[:4])}"))
    return lines


# ---- the schedule ----------------------------------------------------------------------------------------------------


class _Schedule:
    """A column for each thread, lines of source in it from top to bottom."""

    def __init__(self, story: Story) -> None:
        self._story = story
        repeated = story.repeated
        told = story.told
        if repeated:
            told = [event for event in told if event.at < repeated[0].at]
        self._lines = lines_of(told)
        self._repeated = lines_of([event for event in story.told if _is_within(event, repeated)]) if repeated else []
        every = [*self._lines, *self._repeated]
        files = {line.place.file for line in every if line.place is not None}
        self._file = name_of_file(files.pop()) if len(files) == 1 else ""
        self._short = self._file.rpartition("/")[2]
        self._gutter = max([len(self._short), *(len(self._where(line)) for line in every)], default=0)
        self._lanes = {thread: lane for lane, thread in enumerate(sorted({line.thread for line in every}))}
        longest = max((len(story.name(thread)) for thread in self._lanes), default=0)
        room = _WIDTH - self._gutter - 2
        self._wide = bool(self._lanes) and (longest + 2) * (len(self._lanes) - 1) + 40 <= room
        space = (room - 44 - (0 if self._wide else longest)) // max(len(self._lanes) - 1, 1)
        self._space = max(longest + 2, 0) if self._wide else max(min(space, 8), 1)

    def _where(self, line: Line) -> str:
        if line.place is None:
            return ""
        return str(line.place.line) if self._file else f"{line.place.file.rpartition('/')[2]}:{line.place.line}"

    def fitting(self, height: int) -> list[str]:
        rows = [[*self._switch(line), self._row(line, before)] for before, line in _with_before(self._lines)]
        tail = [[*self._switch(line), self._row(line, before)] for before, line in _with_before(self._repeated)]
        after = []
        if self._repeated and self._story.cycle is not None:
            after = [f"{'':{self._gutter}}  ╭─ from here on, {self._story.cycle.times:,} times:"]
            after += [text for row in tail for text in row]
        elif self._story.ending == Ending.LIMIT:
            after = self._own_cycles()
        head = self._header()
        kept = _kept([len(row) for row in rows], self._distances(), height - len(head) - len(after))
        out = list(head)
        for is_kept, group in itertools.groupby(range(len(rows)), lambda number: number in kept):
            numbers = list(group)
            if is_kept:
                out += [text for number in numbers for text in rows[number]]
            else:
                steps = sum(self._lines[number].steps for number in numbers)
                out.append(f"{'':{self._gutter}}  ... {steps:,} step{'' if steps == 1 else 's'}")
        return out + after

    def _header(self) -> list[str]:
        if not self._wide:
            return [f"{self._short}"] if self._file else []
        names = "".join(f"{self._story.name(thread):{self._space}}" for thread in self._lanes)
        return [f"{self._short:>{self._gutter}}  {names}"]

    def _switch(self, line: Line) -> list[str]:
        event = line.events[0]
        if event.instead_of is None:
            return []
        return [_cut(f"{_SWITCH} {deviation(self._story, event)}")]

    def _row(self, line: Line, before: Line | None) -> str:
        name = ""
        if not self._wide and (before is None or before.thread != line.thread):
            name = f"{self._story.name(line.thread)}: "
        begin = f"{self._where(line):>{self._gutter}}  {'':{self._lanes[line.thread] * self._space}}{name}"
        text = line.place.text if line.place is not None else ""
        if line.resumed:
            text = f"… {text}"
        said = notes_of(self._story, line)
        if not text:
            return _cut(f"{begin}({said})")
        if not said:
            return _cut(f"{begin}{text}")
        room = _WIDTH - len(begin) - len(said) - 4
        return _cut(f"{begin}{_cut(text, max(room, 24))}  · {said}")

    def _distances(self) -> list[int]:
        """How far each line is from one that matters: a switch, the last of a thread that waits, the failure."""
        lines = self._lines
        matter = {number for number, line in enumerate(lines) if line.events[0].instead_of is not None}
        matter |= {number - 1 for number in matter if number}
        since = {wait.holder.since for wait in self._story.waits if wait.holder is not None}
        last: dict[int, int] = {}
        for number, line in enumerate(lines):
            if any(event in since or event.kind == RAISE for event in line.events):
                matter.add(number)
            if line.events[-1].waits and line.thread in self._story.next:
                last[line.thread] = number
        ring = {wait.thread for wait in self._story.ring}
        matter |= {number for thread, number in last.items() if thread in ring or not ring}
        matter.add(len(lines) - 1)
        places = sorted(matter)
        return [min(abs(number - place) for place in places) for number in range(len(lines))]

    def _own_cycles(self) -> list[str]:
        out = []
        for thread in self._lanes:
            if found := self._story.cycle_of(thread):
                cycle, events = found
                places = [event.place for event in events if event.place is not None]
                lines = list(dict.fromkeys((at(place), place.text) for place in places))
                out.append(f"{self._story.name(thread)} repeats, {cycle.times:,} times:")
                out += [_cut(f"    {where}  {text}") for where, text in lines[:6]]
                if len(lines) > 6:
                    out.append(f"    ... {len(lines) - 6} more lines")
        return out[:20]


def _is_within(event: Event, repeated: list[Event]) -> bool:
    return repeated[0].at <= event.at <= repeated[-1].at


def _with_before(lines: list[Line]) -> list[tuple[Line | None, Line]]:
    return list(zip([None, *lines], lines, strict=False))


def _kept(heights: list[int], distances: list[int], room: int) -> set[int]:
    """Which rows to show, the nearest to what matters first, so that with the gaps they fit."""
    order = sorted(range(len(heights)), key=lambda number: (distances[number], min(number, len(heights) - number)))
    if sum(heights) <= room:
        return set(order)
    kept: set[int] = set()
    best: set[int] = set()
    for number in order:
        kept.add(number)
        if sum(heights[one] for one in kept) > room:
            break
        gaps = sum(one not in kept and (one == 0 or one - 1 in kept) for one in range(len(heights)))
        if sum(heights[one] for one in kept) + gaps <= room:
            best = set(kept)
    return best


def notes_of(story: Story, line: Line) -> str:
    said = [word for event in line.events if (word := doing(story, event))]
    short = list(dict.fromkeys(said))
    return ", ".join(short if len(short) <= 4 else [*short[:2], "...", short[-1]])


# ---- the end ---------------------------------------------------------------------------------------------------------


def _traceback(story: Story) -> list[str]:
    places = story.traceback()
    if story.ending != Ending.FAILED or not places:
        return []
    shown = places if len(places) <= 4 else [*places[:1], *places[-3:]]
    width = max(len(at(place)) for place in shown)
    lines = [_cut(f"  {at(place):{width}}  {place.function}(): {place.text}") for place in shown]
    if len(places) > 4:
        lines.insert(1, f"  ... {len(places) - 4} more calls")
    return [f"Traceback of {story.name(story.run.error_thread)}:", *lines, ""]


def closing(result: Result) -> list[str]:
    only = "free-threaded only" if result.free_threaded_only else "possible under the GIL"
    runs = f"after {result.runs:,} run{'' if result.runs == 1 else 's'}, {result.seconds:.2g} s"
    found = f"FOUND by {result.found_by} {runs}; {only}; replays {result.replays}/10."
    lines = [found, f"Token {result.token}"]
    if result.command:
        lines.append(f"  {result.command}")
    return lines
