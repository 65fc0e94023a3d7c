"""What comes out of a Group in which a thread waits for a task: one outcome, whichever thread is faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from explored import passes, passing
from kinds import Failed, fail

import runtime
from runtime import Cancelled, Group, Task, shield
from runtime.sync import Event

pytestmark = pytest.mark.loads  # what replaces blocking calls: ssl


def flat(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return f"[{', '.join(flat(each) for each in error.exceptions)}]"
    return type(error).__name__


def outcome(program: Callable[[], object]) -> str:
    try:
        program()
    except (Exception, Cancelled) as error:
        return flat(error)
    return "nothing"


def wait_forever() -> None:
    Event().wait()


def by_result(task: Task[Any]) -> None:
    task.result()


def by_exception(task: Task[Any]) -> None:
    if (error := task.exception()) is not None:
        raise error


def by_wait(task: Task[Any]) -> None:
    [done] = runtime.wait([task])
    done.result()


# ---- who waits -------------------------------------------------------------------------------------------------------


def the_block_waits(group: Group, task: Task[Any], wait: Callable[[Task[Any]], None]) -> None:
    wait(task)


def a_task_waits(group: Group, task: Task[Any], wait: Callable[[Task[Any]], None]) -> None:
    group.spawn(wait, task)


def a_task_waits_that_is_asked_first(group: Group, task: Task[Any], wait: Callable[[Task[Any]], None]) -> None:
    def waits() -> None:
        there.wait()
        wait(later[0])

    there, later = Event(), list[Task[Any]]()
    group.spawn(waits)
    later.append(group.spawn(wait, task))
    there.set()


def a_task_of_an_inner_group_waits(group: Group, task: Task[Any], wait: Callable[[Task[Any]], None]) -> None:
    def middle() -> None:
        with Group() as inner:
            inner.spawn(wait, task)

    group.spawn(middle)


def a_shielded_task_waits(group: Group, task: Task[Any], wait: Callable[[Task[Any]], None]) -> None:
    def shielded() -> None:
        with shield():
            wait(task)

    group.spawn(shielded)


WAITERS = [the_block_waits, a_task_waits, a_task_waits_that_is_asked_first, a_task_of_an_inner_group_waits]


# ---- what ends it ----------------------------------------------------------------------------------------------------


def by_the_deadline(begin: Callable[..., None], wait: Callable[[Task[Any]], None]) -> None:
    with Group(timeout=0.01) as group:
        begin(group, group.spawn(wait_forever), wait)


def by_cancel(begin: Callable[..., None], wait: Callable[[Task[Any]], None]) -> None:
    with Group() as group:
        task = group.spawn(wait_forever)
        group.spawn(group.cancel)
        begin(group, task, wait)


def by_a_failure(begin: Callable[..., None], wait: Callable[[Task[Any]], None]) -> None:
    with Group() as group:
        task = group.spawn(wait_forever)
        group.spawn(fail)
        begin(group, task, wait)


def by_the_tasks_own_failure(begin: Callable[..., None], wait: Callable[[Task[Any]], None]) -> None:
    with Group() as group:
        begin(group, group.spawn(fail), wait)


ENDS = {
    by_the_deadline: "TimeoutError",
    by_cancel: "nothing",
    by_a_failure: "[Failed]",
    by_the_tasks_own_failure: "[Failed]",
}


def name(function: Any) -> str | None:
    return getattr(function, "__name__", None)


@pytest.mark.parametrize("wait", [by_result, by_exception, by_wait], ids=name)
@pytest.mark.parametrize("begin", [*WAITERS, a_shielded_task_waits], ids=name)
@pytest.mark.parametrize("end", ENDS, ids=name)
@passing(granularity="opcode", runs=200)
def test_one_outcome(end: Callable[..., None], begin: Callable[..., None], wait: Callable[..., None]) -> None:
    assert outcome(lambda: end(begin, wait)) == ENDS[end]


def test_an_error_before_started_is_not_lost() -> None:
    """Either start() raises it, or, if its wait has ended just then, the group does."""

    def test() -> None:
        called = []

        def refuse(task_status: object) -> None:
            called.append(True)
            raise Failed

        def program() -> None:
            with Group() as group:
                group.spawn(group.cancel)
                group.start(refuse)

        came = outcome(program)
        assert came == ("[Failed]" if called else "nothing")
        outcomes.add(bool(called))

    outcomes: set[bool] = set()
    passes(test, granularity="opcode", runs=1000)
    assert outcomes == {False, True}
