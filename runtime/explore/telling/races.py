"""Pairs of uses of data that no primitive orders, from the runs of an exploration.

A use HAPPENS BEFORE a use of another thread if operations of primitives lead from the one to the other: the release of
a lock and a later acquire of it, a start, an end and a join, a set and a wait.  Vector clocks say so.  A pair of which
neither happens before the other is a race: which is first is chance, though the one order may never have been seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..run.plans import THREAD, Kind, Plan, Step, by_deviations
from .accesses import Access
from .words import short

__all__ = ["Race", "Races"]

_MOST = 20  # pairs

#: Steps by which a thread learns what others have done before, and by which it makes known what it has done.  A wait
#: is both: a barrier's waiters learn of each other.
_LEARNS = frozenset((Kind.ACQUIRE, Kind.TRY, Kind.READ, Kind.WAIT, Kind.WAKE))
_TELLS = frozenset((Kind.RELEASE, Kind.SIGNAL, Kind.WAIT))

_Clock = dict[int, int]  # by thread


def _learn(clock: _Clock, other: _Clock) -> None:
    for thread, time in other.items():
        clock[thread] = max(clock.get(thread, 0), time)


class _Order:
    """What happens before what, step by step."""

    def __init__(self) -> None:
        self.clocks: defaultdict[int, _Clock] = defaultdict(dict)  #: of each thread
        self._objects: defaultdict[int, _Clock] = defaultdict(dict)
        self._held: defaultdict[int, set[int]] = defaultdict(set)  # locks, by thread: a wait gives them back
        self._started = 0

    def take(self, step: Step) -> None:
        thread, thing = step.chosen, step.object
        clock = self.clocks[thread]
        if step.kind == Kind.JOIN and thing >= THREAD:
            _learn(clock, self.clocks[thing - THREAD])
        if step.kind in _LEARNS:
            _learn(clock, self._objects[thing])
        if step.kind in (Kind.WAIT, Kind.WAKE):
            for lock in self._held[thread]:
                _learn(self._objects[lock], clock)
                _learn(clock, self._objects[lock])
        if step.kind in (Kind.ACQUIRE, Kind.TRY):
            self._held[thread].add(thing)
        if step.kind in _TELLS:
            _learn(self._objects[thing], clock)
            self._held[thread].discard(thing)
        if step.kind == Kind.START:
            self._started += 1
            _learn(self.clocks[self._started], clock)
        clock[thread] = clock.get(thread, 0) + 1

    def is_known(self, thread: int, other: int, time: int) -> bool:
        """Whether what the other thread did at that time happens before what the thread does now."""
        return self.clocks[thread].get(other, 0) > time


def _unordered(steps: list[Step], accesses: list[Access]) -> Iterator[tuple[Access, Access]]:
    """In the order of the run."""
    order = _Order()
    done = 0
    #: The last read and the last write of each thread, for each part of an owner, with the time on its clock.
    seen: defaultdict[object, dict[tuple[object, int, bool], tuple[Access, int]]] = defaultdict(dict)
    for access in accesses:
        while done < min(access.step, len(steps)):
            order.take(steps[done])
            done += 1
        if access.call:
            continue
        before = seen[access.owner]
        for (key, thread, writes), (other, time) in before.items():
            if (
                thread != access.thread
                and (writes or access.writes)
                and (key == access.key or key is None or access.key is None)
                and not order.is_known(access.thread, thread, time)
            ):
                yield other, access
        now = order.clocks[access.thread].get(access.thread, 0)
        before[access.key, access.thread, access.writes] = access, now - 1


_Side = tuple[str, int, str]


def _side(access: Access) -> _Side:
    return access.place.file, access.place.line, access.verb


@dataclass
class Race:
    """Two uses, in the order in which they were seen first."""

    first: Access
    second: Access
    other: tuple[Plan, list[Step]] | None = None  #: a run in which the second use came first

    @property
    def sides(self) -> frozenset[_Side]:
        return frozenset((_side(self.first), _side(self.second)))

    def is_turned(self, one: Access, other: Access) -> bool:
        """Whether these are the two uses in the other order; threads that do the same differ by their numbers."""
        if len(self.sides) == 2:
            return (_side(one), _side(other)) == (_side(self.second), _side(self.first))
        return self.sides == {_side(one), _side(other)} and one.thread == self.second.thread

    def turns(self, steps: list[Step], accesses: list[Access]) -> bool:
        """Whether a run has the other order."""
        return any(self.is_turned(one, other) for one, other in _unordered(steps, accesses))


class Races:
    """Gathers the races of runs."""

    def __init__(self) -> None:
        self._found: dict[frozenset[_Side], Race] = {}

    def add(self, plan: Plan, steps: list[Step], accesses: list[Access]) -> None:
        for one, other in _unordered(steps, accesses):
            race = Race(one, other)
            if race.sides in self._found or len(self._found) < _MOST:
                race = self._found.setdefault(race.sides, race)
                if race.other is None and race.is_turned(one, other):
                    race.other = by_deviations(plan, steps), steps

    def told(self, token_of: Callable[[Race], str]) -> tuple[list[dict[str, Any]], str]:
        """As facts, and as text. token_of: of a run with the other order, if one is known."""
        facts: list[dict[str, Any]] = []
        lines = []
        for race in self._found.values():
            token = token_of(race) if race.other is not None else ""
            uses = [
                {"access": one.verb, "name": race.first.name, "place": short(one.place), "function": one.place.function}
                for one in (race.first, race.second)
            ]
            facts.append({"uses": uses, "token": token or None})
            first, second = (f"{use['access']} at {use['place']} in {use['function']}()" for use in uses)
            lines.append(f"  {race.first.name}: {first}, {second}")
            lines.append(f"    the other order: {token}" if token else "    the other order was not seen")
        count = len(facts)
        head = f"Races: {count} pair{'s' * (count > 1)} of uses of data that no primitive orders"
        return facts, "\n".join([head, *lines]) if facts else "Races: none in the runs that were made"
