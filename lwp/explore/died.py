"""A run that has ended its process: it is run again, made simple and told in processes of its own."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait

from ..reading.source import place_of
from .ends import inconclusive
from .exploration import outcome_of
from .results import Died, Result
from .run.hand import Hand
from .run.plans import Kind, Plan
from .run.session import Note
from .search.shrinking import Schedule, shrink
from .search.strategies import some_plans
from .search.tried import Tried
from .telling.report import closing
from .telling.words import at
from .tokens import make_token
from .workers import Worker

_TRIES, _REPLAYS = 3, 10
_SHRINK, _UNDER_GIL = 5.0, 1.0  # seconds, at most
_A_RUN = 20.0  # seconds, at most: the first run imports, too

#: Runs the plan in this process, which may be its end.
Once = Callable[[Plan, Note | None], object]


class _Children:
    """how: in which way the processes end, as `by SIGSEGV`; "": in any, which is then the way."""

    def __init__(self, once: Once, max_steps: int, how: str) -> None:
        self._once = once
        self._max_steps = max_steps
        self.how = how
        self.places: dict[int, str] = {}  #: of the last run: where each thread was at its last point

    def attempt(self, plan: Plan, looks: bool = False) -> Schedule | None:
        """Runs the plan; its schedule if that has ended the process in that way. looks: and notes the places."""
        hand = Hand(self._max_steps)

        def work(number: int, seed: int, runs: int, tell: Callable[[object], object]) -> None:
            self._once(plan, _teller(tell) if looks else None)

        worker = Worker(work, hand)
        until, has_died = time.monotonic() + _A_RUN, False
        self.places.clear()
        while not has_died and wait([worker.said], until - time.monotonic()):
            try:
                said = worker.said.recv()
            except (EOFError, OSError):
                has_died = True
                continue
            if not isinstance(said, tuple):  # it has come to its end
                break
            self.places[said[0]] = said[1]
        how = worker.end()
        if not has_died or hand.plan is None or self.how not in ("", how):
            return None
        self.how = how
        return Schedule(hand.plan[0], tuple(hand.steps))


def _teller(tell: Callable[[object], object]) -> Note:
    def note(thread: int, kind: int, object: object, now: float) -> None:
        text = ""
        if kind != Kind.END:  # there is no frame any more
            text = f"  {threading.current_thread().name} was last at {at(place_of(sys._getframe(1)))}"
        tell((thread, text))

    return note


def died(once: Once, plan: Plan, max_steps: int, how: str, found_by: str, runs: int) -> Result:
    """The run of that plan has ended its process: in that way, if `how` says it."""
    began, tried = time.monotonic(), Tried()
    tried.varies = True
    children = _Children(once, max_steps, how)
    schedule = next((found for _ in range(_TRIES) if (found := children.attempt(plan))), None)
    if schedule is None:
        result = inconclusive("died", how=how or "once", token=make_token(plan, 0))
        result.runs, result._tried = runs, tried
        return result
    schedule = shrink(schedule, children.attempt, seconds=_SHRINK, coarser=True)
    if schedule.needs_no_gil:
        until = time.monotonic() + _UNDER_GIL
        plans = itertools.takewhile(
            lambda _: time.monotonic() < until, some_plans("gil", len(schedule.steps), schedule.plan.strikes)
        )
        if coarser := next((found for one in plans if (found := children.attempt(one))), None):
            schedule = shrink(coarser, children.attempt, seconds=_SHRINK, coarser=True)
    again = [children.attempt(schedule.plan, looks=True) is not None for _ in range(_REPLAYS)]
    head = [f"DIED: a run of the test ends its process {children.how}", *filter(None, children.places.values()), ""]
    return Result(
        outcome_of(schedule),
        name=f"Died {children.how}",
        token=make_token(schedule.plan, 0),
        runs=runs,
        seconds=time.monotonic() - began,
        error=Died(f"the process ends {children.how}"),
        replays=sum(again),
        replayed=len(again),
        free_threaded_only=schedule.needs_no_gil,
        other_order=schedule.needs_other_order if any(step.kind == Kind.TURN for step in schedule.steps) else None,
        found_by=found_by,
        deviations=len(schedule.plan.deviations),
        _tried=tried,
        _report=lambda result: "\n".join([*head, *closing(result)]),
    )
