"""The report of a find, on one screen."""

from __future__ import annotations

import itertools
import textwrap

from ...reading.files import name_of_file
from ..results import Outcome, Result
from ..run.plans import Ending
from ..search.tried import counted
from .events import CAUGHT, DATA, RAISE, Event, Line, Thing
from .story import Story
from .told import BETWEEN, Told
from .words import deviation, doing, joined, stacks

_WIDTH = 100
_HEIGHT = 40
_SHORTEST = 16  # the length that a line of source is cut to, at least
_ENOUGH = 24  # that which leaves room for its function
_LONG_TOKEN = 90
_MOST_WAITS = 8
_DEEPEST = 32  # columns, when names do not stand above them
_LONGEST_NAME = 36  # of a thread
_NEAR, _NEAR_MINOR = 6, 3  # lines that are further from what matters are left out
_MOST_CAUGHT = 3  # exceptions for which lines are kept
_SWITCH = "━━▶"

FAR = 1_000_000  #: added to the distance of a line that is too far from what matters


def report(told: Told, story: Story, result: Result) -> str:
    head = _headline(told)
    if told.waits:
        things = [wait.event.thing for wait in story.all_waits if wait.event.thing is not None]
        head += ["", *_waits(told), *(_cut(f"  {text}") for text in made(things)[:3])]
    foot = ["", *_traceback(told), *closing(result)]
    room = _HEIGHT - len(head) - len(foot) - 1
    if told.why:
        head += ["", *_why(told)]
    return "\n".join(line.rstrip() for line in [*head, "", *_Schedule(story).fitting(room), *foot])


def _cut(text: str, width: int = _WIDTH) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _headline(told: Told) -> list[str]:
    if told.where and len(told.what) + len(told.where) + 1 > _WIDTH:
        return [_cut(told.what), f"  {told.where}"]
    return [_cut(f"{told.what} {told.where}".rstrip())]


# ---- who waits -------------------------------------------------------------------------------------------------------


def _waits(told: Told) -> list[str]:
    waits = told.waits[:_MOST_WAITS]
    names = min(max(len(name) for name, _ in waits), _LONGEST_NAME)
    lines = []
    for name, text in waits:
        begin = f"  {_cut(name, names):{names}}  "
        lines += textwrap.wrap(text, _WIDTH, initial_indent=begin, subsequent_indent=" " * len(begin))
    left = len(told.waits) - len(waits)
    return [*lines, *[f"  ... and {left} more threads wait"] * (left > 0)]


def made(things: list[Thing]) -> list[str]:
    """Where things were made, as far as that is known."""
    places: dict[str, list[str]] = {}
    for thing in dict.fromkeys(things):
        if thing.made:
            places.setdefault(thing.made, []).append(thing.name)
    return [
        f"{joined(names if len(names) <= 4 else [*names[:3], f'{len(names) - 3} more'])} "
        f"{'was' if len(names) == 1 else 'were'} made at {place}"
        for place, names in places.items()
    ]


# ---- why -------------------------------------------------------------------------------------------------------------

_LEAST = (10, 7, 14, 12, 14, 10)  # the widths that its columns keep


def _why(told: Told) -> list[str]:
    rows = [fact[: len(_LEAST) + 1] for fact in told.why]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sum(widths) + 2 * len(widths) > _WIDTH and widths[-1] == len(BETWEEN):
        widths[-1] = max(len(fact.note) for fact in told.why if fact.note != BETWEEN)  # the rows' order says it, too
    while sum(widths) + 2 * len(widths) > _WIDTH:
        spare = [width - least for width, least in zip(widths[:-1], _LEAST, strict=True)]
        widths[spare.index(max(spare))] -= 1
    lines = ["Why"]
    for (thread, *middle, place, function, note), fact in zip(rows, told.why, strict=True):
        # The end tells one thread of a pool from another, and has the line.
        cells = [_cut_begin(thread, widths[0]), *map(_cut, middle, widths[1:4]), _cut_begin(place, widths[4])]
        cells += [_cut(function, widths[5]), note if len(note) <= widths[6] else ""]
        lines.append("".join(f"  {cell:{width}}" for cell, width in zip(cells, widths, strict=True) if width))
        if fact.called_by:
            lines.append(_cut(f"{'':{widths[0] + widths[1] + 6}}called by {fact.called_by}"))
    return [*lines, *(_cut(f"  {text}") for text in told.claims)]


