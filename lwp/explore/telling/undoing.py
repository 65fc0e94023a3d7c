"""Which data made a schedule fail: the order of two accesses that, undone alone, makes the test pass.

A deviation stops a thread and lets others go on: their BLOCK of steps.  The block is moved back in front of an access
of the stopped thread, which conflicts with one of the block, and then right behind that access.  If the test passes in
the first run and fails in the second, the order of this access and the block is the reason, because nothing else
differs.  In the same way the block is moved on behind accesses that the stopped thread was still to do.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..run.plans import Kind, Plan, Run, Step, Strikes
from .accesses import Access, Look, conflict

_MOST_TRIED = 24  # accesses in front of a switch, and behind it
_MOST_DEVIATIONS = 4
_MOST_PLACES = 8  # for a block that waits for locks
_MOST_RUNS = 200
_MOST_TURNS = 12  # of tasks
_TURNS = (Kind.BEGIN, Kind.TURN)


class Gap(NamedTuple):
    """A point that the plan's granularity lacks: before that look at that thread."""

    thread: int
    look: int


@dataclass(eq=False)
class Trial:
    """A run that was looked at."""

    plan: Plan
    run: Run
    steps: list[Step]
    accesses: list[Access]
    looks: Mapping[int, list[Look]]  #: at each thread
    fails: bool  #: in the way that is to be explained
    tasks: list[int]  #: of native.explore_tasks()

    @property
    def passes(self) -> bool:
        return not self.run.failed and not self.run.missed

    def behind(self, access: Access, last: int | None = None) -> _Position | None:
        """Right behind an access: before the next look at its thread that is not in calls of the same instruction, as
        of a key's `__hash__`; None: there was none up to that step."""
        if self.is_task(access.thread):
            turn = next((at for at in range(access.step, len(self.steps)) if self.steps[at].kind in _TURNS), None)
            return None if turn is None or (last is not None and turn > last) else (turn, None)
        looks, following = self.looks[access.thread], access.look + 1
        while following < len(looks) and looks[following].depth > looks[access.look].depth:
            following += 1
        if following == len(looks) or (last is not None and looks[following].step > last):
            return None
        return looks[following].step, Gap(access.thread, following)

    def before(self, access: Access) -> _Position:
        """Right before an access. A task is stopped before a turn only."""
        if not self.is_task(access.thread):
            return access.step, Gap(access.thread, access.look)
        turns = (at for at in range(access.step - 1, 0, -1) if self.steps[at].chosen == access.thread)
        return next((at for at in turns if self.steps[at].kind in _TURNS), 0), None

    def is_task(self, thread: int) -> bool:
        return thread < len(self.tasks) and self.tasks[thread] >= 0


@dataclass(eq=False)
class Reason:
    """Two accesses whose order made the test fail."""

    told: list[Access]  #: in the order of the run
    first: Access  #: with this one
    second: Access  #: before this one the test passes
    late: Access | None = None  #: the one of `told` that the failing run did not come to
    begins: bool = False  #: the stopped thread had not begun


#: A step, and the point that is to be there, if the plan has none.
_Position = tuple[int, Gap | None]

#: Runs a plan with that additional point, if one is given.
Attempt = Callable[[Plan, Gap | None], Trial]


class _Undoing:
    def __init__(self, found: Trial, attempt: Attempt, seconds: float, exact: bool) -> None:
        self.found = found
        self.exact = exact
        self._attempt = attempt
        self._until = time.monotonic() + seconds
        self._runs = _MOST_RUNS

    def run(self, plan: Plan, gap: Gap | None = None) -> Trial | None:
        """None: there is no time left."""
        self._runs -= 1
        if self._runs < 0 or time.monotonic() > self._until:
            return None
        if any(thread >= 0 for thread in self.found.tasks):  # undoes an order that asyncio always has, too
            plan = replace(plan, strikes=plan.strikes | Strikes.EARLY)
        return self._attempt(plan, gap)

    def decided(self, block: _Block, access: Access, places: Iterator[_Position]) -> Trial | None:
        """The run with the block at the first of the places where it does what conflicts with that access before the
        stopped thread goes on; None: there is no such place, or no time."""
        for to, gap in places:
            trial = self.moved(block, to, gap)
            if trial is None:
                return None
            same = [one for one in trial.accesses if one.look == access.look and one.thread == access.thread]
            for one in trial.accesses:
                if (
                    one.step > to
                    and any(conflict(one, other) for other in same)
                    and all(step.chosen != block.stopped for step in trial.steps[to : one.step])
                ):
                    return trial
        return None

    def places(self, trial: Trial, block: _Block, step: int, end: int, best: _Position | None) -> Iterator[_Position]:
        """Where the block may be put: the best, or where the stopped thread comes to a point, from that step to the
        end, because the block can't go on where it needs a lock that the stopped thread holds."""
        if best is not None:
            yield best
        way = range(step, min(end, len(trial.steps))) if end >= step else range(step - 1, max(end, -1), -1)
        points = (at for at in way if trial.steps[at].chosen == block.stopped and trial.steps[at].kind != Kind.RELEASE)
        for at in itertools.islice(points, 0 if self.exact else _MOST_PLACES):
            yield at, None

    def refutes(self, trial: Trial | None, best: _Position | None) -> bool:
        """Whether the trial with the block on the other side of an access does not show that it is the reason."""
        return not trial.fails if trial is not None else self.exact and best is not None

    def moved(self, block: _Block, to: int, gap: Gap | None) -> Trial | None:
        """The block is moved to that step, which is the additional point's."""
        if block.is_turn:
            order = [step.chosen for step in self.found.steps[: block.last]]
            moved = order[block.first :]
            del order[block.first :]
            order[to:to] = moved
            later = [one for one in self.found.plan.deviations if one[0] >= block.last]
            trial = self.run(replace(self.found.plan, deviations=(*enumerate(order), *later)))
            # Steps without a choice count as missed; decided() sees whether the order is as it was wanted.
            return trial and replace(trial, run=trial.run._replace(missed=0))
        kept, point = [], 0 if gap is None else 1
        for step, thread in self.found.plan.deviations:
            if step == block.first:
                continue
            if step < min(block.first, to):
                kept.append((step, thread))
            elif block.first < step <= block.last:
                kept.append((step - block.first + to, thread))
            elif to <= step < block.first:
                kept.append((step + block.last - block.first + point, thread))
            else:
                kept.append((step + point, thread))
        deviations = tuple(sorted({**dict(kept), to: block.thread}.items()))
        return self.run(replace(self.found.plan, deviations=deviations), gap)


