"""What a run is to do, and what it did; the constants are those of lwp/native/explore/explore.h."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum, IntFlag
from typing import NamedTuple

from ... import native
from ..results import DeadlockFound, Find, LeftBehind, Livelock

#: Where threads may be switched, from coarse to fine.
GRANULARITIES = ("sync", "gil", "opcode")


class Kind(IntEnum):
    """What a step does. CANCEL: to a task, which is the object."""

    BEGIN, ACQUIRE, TRY, READ, WAIT, START, JOIN, SLEEP, YIELD = range(9)
    FILE, CODE, WAKE, RELEASE, SIGNAL, END, TURN, CANCEL = range(9, 17)


class Ending(IntEnum):
    """How a run ended."""

    FINISHED, FAILED, DEADLOCK, LEFT_BEHIND, LIMIT, TOO_MANY, STUCK, OUT_OF_TIME = range(8)


#: What is raised of a run in which the program has raised nothing.
FINDS: dict[int, type[Find]] = {
    Ending.DEADLOCK: DeadlockFound,
    Ending.LEFT_BEHIND: LeftBehind,
    Ending.LIMIT: Livelock,
}


class State(Enum):
    """What a thread was doing when the run ended."""

    NEW, AT_POINT, ASLEEP, WOKEN, RUNNING, ENDED = range(6)


class Strikes(IntFlag):
    """What may happen that the default schedule never has."""

    NOTHING = 0
    EARLY = 1  #: timeouts fire early
    CANCEL = 2  #: a task of asyncio is cancelled, one in a run


RUN_COSTS = 100  #: steps take as long as a run without any


@dataclass(slots=True)
class Series:
    """Plans by chance: how the next runs differ from the first, as long as all pass."""

    seeds: bytes  #: 8 for each
    depths: bytes  #: of PCT, in turns
    odds: bytes  #: in turns
    number: int  #: of the first
    share: int = 1  #: of steps, to which each run adds RUN_COSTS: the run that reaches it is the last


@dataclass(slots=True, kw_only=True, unsafe_hash=True)  # frozen ones take 2 us to make, an eighth of a small run
class Plan:
    """Which thread is to run: by a strategy, or by deviations from the default schedule. Treat it as immutable."""

    strategy: str = "planned"  #: a name of native/explore/strategies/
    seed: int = 0
    depth: int = 3  #: pct's d
    odds: int = 20  #: random: another may go on at one bytecode in this many
    strikes: Strikes = Strikes.NOTHING
    length: int = 0  #: pct: steps that the run is expected to have
    deviations: tuple[tuple[int, int], ...] = ()  #: (step, thread), in the order of the steps
    granularity: str = "sync"
    after: bool = False  #: sync: also a point after the release of a lock or a semaphore
    series: Series | None = field(default=None, compare=False)  #: this is its first plan


STEP = struct.Struct("=QQIHHBB6x")  #: of native.explore_steps(): a Step
TIMEOUT, FORCED, AT_GIL, TIMED, DAEMON, IN_TURN, OUT_OF_TURN = 1, 2, 4, 8, 16, 32, 64  #: a step's flags
MOST_IN_SET = 64  #: threads in a step's sets: those with the lowest numbers
THREAD = 1 << 12  #: a step's object from here on is a thread


class Step(NamedTuple):
    can: int  #: a bit for each thread that could go on, of the first MOST_IN_SET
    early: int  #: of these, the threads that could only if their time was up early, and what may cancel a task
    object: int  #: what it was done to: n is explore_objects()[n - 1], THREAD + n is thread n; 0: not known
    chosen: int  #: the thread
    usual: int  #: the thread that the default schedule has here
    kind: int
    flags: int


class Made(NamedTuple):
    """What the runs of one call did."""

    runs: int = 1
    threads: int = 1  #: of the run that had most, its tasks included
    tasks: int = 0  #: of the run that had most
    switched: int = 0  #: whether in some run there was a choice of the thread, or task, that goes on
    timed: int = 0  #: whether in some run one of several slept, or waited with a timeout
    files: int = 0  #: whether in some run a loop went on for a file that the kernel made ready
    steps: int = 0  #: of all
    longest: int = 0  #: steps
    slowest: int = 0  #: nanoseconds
    covered: bytes = b""  #: for each depth how many were no longer than the plan expected; 4 bytes
    schedules: bytes = b""  #: Run.schedule, of each; 8 bytes


class Run(NamedTuple):
    """What native.explore_run() returns: the last run of a series."""

    ending: int
    error: BaseException | None
    error_thread: int
    steps: int
    schedule: int  #: a hash of which threads ran
    hash: int  #: a hash of what was done
    missed: int  #: deviations that could not be followed
    threads: int  #: and tasks, and cancellers
    in_circle: int  #: a thread that closed a circle of waits while others could go on; -1: none
    hurried: int  #: the clock was moved on because the run is long, and not only to the end of a sleep
    tasks: int = 0  #: of the threads those that are tasks
    choices: int = 0  #: steps at which more than one could go on
    cancellers: int = 0  #: of the threads those that only cancel a task
    cancelled: int = 0  #: whether one has: 1; 2: it was a timeout
    made: Made = Made()

    @property
    def failed(self) -> bool:
        return self.ending != Ending.FINISHED


#: Yields plans and is sent their runs; when it has tried all, it returns what that was ("": it can't claim all).
Plans = Generator[Plan, Run, str]


def last_steps() -> list[Step]:
    """The steps of the last run."""
    return list(map(Step._make, STEP.iter_unpack(native.explore_steps())))


def by_deviations(plan: Plan, steps: list[Step]) -> Plan:
    """The plan with the same steps, given by their deviations from the default schedule."""
    deviations = tuple((at, step.chosen) for at, step in enumerate(steps) if step.chosen != step.usual)
    return Plan(deviations=deviations, strikes=plan.strikes, granularity=plan.granularity, after=plan.after)


def packed(deviations: tuple[tuple[int, int], ...]) -> bytes:
    if not deviations:
        return b""
    return struct.pack(f"={2 * len(deviations)}I", *(number for pair in deviations for number in pair))


def threads_in(can: int) -> Iterator[int]:
    while can:
        yield (can & -can).bit_length() - 1
        can &= can - 1
