"""`bench explore`: how many schedules a second explore() tries, and the peers that are installed.

Each round of each explorer is a process of its own, in turns that are shuffled; on one core, where the peers, which
hand their turn from one kernel thread to another, are faster too.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from lwp.bench.measure import PATIENCE, Failed, answer, ask, orders, quartiles
from lwp.bench.operations import Unavailable, WrongResult

from .explored import PROGRAMS, test_of
from .explorers import Figure, Row, rows, sample

OURS = "runtime"
CHILD = "from bench import exploring; exploring.child()"
#: A command of frontrun's own that its programs are to be run by.
BEFORE = {"frontrun": [sys.executable, "-c", "import frontrun.cli, sys; sys.exit(frontrun.cli.main(sys.argv[1:]))"]}


@dataclass(frozen=True)
class Beside:
    """A peer's figures for the same."""

    value: float  #: median
    runs: int  #: of one call
    ratio: float  #: how many times as fast ours is, median of the rounds
    spread: tuple[float, float]  #: its quartiles


@dataclass(frozen=True)
class Rate:
    """A row of the table."""

    name: str
    text: str
    program: str
    strategy: str
    granularity: str
    unit: str  #: runs/s or s
    points: int  #: of a run, at sync if the granularity is auto
    threads: int
    rounds: int
    runs: int  #: of one call of explore()
    value: float  #: median
    spread: tuple[float, float]  #: its quartiles
    peers: dict[str, Beside] = field(default_factory=dict)


def rounds(quick: bool) -> int:
    return 2 if quick else 7


def compare(
    row: Row, peers: list[str], quick: bool, core: int | None, advance: Callable[[], object]
) -> tuple[Rate, dict[str, str]]:
    """Measures one row: a Rate, and why it is without some peers, by their names.

    Failed: ours raised, crashed, or did not do what it should.
    """
    who = [OURS, *peers]
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in who}
    missing: dict[str, str] = {}
    task = {"row": row.name, "seconds": 0.05 if quick else 0.3, "core": core}
    for order in orders(rounds(quick), len(who)):
        for slot in order:
            name = who[slot]
            if name in missing:
                continue
            try:
                taken[name] += ask(CHILD, {**task, "explorer": name}, 1, name, before=BEFORE.get(name, ()))
            except (Unavailable, Failed) as error:
                if name == OURS:
                    raise
                missing[name] = str(error)
        advance()
    ours = [_figure(row, one) for one in taken[OURS]]
    low, value, high = quartiles(ours)
    beside = {}
    for name in peers:
        if name not in missing:
            theirs = [_figure(row, one) for one in taken[name]]
            times = [one / two if row.aim == "rate" else two / one for one, two in zip(ours, theirs, strict=True)]
            least, ratio, most = quartiles(times)
            beside[name] = Beside(statistics.median(theirs), _runs(taken[name]), ratio, (least, most))
    first = taken[OURS][0]
    unit = "runs/s" if row.aim == "rate" else "s"
    about = (row.name, row.text, row.program, row.strategy, row.granularity, unit, first["points"], first["threads"])
    return Rate(*about, rounds(quick), _runs(taken[OURS]), value, (low, high), beside), missing


def _figure(row: Row, told: dict[str, Any]) -> float:
    runs, seconds, calls = told["runs"], told["seconds"], told["calls"]
    return float(runs / seconds if row.aim == "rate" else seconds / calls)


def _runs(told: list[dict[str, Any]]) -> int:
    return int(sum(one["runs"] for one in told) // sum(one["calls"] for one in told))


# ---- the process that does it ----------------------------------------------------------------------------------------


def points_of(test: Callable[[], object], granularity: str) -> tuple[int, int]:
    """The points and the threads of a run in which each thread goes on as long as it can.

    A point is an operation of a primitive, a thread's start, join or end, and what granularity adds. The test's own end
    and the begin of a thread are none.
    """
    from lwp.explore.run.plans import Kind, Plan, last_steps
    from lwp.explore.run.session import Session

    with Session() as session:
        for _ in range(2):  # the first one imports
            run = session.run(test, Plan(granularity=granularity))
        steps = last_steps()
    return sum(step.kind != Kind.BEGIN for step in steps) - 1, run.threads


def _do(task: dict[str, Any]) -> None:
    if task["core"] is not None:
        os.sched_setaffinity(0, {task["core"]})
    signal.alarm(PATIENCE)  # nobody handles it: threads that wait for each other for ever end there
    warnings.simplefilter("ignore")  # a pool whose timeout fires early says so
    row = next(known for known in rows() if known.name == task["row"])
    program = PROGRAMS[row.program]
    test = test_of(program)
    gc.collect()
    try:
        figure: Figure = sample(task["explorer"], row, program, test, task["seconds"])
    except WrongResult as error:
        raise Failed(str(error)) from None
    except Unavailable:
        raise
    except Exception as error:
        raise Failed(f"{type(error).__name__}: {error}") from error
    told = asdict(figure)
    if task["explorer"] == OURS:
        told["points"], told["threads"] = points_of(test, "sync" if row.granularity == "auto" else row.granularity)
    print(json.dumps(told), flush=True)
    os._exit(0)  # a peer's primitives raise at the program's end


def child() -> None:
    answer(_do)