@dataclass(eq=False)
class _Block:
    """What other threads did while one was stopped: the steps from the first to the last, excluded."""

    first: int
    last: int
    thread: int  #: that goes on
    stopped: int
    accesses: list[Access]
    begins: bool = False  #: the stopped thread had not begun
    is_turn: bool = False  #: it is a turn of a task, in the usual schedule perhaps

    def conflicting(self, access: Access) -> list[Access]:
        return [one for one in self.accesses if conflict(one, access)]


def _block_at(found: Trial, step: int, thread: int) -> _Block:
    stopped = found.steps[step].usual
    last = next((at for at in range(step + 1, len(found.steps)) if found.steps[at].chosen == stopped), len(found.steps))
    accesses = [one for one in found.accesses if step < one.step <= last and one.thread != stopped]
    begins = last < len(found.steps) and found.steps[last].kind == Kind.BEGIN
    return _Block(step, last, thread, stopped, accesses, begins)


def reasons(found: Trial, attempt: Attempt, seconds: float, exact: bool = False) -> list[Reason]:
    """For each deviation whose data tells why the test fails, in the order of the run.

    exact: a block is not moved past the taking of a lock together with an access, because locks may be the reason.
    """
    undoing = _Undoing(found, attempt, seconds, exact)
    switches = (one for one in found.plan.deviations if one[0] < len(found.steps))
    switches = (one for one in switches if found.steps[one[0]].kind != Kind.CANCEL)
    blocks = [_block_at(found, *one) for one in [*switches][-_MOST_DEVIATIONS:]]
    told = [reason for block in blocks if (reason := _reason(undoing, block))]
    begun = [reason for reason in told if not reason.begins]
    if begun:  # which thread begins first says little beside a switch in the middle of one
        told = begun
    if not told:
        tries = (_moved_back(undoing, block) for block in itertools.islice(_turns(found), _MOST_TURNS))
        told = [reason for reason in tries if reason is not None][:1]
    if not told and found.run.error is not None:
        told = [reason for reason in [_brought_in(undoing)] if reason is not None]
    return told


def _turns(found: Trial) -> Iterator[_Block]:
    """Turns of tasks in which they change what another task has used before, the last ones first. Such a turn needs
    no deviation to come between the turns of the other task."""
    for first in range(len(found.steps) - 1, 0, -1):
        thread, kind = found.steps[first].chosen, found.steps[first].kind
        if kind not in _TURNS or not found.is_task(thread):
            continue
        last = next((at for at in range(first + 1, len(found.steps)) if found.steps[at].kind in _TURNS), first + 1)
        mine = [one for one in found.accesses if first < one.step <= last and one.thread == thread]
        before = [one for one in found.accesses if one.step <= first and any(conflict(one, other) for other in mine)]
        for stopped in dict.fromkeys(one.thread for one in reversed(before)):
            if found.is_task(stopped) and found.tasks[stopped] == found.tasks[thread]:
                yield _Block(first, last, thread, stopped, mine, is_turn=True)


def _reason(undoing: _Undoing, block: _Block) -> Reason | None:
    """Data says more than calls of queues, events and the like, which are tried if there is no data."""
    data = replace(block, accesses=[one for one in block.accesses if not one.call])
    calls = replace(block, accesses=[one for one in block.accesses if one.call])
    tries = (way(undoing, part) for part in (data, calls) for way in (_moved_back, _moved_on))
    return next((reason for reason in tries if reason is not None), None)


