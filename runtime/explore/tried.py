"""What the runs of an exploration were, and what follows if none failed."""

from __future__ import annotations

from array import array
from typing import Any

from .plans import Plan, Run
from .strategies import Coverage

__all__ = ["Tried"]


class Tried:
    def __init__(self) -> None:
        self.runs = 0
        self.schedules: set[int] = set()
        self.steps = 0  #: of the longest run
        self.threads = 0  #: of the run that had most
        self.coverage = Coverage()

    def add(self, plan: Plan, run: Run) -> None:
        self.runs += 1
        self.schedules.add(run.schedule)
        self.steps = max(self.steps, run.steps)
        self.threads = max(self.threads, run.threads)
        self.coverage.add(plan, run)

    def merge(self, other: Tried) -> None:
        """Adds what another process has tried."""
        self.runs += other.runs
        self.schedules |= other.schedules
        self.steps = max(self.steps, other.steps)
        self.threads = max(self.threads, other.threads)
        self.coverage.merge(other.coverage)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "schedules": array("Q", self.schedules)}  # 8 bytes each

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, schedules=set(state["schedules"]))

    def spent(self) -> str:
        """For a report."""
        lines = (
            f"BUDGET SPENT: {self.runs:,} runs, {len(self.schedules):,} distinct schedules, no failure",
            f"  up to {self.threads} threads and {self.steps:,} steps a run",
            *self.coverage.lines(),
        )
        return "\n".join(lines)
