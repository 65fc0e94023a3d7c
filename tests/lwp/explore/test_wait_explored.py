"""runtime.wait() in many orders: the runtime explores itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import run_threads
from explored import by_chance, finds, in_every_order

from lwp.explore import DeadlockFound
from runtime import Group, Thread, wait
from runtime.groups import ALL_COMPLETED
from runtime.sync import Event, Lock, Semaphore


def started(target: Callable[[], object]) -> Thread:
    thread = Thread(target=target)
    thread.start()
    return thread


pytestmark = pytest.mark.loads  # what replaces blocking calls: ssl


@by_chance(1000, "random")
def test_a_late_grant_is_not_lost() -> None:
    event, semaphore, got = Event(), Semaphore(0), []
    threads = [Thread(target=target) for target in (event.set, semaphore.release)]
    waiter = Thread(target=lambda: got.extend(wait([event, semaphore])))
    run_threads((waiter, *threads))
    assert got in ([event], [semaphore])
    assert semaphore._value == (got == [event])


@by_chance(1000, "random")
def test_an_event_that_is_set_for_a_moment() -> None:
    """It ends the wait of one that has begun, also if that goes on when the event is clear again."""
    event, other = Event(), Event()

    def set_it() -> None:
        event.set()
        event.clear()
        if not came:
            late.append(True)
            other.set()

    def one() -> None:
        came.extend(wait([event, other]))

    came: list[Event] = []
    late: list[bool] = []
    threads = [started(target) for target in (one, set_it)]
    assert wait(threads, return_when=ALL_COMPLETED) == threads
    assert came in ([event], [other], [event, other])
    assert late or came == [event]


@pytest.mark.parametrize("return_when", ["FIRST_COMPLETED", "ALL_COMPLETED"])
@by_chance(1000, "random")
def test_the_ends_of_threads(return_when: str) -> None:
    lock = Lock()
    left = [started(lambda: lock.acquire() and lock.release()) for _ in range(3)]
    while left:
        ended = wait(left, return_when=return_when)
        assert ended
        assert not any(thread.is_alive() for thread in ended)
        left = [thread for thread in left if thread not in ended]


@by_chance(1000, "random")
def test_one_of_two_permits() -> None:
    permits, inside = [Semaphore(1), Semaphore(1)], [0, 0]

    def use() -> None:
        (permit,) = wait(permits)
        at = permits.index(permit)
        inside[at] += 1
        assert inside[at] == 1
        inside[at] -= 1
        permit.release()

    with Group() as group:
        tasks = [group.spawn(use) for _ in range(3)]
        tasks[0].cancel()
    assert [permit._value for permit in permits] == [1, 1]
    assert not any(task.cancelled() for task in tasks[1:])


@by_chance(1000, "random")
def test_a_permit_for_one_that_is_cancelled() -> None:
    semaphores = [Semaphore(0), Semaphore(0)]
    with Group() as group:
        first, second = (group.spawn(wait, semaphores) for _ in range(2))
        group.spawn(semaphores[0].release)
        group.spawn(semaphores[1].release)
        first.cancel()
    assert len(second.result()) == 1
    assert sum(semaphore._value for semaphore in semaphores) == first.cancelled()


@in_every_order
def test_an_event_and_a_permit_in_every_order() -> None:
    event, semaphore = Event(), Semaphore(0)
    thread = started(event.set)
    semaphore.release()
    got = wait([semaphore, event])
    thread.join()
    assert semaphore._value == (got == [event])
    assert event.is_set()


@by_chance(200, "random")
def test_a_time_limit() -> None:
    event = Event()
    thread = started(event.set)
    assert wait([event], 1) in ([], [event])
    thread.join()
    assert wait([thread, event], 0) == [thread, event]
    assert wait([Event()], 5) == []


@finds(DeadlockFound)
def test_a_deadlock_is_found() -> None:
    wait([Event(), Semaphore(0)])


@finds(AssertionError)
def test_a_lost_race_that_is_forgotten_is_found() -> None:
    """A program that looks for the event only: it may hold a permit."""
    event, semaphore = Event(), Semaphore(0)
    threads = [started(target) for target in (semaphore.release, event.set)]
    wait([event, semaphore])
    for thread in threads:
        thread.join()
    assert semaphore.acquire(False)
