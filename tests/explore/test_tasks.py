"""A test that runs tasks of asyncio is told that their order was not explored."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from child_programs import Child, together

from runtime.explore import Outcome, explore

TOLD = "\n  tasks of asyncio ran: their order was not explored"


async def two() -> None:
    await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))


def by_run() -> None:
    asyncio.run(two())


def by_a_loop_of_its_own() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(two())
    loop.close()


def in_a_thread() -> None:
    together(by_run)


def by_threads_only() -> None:
    async def main() -> None:
        await asyncio.to_thread(int)

    asyncio.run(main())


@pytest.mark.parametrize("test", [by_run, by_a_loop_of_its_own, in_a_thread, by_threads_only])
@pytest.mark.parametrize("strategy", ["auto", "dfs", "pct"])
def test_it_is_told(test: Callable[[], None], strategy: str) -> None:
    result = explore(test, runs=50, seed=1, granularity="sync", strategy=strategy)
    assert result.outcome is Outcome.BUDGET_SPENT, result.report()
    assert result.report().startswith("BUDGET SPENT: ")
    assert result.report().endswith(TOLD)


def test_it_is_told_by_workers() -> None:
    assert explore(by_run, runs=20, workers=2).report().endswith(TOLD)


@pytest.fixture
def outside() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that another thread runs meanwhile, and begins to run again."""
    loop, ends = asyncio.new_event_loop(), threading.Event()

    def run() -> None:
        while not ends.is_set():
            loop.run_until_complete(asyncio.sleep(0.001))

    thread = threading.Thread(target=run)
    thread.start()
    yield loop
    ends.set()
    thread.join()
    loop.close()


@pytest.mark.usefixtures("outside")
def test_a_loop_that_no_explored_thread_runs_is_not_told_of() -> None:
    result = explore(lambda: together(int, int), strategy="dfs", granularity="sync")
    assert result.outcome is Outcome.EXHAUSTED
    assert TOLD not in result.report()


def a_test_that_imports_asyncio_itself() -> None:
    from runtime.explore import explore

    def test() -> None:
        import asyncio

        asyncio.run(asyncio.sleep(0))

    assert "asyncio" not in sys.modules
    print(explore(test, runs=20, strategy="dfs", granularity="sync").report())


def test_asyncio_may_be_imported_by_the_test(child: Child) -> None:
    assert child(a_test_that_imports_asyncio_itself).stdout.rstrip().endswith(TOLD)


def a_test_without_it() -> None:
    from runtime.explore import explore

    explore(lambda: together(int, int), runs=20)
    assert "asyncio" not in sys.modules


def test_asyncio_is_not_imported_for_this(child: Child) -> None:
    child(a_test_without_it)
