"""runtime.wait() against semaphores, proved for few threads: waits/any.h and waits/queue.c in every order.

A semaphore is a letter; its queue has places (thread, entitled).  What C does under a queue's lock is one step.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sync_model
from sync_model import (
    ASK,
    ASLEEP,
    CONTENDED,
    FREE,
    HANDED,
    NORMAL,
    TIMEOUT,
    WOKEN,
    Thread,
    World,
    Wrong,
    can_cancel,
    canceller,
    claim,
    close_any,
    explore,
    lock_user,
    sleep_until_woken,
    two_inside,
    wait_two,
)

pytestmark = pytest.mark.timeout(600)  # the models compute, for a minute on a busy machine

plain_wait = sync_model.park_wait_some


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


def lock_queue(world: World, name: str) -> Thread:
    """Where somebody holds it for more than one step."""
    while True:
        yield "sync_queue_lock"
        if name not in world.data.get("locked", ()):
            return


def pass_baton(world: World, name: str) -> Thread:
    yield from lock_queue(world, name)
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
    yield from lock_queue(world, name)
    world.data[f"queue {name}"] = tuple(place for place in world.data[f"queue {name}"] if place[0] != me)
    granted, baton = ((me, name) in world.data[key] for key in ("claimed", "has baton"))
    world.data["claimed"] -= {(me, name)}
    world.data["has baton"] -= {(me, name)}
    while baton and world.words[me] != WOKEN:  # no cancellation ends this one
        yield from plain_wait(world, me, me, ASLEEP, NORMAL, "asleep for ever")
    return granted, baton


def wait_for_first(world: World, me: int, names: str) -> Thread:
    """Whether it has got one."""
    while True:
        for name in names:
            if (yield from take_now(world, name)):
                return True
        world.words |= {("needed", me): 1, me: ASLEEP}
        entered, event = "", None
        for name in names:
            if not (yield from enter(world, me, name)):
                break
            entered += name
        if entered == names:
            event = yield from sleep_until_woken(world, me)
        completed = yield from close_any(world, me)
        if len((yield from leave_all(world, me, entered))) != completed:
            raise Wrong(f"granted, and completed is {completed}")
        if completed or event is not None:
            return completed


def leave_all(world: World, me: int, names: str) -> Thread:
    """Those that were granted."""
    granted, batons = "", ""
    for name in names:
        its, baton = yield from leave(world, me, name)
        granted += name if its else ""
        batons += name if baton else ""
    for name in batons:
        yield from pass_baton(world, name)
    return granted


def take_first(world: World, me: int, names: str) -> Thread:
    got = yield from wait_for_first(world, me, names)
    world.data["got"] += got


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
            take_first(world, me, names) if len(names) > 1 else take_one(world, me, names)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waiters", "gives", "cancelled"),
    [
        (("AB",), ("A", "B"), (0,)),
        (("AB", "A"), ("A", "A"), (0,)),
        (("AB", "BA"), ("A", "B"), (0,)),
        (("AB", "BA"), ("A",), (0, 1)),
        (("AB", "B"), ("AB", "B"), (0,)),
    ],
)
def test_cancelled(
    waiters: tuple[str, ...], gives: tuple[str, ...], cancelled: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was granted to one that goes away is not lost: it has it, or it stays, or the next one gets it."""
    monkeypatch.setattr(sync_model, "park_wait_some", wait_two)

    def make() -> tuple[World, list[Thread]]:
        world, threads = worlds(waiters, *gives)()
        return can_cancel(world, *cancelled), [*threads, canceller(world, *cancelled)]

    given = sum(map(len, gives))
    print(f"states: {explore(make, nothing, counted(given))}")


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


# ---- a lock, or an event ---------------------------------------------------------------------------------------------
# The lock is that of sync_model.py, with watchers; data["event's"] are those in the event's queue.


def leave_table(world: World, me: int) -> Thread:
    """Whether it was claimed."""
    yield "sync_watch_leave"
    world.data["watching"] = tuple(other for other in world.data["watching"] if other != me)
    return (me, "lock") in world.data["claimed"]


def unwatch(world: World, me: int) -> Thread:
    claimed = yield from leave_table(world, me)
    yield "sync_lock_unwatch"
    world.words["watchers"] -= 1
    return claimed


def withdraw(world: World, me: int) -> Thread:
    """By one that has found the lock free; one that was claimed meanwhile counts until unwatch()."""
    if (yield from leave_table(world, me)):
        return True
    yield "sync_lock_watch"
    world.words["watchers"] -= 1
    return False


