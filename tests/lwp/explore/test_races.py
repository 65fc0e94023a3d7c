"""`explore(races=True)`: the uses of data that no primitive orders, each with a token that makes the other order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from typing import Any

import pytest
from corpus import together

import runtime
from lwp.explore import Outcome, Result

pytestmark = pytest.mark.loads


def listed(test: Callable[[], object], runs: int = 200, **options: Any) -> Result:
    return runtime.explore(test, seed=1, runs=runs, races=True, **options)


class Flag:
    def __init__(self) -> None:
        self.up = False
        self.seen: list[bool] = []

    def raise_it(self) -> None:
        self.up = True

    def look(self) -> None:
        self.seen.append(self.up)


def unordered() -> None:
    flag = Flag()
    together(flag.raise_it, flag.look)
    orders.append(flag.seen[0])


orders: list[bool] = []  # what the runs have seen


def test_uses_that_nothing_orders_are_listed_with_a_token_of_the_other_order() -> None:
    result = listed(unordered)
    assert result.outcome is not Outcome.FOUND
    (race,) = result.races
    uses = [(use["access"], use["name"], use["function"]) for use in race["uses"]]
    assert uses == [("writes", "flag.up", "raise_it"), ("reads", "flag.up", "look")]
    assert "\nRaces: 1 pair of uses of data that no primitive orders\n  flag.up: writes at " in result.report()
    assert f"the other order: {race['token']}" in result.report()
    runtime.replay(unordered, race["token"])
    assert orders[-1] is False  # the look was first


def test_a_find_has_them_below_its_report_and_the_run_that_failed_was_the_last() -> None:
    def program() -> None:
        unordered()
        assert orders[-1]

    result = listed(program)
    assert result.outcome is Outcome.FOUND
    assert result.report().rpartition(f"Token {result.token}")[2].partition("\n\n")[2].startswith("Races: 1 pair")
    assert orders[-1] is False


def test_they_are_not_listed_unless_asked_for() -> None:
    result = runtime.explore(unordered, seed=1, runs=20)
    assert (result.races, "Races" in result.report()) == ([], False)


def under_a_lock() -> None:
    flag, lock = Flag(), threading.Lock()

    def locked(body: Callable[[], object]) -> None:
        with lock:
            body()

    together(lambda: locked(flag.raise_it), lambda: locked(flag.look))


def before_the_start_and_after_the_join() -> None:
    flag = Flag()
    together(int)  # uses are looked at from the first start on
    flag.raise_it()
    together(flag.look)
    flag.up = not flag.up


def gives_and_takes(give: Callable[[], object], take: Callable[[], object]) -> None:
    flag = Flag()
    together(lambda: (flag.raise_it(), give()), lambda: (take(), flag.look()))


def set_and_waited_for() -> None:
    done = threading.Event()
    gives_and_takes(done.set, done.wait)


def put_and_got() -> None:
    items: Queue[int] = Queue()
    gives_and_takes(lambda: items.put(1), items.get)


def at_a_barrier() -> None:
    barrier = threading.Barrier(2)
    gives_and_takes(barrier.wait, barrier.wait)


def under_a_condition() -> None:
    flag, changed = Flag(), threading.Condition()

    def give() -> None:
        with changed:
            flag.raise_it()
            changed.notify()

    def take() -> None:
        with changed:
            while not flag.up:
                changed.wait()
            flag.seen.append(flag.up)

    together(give, take, give)


ORDERED = [under_a_lock, before_the_start_and_after_the_join, set_and_waited_for, put_and_got, under_a_condition]


@pytest.mark.parametrize("test", [*ORDERED, at_a_barrier])
def test_what_a_primitive_orders_is_no_race(test: Callable[[], object]) -> None:
    result = listed(test)
    assert result.outcome is not Outcome.FOUND
    assert result.races == []
    assert "Races: none in the runs that were made" in result.report()


def test_one_process_lists_them() -> None:
    with pytest.raises(ValueError, match="workers must be 1"):
        listed(unordered, workers=2)
