"""Mutual exclusion and no lost wake-up, proved for few threads: every order of the models in sync_model.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sync_model
from sync_model import ASK, ASLEEP, FREE, SIGNAL, TIMEOUT, Thread, World, Wrong, explore

# ---- lock -----------------------------------------------------------------------------------------------------------


def lock_user(world: World, me: int, rounds: int) -> Thread:
    for _ in range(rounds):
        taken = yield from sync_model.sync_lock_try(world)
        if not taken:
            taken = yield from sync_model.sync_lock_wait(world, me)
        if taken:
            world.inside += 1
            yield "inside"
            world.inside -= 1
            yield from sync_model.sync_lock_release(world)


def locks(*rounds: int) -> Callable[[], tuple[World, list[Thread]]]:
    def make() -> tuple[World, list[Thread]]:
        world = World(words={"lock": FREE, "urgent": 0})
        return world, [lock_user(world, me, count) for me, count in enumerate(rounds)]

    return make


def two_inside(world: World) -> str:
    return "two hold the lock" if world.inside > 1 else ""


def not_free(world: World) -> str:
    return "" if world.words == {"lock": FREE, "urgent": 0} else "the lock is left behind"


@pytest.mark.parametrize(
    ("rounds", "events"),
    [
        ((2, 2), {}),
        ((2, 1), {0: (TIMEOUT,), 1: (TIMEOUT,)}),
        ((1, 1, 1), {}),
        ((1, 1, 1), {0: (TIMEOUT,), 1: (TIMEOUT,), 2: (TIMEOUT,)}),
        ((2, 1, 1), {1: (TIMEOUT,)}),
    ],
    ids=["two", "two that give up", "three", "three that give up", "three, one gives up"],
)
def test_lock(rounds: tuple[int, ...], events: dict[int, tuple[str, ...]]) -> None:
    print(f"states: {explore(locks(*rounds), two_inside, not_free, events)}")


# ---- queue ----------------------------------------------------------------------------------------------------------


def semaphore_user(world: World, me: int) -> Thread:
    got = yield from sync_model.semaphore_take(world, me)
    world.data["got"] += bool(got)


def giver(world: World, count: int) -> Thread:
    for _ in range(count):
        yield from sync_model.semaphore_give(world)


def semaphores(takers: int, *gives: int) -> Callable[[], tuple[World, list[Thread]]]:
    def make() -> tuple[World, list[Thread]]:
        data = {"queue": (), "entitled": 0, "tickets": 0, "away": frozenset(), "batons": 0, "locked": False, "got": 0}
        world = World(words={"value": 0, **dict.fromkeys(range(takers), ASLEEP)}, data=data)
        users = [semaphore_user(world, me) for me in range(takers)]
        return world, users + [giver(world, count) for count in gives]

    return make


def nothing(world: World) -> str:
    return ""


def counted(given: int) -> Callable[[World], str]:
    def check(world: World) -> str:
        data, left = world.data, world.words["value"]
        if data["got"] + (0 if left == ASK else left) != given:
            return f"{given} given, {data['got']} got and {left} left"
        return "" if not data["queue"] and not data["batons"] else "somebody is left in the queue"

    return check


@pytest.mark.parametrize(
    ("takers", "gives", "events"),
    [
        (2, (2,), {}),
        (3, (3,), {}),
        (2, (1, 1), {}),
        (2, (2,), {0: (TIMEOUT,), 1: (TIMEOUT,)}),
        (2, (2,), {0: (SIGNAL, TIMEOUT)}),
        (2, (1, 1), {0: (SIGNAL,), 1: (TIMEOUT,)}),
    ],
)
def test_semaphore(takers: int, gives: tuple[int, ...], events: dict[int, tuple[str, ...]]) -> None:
    print(f"states: {explore(semaphores(takers, *gives), nothing, counted(sum(gives)), events)}")


# ---- condition ------------------------------------------------------------------------------------------------------


def notifier(world: World, sleeper: int) -> Thread:
    yield from sync_model.condition_notify(world, sleeper)
    world.inside -= 1
    yield from sync_model.sync_lock_release(world)


def notified(world: World, me: int) -> Thread:
    if (yield from sync_model.condition_wait(world, me)):
        world.inside += 1
        yield "inside"
        world.inside -= 1
        yield from sync_model.sync_lock_release(world)


def passer_by(world: World) -> Thread:
    """Takes the lock if it is free."""
    if (yield from sync_model.sync_lock_try(world)):
        world.inside += 1
        yield "inside"
        world.inside -= 1
        yield from sync_model.sync_lock_release(world)


def conditions(users: int, passers_by: int) -> Callable[[], tuple[World, list[Thread]]]:
    """A thread that sleeps, one that holds the lock and notifies it, others that want the lock."""

    def make() -> tuple[World, list[Thread]]:
        words = {"lock": sync_model.HELD, "urgent": 0, 0: ASLEEP}
        world = World(words=words, inside=1, data={"interrupted": False})
        others = [lock_user(world, 2 + at, 1) for at in range(users)] + [passer_by(world) for _ in range(passers_by)]
        return world, [notified(world, 0), notifier(world, 0), *others]

    return make


def lock_is_left(world: World) -> str:
    return "" if world.words["lock"] == FREE and world.words["urgent"] == 0 else "the lock is left behind"


def test_condition() -> None:
    print(f"states: {explore(conditions(1, 1), two_inside, lock_is_left, {0: (SIGNAL,)})}")


# ---- what the explorer finds ----------------------------------------------------------------------------------------


def wait_without_telling(world: World, me: int) -> Thread:
    """As sync_lock_wait(), but the word is left HELD: the fast release looks for nobody."""
    while not (yield from sync_model.take(world, False)):
        yield "sync_lock_wait"
        seen = world.words["lock"]
        if seen != FREE:
            yield from sync_model.park_wait_some(world, me, "lock", seen, sync_model.NORMAL)
    return True


def take_without_looking(world: World, urgent: bool) -> Thread:
    yield "take"
    free = world.words["lock"] == FREE
    yield "take"
    if free:
        world.words["lock"] = sync_model.CONTENDED
    return free


def keep_the_baton(world: World) -> Thread:
    yield "sync_queue_pass_baton"


@pytest.mark.parametrize(
    ("name", "broken", "says"),
    [
        ("sync_lock_wait", wait_without_telling, "nobody wakes"),
        ("take", take_without_looking, "two hold the lock|nobody holds it"),
        ("take_back_if_nobody", keep_the_baton, "nobody wakes|left behind"),
    ],
)
def test_a_broken_lock_is_found(
    name: str, broken: Callable[..., Thread], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_model, name, broken)
    with pytest.raises(Wrong, match=says):
        explore(locks(2, 1), two_inside, not_free, {0: (TIMEOUT,), 1: (TIMEOUT,)})


def test_a_baton_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_model, "sync_queue_pass_baton", keep_the_baton)
    with pytest.raises(Wrong, match=r"nobody wakes|left in the queue"):
        explore(semaphores(2, 2), nothing, counted(2))


def ask_nobody(world: World, value: object) -> Thread:
    """The one who is about to sleep does not say so: a release takes the number for the truth."""
    yield "semaphore_take"
    return True


def test_a_sleeper_who_does_not_say_so_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_model, "semaphore_ask", ask_nobody)
    with pytest.raises(Wrong, match="nobody wakes"):
        explore(semaphores(2, 2), nothing, counted(2))


def wake_nobody(world: World) -> Thread:
    """Who was interrupted may have had the lock's wake-up, and goes without the lock."""
    yield "sync_queue_wait"


def test_a_wakeup_that_is_taken_along_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_model, "wake_another", wake_nobody)
    with pytest.raises(Wrong, match="nobody wakes"):
        explore(conditions(1, 1), two_inside, lock_is_left, {0: (SIGNAL,)})
