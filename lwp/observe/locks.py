"""Where threads wait, and which locks they hold for long: `lwp run --locks`, `lwp locks PID`.

lwp/native/python/observe/locks/contention.c counts; this module gives the rows names, and makes one of many.
"""

from __future__ import annotations

import re
import threading
import time
from _queue import SimpleQueue
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from .. import native
from ..core import printable
from ..reading.files import short
from ..reading.lines import awaited_as, called_at
from ..reading.names import Called, made
from ..reading.sites import note_makings
from ..reading.source import at, others_frames
from . import stock_queues
from .crowds import FEW
from .waits import kind_of_type, name_of

#: What another thread holds, or has not begun yet.  All other waits are for something to happen: threads that are idle
#: wait so too.
HELD = ("GIL", "lock", "rlock", "semaphore", "items")

_OBJECT, _MADE, _SITE, _ITEMS = range(4)  # enum delays_of
_BY_LINE = ("join", "wait", "call")  # kinds whose row is of a line


def begin(lasts: float = 0) -> None:
    """Counts from now on, and forgets what was counted before.  lasts: ends after so many seconds, about; 0: never.

    RuntimeError: it is being counted already.
    """
    note_makings()
    waited_for = {ident: thing for ident, _, thing, *_ in native.waits()}
    queues = [queue for _, queue in _idle(others_frames(), set())]
    native.contention_begin(SimpleQueue, waited_for, queues, lasts)


def end() -> None:
    """Counts no more.  facts() tells what was counted until the next begin()."""
    native.contention_end()


def forget() -> None:
    """Gives back what was counted, unless that goes on."""
    native.contention_forget()


# ---- rows ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Row:
    of: int
    address: int
    type: type
    site: int = 0
    objects: int = 1
    taken: int = 0
    count: int = 0  # of waits; times are ns
    waited: int = 0
    longest: int = 0
    now: int = 0
    most: int = 0
    wait_site: int = 0  # of the first
    histogram: Counter[int] = field(default_factory=Counter)
    holds: int = 0
    held: int = 0
    longest_hold: int = 0
    hold_site: int = 0
    unheard: int = 0  # notify()s that met no waiter
    unheard_site: int = 0  # of the last
    place: str = ""  #: where it was made, or where threads wait for it; "": not known
    called: str = ""  #: what a line that waits for it calls it
    joined: set[str] = field(default_factory=set)  #: the threads
    name: str = ""

    @classmethod
    def read(cls, row: Any) -> _Row:
        of, address, kind, site, objects, taken, (*waits, histogram), holds, unheard = row
        fields = (of, address, kind, site, objects or 1, taken, *waits, Counter(dict(histogram)), *holds, *unheard)
        found = cls(*fields)
        found.place = native.site_text(site) if of != _SITE else short(native.site_text(site))
        return found

    @property
    def kind(self) -> str:
        return "items" if self.of == _ITEMS else kind_of_type(self.type)

    @property
    def made(self) -> str:
        return made(self.place) if self.of != _SITE else ""

    def line(self) -> str:
        """What a line that waits for it calls it, or one that takes or notifies it."""
        sites = (self.hold_site, self.wait_site, self.unheard_site)
        return self.called or next(filter(None, (called_at(native.site_text(site)) for site in sites)), "")

    def wait_on(self, ns: int) -> None:
        """A thread is still waiting, for so long by now."""
        self.count += 1
        self.waited += ns
        self.longest = max(self.longest, ns)
        self.histogram[ns] += 1

    def add(self, other: _Row) -> None:
        self.objects += other.objects
        self.taken += other.taken
        self.count += other.count
        self.waited += other.waited
        self.longest = max(self.longest, other.longest)
        self.now += other.now
        self.most = max(self.most, other.most)
        self.wait_site = self.wait_site or other.wait_site
        self.histogram += other.histogram
        self.holds += other.holds
        self.held += other.held
        if other.longest_hold > self.longest_hold:
            self.longest_hold, self.hold_site = other.longest_hold, other.hold_site
        self.unheard += other.unheard
        self.unheard_site = other.unheard_site or self.unheard_site

    def told(self) -> dict[str, Any]:
        at_longest = short(native.site_text(self.hold_site)) if self.longest_hold else None
        return {
            "name": self.name,
            "kind": self.kind,
            "made": self.made.removeprefix("made at ") or None,
            "objects": self.objects,
            "taken": self.taken if self.kind in HELD else None,
            "waits": _waits(self.count, self.waited, self.longest, self.histogram, self.most, self.now),
            "holds": _holds(self.holds, self.held, self.longest_hold, at_longest),
            "unheard": {"count": self.unheard, "last": short(native.site_text(self.unheard_site))}
            if self.unheard
            else None,
        }


