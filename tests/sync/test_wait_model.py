"""runtime.wait() against semaphores, proved for few threads: sync/any.h and sync/queue.c in every order.

A semaphore is a letter; its queue has places (thread, entitled).  What C does under a queue's lock is one step.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sync_model
from sync_model import ASK, ASLEEP, NORMAL, TIMEOUT, WOKEN, Thread, World, Wrong, explore


def claim(world: World, me: int) -> bool:
    """sync_any_claim() for the first of several; a thread that waits for one thing has no word `needed`."""
    return ("needed", me) not in world.words or world.exchange_if(("needed", me), 1, 0)


def grant(world: World, name: str) -> int:
    """One permit: how many have got it.  Under the queue's lock."""
    queue = world.data[f"queue {name}"]
    for me, entitled in queue:
        if entitled:
            continue
        at = queue.index((me, False))
        if claim(world, me):
            world.data[f"queue {name}"] = (*queue[:at], (me, True), *queue[at + 1 :])
            world.data["claimed"] |= {(me, name)}
            return 1
        queue = world.data[f"queue {name}"] = (*queue[:at], *queue[at + 1 :])
    return 0


def unlock_and_wake(world: World, name: str) -> Thread:
    """The begin is under the queue's lock, in the step of the caller."""
    queue = world.data[f"queue {name}"]
    if world.data[f"batons {name}"] or not queue or not queue[0][1]:
        return
    me = queue[0][0]
    world.data[f"queue {name}"] = queue[1:]
    world.data[f"batons {name}"] = 1
    world.data["has baton"] |= {(me, name)}
    yield "sync_wake_waiter"
    world.words[me] = WOKEN
    yield "sync_wake"
    world.wake(me, NORMAL)


def pass_baton(world: World, name: str) -> Thread:
    yield "sync_queue_pass_baton"
    world.data[f"batons {name}"] = 0
    yield from unlock_and_wake(world, name)


def give(world: World, name: str) -> Thread:
    value = ("value", name)
    while True:
        yield "semaphore_give"
        if (seen := world.words[value]) != ASK:
            yield "semaphore_give"
            if world.exchange_if(value, seen, seen + 1):
                return
            continue
        yield "semaphore_give"
        if world.words[value] == ASK:
            break
    granted = grant(world, name)
    if all(entitled for _, entitled in world.data[f"queue {name}"]):
        world.words[value] = 1 - granted
    yield from unlock_and_wake(world, name)


def take_now(world: World, name: str) -> Thread:
    yield "semaphore_try"
    seen = world.words["value", name]
    if seen in (0, ASK):
        return False
    world.words["value", name] = seen - 1
    return True


def enter(world: World, me: int, name: str) -> Thread:
    """Whether it is in the queue."""
    yield "enter_semaphore"
    if world.words["value", name] not in (0, ASK):
        return False
    world.words["value", name] = ASK
    world.data[f"queue {name}"] = (*world.data[f"queue {name}"], (me, False))
    return True


def leave(world: World, me: int, name: str) -> Thread:
    """Whether it was granted, and whether the baton came."""
    yield "sync_queue_leave_any"
    world.data[f"queue {name}"] = tuple(place for place in world.data[f"queue {name}"] if place[0] != me)
    granted, baton = ((me, name) in world.data[key] for key in ("claimed", "has baton"))
    world.data["claimed"] -= {(me, name)}
    world.data["has baton"] -= {(me, name)}
    while baton and world.words[me] != WOKEN:
        yield from sync_model.park_wait_some(world, me, me, ASLEEP, NORMAL, "asleep for ever")
    return granted, baton


def wait_for_first(world: World, me: int, names: str) -> Thread:
    while True:
        for name in names:
            if (yield from take_now(world, name)):
                world.data["got"] += 1
                return
        world.words |= {("needed", me): 1, me: ASLEEP}
        entered, event = "", None
        for name in names:
            if not (yield from enter(world, me, name)):
                break
            entered += name
        while entered == names and event is None:
            yield "sleep_until_woken"
            if world.words[me] == WOKEN:
                break
            event = yield from sync_model.park_wait_some(world, me, me, ASLEEP, NORMAL)
        yield "sync_any_close"
        completed, world.words["needed", me] = world.words["needed", me] == 0, 0
        batons, granted = "", 0
        for name in entered:
            its, baton = yield from leave(world, me, name)
            granted += its
            batons += name if baton else ""
        if granted != completed:
            raise Wrong(f"{granted} granted, and completed is {completed}")
        for name in batons:
            yield from pass_baton(world, name)
        world.data["got"] += granted
        if completed or event is not None:
            return


