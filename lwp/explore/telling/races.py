"""Pairs of uses of data that no primitive orders, from the runs of an exploration.

Nothing in the program decides which use comes first: a pair is listed even if the runs have shown only one order of it.
A use HAPPENS BEFORE a use of another thread if operations of primitives lead from the one to the other: the release of
a lock and a later acquire of it, a start, an end and a join, a set and a wait.  Vector clocks say so (Lamport, Time,
Clocks, and the Ordering of Events, CACM 1978; Mattern 1989).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ... import native
from ..run.plans import THREAD, Kind, Plan, Step, by_deviations
from ..search.tried import counted
from .accesses import Access, conflict
from .words import short

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
        self._tasks = native.explore_tasks()
        self._starts = (thread for thread, loop in enumerate(self._tasks) if loop < 0 and thread > 0)
        self._turns: defaultdict[int, _Clock] = defaultdict(dict)  # of each loop's thread
        self.clocks: defaultdict[int, _Clock] = defaultdict(dict)  #: of each thread
        self._objects: defaultdict[int, _Clock] = defaultdict(dict)
        self._held: defaultdict[int, set[int]] = defaultdict(set)  # locks, by thread: a wait gives them back

    def take(self, step: Step) -> None:
        thread, thing = step.chosen, step.object
        clock = self.clocks[thread]
        if step.kind == Kind.JOIN and thing >= THREAD:
            _learn(clock, self.clocks[thing - THREAD])
        self._take_lock(step.kind, thread, thing, clock)
        if step.kind == Kind.START and (started := next(self._starts, None)) is not None:
            _learn(self.clocks[started], clock)
        self._take_turn(step.kind, thread, clock)
        clock[thread] = clock.get(thread, 0) + 1

    def _take_turn(self, kind: int, thread: int, clock: _Clock) -> None:
        """The tasks of a loop are ordered by their turns. That a task begins is known by what was done before, because
        the task was made there."""
        is_task = self._tasks[thread] >= 0
        turns = self._turns[self._tasks[thread] if is_task else thread]
        if kind == Kind.TURN or (kind == Kind.BEGIN and is_task):
            _learn(clock, turns)
        if is_task or thread in self._tasks:
            _learn(turns, {**clock, thread: clock.get(thread, 0) + 1})

    def _take_lock(self, kind: int, thread: int, thing: int, clock: _Clock) -> None:
        if kind in _LEARNS:
            _learn(clock, self._objects[thing])
        if kind in (Kind.WAIT, Kind.WAKE):
            for lock in self._held[thread]:
                _learn(self._objects[lock], clock)
                _learn(clock, self._objects[lock])
        if kind in (Kind.ACQUIRE, Kind.TRY):
            self._held[thread].add(thing)
        if kind in _TELLS:
            _learn(self._objects[thing], clock)
            self._held[thread].discard(thing)


def unordered(steps: list[Step], accesses: list[Access]) -> Iterator[tuple[Access, Access]]:
    """Two threads' uses of the same data in the last run, one of them not only a read, which no primitive orders.

    Of each thread the last read and the last write of each part of an owner count.
    """
    order, done = _Order(), 0
    seen: defaultdict[object, dict[tuple[object, int, bool], tuple[Access, int]]] = defaultdict(dict)  # a step's number
    for access in accesses:
        for step in steps[done : access.step]:
            order.take(step)
        done = max(done, access.step)
        if access.call:
            continue
        clock, before = order.clocks[access.thread], seen[access.owner]
        for other, time in before.values():
            if conflict(other, access) and clock.get(other.thread, 0) <= time:
                yield other, access
        before[access.key, access.thread, access.writes] = access, clock.get(access.thread, 0) - 1


def _side(access: Access) -> tuple[str, int, str]:
    return access.place.file, access.place.line, access.verb


@dataclass
class Race:
    """Two uses, in the order in which they were seen first."""

    first: Access
    second: Access
    other: tuple[Plan, list[Step]] | None = None  #: a run in which the second use came first

    def is_turned(self, one: Access, other: Access) -> bool:
        """Whether these are the two uses in the other order; threads that do the same differ by their numbers."""
        is_same = _side(self.first) == _side(self.second) and one.thread != self.second.thread
        return (_side(one), _side(other)) == (_side(self.second), _side(self.first)) and not is_same


class Races:
    """Gathers the races of runs."""

    def __init__(self) -> None:
        self._found: dict[frozenset[object], Race] = {}

    def add(self, plan: Plan, steps: list[Step], accesses: list[Access]) -> None:
        """Of the last run, which the plan makes."""
        for pair in unordered(steps, accesses):
            race = self._found.setdefault(frozenset(map(_side, pair)), Race(*pair))
            if race.other is None and race.is_turned(*pair):
                race.other = by_deviations(plan, steps), steps

    def told(self, token_of: Callable[[Race], str]) -> tuple[list[dict[str, Any]], str]:
        """As facts, and as text. token_of: of a run with the other order, if one is known."""
        facts: list[dict[str, Any]] = []
        lines = []
        for race in islice(self._found.values(), _MOST):
            token = token_of(race) if race.other is not None else None
            uses = [
                {"access": one.verb, "name": race.first.name, "place": short(one.place), "function": one.place.function}
                for one in (race.first, race.second)
            ]
            facts.append({"uses": uses, "token": token})
            first, second = (f"{use['access']} at {use['place']} in {use['function']}()" for use in uses)
            lines.append(f"  {race.first.name}: {first}, {second}")
            lines.append(f"    the other order: {token}" if token else "    the other order was not seen")
        head = f"{counted(len(facts), 'pair')} of uses of data that no primitive orders"
        return facts, "\n".join([f"Races: {head if facts else 'none in the runs that were made'}", *lines])
