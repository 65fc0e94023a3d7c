"""Which strategy's turn it is: several, at several granularities, each with its share of the time.

Time is counted in steps, not by a clock, so that the same seed makes the same runs.
"""

from __future__ import annotations

from collections.abc import Generator

from ..ends import Unfit
from ..run.plans import GRANULARITIES, RUN_COSTS, Plan, Run, Strikes
from .strategies import is_systematic, strategy

_AUTO = ("pct", "random", "pos", "dpor")
_CHANCE = tuple(name for name in _AUTO if not is_systematic(name))
_FIRST_TURN, _LONGEST_TURN = 1000, 32_000  #: in steps; 10,000 take about a millisecond
#: What a run costs and what each of its steps does, in steps: dfs and dpor look at them in Python.
_COST = {"dfs": (200, 3), "dpor": (400, 30)}
_COST_OF_OTHERS = (RUN_COSTS, 1)


class _Player:
    """A strategy at a granularity."""

    def __init__(
        self, name: str, granularity: str, seed: int, most_steps: int, strikes: Strikes, used: int = 0
    ) -> None:
        self.name = name
        self.granularity = granularity
        self.used = used  #: of its share
        self._plans = strategy(name, granularity, seed, most_steps, strikes)
        self.plan = next(self._plans)  #: its next one
        searches = name.partition(":")[0] if name != "dpor" or granularity == "sync" else "dfs"
        self._run_costs, self._step_costs = _COST.get(searches, _COST_OF_OTHERS)
        self.tries_all = searches == "dfs"  #: at its granularity

    def tell(self, run: Run) -> str | None:
        """Takes the plan's run. When it has tried all, it returns what that was ("": it can't claim all)."""
        self.used += self._run_costs * run.made.runs + self._step_costs * run.made.steps
        try:
            self.plan = self._plans.send(run)
        except StopIteration as end:
            return str(end.value)
        return None


class Portfolio:
    """The plans of one strategy, or of all in turns (`auto`), or of those that try by chance (`chance`).

    At one granularity, or at each.
    """

    def __init__(
        self, name: str, granularity: str, seed: int, most_steps: int, strikes: Strikes = Strikes.NOTHING
    ) -> None:
        grains = ("sync",) if name == "dpor" else GRANULARITIES
        self._grains = grains if granularity == "auto" else (granularity,)
        self._alone = name not in ("auto", "chance")
        self._seed = seed
        self._most_steps = most_steps
        self._strikes = strikes
        names = {"auto": _AUTO, "chance": _CHANCE}.get(name, (name,))
        self._players = [_Player(one, grain, seed, most_steps, strikes) for grain in self._grains for one in names]
        #: What has been tried completely, of what was asked for: the report of a search that found nothing says so.
        self.claim = ""

    def plans(self) -> Generator[tuple[str, Plan], Run, str]:
        """Yields the name of a strategy and a plan, the default schedule first. If it ends, it returns what was
        tried."""
        yield "default", Plan(granularity=self._grains[0])
        until, turn = 0, _FIRST_TURN
        while self._players:
            until += turn
            turn = min(2 * turn, _LONGEST_TURN)
            for player in list(self._players):
                while player.used < until and player in self._players:
                    if player.plan.series is not None:
                        player.plan.series.share = until - player.used
                    run = yield player.name, player.plan
                    try:
                        claim = player.tell(run)
                    except Unfit:
                        if self._alone:
                            raise
                        claim = ""
                    if claim is not None:
                        self._end(player, claim)
        return self.claim

    def _end(self, player: _Player, claim: str) -> None:
        """The player has tried all, so its turns go to dfs if dfs has more to try, or to the others."""
        at = self._players.index(player)
        del self._players[at]
        if claim and player.granularity == self._grains[-1]:
            self.claim = claim
            if player.tries_all:
                self._players.clear()  # the others could only repeat it
                return
        if not self._alone and not player.tries_all:
            one = _Player("dfs", player.granularity, self._seed, self._most_steps, self._strikes, player.used)
            self._players.insert(at, one)
