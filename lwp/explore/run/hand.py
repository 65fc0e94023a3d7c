"""The run in hand, in memory that its process shares with another: it is known there when the run ends the process."""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import warnings
from typing import Any

from ... import native
from .plans import STEP, Plan, Step, Strikes, by_deviations

_HEAD = 16  # bytes before the steps: struct explore_hand
_TEXT = 1 << 14

_held: Hand | None = None  #: this process writes there


class Hand:
    """max_steps: of the runs that fit."""

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps
        self._steps = mmap.mmap(-1, _HEAD + 2 * max_steps * STEP.size)
        self._plan = mmap.mmap(-1, _TEXT)
        self._facts: tuple[Any, ...] = ()
        self.about: Any = None  #: what the process that holds it says beside, for JSON

    def hold(self, with_parent: bool = True) -> None:
        """From now on this process writes its runs there. with_parent: it ends when its parent does."""
        global _held
        _held = self
        native.explore_hand(self._steps, with_parent)
        os.register_at_fork(after_in_child=_let_go)

    def _write(self, plan: Plan | None, max_steps: int) -> None:
        is_known = plan is not None and max_steps <= self._max_steps
        if plan is not None and is_known:
            facts = plan.granularity, int(plan.strikes), plan.after, plan.strategy, self.about
            if facts != self._facts:
                self._facts = facts
                text = json.dumps(facts).encode() + b"\n"
                self._plan[1 : 1 + len(text)] = text
        self._plan[0] = is_known

    @property
    def runs(self) -> int:
        return int.from_bytes(self._steps[:8], sys.byteorder)

    @property
    def steps(self) -> list[Step]:
        taken = int.from_bytes(self._steps[8:_HEAD], sys.byteorder)
        return [*map(Step._make, STEP.iter_unpack(self._steps[_HEAD : _HEAD + taken * STEP.size]))]

    @property
    def plan(self) -> tuple[Plan, str] | None:
        """Of the run in which the process has ended, and the strategy that has made it; None: it was in none."""
        if not self._plan[0]:
            return None
        granularity, strikes, after, strategy, self.about = json.loads(self._plan[1:].partition(b"\n")[0])
        plan = by_deviations(Plan(strikes=Strikes(strikes), granularity=granularity, after=after), self.steps)
        return plan, strategy if plan.deviations or strategy != "planned" else "default"


def _let_go() -> None:
    """A child process of the test is no part of the run."""
    global _held
    _held = None


def forked() -> int:
    for stream in (sys.stdout, sys.stderr):  # otherwise the child would have what is in the buffer, too
        if stream is not None:
            stream.flush()
    with warnings.catch_warnings():  # a warning says that the child lacks other threads: it needs none of them
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def how_it_ended(code: int) -> str:
    """The process, by what os.waitstatus_to_exitcode() returns."""
    return f"with status {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


def take_in_hand(plan: Plan | None, max_steps: int = 0) -> None:
    """Before a run and, with None, after it."""
    if _held is not None:
        _held._write(plan, max_steps)
