"""Which plans are tried, in which order: each strategy is a generator that yields plans, and is sent the runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator

from .. import native
from .plans import GRANULARITIES, Plan, Plans, Run, Strategy

__all__ = ["STRATEGIES", "Portfolio", "strategy"]

_DEPTHS = (2, 3, 1, 4, 5)
_ODDS = (20, 5, 100, 2)
_EARLY_IN = 4  # runs: in one of so many timeouts may fire early


def _randomly(kind: Strategy, granularity: str, seed: int) -> Plans:
    chance = random.Random(seed)
    length = 0
    number = 0
    while True:
        plan = Plan(
            strategy=kind,
            seed=chance.getrandbits(64),
            depth=_DEPTHS[number % len(_DEPTHS)],
            odds=_ODDS[number % len(_ODDS)],
            early=number % _EARLY_IN == _EARLY_IN - 1,
            length=length,
            granularity=granularity,
        )
        run = yield plan
        length = max(length, run.steps)
        if kind is Strategy.URW:
            native.explore_learn(number == 0)
        number += 1


def _depth_first(granularity: str, seed: int) -> Plans:
    from .systematic import depth_first

    return depth_first(granularity)


STRATEGIES: dict[str, Callable[[str, int], Plans]] = {
    "random": lambda granularity, seed: _randomly(Strategy.RANDOM, granularity, seed),
    "pct": lambda granularity, seed: _randomly(Strategy.PCT, granularity, seed),
    "pos": lambda granularity, seed: _randomly(Strategy.POS, granularity, seed),
    "urw": lambda granularity, seed: _randomly(Strategy.URW, granularity, seed),
    "dfs": _depth_first,
}


def strategy(name: str, granularity: str, seed: int) -> Plans:
    return STRATEGIES[name](granularity, seed)


class Portfolio:
    """Several strategies at several granularities, in turns of some runs each."""

    _TURN = 10

    def __init__(self, name: str, granularity: str, seed: int) -> None:
        grains = GRANULARITIES if granularity == "auto" else (granularity,)
        names = ("pct", "random", "pos", "urw") if name == "auto" else (name,)
        self._plans = [(one, grain, strategy(one, grain, seed + i)) for i, one in enumerate(names) for grain in grains]
        self.exhausted = False

    def plans(self) -> Generator[tuple[str, Plan], Run, None]:
        """Yields the name of a strategy and a plan."""
        first = yield "default", Plan()
        del first
        waiting: dict[int, Plan] = {}
        while self._plans:
            for number, (name, _, plans) in enumerate(list(self._plans)):
                for _ in range(self._TURN):
                    plan = waiting.pop(number, None) or next(plans)
                    run = yield name, plan
                    waiting[number] = plans.send(run)
