"""Ours and the peers, each asked for the same: try schedules of a program, try all, or find the one that fails.

A peer is asked as its own documentation says; what it lacks is Unavailable.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lwp.bench.operations import Unavailable, WrongResult, expect

from .explored import Program

NONE = "has nothing like it"  #: why a peer has no figure, where that is its own choice
_MANY = 1 << 40
_REPLAYS = 10  # of a find: as many as explore() makes by itself


@dataclass(frozen=True)
class Row:
    """One of the benchmarks."""

    name: str
    text: str
    program: str  #: of explored.PROGRAMS
    aim: str  #: "rate": schedules a second; "all": try each, "find": find, shrink and replay, in the seconds given
    strategy: str = "auto"
    granularity: str = "auto"


@dataclass(frozen=True)
class Figure:
    runs: int  #: schedules tried
    seconds: float  #: of processor time, which other work on the machine disturbs less
    calls: int  #: of explore()


def rows() -> list[Row]:
    """All, in the table's order."""
    default = [
        Row("default-two", "two threads", "two", "rate"),
        Row("default-pool", "pool of 2, 4 tasks", "pool", "rate"),
        Row("default-queue", "queue.Queue, 3 items", "queue", "rate"),
        Row("default-fifty", "50 threads", "fifty", "rate"),
        Row("default-to-thread", "asyncio.to_thread, twice", "to-thread", "rate"),
    ]
    strategies = [
        Row(f"{grain}-{name}", f"{grain}, {name}", "two", "rate", name, grain)
        for grain in ("sync", "gil", "opcode")
        for name in ("auto", "random", "pct", "pos")
    ]
    systematic = [
        Row("all-dfs", "dfs:2, try all", "two", "all", "dfs:2", "sync"),
        Row("all-dpor", "dpor, try all", "two", "all", "dpor", "sync"),
    ]
    finds = [
        Row("find-deadlock", "find a deadlock", "deadlock", "find"),
        Row("find-update", "find a lost update", "update", "find"),
        Row("find-wake-up", "find a lost wake-up", "wake-up", "find"),
    ]
    return [*strategies, *default, *systematic, *finds]


# ---- each explorer: (row, program, the program as a test, seconds, seed) -> Figure -----------------------------------

Explorer = Callable[[Row, type[Program], Callable[[], None], float, int], Figure]


def _ours(row: Row, program: type[Program], test: Callable[[], None], seconds: float, seed: int) -> Figure:
    from lwp.explore import Outcome, explore  # which the processes of the peers don't load

    limit = seconds if row.aim == "rate" else None
    settings: dict[str, Any] = {"strategy": row.strategy, "granularity": row.granularity, "seed": seed}
    begin = time.process_time()
    result = explore(test, runs=_MANY, seconds=limit, **settings)
    taken = time.process_time() - begin
    wanted = {"rate": Outcome.BUDGET_SPENT, "all": Outcome.EXHAUSTED, "find": Outcome.FOUND}[row.aim]
    if (result.outcome, wanted) != (Outcome.EXHAUSTED, Outcome.BUDGET_SPENT):  # through before its time is up
        expect(f"the outcome ({result.error!r})", result.outcome, wanted)
    expect("replays that find the same", result.replays, _REPLAYS if row.aim == "find" else 0)
    return Figure(result.runs, taken, 1)


def _interleave_test(row: Row, program: type[Program], test: Callable[[], None], seconds: float, seed: int) -> Figure:
    """Its points between bytecodes go when the program's folder is excluded."""
    import interleave_test

    strategy = {"auto": "random", "random": "random", "pct": "pct", "dfs:2": "dfs"}.get(row.strategy)
    if strategy is None or row.granularity == "gil" or (row.strategy == "auto" and row.granularity != "auto"):
        raise Unavailable(NONE)
    iterations = {"rate": max(10, int(seconds * 300)), "all": _MANY, "find": 10_000}[row.aim]
    settings: dict[str, Any] = {"exclude": [str(Path(__file__).parent)]} if row.granularity == "sync" else {}
    begin = time.process_time()
    result = interleave_test.explore(
        test, iterations=iterations, seed=seed, strategy=strategy, raise_on_failure=False, **settings
    )
    failure = result.failure
    if (failure is not None) != (row.aim == "find"):
        said = "no failure" if failure is None else f"{failure.kind}: {failure.exception!r}"
        raise Unavailable(f"interleave-test says of the program: {said}")
    if failure is not None:
        again = [interleave_test.replay(test, failure, raise_on_failure=False) for _ in range(_REPLAYS)]
        expect("replays that find the same", sum(not one.ok for one in again), _REPLAYS)
    if row.aim == "all":
        expect("all were tried", result.exhausted, True)
    return Figure(result.schedules_run, time.process_time() - begin, 1)


def _frontrun(row: Row, program: type[Program], test: Callable[[], None], seconds: float, seed: int) -> Figure:
    """Its default is partial-order reduction.  It replays finds by itself."""
    import frontrun

    if len(program.work) == 1:
        raise Unavailable("frontrun explores the threads that it is given, not those of a pool")
    if row.granularity == "opcode" and row.strategy == "random":
        settings: dict[str, Any] = {"strategy": "random", "seed": seed, "max_attempts": max(10, int(seconds * 100))}
    elif row.program == "queue":
        settings = {"strategy": "random"}  # by default it says that it is inconclusive, after 5 s
    elif row.granularity == "auto" or row.strategy == "dpor":
        settings = {}
    else:
        raise Unavailable(NONE)
    begin = time.process_time()
    result = frontrun.explore(setup=program, workers=list(program.work), invariant=program.holds, **settings)
    taken = time.process_time() - begin
    if result.property_holds is None:
        raise Unavailable(f"frontrun says: {str(result.inconclusive_reason).partition('. ')[0]}")
    if result.property_holds == (row.aim == "find"):
        raise Unavailable(f"frontrun says of the program: {result.explanation or 'no failure'}".partition("\n")[0])
    if row.aim == "find":
        expect("replays that find the same", result.reproduction_successes, _REPLAYS)
    return Figure(result.num_explored, taken, 1)


EXPLORERS: dict[str, Explorer] = {"runtime": _ours, "interleave-test": _interleave_test, "frontrun": _frontrun}
#: The modules of the peers.
INSTALLED_AS = {"interleave-test": "interleave_test", "frontrun": "frontrun"}


def sample(explorer: str, row: Row, program: type[Program], test: Callable[[], None], seconds: float) -> Figure:
    """What it does in those seconds, or in one call that takes longer.

    Unavailable: it has no such strategy, or can't explore the program.  WrongResult: it did not do what it should.
    """
    explore = EXPLORERS[explorer]
    explore(row, program, test, 0.01, 0)  # imports, and makes what is made once
    runs, taken, calls = 0, 0.0, 0
    while taken < seconds:
        figure = explore(row, program, test, seconds, calls + 1)
        runs += figure.runs
        taken += figure.seconds
        calls += 1
    if runs < calls:
        raise WrongResult(f"{runs} schedules in {calls} calls")
    return Figure(runs, taken, calls)