def _cut_begin(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[1 - width :]}"


# ---- the schedule ----------------------------------------------------------------------------------------------------


class _Schedule:
    """A column for each thread, lines of source in it from top to bottom."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._lines, self._repeated = story.lines()
        every = [*self._lines, *self._repeated]
        files = {line.place.file for line in every if line.place is not None}
        self._file = name_of_file(files.pop()).rpartition("/")[2] if len(files) == 1 else ""
        self._gutter = max([len(self._file), *(len(self._where(line)) for line in every)], default=0)
        self._lanes = {thread: lane for lane, thread in enumerate(sorted({line.thread for line in every}))}
        self._functions: dict[int, str] = {}  #: of each thread's last row
        self._name_lanes()

    def _name(self, thread: int) -> str:
        """Of tasks there are many, and a row says in which function they are."""
        has_tasks = any(loop >= 0 for loop in self._story.tasks)
        return self._story.short_name(thread) if has_tasks else self._story.name(thread)

    def _name_lanes(self) -> None:
        """Names stand above their columns if there is room, otherwise before what a thread does."""
        longest = max((len(self._name(thread)) for thread in self._lanes), default=0)
        apart = max(len(self._lanes) - 1, 1)
        room = (_WIDTH - self._gutter - 2 - 40) // apart
        self._named_above = room >= min(longest + 2, 14)
        if self._named_above:
            self._space = min(room, longest + 2)
        else:
            self._space = 8

    def _indent(self, thread: int) -> int:
        lane = self._lanes[thread]
        most = 8 * (len(self._lanes) - 1)
        return lane * self._space if self._named_above or most <= _DEEPEST else lane * 8 * _DEEPEST // most

    def _where(self, line: Line) -> str:
        if line.place is None:
            return ""
        return str(line.place.line) if self._file else line.place.short

    def fitting(self, height: int) -> list[str]:
        head = self._header()
        tail = self._tail()
        lines = _with_before(self._lines)
        heights = [1 + len(self._switch(line)) for line in self._lines]
        kept = chosen(heights, rated(self._story, self._lines), height - len(head) - len(tail))
        out = list(head)
        for is_kept, group in itertools.groupby(range(len(lines)), lambda number: number in kept):
            numbers = list(group)
            if is_kept:
                for before, line in lines[numbers[0] : numbers[-1] + 1]:
                    out += [*self._switch(line), self._row(line, before)]
            else:
                out.append(f"{'':{self._gutter}}  {left_out([self._lines[number] for number in numbers])}")
        return out + tail

    def _header(self) -> list[str]:
        if not self._named_above:
            return [self._file] if self._file else []
        names = [self._name(thread) for thread in self._lanes]
        short = [_cut(name, self._space - 1) for name in names]
        if len(set(short)) < len(short):
            short = [name if len(name) < self._space else f"…{name[2 - self._space :]}" for name in names]
        return [f"{self._file:>{self._gutter}}  {''.join(f'{name:{self._space}}' for name in short)}"]

    def _switch(self, line: Line) -> list[str]:
        event = line.events[0]
        if event.instead_of is None:
            return []
        lines = [_cut(f"{_SWITCH} {deviation(self._story, event, _WIDTH - len(_SWITCH) - 1)}")]
        if where := stacks(self._story, event):
            lines.append(_cut(f"{'':{len(_SWITCH)}} {where}"))
        return lines

    def _row(self, line: Line, before: Line | None, bar: str = " ") -> str:
        name = ""
        if not self._named_above and (before is None or before.thread != line.thread):
            name = f"{self._name(line.thread)}: "
        begin = f"{self._where(line):>{self._gutter}} {bar}{'':{self._indent(line.thread)}}{name}"
        text = line.place.text if line.place is not None else ""
        if line.resumed:
            text = f"… {text}"
        said = notes_of(self._story, line)
        if not text:
            return _cut(f"{begin}({said or 'goes on'})")
        room = _WIDTH - len(begin) - 4
        if len(text) + len(said) > room:
            text = text.partition("  # ")[0]
        least = len(text) if any(event.access for event in line.events) else _SHORTEST  # Why names the data
        if min(len(text), least) + len(said) > room:
            said = notes_of(self._story, line, brief=True)
        if function := self._new_function(line):
            longer = f"{said}, in {function}" if said else f"in {function}"
            is_cut = len(text) + len(said) > room
            said = longer if (min(len(text), _ENOUGH) if is_cut else len(text)) + len(longer) <= room else said
        text = _cut(text, max(_WIDTH - len(begin) - (len(said) + 4 if said else 0), _SHORTEST))
        return _cut(f"{begin}{text}  · {said}" if said else f"{begin}{text}")

    def _new_function(self, line: Line) -> str:
        """The function, if the thread's row before was in another one."""
        function = line.place.function if line.place is not None else ""
        before = self._functions.get(line.thread, "")
        self._functions[line.thread] = function
        same = function in ("", before) or self._name(line.thread).endswith(f" ({function})")
        return "" if same or function.startswith("<") else f"{function}()"

    def _tail(self) -> list[str]:
        """What a livelock repeats."""
        if self._repeated and self._story.cycle is not None:
            lines = [f"{'':{self._gutter}} ╭─ without end; {self._story.cycle.times:,} times so far"]
            for before, line in _with_before(self._repeated):
                lines += [*self._switch(line), self._row(line, before, "│")]
            return [*lines, f"{'':{self._gutter}} ╰─"]
        return self._own_cycles() if self._story.ending == Ending.LIMIT else []

    def _own_cycles(self) -> list[str]:
        out = []
        for thread in self._lanes:
            if found := self._story.cycle_of(thread):
                cycle, events = found
                places = [event.place for event in events if event.place is not None]
                lines = list(dict.fromkeys((place.short, place.text) for place in places))
                out.append(f"{self._name(thread)} repeats, {cycle.times:,} times:")
                out += [_cut(f"    {where}  {text}") for where, text in lines[:6]]
                if len(lines) > 6:
                    out.append(f"    ... {len(lines) - 6} more lines")
        return out[:18]


