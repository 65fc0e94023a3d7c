"""From a schedule that fails to the simplest that fails in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ..run.plans import AT_GIL, GRANULARITIES, OUT_OF_TURN, Kind, Plan, Step

_MOST_RUNS = 3000
_MOST_ALONE = 1000  #: runs with a single deviation


@dataclass(frozen=True)
class Schedule:
    """A plan that says which deviations to make, and the steps of its run."""

    plan: Plan
    steps: tuple[Step, ...]

    @cached_property
    def cost(self) -> tuple[int, int, int, int, int, bool, int]:
        """The lower, the simpler: few deviations, nothing that strikes, no switch that a GIL forbids, none in the
        middle of code."""
        grain = GRANULARITIES.index(self.plan.granularity)
        code = [step for step in self._put_off() if step.kind == Kind.CODE]
        forbidden = [step for step in code if not step.flags & AT_GIL]
        late = -sum(step for step, _ in self.plan.deviations)  # the later, the more is left to the default schedule
        plan = self.plan
        return len(plan.deviations), plan.strikes, len(forbidden) + self._turns(), len(code), grain, plan.after, late

    def _put_off(self) -> list[Step]:
        """For each deviation the step that it puts off, which is the next step of the thread that would have gone
        on."""
        wanted = {step: self.steps[step].usual for step, _ in self.plan.deviations}
        upcoming: dict[int, Step] = {}  # by thread, from the end on
        found = []
        for at in range(len(self.steps) - 1, -1, -1):
            upcoming[self.steps[at].chosen] = self.steps[at]
            if at in wanted and wanted[at] in upcoming:
                found.append(upcoming[wanted[at]])
        return found

    def _turns(self) -> int:
        """Steps that asyncio's order forbids."""
        return sum(bool(step.flags & OUT_OF_TURN) for step in self.steps)

    @property
    def needs_no_gil(self) -> bool:
        """Whether a switch is left that CPython with a GIL never makes."""
        return self.cost[2] > self._turns()

    @property
    def needs_other_order(self) -> bool:
        """Whether a loop of asyncio calls a handle before one that was ready earlier."""
        return self._turns() > 0

    def blocks(self) -> list[tuple[int, int]]:
        """The schedule as (thread, number of steps)."""
        found: list[tuple[int, int]] = []
        for step in self.steps:
            if found and found[-1][0] == step.chosen:
                found[-1] = (step.chosen, found[-1][1] + 1)
            else:
                found.append((step.chosen, 1))
        return found


#: Runs a plan: its schedule if it fails in the same way, otherwise None.
Try = Callable[[Plan], Schedule | None]


class _Shrinking:
    def __init__(self, schedule: Schedule, attempt: Try, seconds: float) -> None:
        self.now = schedule
        self._attempt = attempt
        self._left = _MOST_RUNS
        self._until = time.monotonic() + seconds
        self._tried = {schedule.plan}

    @property
    def over(self) -> bool:
        return self._left <= 0 or time.monotonic() > self._until

    def accepts(self, plan: Plan) -> bool:
        """Whether the plan fails too, and is simpler; then it is shrunk further."""
        if plan in self._tried or self.over:
            return False
        self._tried.add(plan)
        self._left -= 1
        found = self._attempt(plan)
        if found is None or found.cost >= self.now.cost:
            return False
        self.now = found
        return True

    def accepts_deviations(self, deviations: tuple[tuple[int, int], ...]) -> bool:
        return self.accepts(replace(self.now.plan, deviations=deviations))


