"""Pairs of uses of data that no primitive orders, from the runs of an exploration.

Which of the two is first is chance, though the one order may never have been seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..run.plans import Plan, Step, by_deviations
from .accesses import Access
from .conflicts import Conflict, conflicts
from .words import short

_MOST = 20  # pairs

_Side = tuple[str, int, str]


def _side(access: Access) -> _Side:
    return access.place.file, access.place.line, access.verb


@dataclass
class Race:
    """Two uses, in the order in which they were seen first."""

    first: Access
    second: Access
    other: tuple[Plan, list[Step]] | None = None  #: a run in which the second use came first

    @property
    def sides(self) -> frozenset[_Side]:
        return frozenset((_side(self.first), _side(self.second)))

    def is_turned(self, one: Access, other: Access) -> bool:
        """Whether these are the two uses in the other order; threads that do the same differ by their numbers."""
        if len(self.sides) == 2:
            return (_side(one), _side(other)) == (_side(self.second), _side(self.first))
        return self.sides == {_side(one), _side(other)} and one.thread == self.second.thread

    def turns(self, steps: list[Step], accesses: list[Access]) -> bool:
        """Whether a run has the other order."""
        return any(race and self.is_turned(one, other) for one, other, race in conflicts(steps, accesses))


class Races:
    """Gathers the races of runs."""

    def __init__(self) -> None:
        self._found: dict[frozenset[_Side], Race] = {}

    def add(self, plan: Plan, steps: list[Step], found: Iterable[Conflict]) -> None:
        """found: in these steps, which the plan makes."""
        for one, other, is_race in found:
            if not is_race:
                continue
            race = Race(one, other)
            if race.sides in self._found or len(self._found) < _MOST:
                race = self._found.setdefault(race.sides, race)
                if race.other is None and race.is_turned(one, other):
                    race.other = by_deviations(plan, steps), steps

    def told(self, token_of: Callable[[Race], str]) -> tuple[list[dict[str, Any]], str]:
        """As facts, and as text. token_of: of a run with the other order, if one is known."""
        facts: list[dict[str, Any]] = []
        lines = []
        for race in self._found.values():
            token = token_of(race) if race.other is not None else ""
            uses = [
                {"access": one.verb, "name": race.first.name, "place": short(one.place), "function": one.place.function}
                for one in (race.first, race.second)
            ]
            facts.append({"uses": uses, "token": token or None})
            first, second = (f"{use['access']} at {use['place']} in {use['function']}()" for use in uses)
            lines.append(f"  {race.first.name}: {first}, {second}")
            lines.append(f"    the other order: {token}" if token else "    the other order was not seen")
        count = len(facts)
        head = f"Races: {count} pair{'s' * (count > 1)} of uses of data that no primitive orders"
        return facts, "\n".join([head, *lines]) if facts else "Races: none in the runs that were made"