def _with_before(lines: list[Line]) -> list[tuple[Line | None, Line]]:
    return list(zip([None, *lines], lines, strict=False))


def rated(story: Story, lines: list[Line]) -> list[int]:
    """How far each line is from a line that matters: a switch, the last of a waiting thread, the failure."""
    matter = {number for number, line in enumerate(lines) if line.events[0].instead_of is not None}
    matter |= {number - 1 for number in matter if number}
    since = {wait.holder.since for wait in story.waits if wait.holder is not None}
    caught = [event for line in lines for event in line.events if event.kind == CAUGHT and is_told(story, event)]
    caught = caught[-_MOST_CAUGHT:]
    last: dict[int, int] = {}
    for number, line in enumerate(lines):
        if any(event in since or event.kind in (RAISE, DATA) or event in caught for event in line.events):
            matter.add(number)
        if line.events[-1].waits and line.thread in story.next:
            last[line.thread] = number
    ring = {wait.thread for wait in story.ring}
    matter |= {number for thread, number in last.items() if thread in ring or not ring}
    matter.add(len(lines) - 1)
    distances = _distances(matter, len(lines))
    return [
        distance if distance <= (_NEAR_MINOR if line.is_minor else _NEAR) else distance + FAR
        for distance, line in zip(distances, lines, strict=True)
    ]