def watch(world: World, me: int) -> Thread:
    yield "sync_lock_watch"
    world.words["watchers"] += 1
    yield "sync_watch_enter"
    world.data["watching"] = (*world.data["watching"], me)
    while True:
        yield "sync_lock_watch"
        if (seen := world.words["lock"]) == FREE:
            break
        if seen == HANDED:
            yield from sync_model.free_if_nobody_starves(world)
            yield "sync_lock_really_handed"
            if world.words["lock"] == FREE:
                continue
        if seen in (CONTENDED, HANDED):
            return True
        yield "sync_lock_watch"
        if world.exchange_if("lock", seen, CONTENDED):
            return True
    return (yield from withdraw(world, me))


def use_lock(world: World) -> Thread:
    world.inside += 1
    yield "inside"
    world.inside -= 1
    yield from sync_model.sync_lock_release(world)


def wait_for_lock_or_event(world: World, me: int) -> Thread:
    while True:
        if (yield from sync_model.sync_lock_try(world)):
            return (yield from use_lock(world))
        yield "look_at_event"
        if world.words["event"]:
            return
        world.words |= {("needed", me): 1, me: ASLEEP}
        event = None
        entered = yield from watch(world, me)
        if entered:
            yield "enter_event"
            if not world.words["event"]:
                world.data["event's"] = (*world.data["event's"], me)
            elif claim(world, me):
                world.data["claimed"] |= {(me, "event")}
                world.words[me] = WOKEN
            event = yield from sleep_until_woken(world, me)
        completed = yield from close_any(world, me)
        handed = entered and (yield from unwatch(world, me))
        yield "leave_event"
        world.data["event's"] = tuple(other for other in world.data["event's"] if other != me)
        told = (me, "event") in world.data["claimed"]
        world.data["claimed"] = frozenset(one for one in world.data["claimed"] if one[0] != me)
        if handed + told != completed:
            raise Wrong(f"handed over {handed}, told {told}, and completed is {completed}")
        if handed:
            yield from use_lock(world)
        if completed or event is not None:
            return


def set_event(world: World) -> Thread:
    yield "event_set"
    world.words["event"] = 1
    waiters, world.data["event's"] = world.data["event's"], ()
    for me in waiters:
        if claim(world, me):
            world.data["claimed"] |= {(me, "event")}
            world.words[me] = WOKEN
            yield "sync_wake"
            world.wake(me, NORMAL)


def lock_worlds(waiters: int, users: int, rounds: int, is_set: bool) -> Callable[[], tuple[World, list[Thread]]]:
    """Waiters for the lock or the event, users of the lock, and who sets the event, if it is set."""

    def make() -> tuple[World, list[Thread]]:
        world = World(words={"lock": FREE, "starving": 0, "watchers": 0, "event": 0})
        world.data |= {"watching": (), "event's": (), "claimed": frozenset()}
        threads = [wait_for_lock_or_event(world, me) for me in range(waiters)]
        threads += [lock_user(world, me, rounds) for me in range(waiters, waiters + users)]
        return world, [*threads, set_event(world)] if is_set else threads

    return make


def lock_left(world: World) -> str:
    left = {name: world.words[name] for name in ("lock", "starving", "watchers")}
    if left != {"lock": FREE, "starving": 0, "watchers": 0} or world.data["watching"] or world.data["event's"]:
        return f"left behind: {left}, {world.data}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waiters", "users", "rounds", "is_set", "events"),
    [
        (1, 1, 2, False, {}),
        (1, 1, 1, True, {}),
        (2, 1, 1, False, {}),
        (1, 2, 1, False, {}),
        (1, 1, 1, True, {0: (TIMEOUT,)}),
        (1, 2, 1, False, {0: (TIMEOUT,)}),
    ],
)
def test_a_lock_or_an_event(
    waiters: int, users: int, rounds: int, is_set: bool, events: dict[int, tuple[str, ...]]
) -> None:
    print(f"states: {explore(lock_worlds(waiters, users, rounds, is_set), two_inside, lock_left, events)}")


def test_a_watcher_that_is_counted_off_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the next watcher counts as none, and a release passes it by."""
    monkeypatch.setitem(globals(), "withdraw", unwatch)
    with pytest.raises(Wrong, match="'watchers': -1"):
        explore(lock_worlds(1, 2, 1, False), two_inside, lock_left, {})
