"""Which plans are tried, in which order: each strategy is a generator that yields plans, and is sent the runs."""

from __future__ import annotations

import itertools
import random
import re
import sys
from collections.abc import Iterator

from ..run.plans import THREAD, Kind, Plan, Plans, Series, Strikes, last_steps, threads_in
from .dpor import partial_orders
from .systematic import depth_first

AWAITS = "awaits"  #: what comes first if tasks may be cancelled; it has no name for users
_DEPTHS = (2, 3, 1, 4, 5)
_ODDS = (20, 5, 100, 2)
_RUNS_AT_ODDS = 4
_ALL_ODDS = bytes(odds for odds in _ODDS for _ in range(_RUNS_AT_ODDS))
_SEEDS = 800  # bytes of random seeds: enough for the runs of one call of explore_run()
_MOST_DEPTH = 9  # lwp/native/explore/strategies/pct.c has room for one change less


# At sync these plans have points behind releases; at the others a point is behind each call.  What is read after a lock
# was let go is then found in a quarter of the runs (20 instead of 77).  The 106 bugs of tests/lwp/explore/corpus/ need
# as many runs as without, within 1 %, and 7 % more steps (geometric means of 15 seeds).  dfs and dpor have no such
# points: they would try many times as many schedules.


def _randomly(kind: str, granularity: str, seed: int, strikes: Strikes, depths: tuple[int, ...]) -> Plans:
    chance = random.Random(seed)
    number = length = 0
    seeds = b""
    while True:
        if len(seeds) < _SEEDS:
            seeds += chance.randbytes(_SEEDS)
        seed = int.from_bytes(seeds[:8], sys.byteorder)
        depth, odds = depths[number % len(depths)], _ALL_ODDS[number % len(_ALL_ODDS)]
        run = yield Plan(
            strategy=kind,
            seed=seed,
            depth=depth,
            odds=odds,
            strikes=strikes,
            length=length,
            granularity=granularity,
            after=granularity == "sync",
            series=Series(seeds=seeds, depths=bytes(depths), odds=_ALL_ODDS, number=number),
        )
        number += run.made.runs
        seeds = seeds[8 * run.made.runs :]
        length = max(length, run.made.longest)


def some_plans(granularity: str, length: int, strikes: Strikes) -> Iterator[Plan]:
    """Plans by chance, without end, that don't learn from their runs. length: steps that a run is expected to have."""
    for number in itertools.count():
        kind = ("random", "pct")[number % 2]
        depth, odds = _DEPTHS[number // 2 % len(_DEPTHS)], _ODDS[number // 2 % len(_ODDS)]
        yield Plan(
            strategy=kind, seed=number, depth=depth, odds=odds, strikes=strikes, length=length, granularity=granularity
        )


def each_await() -> Plans:
    """The default schedule, with a task that is cancelled, at each of its awaits once; all is never claimed."""
    yield Plan(strikes=Strikes.CANCEL)
    steps = last_steps()
    tasks: dict[int, int] = {}  # of the cancellers that have gone on
    for at, step in enumerate(steps):
        for canceller in threads_in(step.early):
            if canceller not in tasks or steps[at - 1].chosen == tasks[canceller]:
                yield Plan(deviations=((at, canceller),), strikes=Strikes.CANCEL)
                if (struck := last_steps()[at : at + 1]) and struck[0].kind == Kind.CANCEL:
                    tasks[canceller] = struck[0].object - THREAD
    return ""


#: Each, and the bounds of the number that may stand behind its colon.
_STRATEGIES: dict[str, range | None] = {
    "random": None,
    "pct": range(1, _MOST_DEPTH + 1),
    "pos": None,
    "dpor": None,
    "dfs": range(1000),
}
#: What a strategy may be called, without a number.
NAMES = ("auto", "chance", *_STRATEGIES)


def _parsed(name: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"([a-z]+)(?::([0-9]{1,9}))?", name) if isinstance(name, str) else None
    if match is None or match[1] not in _STRATEGIES:
        names = (f"{known}, {known}:N" if numbers else known for known, numbers in _STRATEGIES.items())
        raise ValueError(f"strategy {name!r} is not one of auto, chance, {', '.join(names)}")
    numbers = _STRATEGIES[match[1]]
    if match[2] is None:
        return match[1], None
    if numbers is None:
        raise ValueError(f"strategy {match[1]} takes no number: {name!r}")
    if int(match[2]) not in numbers:
        raise ValueError(f"strategy {match[1]} takes a number from {numbers[0]} to {numbers[-1]}: {name!r}")
    return match[1], int(match[2])


def strategy(name: str, granularity: str, seed: int, most_steps: int, strikes: Strikes) -> Plans:
    """`random`, `pct` (all depths in turn), `pct:3`, `pos`, `dfs` (all), `dfs:2` (at most 2 preemptions), `dpor`.

    ValueError: another name, or a number out of bounds.
    """
    if name == AWAITS:
        return each_await()
    kind, number = _parsed(name)
    if kind == "dpor" and granularity == "sync" and Strikes.CANCEL not in strikes:
        return partial_orders(most_steps, strikes)
    if is_systematic(kind):  # dpor does not know what a bytecode, or a cancellation, changes
        return depth_first(granularity, most_steps, strikes, number)
    return _randomly(kind, granularity, seed, strikes, (number,) if number else _DEPTHS)


def check_strategy(name: str) -> None:
    """ValueError: strategy() takes no such name, and it is neither auto nor chance."""
    if name not in ("auto", "chance"):
        _parsed(name)


def shared(name: str, number: int) -> str:
    """What the worker with that number tries. Only the first also has the sequences that don't depend on chance."""
    return "chance" if number and name == "auto" else name


def is_systematic(name: str) -> bool:
    """Whether its plans don't depend on chance: there is one sequence of them."""
    return name.partition(":")[0] in ("dfs", "dpor")
