"""A run may cancel a task at an await, or fire its timeout there: bugs of that kind are found, replayed and told."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial

import pytest
from conftest import SLOW

from lwp.explore import DeadlockFound, Outcome, Result, explore, replay

Test = Callable[[], Coroutine[None, None, None]]
PASSES = (Outcome.BUDGET_SPENT, Outcome.EXHAUSTED)


def explored(test: Test, cancel: bool = True, strategy: str = "auto") -> Result:
    return explore(test, runs=4000, seconds=10 * SLOW, seed=1, cancel=cancel, strategy=strategy, granularity="sync")


# ---- bugs, and their repairs -----------------------------------------------------------------------------------------


async def lock_not_released(fixed: bool) -> None:
    lock = asyncio.Lock()

    async def use() -> None:
        await lock.acquire()
        try:
            await asyncio.sleep(0)
        finally:
            if fixed:
                lock.release()
        if not fixed:
            lock.release()

    async with asyncio.TaskGroup() as group:
        group.create_task(use(), name="first")
        group.create_task(use(), name="second")


async def state_half_changed(fixed: bool) -> None:
    balance = {"ann": 100, "bob": 0}

    async def transfer() -> None:
        if fixed:
            await asyncio.sleep(0)
        balance["ann"] -= 70
        if not fixed:
            await asyncio.sleep(0)
        balance["bob"] += 70

    async with asyncio.TaskGroup() as group:
        group.create_task(transfer(), name="transfer")
    assert sum(balance.values()) == 100


async def finally_that_awaits(fixed: bool) -> None:
    connections = 1

    async def serve() -> None:
        nonlocal connections
        try:
            await asyncio.sleep(0)
        finally:
            if fixed:
                connections -= 1
            await asyncio.sleep(0)  # says goodbye
            if not fixed:
                connections -= 1

    async with asyncio.TaskGroup() as group:
        group.create_task(serve(), name="serve")
    assert connections == 0


async def result_lost_by_wait_for(fixed: bool) -> None:
    items, took = deque([1]), []

    async def take() -> int:
        if fixed:
            await asyncio.sleep(0)
        item = items.popleft()
        if not fixed:
            await asyncio.sleep(0)
        return item

    with suppress(TimeoutError):
        took.append(await asyncio.wait_for(take(), 5))
    assert [*took, *items] == [1]


async def swallowed(fixed: bool) -> None:
    child = asyncio.create_task(asyncio.sleep(3600))

    async def stop() -> None:
        child.cancel()
        try:
            await child
        except asyncio.CancelledError:  # the child's, or this task's own
            me = asyncio.current_task()
            if fixed and me.cancelling():
                raise

    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            await stop()
            await asyncio.Event().wait()


async def permit_lost(fixed: bool) -> None:
    """Its waiter has been given the permit already when it is cancelled."""
    free, waiters = 1, deque[asyncio.Future[None]]()

    def give_back() -> None:
        nonlocal free
        if waiter := next((one for one in waiters if not one.done()), None):
            waiters.remove(waiter)
            waiter.set_result(None)
        else:
            free += 1

    async def use() -> None:
        nonlocal free
        if free:
            free -= 1
        else:
            waiter = asyncio.get_running_loop().create_future()
            waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in waiters:
                    waiters.remove(waiter)
                elif fixed:  # it has the permit
                    give_back()
                raise
        try:
            await asyncio.sleep(0)
        finally:
            give_back()

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second"):
            group.create_task(use(), name=name)
    assert free == 1


async def shared_future(fixed: bool) -> None:
    """The task that is cancelled cancels what the other one waits for, too."""
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    loop.call_later(1, lambda: answer.cancelled() or answer.set_result("answer"))

    async def ask() -> str:
        return str(await (asyncio.shield(answer) if fixed else answer))

    asked = [asyncio.create_task(ask(), name=name) for name in ("first", "second")]
    await asyncio.wait(asked)
    assert sum(one.cancelled() for one in asked) <= 1


BUGS = [lock_not_released, state_half_changed, finally_that_awaits, result_lost_by_wait_for]
BUGS += [swallowed, permit_lost, shared_future]
Bug = Callable[[bool], Coroutine[None, None, None]]
each_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
by_each_strategy = pytest.mark.parametrize("strategy", ["auto", "dfs", "dpor", "pct", "random", "pos"])
by_two_strategies = pytest.mark.parametrize("strategy", ["auto", "dfs"])


@by_each_strategy
@each_bug
def test_a_bug_is_found_and_replayed(bug: Bug, strategy: str) -> None:
    result = explored(partial(bug, False), strategy=strategy)
    assert result.outcome is Outcome.CANCELLATION, result.report()
    assert (result.replays, result.replayed) == (10, 10)
    assert result.token.startswith("sc-")
    again = replay(partial(bug, False), result.token)
    assert (again.outcome, again.token) == (Outcome.CANCELLATION, result.token)


@by_two_strategies
@each_bug
def test_nothing_is_found_in_its_repair(bug: Bug, strategy: str) -> None:
    result = explored(partial(bug, True), strategy=strategy)
    assert result.outcome in PASSES, result.report()


@each_bug
def test_nothing_is_found_unless_it_is_asked_for(bug: Bug) -> None:
    result = explored(partial(bug, False), cancel=False, strategy="dfs")
    assert result.outcome is Outcome.EXHAUSTED, result.report()


# ---- which tasks, and where ------------------------------------------------------------------------------------------


def test_each_await_of_a_task_is_tried_and_the_tests_own_task_is_left_alone() -> None:
    where: set[str] = set()

    async def note(name: str, awaits: int) -> None:
        for number in range(awaits):
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                where.add(f"{name} {number}")
                raise

    async def test() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(note("task", 3))
        await note("test", 3)

    for cancel in (False, True):
        assert explored(test, cancel, "dfs").outcome is Outcome.EXHAUSTED
        assert where == ({f"task {number}" for number in range(3)} if cancel else set())


def test_a_timeout_fires_at_each_await_in_it_and_only_once_in_a_run() -> None:
    where: set[int] = set()

    async def test() -> None:
        fired = []
        for number in range(3):
            try:
                async with asyncio.timeout(5):
                    await asyncio.sleep(0)
            except TimeoutError:
                fired.append(number)
        await asyncio.sleep(0)
        assert len(fired) <= 1
        where.update(fired)

    for cancel in (False, True):
        assert explored(test, cancel, "dfs").outcome is Outcome.EXHAUSTED
        assert where == ({0, 1, 2} if cancel else set())


async def awaits_it() -> None:
    await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))


async def limited() -> None:
    async with asyncio.timeout(5):
        await asyncio.sleep(0)


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(limited())


async def raised_from_it() -> None:
    try:
        await limited()
    except TimeoutError as error:
        raise ValueError("slow") from error


@pytest.mark.parametrize("test", [awaits_it, in_a_group, raised_from_it])
def test_that_the_cancellation_itself_ends_the_test_is_no_find(test: Test) -> None:
    result = explored(test, strategy="dfs")
    assert result.outcome is Outcome.EXHAUSTED, result.report()
    assert result.runs > 1


def test_a_timeout_that_comes_in_its_time_after_a_cancellation_is_a_find() -> None:
    async def test() -> None:
        done = asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(0)
            done.set()

        task = asyncio.create_task(work())
        await asyncio.wait_for(done.wait(), 5)
        await task

    result = explored(test, strategy="dfs")
    assert result.outcome is Outcome.CANCELLATION, result.report()
    assert isinstance(result.error, TimeoutError)


def test_what_fails_without_a_cancellation_is_found_as_before() -> None:
    async def test() -> None:
        numbers: list[int] = []

        async def append(number: int) -> None:
            await asyncio.sleep(0.01)
            numbers.append(number)

        async with asyncio.TaskGroup() as group:
            group.create_task(append(1))
            group.create_task(append(2))
        assert numbers in ([1, 2], [1], [2], [])

    for strategy in ("auto", "dfs"):
        assert explored(test, strategy=strategy).outcome is Outcome.FOUND


# ---- the report ------------------------------------------------------------------------------------------------------


def test_the_report_tells_which_task_is_cancelled_and_where() -> None:
    result = explored(partial(lock_not_released, False))
    assert isinstance(result.error, DeadlockFound)
    report = result.report()
    told = r"\n━━▶ first is cancelled while it awaits asyncio\.sleep\(0\) at test_cancel\.py:(\d+)\n"
    assert (line := re.search(told, report)), report
    assert re.search(rf"\ntest_cancel.py:?{line[1]}|\n +{line[1]} .*· is cancelled", report)
    assert "CANCELLATION found by" in report
    assert "possible in asyncio's order" in report


def test_the_report_tells_which_timeout_fires() -> None:
    report = explored(partial(swallowed, False)).report()
    assert re.search(r"\n━━▶ Task-1's timeout fires while it awaits child at test_cancel\.py:\d+\n", report), report


async def cancelled_late() -> None:
    """A lock that a task keeps if it is cancelled at the last of its awaits, after many."""
    lock = asyncio.Lock()

    async def work() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await lock.acquire()
        await asyncio.sleep(0)
        lock.release()

    task = asyncio.create_task(work())
    await asyncio.wait([task])
    assert not lock.locked()


def test_each_await_is_cancelled_once_in_the_first_quarter_of_the_runs() -> None:
    result = explore(cancelled_late, runs=1000, seed=1, cancel=True)
    assert result.outcome is Outcome.CANCELLATION, result.report()
    assert result.found_by == "awaits, sync"
    assert result.runs < 50
    assert result.deviations == 1
