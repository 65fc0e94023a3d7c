"""What the runs of an exploration were, and what follows if none failed."""

from __future__ import annotations

import math
import sys
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..run.plans import GRANULARITIES, Made, Plan, Run, Strikes

_MOST_NAMES = 6  # of libraries in a report


def chance_missed(runs: int, threads: int, steps: int, depth: int) -> float:
    """An upper bound of the chance that so many runs of PCT at that depth have all missed a bug of that depth.

    Each finds it with 1/(n k^(d-1)) or more, in a program of n threads and k steps (Burckhardt et al., ASPLOS 2010).
    """
    chance = 1 / (threads * steps ** (depth - 1))
    return math.exp(runs * math.log1p(-chance)) if chance < 1 else 0.0 if runs else 1.0


class Coverage:
    """Counts the runs that PCT's bound speaks of: PCT's own, at a depth and a granularity, no longer than expected.

    Runs in which something strikes don't count, because they are of a program with more schedules.
    """

    def __init__(self) -> None:
        self._runs: Counter[tuple[str, int]] = Counter()
        self._most: dict[str, tuple[int, int]] = {}  # threads, steps

    def add(self, plan: Plan, made: Made) -> None:
        grain = plan.granularity
        self._grow(grain, made.threads, made.longest)
        if plan.strategy == "pct" and not plan.strikes:
            counts = enumerate(memoryview(made.covered).cast("I"))
            self._runs.update({(grain, depth): runs for depth, runs in counts if runs})

    def _grow(self, grain: str, threads: int, steps: int) -> None:
        most = self._most.get(grain, (1, 1))
        self._most[grain] = max(most[0], threads), max(most[1], steps)

    def merge(self, other: Coverage) -> None:
        for grain, most in other._most.items():
            self._grow(grain, *most)
        self._runs.update(other._runs)

    def missed(self, granularity: str, depth: int) -> float:
        """An upper bound of the chance that a bug of that depth was missed; 1.0: PCT was not tried."""
        runs = self._runs[granularity, depth]
        return chance_missed(runs, *self._most[granularity], depth) if runs else 1.0

    def lines(self) -> list[str]:
        """For a report."""
        head = "  chance, at most, that a bug was missed that needs an order of 1, 2, 3 places (if no thread spins):"
        found = [
            f"    at {grain}: {', '.join(f'{self.missed(grain, depth):.2g}' for depth in (1, 2, 3))}"
            for grain in GRANULARITIES
            if any(one == grain for one, _ in self._runs)
        ]
        return [head] * bool(found) + found


class Tried:
    """unswitched: names of libraries, which may become more while runs are tried."""

    def __init__(self, unswitched: Iterable[str] = ()) -> None:
        self.runs = 0
        self.schedules: set[int] = set()
        self.steps = 0  #: of the longest run
        self.threads = 0  #: of the run that had most, its tasks included
        self.tasks = 0  #: of the run that had most
        self.has_timers = False  #: some run had sleeps or timeouts
        self.early = 0  #: runs in which they may
        self.has_files = False  #: in some run a loop went on for a file that the kernel made ready
        #: Another run may differ from the first: in some run there was a thread besides the test's own, tasks of which
        #: one could go first, or such a file.
        self.varies = False
        self.turns_from = 0  #: the step from which on threads had their turns only, if a run was that long
        self.ended_by = ""  #: what ended the search before its time
        self.kills = False  #: the first run ended threads that would have gone on, as a pool's
        self.has_tasks = False  #: tasks of asyncio ran
        self.known: Counter[str] = Counter()  #: names of known finds, and how many runs failed by each
        self.logged: set[str] = set()  #: what loops of asyncio log in the first order, so it is no find
        self.coverage = Coverage()
        self.unswitched = unswitched

    def add(self, plan: Plan, run: Run, max_steps: int) -> None:
        made = run.made
        self.runs += made.runs
        if made.longest > max_steps:
            self.turns_from = max_steps
        self.schedules.update(memoryview(made.schedules).cast("Q"))
        self.steps = max(self.steps, made.longest)
        self.threads = max(self.threads, made.threads)
        self.tasks = max(self.tasks, made.tasks)
        self.varies |= bool(made.switched or made.files)
        self.has_timers |= bool(made.timed)
        self.has_files |= bool(made.files)
        self.early += made.runs * (Strikes.EARLY in plan.strikes)
        self.coverage.add(plan, made)

    def merge(self, other: Tried) -> None:
        """Adds what another process has tried."""
        self.runs += other.runs
        self.schedules |= other.schedules
        for name in ("steps", "threads", "tasks", "turns_from", "varies", "has_timers", "has_files", "has_tasks"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.early += other.early
        self.ended_by = self.ended_by or other.ended_by
        self.known.update(other.known)
        self.logged |= other.logged
        self.coverage.merge(other.coverage)
        self.unswitched = {*self.unswitched, *other.unswitched}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "schedules": array("Q", self.schedules)}  # 8 bytes each

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, schedules=set(state["schedules"]))

    @property
    def alone(self) -> str:
        """For a report: why there is one schedule only."""
        why = "its tasks have one order, asyncio's" if self.tasks else "there was nothing to switch to"
        return f"\n  no thread was started: {why}"

    @property
    def timers(self) -> str:
        """For a report: in which order files came, and sleeps and timeouts ended, if there are some."""
        files = "\n  files that were ready at different times kept that order" * self.has_files
        if self.early:
            return f"{files}\n  sleeps and timeouts ended in any order in {counted(self.early, 'run')}"
        return files + "\n  sleeps and timeouts ended in order of time: --early-timeouts tries others" * self.has_timers

    def failures(self) -> str:
        """For a report: that there was no failure, except known ones, and what loops have only logged."""
        names = (f"\n  {name}, in {counted(runs, 'run')}" for name, runs in sorted(self.known.items()))
        logged = (f"\n  asyncio only logs, in the first order already: {name}" for name in sorted(self.logged))
        return f"no failure{' except known ones:' * bool(self.known)}{''.join((*names, *logged))}"

    def spent(self) -> str:
        """For a report."""
        head = (
            f"BUDGET SPENT: {counted(self.runs, 'run')}, {counted(len(self.schedules), 'distinct schedule')}, "
            f"{self.failures()}"
        )
        end = "\n  tasks of asyncio ran: their order was not explored" * self.has_tasks
        if not self.varies:
            return head + self.alone + self.timers + end
        who = f"{counted(self.threads - self.tasks, 'thread')}, {counted(self.tasks, 'task')}"
        size = f"  up to {who if self.tasks else f'{self.threads} threads'} and {self.steps:,} steps a run"
        if self.turns_from:
            size += f"; from step {self.turns_from:,} on threads took turns only: --max-steps tries more there"
        ended = [f"  {self.ended_by}"] * bool(self.ended_by)
        lines = "\n".join((head, size, *ended, *self.coverage.lines(), *left_out(self.unswitched)))
        return lines + self.timers + end


def left_out(unswitched: Iterable[str]) -> list[str]:
    """For a report: what a claim about switches between bytecodes leaves out; [] if it is nothing."""
    installed = sorted(set(unswitched) - sys.stdlib_module_names)
    names = [*installed, *sorted(sys.stdlib_module_names.intersection(unswitched))]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return [
        "  ran without switches between bytecodes, so nothing is claimed about their code:",
        f"    {', '.join(names[:_MOST_NAMES])}{more}",
        '  --include NAME, or include = ["NAME"] in pyproject.toml, switches there too',
    ] * bool(names)


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