def _waits(count: int, ns: int, longest: int, histogram: Counter[int], most: int, now: int) -> dict[str, Any]:
    return {
        "count": count,
        "seconds": ns / 1e9,
        "longest": longest / 1e9,
        "p50": min(_quantile(histogram, 0.5), longest) / 1e9,
        "p99": min(_quantile(histogram, 0.99), longest) / 1e9,
        "most_at_once": most,
        "now": now,
    }


def _holds(count: int, ns: int, longest: int, since: str | None, **more: str) -> dict[str, Any] | None:
    times = {"count": count, "seconds": ns / 1e9, "longest": longest / 1e9, "longest_since": since}
    return times | more if count else None


def _quantile(histogram: Counter[int], q: float) -> int:
    rank, seen = int(q * (histogram.total() - 1)), 0
    for ns in sorted(histogram):
        seen += histogram[ns]
        if seen > rank:
            return ns
    return 0


def _wait_on(rows: list[_Row], begun: float) -> None:
    """Adds the waits that have not ended, also of threads that have waited all the time."""
    by_address = {row.address: row for row in rows if row.of == _OBJECT}
    by_line = {(row.type, row.place): row for row in rows if row.of == _SITE}
    still: Counter[_Row] = Counter()
    frames, now = others_frames(), time.monotonic()
    waits = [(ident, thing, since) for ident, _, thing, _, since, *_ in native.waits()]
    for ident, thing in _idle(frames, {ident for ident, *_ in waits}):
        waits.append((ident, thing, begun))  # it doesn't count what it waits, so it has waited all the time
    for ident, thing, since in waits:
        alone = kind_of_type(type(thing)) in _BY_LINE
        place = at(frames[ident]) if alone and ident in frames else native.made_at(thing)
        row = by_line.get((type(thing), place)) if alone else by_address.get(id(thing))
        if row is None:
            row = _Row(of=_SITE if alone else _OBJECT, address=id(thing), type=type(thing), place=place)
            rows.append(row)
            by_line[row.type, place] = by_address[id(thing)] = row
        if not alone:
            name = stock_queues.called if row.kind == "queue" else awaited_as
            row.called = row.called or name(thing, frames.get(ident))
        elif row.kind == "join":
            row.joined.add(name_of(thing.ident))
        row.wait_on(int((now - max(since, begun)) * 1e9))
        still[row] += 1
    for row, threads in still.items():
        row.now, row.most = threads, max(row.most, threads)


def _idle(frames: dict[int, FrameType], others: set[int]) -> Iterator[tuple[int, object]]:
    """The threads that have slept in a SimpleQueue's get() since before the beginning, and that queue."""
    for ident, tid in native.tids().items():
        if ident not in others and (idle := stock_queues.awaited(frames.get(ident), tid)):
            yield ident, idle.queue


_PLURALS = {"rlock": "RLocks", "items": "queues' items", "join": "joins", "work": "executors' queues"}


def _several(count: int, kind: str) -> str:
    plural = _PLURALS.get(kind, kind + ("es" if kind.endswith("s") else "s"))
    return f"{count:,} {plural if count > 1 else kind}"


def _name_one(row: _Row, name: str) -> None:
    if row.of == _SITE:
        whom = f" of {', '.join(sorted(row.joined))}" if 0 < len(row.joined) <= FEW else ""
        row.name = printable(f"{row.kind}{whom} at {row.place}")
    elif row.of == _ITEMS:
        row.name = f"items of {name or row.made or 'a queue'}"
    else:
        row.name = name or (f"{row.kind} {row.made}" if row.made else f"a {row.kind}")