def _moved_back(undoing: _Undoing, block: _Block) -> Reason | None:
    """The stopped thread has done something that must not come before the block."""
    found = undoing.found
    own = [one for one in found.accesses if one.thread == block.stopped and one.step <= block.first]
    candidates = [one for one in own if block.conflicting(one)][-_MOST_TRIED:]
    for access in reversed(candidates):
        trial = undoing.decided(block, access, undoing.places(found, block, access.step, -1, found.before(access)))
        if trial is None:
            return None
        if not trial.passes:
            continue
        best = found.behind(access, block.first)
        behind = undoing.decided(block, access, undoing.places(found, block, access.step, block.first, best))
        if undoing.refutes(behind, best):
            return None
        between = _told_of(block.conflicting(access))
        after = _next_of(found, block, between)
        return Reason([access, between, *after], between, access)
    return None


def _moved_on(undoing: _Undoing, block: _Block) -> Reason | None:
    """The stopped thread was still to do something that must come before the block."""
    deviations = tuple(one for one in undoing.found.plan.deviations if one[0] != block.first)
    without = undoing.run(replace(undoing.found.plan, deviations=deviations))
    if without is None or not without.passes:
        return None
    own = _from_the_switch_on([one for one in without.accesses if one.thread == block.stopped], block.first)
    later = [one for one in without.accesses if one.thread != block.stopped and one.step > block.first]
    candidates = [(one, against) for one in own if (against := _against(block, later, one))]
    for access, against in candidates[:_MOST_TRIED]:
        found = undoing.decided(block, access, _behind(undoing, without, block, access))
        if found is not None and not found.passes:
            continue
        best = without.before(access)
        places = undoing.places(without, block, access.step, block.first, best)
        if undoing.refutes(undoing.decided(block, access, places), best):
            return None
        happened = [one for one in undoing.found.accesses if one.step > block.last and one.is_at(access)]
        between = _told_of(against)
        after = happened[0] if happened else access
        between.owner.name = between.owner.name or after.owner.name
        return Reason([between, after], after, between, None if happened else after, block.begins)
    return None


def _brought_in(undoing: _Undoing) -> Reason | None:
    """The thread that failed has done something that must not come before what another thread was still to do."""
    found = undoing.found
    failed = found.run.error_thread
    own = [one for one in found.accesses if one.thread == failed]
    last = {one.look: one for one in own}  # of several accesses by an instruction one
    for access in list(reversed(last.values()))[:_MOST_TRIED]:
        for thread in range(found.run.threads):
            if thread == failed:
                continue
            block = _Block(len(found.steps), len(found.steps), thread, failed, [])
            trial = undoing.moved(block, *found.before(access))
            if trial is None:
                return None
            against = _in_front(trial, block, access)
            if not trial.passes or not against:
                continue
            best = found.behind(access)
            after = undoing.moved(block, *best) if best is not None else None
            if after is not None and not after.fails:
                return None
            late = _told_of(against)
            access.owner.name = access.owner.name or late.owner.name
            return Reason([access, late], late, access, late)
    return None


def _in_front(trial: Trial, block: _Block, access: Access) -> list[Access]:
    """What the block has done to the same data, in a run in which it comes before that access."""
    same = [one for one in trial.accesses if one.thread == access.thread and one.look == access.look]
    return [
        one
        for one in trial.accesses
        if same and access.step < one.step <= same[0].step and any(conflict(one, other) for other in same)
    ]


def _from_the_switch_on(own: list[Access], first: int) -> list[Access]:
    """A thread's accesses behind the switch, and the call in which it was stopped."""
    at = next((at for at, one in enumerate(own) if one.step > first), len(own))
    return own[at - 1 :] if at and own[at - 1].call else own[at:]


def _against(block: _Block, later: list[Access], access: Access) -> list[Access]:
    """The block's accesses that conflict with this access, by a run in which they come later."""
    return [
        mine
        for one in later
        if one.number > access.number and conflict(one, access)
        for mine in block.accesses
        if mine.is_at(one)
    ]


def _behind(undoing: _Undoing, trial: Trial, block: _Block, access: Access) -> Iterator[_Position]:
    """Where the block comes behind an access. A call is over when the thread is looked at again, or ends."""
    best = trial.behind(access)
    if not access.call:
        yield from undoing.places(trial, block, access.step, len(trial.steps), best)
    elif best is not None:
        yield best
    else:
        ends = (at for at, step in enumerate(trial.steps) if (step.chosen, step.kind) == (block.stopped, Kind.END))
        yield from ((at, None) for at in ends)


def _told_of(some: list[Access]) -> Access:
    """The access that says most: the last that writes, because the other thread comes back to what it has left."""
    return next((one for one in reversed(some) if one.writes), some[-1])


def _next_of(found: Trial, block: _Block, between: Access) -> list[Access]:
    """What the stopped thread then does to the same data; of a read and a write in one line the write."""
    later = [
        one
        for one in found.accesses
        if one.thread == block.stopped and one.step > block.last and conflict(one, between)
    ]
    for one in later[1:3]:
        if not later[0].writes and one.writes and (one.place.line, one.key) == (later[0].place.line, later[0].key):
            return [one]
    return later[:1]
