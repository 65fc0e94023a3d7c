"""Mutual exclusion and no lost wake-up, proved for few threads: every order of the models in sync_model.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sync_model
from sync_model import ASK, ASLEEP, CONTENDED, FREE, HELD, SIGNAL, TIMEOUT, Thread, World, Wrong, explore

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
        world = semaphore_world(takers)
        users = [semaphore_user(world, me) for me in range(takers)]
        return world, users + [giver(world, count) for count in gives]

    return make


def semaphore_world(places: int) -> World:
    data = {"queue": (), "entitled": 0, "tickets": 0, "away": frozenset(), "batons": 0, "locked": False, "got": 0}
    return World(words={"value": 0, **dict.fromkeys(range(places), ASLEEP)}, data=data)


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


# ---- a fork ---------------------------------------------------------------------------------------------------------


def lock_user_who_forks(world: World, me: int) -> Thread:
    """Before it wants the lock, or in a signal handler while it waits for it, or while it has it."""
    yield "fork"
    if world.words["lock"] in (HELD, CONTENDED):  # and so it stays, its owner is lost
        world.data["lost"] = True
        return
    yield from lock_user(world, me, 1)


def owner_who_forks(world: World, me: int) -> Thread:
    yield "fork"
    world.inside -= 1
    yield from sync_model.sync_lock_release(world)


def lock_user_of_the_child(world: World, me: int) -> Thread:
    yield "unborn"
    if "lost" not in world.data:
        yield from lock_user(world, me, 1)


def forked_locks(word: str, forker: Callable[[World, int], Thread]) -> Callable[[], tuple[World, list[Thread]]]:
    """Two threads that use the lock and are lost at any moment, one that forks, one that its child makes."""

    def make() -> tuple[World, list[Thread]]:
        world = World(words={"lock": word, "urgent": 0}, inside=int(word == HELD))
        return world, [
            lock_user(world, 0, 2),  # so that the other has waited for long and is handed the lock
            lock_user(world, 1, 1),
            forker(world, 2),
            lock_user_of_the_child(world, 3),
        ]

    return make


def free_or_lost(world: World) -> str:
    return "" if "lost" in world.data else lock_is_left(world)


@pytest.mark.parametrize(
    ("word", "forker"), [(FREE, lock_user_who_forks), (HELD, owner_who_forks)], ids=["another", "its owner"]
)
def test_lock_when_somebody_forks(word: str, forker: Callable[[World, int], Thread]) -> None:
    print(f"states: {explore(forked_locks(word, forker), two_inside, free_or_lost)}")


def giver_who_forks(world: World, me: int) -> Thread:
    yield "fork"
    yield from giver(world, 1)


def giver_of_the_child(world: World) -> Thread:
    yield "unborn"
    yield from giver(world, 1)


def taker_of_the_child(world: World, me: int) -> Thread:
    yield "unborn"
    world.data["got"] = 0
    yield from semaphore_user(world, me)


def taker_who_forks(world: World, me: int) -> Thread:
    """In a signal handler."""
    yield from sync_model.semaphore_take(world, me, handler="fork")
    world.data["got"] = 1


def forked_giver() -> tuple[World, list[Thread]]:
    world = semaphore_world(4)
    return world, [semaphore_user(world, 0), giver(world, 1), giver_who_forks(world, 2), taker_of_the_child(world, 3)]


def forked_taker() -> tuple[World, list[Thread]]:
    world = semaphore_world(2)
    return world, [taker_who_forks(world, 0), semaphore_user(world, 1), giver(world, 2), giver_of_the_child(world)]


def one_got_it_in_the_child(world: World) -> str:
    data = world.data
    if "forked" in data and data["got"] != 1:
        return f"{data['got']} got it"
    return "" if not data["queue"] and not data["batons"] else "somebody is left in the queue"


@pytest.mark.parametrize("make", [forked_giver, forked_taker])
def test_semaphore_when_somebody_forks(make: Callable[[], tuple[World, list[Thread]]]) -> None:
    """Whatever the lost threads were at, the child's one release lets its one sleeper go on."""
    print(f"states: {explore(make, nothing, one_got_it_in_the_child, {0: (SIGNAL,)})}")


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


def wait_for_the_lost(world: World) -> Thread:
    yield "take_back_if_nobody"


def test_a_lock_handed_to_a_lost_thread_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_model, "take_back_if_nobody", wait_for_the_lost)
    with pytest.raises(Wrong, match="nobody wakes"):
        explore(forked_locks(FREE, lock_user_who_forks), two_inside, free_or_lost)


def test_a_baton_of_a_lost_thread_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = World.fork

    def forgetful(world: World, me: int) -> None:
        batons = world.data["batons"]
        fork(world, me)
        world.data["batons"] = batons

    monkeypatch.setattr(World, "fork", forgetful)
    with pytest.raises(Wrong, match=r"nobody wakes|got it"):
        explore(forked_giver, nothing, one_got_it_in_the_child)