def take_one(world: World, me: int, name: str) -> Thread:
    """semaphore_take() without a timeout."""
    while True:
        if (yield from take_now(world, name)):
            break
        if not (yield from enter(world, me, name)):
            continue
        while world.words[me] != WOKEN:
            yield from sync_model.park_wait_some(world, me, me, ASLEEP, NORMAL, "asleep for ever")
        world.data["claimed"] -= {(me, name)}
        world.data["has baton"] -= {(me, name)}
        yield from pass_baton(world, name)
        break
    world.data["got"] += 1


def giver(world: World, names: str) -> Thread:
    for name in names:
        yield from give(world, name)


def worlds(waiters: tuple[str, ...], *gives: str) -> Callable[[], tuple[World, list[Thread]]]:
    """A waiter with several letters waits for the first of them, one with a letter takes that."""

    def make() -> tuple[World, list[Thread]]:
        world = World(words={("value", name): 0 for name in "AB"} | dict.fromkeys(range(len(waiters)), ASLEEP))
        world.data |= {f"queue {name}": () for name in "AB"} | {f"batons {name}": 0 for name in "AB"}
        world.data |= {"claimed": frozenset(), "has baton": frozenset(), "got": 0}
        threads = [
            wait_for_first(world, me, names) if len(names) > 1 else take_one(world, me, names)
            for me, names in enumerate(waiters)
        ]
        return world, [*threads, *(giver(world, names) for names in gives)]

    return make


def nothing(world: World) -> str:
    return ""


def counted(given: int) -> Callable[[World], str]:
    def check(world: World) -> str:
        data = world.data
        left = [0 if world.words["value", name] == ASK else world.words["value", name] for name in "AB"]
        if data["got"] + sum(left) != given:
            return f"{given} given, {data['got']} got and {left} left"
        stay = [name for name in "AB" if data[f"queue {name}"] or data[f"batons {name}"]]
        return f"somebody is left in {stay}" if stay else ""

    return check


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waiters", "gives"),
    [
        (("AB",), ("A", "B")),
        (("AB", "BA"), ("A", "B")),
        (("AB", "A"), ("A", "A")),
        (("AB", "A", "B"), ("AB", "BA")),
        (("AB", "AB"), ("AA",)),
    ],
)
def test_the_first_of_two_semaphores(waiters: tuple[str, ...], gives: tuple[str, ...]) -> None:
    given = sum(map(len, gives))
    print(f"states: {explore(worlds(waiters, *gives), nothing, counted(given))}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waiters", "gives"), [(("AB",), ("A", "B")), (("AB", "A"), ("A", "A")), (("AB", "BA"), ("AB", "A"))]
)
def test_timeouts(waiters: tuple[str, ...], gives: tuple[str, ...]) -> None:
    given = sum(map(len, gives))
    print(f"states: {explore(worlds(waiters, *gives), nothing, counted(given), {0: (TIMEOUT,)})}")


def test_a_claim_that_always_succeeds_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(world: World, me: int) -> bool:
        world.words["needed", me] = 0
        return True

    monkeypatch.setitem(globals(), "claim", always)
    with pytest.raises(Wrong, match=r"granted, and completed"):
        explore(worlds(("AB",), "A", "B"), nothing, counted(2))


def test_a_place_that_is_passed_by_without_the_next_being_granted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(world: World, name: str) -> int:
        queue = world.data[f"queue {name}"]
        world.data[f"queue {name}"] = queue[1:]
        return original(world, name) if not queue or claim(world, queue[0][0]) else 1

    original = grant
    monkeypatch.setitem(globals(), "grant", give_up)
    with pytest.raises(Wrong):
        explore(worlds(("AB", "A"), "B", "A"), nothing, counted(2))