def _drop(shrinking: _Shrinking) -> bool:
    """Leaves deviations out: halves first, then fewer, down to single ones."""
    progress = False
    size = max(len(shrinking.now.plan.deviations) // 2, 1)
    while size:
        first = len(shrinking.now.plan.deviations) - size
        while first >= 0 and not shrinking.over:
            before = shrinking.now.plan.deviations
            progress |= shrinking.accepts_deviations(before[:first] + before[first + size :])
            first = min(first - size, len(shrinking.now.plan.deviations) - size)
        size //= 2
    return progress


def _coarsen(shrinking: _Shrinking) -> bool:
    """Keeps only switches before operations of primitives, because such a token replays on every Python."""
    now = shrinking.now
    if now.plan.granularity == "sync" and not now.plan.after:
        return False
    order = [step.chosen for step in now.steps if step.kind != Kind.CODE]
    return shrinking.accepts(replace(now.plan, granularity="sync", after=False, deviations=tuple(enumerate(order))))


def _alone(shrinking: _Shrinking) -> bool:
    """One deviation in place of several, anywhere."""
    now = shrinking.now
    threads = {step.chosen for step in now.steps}
    if len(now.plan.deviations) < 2 or len(now.steps) * len(threads) > _MOST_ALONE:
        return False
    places = ((step, thread) for step in range(len(now.steps) - 1, -1, -1) for thread in threads)
    return any(shrinking.accepts_deviations((place,)) for place in places)


def _cut(shrinking: _Shrinking) -> None:
    """Leaves out all deviations from some step on: a livelock, once it is reached, needs none."""
    least, most = 0, len(shrinking.now.plan.deviations)
    while least < most and not shrinking.over:
        middle = (least + most) // 2
        if shrinking.accepts_deviations(shrinking.now.plan.deviations[:middle]):
            most = len(shrinking.now.plan.deviations)
        else:
            least = middle + 1


def _merges(blocks: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Of three blocks A B A it makes A A B and B A A, from the end on, because it is not known which gains most."""
    for at in range(len(blocks) - 2, -1, -1):
        thread = blocks[at][0]
        later = next((i for i in range(at + 2, len(blocks)) if blocks[i][0] == thread), None)
        if later is None:
            continue
        between = blocks[at + 1 : later]
        yield [*blocks[:at], blocks[at], blocks[later], *between, *blocks[later + 1 :]]
        yield [*blocks[:at], *between, blocks[at], blocks[later], *blocks[later + 1 :]]


def _merge(shrinking: _Shrinking) -> bool:
    """Has a thread do in one turn what it did in two."""
    again = True
    while again and not shrinking.over:
        again = False
        for blocks in _merges(shrinking.now.blocks()):
            order = [thread for thread, count in blocks for _ in range(count)]
            if shrinking.accepts_deviations(tuple(enumerate(order))):
                again = True
                break
            if shrinking.over:
                break
    return again


def _places(schedule: Schedule, at: int) -> Iterator[int]:
    """Where else a deviation could be: later ones first, then the points of primitives before it."""
    deviations = schedule.plan.deviations
    step = deviations[at][0]
    before = deviations[at - 1][0] if at else -1
    after = deviations[at + 1][0] if at + 1 < len(deviations) else min(step + 40, len(schedule.steps) + 1)
    room = after - step - 1
    while room > 0:
        yield step + room
        room //= 2
    for place in range(step - 1, max(before, step - 40), -1):
        if schedule.steps[place].kind != Kind.CODE or schedule.steps[place].flags & AT_GIL:
            yield place


def _move(shrinking: _Shrinking) -> bool:
    """Moves single deviations."""
    progress = False
    for at in range(len(shrinking.now.plan.deviations) - 1, -1, -1):
        deviations = shrinking.now.plan.deviations
        if at >= len(deviations):
            continue
        for place in _places(shrinking.now, at):
            moved = (*deviations[:at], (place, deviations[at][1]), *deviations[at + 1 :])
            if shrinking.accepts_deviations(moved):
                progress = True
                break
            if shrinking.over:
                return progress
    return progress


def shrink(schedule: Schedule, attempt: Try, *, seconds: float, coarser: bool) -> Schedule:
    """The schedule with the fewest deviations that are found within these seconds.

    coarser: whether it may lose its points between bytecodes; a program that spins does not end without them.
    """
    shrinking = _Shrinking(schedule, attempt, seconds)
    for strike in schedule.plan.strikes:
        shrinking.accepts(replace(shrinking.now.plan, strikes=shrinking.now.plan.strikes & ~strike))
    shrinking.accepts_deviations(())
    _cut(shrinking)
    progress = True
    while progress and not shrinking.over:
        progress = _drop(shrinking) or _merge(shrinking) or _move(shrinking) or _alone(shrinking)
        if (coarser or schedule.plan.after) and not progress:
            progress = _coarsen(shrinking)
    return shrinking.now