def _grouped(rows: list[_Row]) -> list[_Row]:
    """More than FEW objects of one type that were made at one line become one row; where that is not known, those of
    one name."""
    waited_for = {row.address: row.called for row in rows if row.of == _OBJECT}
    waited_for |= stock_queues.called_by_pools(others_frames().values())
    for row in rows:
        if row.of == _ITEMS:
            row.called = waited_for.get(row.address, "")
    called = Called()
    names = {row: called.by_address(row.address, row.type, row.line) for row in rows}
    alike: dict[tuple[Any, ...], list[_Row]] = defaultdict(list)
    for row in rows:
        alike[row.of in (_SITE, _ITEMS) and row.of, row.type, row.place or names[row]].append(row)
    found = []
    for same in alike.values():
        first, *others = same
        if len(same) <= FEW and all(row.objects == 1 and row.of != _MADE for row in same):
            for row in same:
                _name_one(row, names[row])
            found += same
            continue
        for other in others:
            first.add(other)
        where = first.made or (f"called {names[first]}" if names[first] else "not known where made")
        first.name = f"{_several(first.objects, first.kind)} {where}"
        found.append(first)
    return found


# ---- facts -----------------------------------------------------------------------------------------------------------


def _gil(found: Any) -> dict[str, Any] | None:
    count, ns, longest, now, most, histogram, kept, kept_ns, kept_longest, keeper, name, line = found
    if not count and not now:
        return None
    return {
        "name": "the GIL",
        "kind": "GIL",
        "made": None,
        "objects": 1,
        "taken": None,
        "waits": _waits(count, ns, longest, Counter(dict(histogram)), most, now),
        "holds": _holds(
            kept, kept_ns, kept_longest, short(line) or None, longest_by=printable(name or name_of(keeper))
        ),
        "unheard": None,
    }


_LINE = re.compile(r"(.*):(\d+) in (.*)", re.DOTALL)


def _stacks(found: Iterable[Any], rows: list[_Row], names: dict[int, str]) -> list[dict[str, Any]]:
    """What was sampled, with the names of the rows that they belong to."""
    by_line = {(row.type, row.site): row for row in rows}
    told = []
    for of, address, kind, site, count, ns, lines in found:
        row = by_line.get((kind, site))
        name = names.get(address) or (row.name if row is not None else kind.__name__)
        frames = [match.groups() for line in lines if (match := _LINE.fullmatch(native.site_text(line)))]
        told.append(
            {
                "of": ("waits", "holds")[of],
                "name": name,
                "kind": row.kind if row is not None else kind.__name__,
                "count": round(count),
                "seconds": ns / 1e9,
                "lines": [{"file": file, "line": int(line), "function": function} for file, line, function in frames],
            }
        )
    return sorted(told, key=lambda stack: -stack["seconds"])


def facts() -> dict[str, Any]:
    """What was counted since begin(), as data for JSON; times are seconds.

    Its "locks" are in the order of the time for which threads have waited, what is HELD first.  Its "stacks" have the
    innermost line first.  Waits that have not ended count as far as they have gone.
    """
    counts, ns, found, stacks, gil, (crowded, lost, cut) = native.contention_read()
    rows = [_Row.read(row) for row in found]
    if counts:
        _wait_on(rows, time.monotonic() - ns / 1e9)
    grouped = _grouped(rows)
    by_address = {row.address: row.name for row in grouped if row.of == _OBJECT and row.objects == 1}
    locks = [row.told() for row in grouped if row.taken or row.count or row.unheard]
    if (the_gil := _gil(gil)) is not None:
        locks.append(the_gil)
    locks.sort(key=lambda lock: (lock["kind"] not in HELD, -lock["waits"]["seconds"], -(lock["taken"] or 0)))
    return {
        "seconds": ns / 1e9,
        "threads": threading.active_count(),
        "locks": locks,
        "stacks": _stacks(stacks, grouped, by_address),
        "left_out": {"objects_without_a_row": crowded, "stacks": lost, "stacks_cut": cut},
    }
