"""Which uses of the same data a run orders by its primitives, and which by chance.

A use HAPPENS BEFORE a use of another thread if operations of primitives lead from the one to the other: the release of
a lock and a later acquire of it, a start, an end and a join, a set and a wait.  Vector clocks say so (Lamport, Time,
Clocks, and the Ordering of Events, CACM 1978; Mattern 1989).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from ... import native
from ..run.plans import THREAD, Kind, Step
from .accesses import Access, conflict

#: Steps by which a thread learns what others have done before, and by which it makes known what it has done.  A wait
#: is both: a barrier's waiters learn of each other.
_LEARNS = frozenset((Kind.ACQUIRE, Kind.TRY, Kind.READ, Kind.WAIT, Kind.WAKE))
_TELLS = frozenset((Kind.RELEASE, Kind.SIGNAL, Kind.WAIT))

_Clock = dict[int, int]  # by thread


def _learn(clock: _Clock, other: _Clock) -> None:
    for thread, time in other.items():
        clock[thread] = max(clock.get(thread, 0), time)


class _Order:
    """What happens before what, step by step.

    by_locks: whether locks, events and queues count, or only starts, ends and joins, which no schedule turns round.
    """

    def __init__(self, by_locks: bool, tasks: list[int]) -> None:
        self._by_locks = by_locks
        self._tasks = tasks
        self._starts = (thread for thread, loop in enumerate(tasks) if loop < 0 and thread > 0)
        self._turns: defaultdict[int, _Clock] = defaultdict(dict)  # of each loop's thread
        self.clocks: defaultdict[int, _Clock] = defaultdict(dict)  #: of each thread
        self._objects: defaultdict[int, _Clock] = defaultdict(dict)
        self._held: defaultdict[int, set[int]] = defaultdict(set)  # locks, by thread: a wait gives them back

    def take(self, step: Step) -> None:
        thread, thing = step.chosen, step.object
        clock = self.clocks[thread]
        if step.kind == Kind.JOIN and thing >= THREAD:
            _learn(clock, self.clocks[thing - THREAD])
        if self._by_locks:
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
        if (kind == Kind.BEGIN and is_task) or (kind == Kind.TURN and self._by_locks):
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

    def is_known(self, thread: int, other: int, time: int) -> bool:
        """Whether what the other thread did at that time happens before what the thread does now."""
        return self.clocks[thread].get(other, 0) > time


class Conflict(NamedTuple):
    """Two threads' uses of the same data, one of them not only a read, in the order in which they were done."""

    first: Access
    second: Access
    is_race: bool  #: no primitive orders them


def conflicts(steps: list[Step], accesses: list[Access]) -> Iterator[Conflict]:
    """Those of the last run that could be done in the other order, in the order of the run.

    Of each thread the last read and the last write of each part of an owner count.
    """
    tasks = native.explore_tasks()
    order, forced = _Order(True, tasks), _Order(False, tasks)
    done = 0
    seen: defaultdict[object, dict[tuple[object, int, bool], tuple[Access, int]]] = defaultdict(dict)  # a step's number
    for access in accesses:
        while done < min(access.step, len(steps)):
            order.take(steps[done])
            forced.take(steps[done])
            done += 1
        if access.call:
            continue
        before = seen[access.owner]
        for other, time in before.values():
            if conflict(other, access) and not forced.is_known(access.thread, other.thread, time):
                yield Conflict(other, access, not order.is_known(access.thread, other.thread, time))
        now = order.clocks[access.thread].get(access.thread, 0)
        before[access.key, access.thread, access.writes] = access, now - 1