def is_told(story: Story, event: Event) -> bool:
    """Whether an exception was caught by the program, or raised again elsewhere."""
    raised = event.raised
    return raised is not None and (raised is story.first_raised or ":" in raised.caught)


def _distances(places: set[int], count: int) -> list[int]:
    """How far each number is from the nearest of the places."""
    found = [count] * count
    for order in (range(count), reversed(range(count))):
        distance = count
        for number in order:
            distance = 0 if number in places else distance + 1
            found[number] = min(found[number], distance)
    return found


def chosen(heights: list[int], ratings: list[int], room: int) -> set[int]:
    """Which rows to show, the best rated first, so that with the gaps they fit."""
    count = len(heights)
    order = sorted(range(count), key=lambda row: (ratings[row], min(row, count - row)))
    shown: set[int] = set()
    best: set[int] = set()
    used = gaps = 0
    for row in order:
        used += heights[row]
        if used > room or ratings[row] >= FAR:
            break
        before, after = row == 0 or row - 1 in shown, row == count - 1 or row + 1 in shown
        gaps += (not before) + (not after) - 1 if shown else (not before) + (not after)
        shown.add(row)
        if used + gaps <= room:
            best = set(shown)
    # A gap of one row would take as much room as the row.
    alone = {row for row in range(1, count - 1) if row - 1 in best and row + 1 in best and heights[row] == 1}
    return best | alone


def left_out(lines: list[Line]) -> str:
    steps = sum(line.steps for line in lines)
    return f"... {counted(steps, 'step')}" if steps else f"... {len(lines):,} more"


def notes_of(story: Story, line: Line, brief: bool = False) -> str:
    said = list(dict.fromkeys(word for event in line.events if (word := doing(story, event, brief))))
    if len(said) > 1 and said[-1] == "ends":
        said[-1] = "then ends"
    return ", ".join(said if len(said) <= 4 else [*said[:2], "...", said[-1]])


# ---- the end ---------------------------------------------------------------------------------------------------------


def _traceback(told: Told) -> list[str]:
    lines = []
    for title, calls in told.calls:
        shown = calls if len(calls) <= 4 else [*calls[:1], *calls[-3:]]
        width = max(len(place) for place, _, _ in shown)
        rows = [_cut(f"  {place:{width}}  {function}: {text}") for place, function, text in shown]
        if len(calls) > 4:
            rows.insert(1, f"  ... {len(calls) - 4} more calls")
        lines += [f"{title}:", *rows]
    return [*lines, *(_cut(f"  {text}") for text in told.causes), ""] if lines else []


def realism(result: Result) -> str:
    """On which CPython the schedule can come."""
    if result.outcome is Outcome.FOUND and not result.deviations and result.other_order is None:
        return "fails in the plain order too: no race" if result._passes == [] else "fails in the first order tried"
    gil = "free-threaded only" if result.free_threaded_only else "possible under the GIL"
    if result.other_order is None:
        return gil
    order = "needs another order than asyncio's" if result.other_order else "possible in asyncio's order"
    if result._has_threads:
        return f"{gil}, {order}"
    varied = result.outcome is Outcome.FOUND and result.deviations
    return f"{order} if its files and timers come so" if varied else order


def closing(result: Result) -> list[str]:
    runs = f"after {counted(result.runs, 'run')}, {result.seconds:.2g} s"
    what = "FOUND" if result.outcome is Outcome.FOUND else f"{result.outcome.value.upper()} found"
    lines = [
        f"{what} by {result.found_by} {runs}; {realism(result)}; replays {result.replays}/{result.replayed}.",
        *(_cut(line) for line in result._passes or ()),
        f"Name {result.name}",
    ]
    if len(result.token or "") <= _LONG_TOKEN or not result.command:  # a longer token stands in the command alone
        lines.append(f"Token {result.token}")
    if result.command:
        lines.append(f"  {result.command}")
    return lines
