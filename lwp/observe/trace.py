"""A recorded trace as data: when each thread ran, wanted the GIL or waited, for what, and which thread let it go on.

`read` makes a Timeline of a file of records (records.py), as `lwp run --trace` has it written, also of one whose
program was killed.  All times are nanoseconds on the monotonic clock.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, TypeVar

from ..reading.files import short
from ..reading.lines import called_at
from ..reading.names import made_place
from .recording import record, stop
from .records import AWAKE, Blocked, Kind, Life, Record, Records
from .timeline import Arrow, Count, Span, State, Timeline, Track

__all__ = ["Arrow", "Count", "Span", "State", "Timeline", "Track", "read", "record", "stop"]

T = TypeVar("T")
_when: Callable[[Any], int] = itemgetter(0)  # of an effect and the like
_begin: Callable[[Span], int] = attrgetter("begin")

# ns, track, and the ticket below which a queue's sleepers may go on, or the text that says why
_Effect = tuple[int, int, int]
_Look = tuple[int, str, int]  # ns, at what, ns between two rounds

_HAVE_GIL = {Kind.RUNS, Kind.BLOCKED, Kind.JOINS, Kind.AWAITS, Kind.LEAVES}  # when they are recorded
_STATES = {
    Kind.BORN: State.STARTING,
    Kind.THERE: State.OUTSIDE,
    Kind.WANTS_GIL: State.WANTS_GIL,
    Kind.RUNS: State.OUTSIDE,
    Kind.BLOCKED: State.BLOCKED,
    Kind.JOINS: State.BLOCKED,
    Kind.AWAITS: State.BLOCKED,
    Kind.LEAVES: State.ENDING,
}
_EFFECTS = {Kind.BORN, Kind.STARTS, Kind.GRANTS, Kind.RELEASES, Kind.ENDS, Kind.CANCELS}
_OUTCOMES = {
    0: "woken",
    errno.ETIMEDOUT: "timed out",
    errno.EINTR: "interrupted by a signal",
    errno.ECANCELED: "cancelled",
    errno.EAGAIN: "broken off to look for signals",
}
_CANCELLED = "cancelled: "
OBJECT_HEAD = 16  # a primitive's lock or queue comes right behind PyObject_HEAD
_BREAK = 100_000  # ns: a wait that goes on this soon after an interruption, such as a signal, is one wait


class Reader:
    """Puts the records together."""

    def __init__(self, records: Records, since: int | None = None) -> None:
        self.file = records
        self.timeline = records.timeline
        self.since = since if since is None or since >= 0 else records.end_of_record + since
        self.waits: list[Blocked] = []
        self.unheard: list[Blocked] = []
        self.awake: list[Span] = []  # OUTSIDE, in which the thread has not slept
        self.gil: list[tuple[int, int]] = []  # when each track had the GIL
        self.looks: dict[int, list[_Look]] = defaultdict(list)  # by track
        self.tracks: dict[int, list[_Effect]] = defaultdict(list)  # by thread pointer: since when, and the track
        # by key: the name since when; "" from when it is another thing's key
        self.names: dict[int, list[tuple[int, str]]] = defaultdict(list)
        # effects on other threads, by kind and by the address that they share
        self.effects: dict[int, dict[int, list[_Effect]]] = {kind: defaultdict(list) for kind in _EFFECTS}
        self.births: list[tuple[int, int, int]] = []  # pointer, when, track: whose starter is not known yet

    def read(self) -> Timeline:
        timeline = self.timeline
        lives = self.take()
        timeline.tracks = _oldest_first(lives)
        if not timeline.finished:
            timeline.end = self.file.end_of_record
        for life in lives:
            track = life.track
            if not track.ended and not life.elsewhere:
                # of a thread made by another library all we know is its last record
                track.end = max(track.end, timeline.end)
            if track.spans and not track.spans[-1].end:
                track.spans[-1].end = track.end
        self.settle(timeline.end)
        if self.since is not None:
            timeline.cut(self.since, timeline.end)
        return timeline

    def take(self) -> list[Life]:
        """Makes spans of the new records; the threads that have some."""
        lives = []
        for life, records in self.file.take(self.since or 0):
            self.timeline.records += len(records)
            kinds = {record[1] & ~AWAKE for record in records}
            if kinds <= {Kind.COUNTS, Kind.SEEN}:
                self.take_samples(records)
                continue
            self.follow(life, records)
            if life.track.name or not kinds <= {Kind.NAMED, Kind.WANTS_GIL, Kind.RUNS}:  # a thread of the program's
                if not life.known:
                    life.known = True
                    life.there = records[0][1] == Kind.THERE
                    life.elsewhere = life.track.whole and records[0][1] not in (Kind.BORN, Kind.THERE)
                    self.tracks[life.track.pointer].append((life.track.begin, life.track.number, 0))
                lives.append(life)
        return lives

    def settle(self, until: int) -> None:
        """Finds out what one thread's records say of another's spans, of those that have ended until then."""
        for number, looks in self.looks.items():
            if looks and number in self.file.lives:
                self.place_looks(self.file.lives[number], looks, until)
        self.find_running(until)
        for by_key in (*self.effects.values(), self.tracks):
            for effects in by_key.values():
                effects.sort()
        for names in self.names.values():
            names.sort()
        self.find_starters(until)
        self.find_causes(until)
        ended, self.unheard = _parted(self.unheard, lambda wait: wait.span.end <= until)
        for wait in ended:
            wait.span.what = self.awaited(wait)

    def take_samples(self, records: list[Record]) -> None:
        for ns, kind, _, site, a, b in records:
            if kind == Kind.COUNTS:
                self.timeline.counts.append(Count(ns, a, b))
            elif kind == Kind.SEEN:
                self.looks[a].append((ns, self.file.text(site), b))

    def place_looks(self, life: Life, looks: list[_Look], until: int) -> None:
        """Takes a call that was seen twice in a row as going on in between, and half a round before and after."""
        spans, seen = life.track.spans, life.track.seen
        count = bisect_right(looks, until, key=_when)
        for ns, what, period in looks[:count]:
            at = bisect_right(spans, ns, key=_begin) - 1
            span = spans[at] if at >= 0 else None
            # without `what` the thread was on a processor, or ready for one
            if not what or not span or span.state is not State.OUTSIDE or 0 < span.end <= ns:
                life.look = None
                continue
            end = min(ns + period // 2, span.end) if span.end else ns
            if life.look and life.look.what == what and life.look.begin >= span.begin:
                life.look.end = end
            else:
                begin = max(ns - period // 2, seen[-1].end if seen else 0, span.begin)
                seen.append(look := Span(State.SEEN, begin, end, what))
                life.look = look
        del looks[:count]

    def follow(self, life: Life, records: list[Record]) -> None:
        """Finds the track's spans; the last one has no end yet."""
        track, wait = life.track, life.wait
        for ns, noted, what, site, a, b in records:
            kind = noted & ~AWAKE
            if kind in _EFFECTS:
                self.effects[kind][a].append((ns, track.number, site if kind == Kind.CANCELS else b & 0xFFFFFFFF))
            if kind == Kind.BORN:
                self.births.append((a, ns, track.number))
            if kind == Kind.UNHEARD:
                self.unheard.append(self.blocked(track, State.UNHEARD, (ns, Kind.BLOCKED, what, site, a, b)))
                track.marks.append(self.unheard[-1].span)
            if kind == Kind.NAMED:
                self.names[a].append((ns, self.file.text(site)))
            if kind == Kind.GROUP:
                track.group = track.group or self.file.text(site)
            elif kind == Kind.CANCELLED and wait and wait.span.outcome == _OUTCOMES[errno.ECANCELED]:
                wait.span.outcome, wait.why = _CANCELLED + self.file.text(site), site
            if kind in _HAVE_GIL:
                self.gil.append((ns, track.number))
            if kind == Kind.PLACED:
                track.placement = self.file.text(site)
            if kind != Kind.ENDS and kind not in _STATES:
                continue
            if kind == Kind.RUNS and track.spans and track.spans[-1].state is State.OUTSIDE:
                continue  # the thread that has begun the recording: it ran before
            if track.spans and not track.ended:
                last = track.spans[-1]
                last.end = ns
                if noted & AWAKE and last.state is State.OUTSIDE:
                    self.awake.append(last)
                if last.state is State.BLOCKED and kind == Kind.WANTS_GIL:
                    last.outcome = _OUTCOMES.get(a) or os.strerror(a)
            if kind == Kind.ENDS:
                track.end, track.ended = ns, True
                continue
            state = _STATES[Kind(kind)]
            if state is State.BLOCKED and track.spans and track.spans[-1].begin == ns:
                track.spans.pop()  # what TRACE_THERE begins is this wait
            if state is not State.BLOCKED:
                track.spans.append(Span(state, ns, 0))
            elif wait and wait.kind == kind and wait.key == a and self.goes_on(track.spans, wait.span):
                wait.ticket = b & 0xFFFFFFFF
                life.settled = min(life.settled, len(track.spans) - 1)
                if not wait.open:
                    wait.open = True
                    self.waits.append(wait)
            else:
                wait = life.wait = self.blocked(track, State.BLOCKED, (ns, kind, what, site, a, b))
                track.spans.append(wait.span)
                self.waits.append(wait)

    def blocked(self, track: Track, state: State, record: Record) -> Blocked:
        ns, kind, what, site, a, b = record
        line, end = self.file.text(site), ns if state is State.UNHEARD else 0
        span = Span(state, ns, end, made=made_place(self.file.text(b >> 32)), site=short(line))
        type = self.file.text(what) or "primitive"
        return Blocked(track.number, span, kind, a, b & 0xFFFFFFFF, type, line)

    def find_running(self, until: int) -> None:
        """A thread that has not slept has kept the GIL, unless C code gave the GIL up to compute and another thread had
        it."""
        self.gil.sort()
        ended, self.awake = _parted(self.awake, lambda span: span.end <= until)
        for span in ended:
            first = bisect_right(self.gil, (span.begin, 1 << 32))
            after = bisect_left(self.gil, (span.end, 0))
            if first >= after:
                span.state = State.RUNNING

    @staticmethod
    def goes_on(spans: list[Span], blocked: Span) -> bool:
        """Whether the wait was only interrupted to look for signals; if so, the two spans become one again."""
        broken = (
            len(spans) > 2
            and spans[-3] is blocked
            and blocked.outcome not in ("", "woken", "ended")
            and not blocked.outcome.startswith(_CANCELLED)
        )
        sure = blocked.outcome == _OUTCOMES[errno.EAGAIN]
        if not broken or not (sure or spans[-1].end - blocked.end <= _BREAK):
            return False
        del spans[-2:]
        blocked.end, blocked.outcome = 0, ""
        return True

    def latest(self, kind: Kind, key: int, since: int, until: int) -> _Effect | None:
        return self.latest_of(self.effects[kind].get(key, []), since, until)

    @staticmethod
    def latest_of(effects: list[_Effect], since: int, until: int) -> _Effect | None:
        at = bisect_right(effects, until, key=_when)
        return effects[at - 1] if at and effects[at - 1][0] >= since else None

    def find_starters(self, until: int) -> None:
        births, self.births = _parted(self.births, lambda birth: birth[1] <= until)
        for pointer, then, track in births:
            if cause := self.latest(Kind.STARTS, pointer, 0, then):
                self.timeline.arrows.append(Arrow("starts", cause[1], cause[0], track, then))

    def find_causes(self, until: int) -> None:
        ended, self.waits = _parted(self.waits, lambda wait: 0 < wait.span.end <= until)
        for wait in ended:
            span, wait.open = wait.span, False
            span.what = self.awaited(wait)
            if wait.why:
                track = self.file.lives[wait.track].track
                self.find_canceller(wait, track.pointer, track.begin)
            if wait.kind == Kind.BLOCKED and not wait.key:
                cause = None
                span.outcome = "ended" if span.outcome == "woken" else span.outcome
            elif wait.kind == Kind.BLOCKED:
                cause = self.granted(wait) or self.latest(Kind.RELEASES, wait.key, span.begin, span.end)
            elif wait.kind == Kind.JOINS:
                cause = self.latest(Kind.ENDS, wait.key, span.begin, span.end)
            else:
                cause = self.latest(Kind.BORN, wait.key, span.begin, span.end)
            if cause and span.outcome == "woken":
                span.woken_by = cause[1]
                why = {Kind.BLOCKED: "wakes", Kind.JOINS: "ends"}.get(Kind(wait.kind))
                if why:
                    self.timeline.arrows.append(Arrow(why, cause[1], cause[0], wait.track, span.end))

    def awaited(self, wait: Blocked) -> str:
        """What it waits for, in words."""
        begin, end = wait.span.begin, wait.span.end or wait.span.begin
        if wait.kind != Kind.BLOCKED:
            which = self.latest_of(self.tracks.get(wait.key, []), 0, end)
            life = self.file.lives.get(which[1]) if which else None
            verb = "end" if wait.kind == Kind.JOINS else "begin"
            return f"{verb} of thread {(life.track.name or life.track.tid) if life else '?'}"
        if not wait.key:
            return wait.type
        made = wait.span.made.partition(" in ")[0]
        unnamed = f"made at {made}" if made else f"at {wait.key - OBJECT_HEAD:#x}"
        return f"{wait.type} {self.name_of(wait.key, begin) or called_at(wait.line) or unnamed}"

    def forget(self, before: int) -> None:
        """Drops effects and names that came before; of those that a later wait may need, the last one stays."""
        del self.gil[: max(0, bisect_left(self.gil, (before, 0)) - 1)]
        for kind, by_key in self.effects.items():
            last = kind in (Kind.BORN, Kind.STARTS)
            for key, effects in list(by_key.items()):
                del effects[: max(0, bisect_left(effects, before, key=_when) - last)]
                if not effects:
                    del by_key[key]
        for births in self.tracks.values():
            del births[: max(0, bisect_left(births, before, key=_when) - 1)]
        for names in self.names.values():
            del names[: max(0, bisect_left(names, before, key=_when) - 2)]

    def name_of(self, key: int, ns: int) -> str:
        """What the program calls the primitive that had this key at that time.  The name was recorded later."""
        if not (names := self.names.get(key)):
            return ""
        at = bisect_right(names, ns, key=_when)
        first = next((place + 1 for place in reversed(range(at)) if not names[place][1]), 0)
        after = next((place for place in range(at, len(names)) if not names[place][1]), len(names))
        return next((name for _, name in names[first:after]), "")

    def find_canceller(self, wait: Blocked, pointer: int, since: int) -> None:
        """Finds the last cancellation with that reason before the wait's end; it may have come before the wait."""
        effects = self.effects[Kind.CANCELS].get(pointer, ())
        for at, track, why in reversed(effects[: bisect_right(effects, wait.span.end, key=_when)]):
            if at >= since and why == wait.why:
                wait.span.woken_by = track
                self.timeline.arrows.append(Arrow("cancels", track, at, wait.track, wait.span.end))
                return

    def granted(self, wait: Blocked) -> _Effect | None:
        """The first grant that reached the wait's ticket; tickets are counted modulo 2**32."""
        grants = self.effects[Kind.GRANTS].get(wait.key, [])
        for at in range(bisect_left(grants, wait.span.begin, key=_when), len(grants)):
            if grants[at][0] > wait.span.end:
                return None
            if 0 < (grants[at][2] - wait.ticket) & 0xFFFFFFFF < 1 << 31:
                return grants[at]
        return None


def _parted(things: list[T], chosen: Callable[[T], bool]) -> tuple[list[T], list[T]]:
    """Those that are chosen, and the others."""
    parts: tuple[list[T], list[T]] = [], []
    for thing in things:
        parts[not chosen(thing)].append(thing)
    return parts


def _oldest_first(lives: list[Life]) -> list[Track]:
    """Threads that the recording found there have their numbers in the order of glibc's lists, the newest first."""
    found = max((life.track.number for life in lives if life.there), default=0)
    there = [life.track for life in lives if life.track.number <= found]
    return [*reversed(there), *(life.track for life in lives if life.track.number > found)]


def read(path: str | os.PathLike[str], since: int | None = None) -> Timeline:
    """The trace in a file of records.

    since: only what comes from that time on, in ns on the monotonic clock, or, if negative, before the end; what began
    earlier is cut.  None: all.
    From a damaged or truncated file it makes what could be read; Timeline.damage says where the first damage is.
    OSError: it can't be read.  ValueError: it is something else, or was recorded by another version.
    """
    return Reader(Records(Path(path)), since).read()
