"""Tests whose body is explored: what they say holds in every order of their threads, or in many that chance chooses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TREE

from lwp.explore import Outcome, Result, explore
from lwp.reading.files import name_of_file

Test = Callable[..., object]
PASSES = (Outcome.BUDGET_SPENT, Outcome.EXHAUSTED)


def passes(test: Test, runs: int = 100, **options: Any) -> Result:
    result = explore(test, runs=runs, seed=1, **options)
    assert result.outcome in PASSES, result.report()
    assert (result.error, result.token) == (None, None)
    return result


def comes_to(
    *outcomes: Outcome, error: type[BaseException] | None = None, says: str = "", **options: Any
) -> Callable[[Test], Test]:
    """The body is explored, which comes to one of these outcomes, with such an error, and says so in its report."""

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def explored(**values: object) -> None:
            result = explore(functools.partial(test, **values), **options)
            assert result.outcome in outcomes, result.report()
            assert error is None or isinstance(result.error, error)
            assert says in result.report()

        return explored

    return decorate


def passing(runs: int = 100, **options: Any) -> Callable[[Test], Test]:
    return comes_to(*PASSES, runs=runs, seed=1, **options)


def by_chance(runs: int, strategy: str = "auto") -> Callable[[Test], Test]:
    return passing(runs, strategy=strategy, granularity="sync")


in_every_order = comes_to(Outcome.EXHAUSTED, strategy="dpor", granularity="sync", runs=200_000, seconds=60)


def finds(error: type[BaseException]) -> Callable[[Test], Test]:
    """In some order the body fails with that error."""
    return comes_to(Outcome.FOUND, error=error, granularity="sync", runs=3000, seed=1)


@pytest.fixture(scope="module", autouse=True)
def in_the_tree() -> Iterator[None]:
    """Files are named as from the current folder, and what is longer than a line is cut off."""
    before = Path.cwd()
    os.chdir(TREE)
    name_of_file.cache_clear()
    yield
    os.chdir(before)
    name_of_file.cache_clear()
