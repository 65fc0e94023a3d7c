"""What the runs of an exploration were, and what follows if none failed."""

from __future__ import annotations

from array import array
from typing import Any

from ..run.plans import Plan, Run
from .strategies import Coverage

__all__ = ["NO_THREADS", "Tried"]

#: What ends a report then.
NO_THREADS = "\n  no thread was started: there was nothing to switch to"


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

    @property
    def has_threads(self) -> bool:
        """Whether any run had more than the test's own."""
        return self.threads > 1

    def spent(self) -> str:
        """For a report."""
        head = (
            f"BUDGET SPENT: {_count(self.runs, 'run')}, {_count(len(self.schedules), 'distinct schedule')}, no failure"
        )
        if not self.has_threads:
            return head + NO_THREADS
        size = f"  up to {self.threads} threads and {self.steps:,} steps a run"
        return "\n".join((head, size, *self.coverage.lines()))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
