"""Cancellation against each primitive, proved for few threads: every order of sync_model.py's models.

An RLock is a Lock where it waits, and a Future of a pool an Event.  A join is in test_end_model.py, runtime.wait() in
test_wait_model.py; a pool's worker that waits for its next call holds cancellation back.

A thread that can be cancelled sleeps at two words (waits/cancel.c, wait_two()).  The kernel enters one after
the other, and says of a thread that both have woken that it was the second, the word that it waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sync_model
from sync_model import (
    ASLEEP,
    CONTENDED,
    FREE,
    HELD,
    NORMAL,
    SIGNAL,
    STARVING,
    Thread,
    World,
    Wrong,
    condition_world,
    counted,
    explore,
    giver,
    lock_user,
    not_free,
    notifier,
    semaphore_world,
    two_inside,
)

pytestmark = pytest.mark.timeout(600)  # the models compute, for a minute on a busy machine

ALL = NORMAL | STARVING

plain_wait = sync_model.park_wait_some


def wait_two(world: World, me: int, word: object, expected: object, bits: int, asleep: str = "asleep") -> Thread:
    """park_wait_some() of a thread that can be cancelled; of another as it was."""
    cancel = ("cancel", me)
    if me not in world.data["cancellable"]:
        return (yield from plain_wait(world, me, word, expected, bits, asleep))
    yield "wait_or_cancelled"
    if world.words[cancel]:
        return SIGNAL
    yield "futex_waitv"
    if world.words[cancel]:
        return SIGNAL
    world.sleepers.append((me, cancel, ALL))
    yield "futex_waitv"
    if world.words[word] != expected:
        world.woken.discard(me)
        world.sleepers = [sleeper for sleeper in world.sleepers if sleeper[0] != me]
        return SIGNAL if world.words[cancel] else None
    world.sleepers.append((me, word, ALL))
    yield asleep
    world.woken.discard(me)
    left = [where for thread, where, _ in world.sleepers if thread == me and where != cancel]  # it may have been moved
    world.sleepers = [sleeper for sleeper in world.sleepers if sleeper[0] != me]
    return SIGNAL if left else None


def canceller(world: World, *whom: int) -> Thread:
    for me in whom:
        yield "park_interrupt"
        world.words["cancel", me] = 1
        yield "park_interrupt"
        world.wake(("cancel", me), ALL)


def sleep_in(world: World, me: int, ticket: int, handler: str) -> Thread:
    """python_sleep_in_queue(), where an EINTR is a cancellation, which raises.  (entitled, baton)"""
    result = yield from sync_model.sync_queue_wait(world, me)
    if result is None:
        return True, True
    baton = False
    entitled = yield from sync_model.sync_queue_away(world, me, ticket, True)
    if not entitled:
        entitled = yield from sync_model.sync_queue_away(world, me, ticket, False)
    if not entitled:
        entitled, baton = yield from sync_model.sync_queue_leave(world, me, ticket)
    world.data["raised"] |= {me}
    return entitled, baton


@pytest.fixture(autouse=True)
def cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_model, "park_wait_some", wait_two)
    monkeypatch.setattr(sync_model, "sleep_in", sleep_in)


def can_cancel(world: World, *whom: int) -> World:
    world.words |= {("cancel", me): 0 for me in whom}
    world.data |= {"cancellable": frozenset(whom), "raised": frozenset()}
    return world


# ---- lock ------------------------------------------------------------------------------------------------------------


def locks(users: int, cancellable: int, rounds: int = 1) -> Callable[[], tuple[World, list[Thread]]]:
    """All take the lock once, the first one so often; who is cancelled goes away without it, unless it has it."""

    def make() -> tuple[World, list[Thread]]:
        whom = tuple(range(users, users + cancellable))
        world = can_cancel(World(words={"lock": FREE, "starving": 0}), *whom)
        takers = [lock_user(world, me, 1 if me else rounds) for me in range(users + cancellable)]
        return world, [*takers, canceller(world, *whom)]

    return make


def is_free(world: World) -> str:
    words = {word: value for word, value in world.words.items() if not isinstance(word, tuple)}
    return not_free(World(words=words))


@pytest.mark.slow
@pytest.mark.parametrize(("users", "cancellable", "rounds"), [(1, 1, 1), (0, 2, 1), (2, 1, 1), (1, 2, 1), (2, 1, 2)])
def test_lock(users: int, cancellable: int, rounds: int) -> None:
    print(f"states: {explore(locks(users, cancellable, rounds), two_inside, is_free)}")


# ---- semaphore -------------------------------------------------------------------------------------------------------


def taker(world: World, me: int) -> Thread:
    """As semaphore_take(): what was granted to one that raises is given to another."""
    taken = yield from sync_model.semaphore_take(world, me)
    if taken and me in world.data["raised"]:
        yield from sync_model.semaphore_give(world)
    else:
        world.data["got"] += bool(taken)


def semaphores(takers: int, cancelled: int, *gives: int) -> Callable[[], tuple[World, list[Thread]]]:
    def make() -> tuple[World, list[Thread]]:
        world = can_cancel(semaphore_world(takers), *range(cancelled))
        users = [taker(world, me) for me in range(takers)]
        return world, [*users, *(giver(world, count) for count in gives), canceller(world, *range(cancelled))]

    return make


def nothing(world: World) -> str:
    return ""


@pytest.mark.slow
@pytest.mark.parametrize(("takers", "cancelled", "gives"), [(1, 1, (1,)), (2, 1, (1, 1)), (2, 2, (1,)), (2, 1, (2,))])
def test_semaphore(takers: int, cancelled: int, gives: tuple[int, ...]) -> None:
    make = semaphores(takers, cancelled, *gives)
    print(f"states: {explore(make, nothing, counted(sum(gives)))}")


# ---- condition -------------------------------------------------------------------------------------------------------


def waiting(world: World, me: int) -> Thread:
    """condition_wait() from when the lock is given up, which is taken back whatever comes; who is notified notifies."""
    ticket = sync_model.sync_queue_enter(world, me)

    def rest() -> Thread:
        entitled, baton = yield from sync_model.sleep_in(world, me, ticket, "")
        world.data["cancellable"] -= {me}  # cancel_hold()
        if not (yield from sync_model.sync_lock_try(world)):
            if me in world.data["interrupted"] and baton:
                yield from sync_model.sync_queue_pass_baton(world)
                baton = False
            while not (yield from sync_model.sync_lock_wait(world, me)):
                pass
        world.inside += 1
        if baton:
            yield from sync_model.sync_queue_pass_baton(world)
        if entitled and me in world.data["raised"]:
            yield from sync_model.condition_notify(world)
            entitled = False
        if entitled:
            world.data["notified"] += 1
            yield from sync_model.condition_notify(world)
        world.inside -= 1
        yield from sync_model.sync_lock_release(world)

    return rest()


def conditions(waiters: int, cancelled: int, notifies: int) -> Callable[[], tuple[World, list[Thread]]]:
    def make() -> tuple[World, list[Thread]]:
        world = can_cancel(condition_world(waiters), *range(cancelled))
        threads = [waiting(world, me) for me in range(waiters)]
        return world, [*threads, notifier(world, notifies), canceller(world, *range(cancelled))]

    return make


def all_are_out(least: int) -> Callable[[World], str]:
    def check(world: World) -> str:
        data = world.data
        if data["notified"] < least:
            return f"{data['notified']} were notified: a notification is lost"
        if data["queue"] or data["batons"] or world.words["deferred"] is not None:
            return "somebody is left in the queue"
        return "" if world.words["lock"] == FREE and not world.words["starving"] else "the lock is left behind"

    return check


@pytest.mark.slow
@pytest.mark.parametrize(("waiters", "cancelled", "notifies", "least"), [(1, 1, 1, 0), (2, 1, 1, 1), (2, 1, 2, 1)])
def test_condition(waiters: int, cancelled: int, notifies: int, least: int) -> None:
    """The waiter that is not cancelled is notified, whichever was meant."""
    make = conditions(waiters, cancelled, notifies)
    print(f"states: {explore(make, two_inside, all_are_out(least))}")


# ---- event -----------------------------------------------------------------------------------------------------------


def grant_all_and_wake(world: World) -> Thread:
    """By the holder of the queue's lock."""
    world.data["entitled"] = world.data["tickets"]
    yield from sync_model.sync_queue_unlock_and_wake(world, sync_model._next_with_baton(world))


def event_set(world: World) -> Thread:
    yield from sync_model.sync_queue_lock(world)
    world.words["flag"] = 1
    yield from grant_all_and_wake(world)


def sleep_in_queue(world: World, me: int) -> Thread:
    """With the queue's lock; whether it is cancelled."""
    world.words[me] = ASLEEP
    _, baton = yield from sync_model.sleep_in(world, me, sync_model.sync_queue_enter(world, me), "")
    if baton:
        yield from sync_model.sync_queue_pass_baton(world)
    return me in world.data["raised"]


def event_wait(world: World, me: int) -> Thread:
    yield from sync_model.sync_queue_lock(world)
    if not world.words["flag"]:
        yield from sleep_in_queue(world, me)


def events(waiters: int, *cancelled: int, is_set: bool = True) -> Callable[[], tuple[World, list[Thread]]]:
    def make() -> tuple[World, list[Thread]]:
        world = can_cancel(semaphore_world(waiters), *cancelled)
        world.words["flag"] = 0
        threads = [event_wait(world, me) for me in range(waiters)]
        return world, [*threads, *([event_set(world)] if is_set else []), canceller(world, *cancelled)]

    return make


def queue_is_empty(world: World) -> str:
    return "somebody is left in the queue" if world.data["queue"] or world.data["batons"] else ""


@pytest.mark.slow
@pytest.mark.parametrize(("waiters", "cancelled"), [(1, (0,)), (2, (0,)), (2, (1, 0))])
def test_event(waiters: int, cancelled: tuple[int, ...]) -> None:
    print(f"states: {explore(events(waiters, *cancelled), nothing, queue_is_empty)}")


@pytest.mark.slow
def test_an_event_that_is_never_set() -> None:
    print(f"states: {explore(events(2, 0, 1, is_set=False), nothing, queue_is_empty)}")


# ---- barrier ---------------------------------------------------------------------------------------------------------
# data["state"], "generation", "count": as in python/sync/barrier.c; for two.  world's queue is the one inside.

FILLING, ACTING, RESETTING, BROKEN = "FILLING", "ACTING", "RESETTING", "BROKEN"


class Entrance:
    """The same world, with the queue at the entrance."""

    def __init__(self, world: World) -> None:
        vars(self).update(world=world, data=world.data["entrance"])

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["world"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["world"], name, value)


def entrance(world: World) -> Any:
    return Entrance(world)


def barrier_change_unlock(world: World, state: str) -> Thread:
    world.data["state"] = state
    yield from grant_all_and_wake(world)
    if state != RESETTING:
        yield from barrier_open_entrance(world)


def barrier_open_entrance(world: World) -> Thread:
    yield from sync_model.sync_queue_lock(entrance(world))
    yield from grant_all_and_wake(entrance(world))


def barrier_leave(world: World, generation: int) -> Thread:
    yield from sync_model.sync_queue_lock(world)
    if generation != world.data["generation"]:
        return
    world.data["count"] -= 1
    if world.data["count"] == 0 and world.data["state"] == RESETTING:
        world.data["state"] = FILLING
        yield from barrier_open_entrance(world)


def barrier_enter(world: World, me: int) -> Thread:
    """Its generation, and whether it is the last one; or None."""
    while True:
        yield from sync_model.sync_queue_lock(world)
        if world.data["state"] == FILLING:
            world.data["count"] += 1
            if last := world.data["count"] == 2:
                world.data["state"] = ACTING
            return world.data["generation"], last
        if world.data["state"] == BROKEN:
            return None
        world.data["locked"] = True
        yield from sync_model.sync_queue_lock(entrance(world))
        sleeping = sleep_in_queue(entrance(world), me)
        step = next(sleeping)  # it is in that queue
        world.data["locked"] = False
        event = yield step
        try:
            while True:
                event = yield sleeping.send(event)
        except StopIteration as end:
            if end.value:
                return None


def barrier_act(world: World) -> Thread:
    yield "action"
    yield from sync_model.sync_queue_lock(world)
    whole = world.data["state"] == ACTING
    if whole:
        world.data["generation"] += 1
        world.data["count"] = 0
    yield from barrier_change_unlock(world, FILLING if whole else world.data["state"])
    return whole


def barrier_sleep(world: World, me: int, generation: int) -> Thread:
    while True:
        yield from sync_model.sync_queue_lock(world)
        if world.data["generation"] != generation:
            return True
        if world.data["state"] in (BROKEN, RESETTING) or (yield from sleep_in_queue(world, me)):
            return False


def barrier_wait(world: World, me: int) -> Thread:
    if entered := (yield from barrier_enter(world, me)):
        generation, last = entered
        if not (yield from barrier_act(world) if last else barrier_sleep(world, me, generation)):
            yield from barrier_leave(world, generation)


def changer(world: World, *states: str) -> Thread:
    """reset(), abort()."""
    for state in states:
        yield from sync_model.sync_queue_lock(world)
        at = FILLING if state == RESETTING and world.data["count"] == 0 else state
        yield from barrier_change_unlock(world, at)


def barriers(waiters: int, cancelled: tuple[int, ...], *states: str) -> Callable[[], tuple[World, list[Thread]]]:
    """The abort() at the end lets go who has found no second one."""

    def make() -> tuple[World, list[Thread]]:
        world = can_cancel(semaphore_world(waiters), *cancelled)
        queue = {"queue": (), "entitled": 0, "tickets": 0, "away": frozenset(), "batons": 0, "locked": False}
        world.data["entrance"] = queue | {"raised": frozenset(), "cancellable": frozenset(cancelled)}
        world.data |= {"state": FILLING, "generation": 0, "count": 0}
        threads = [barrier_wait(world, me) for me in range(waiters)]
        return world, [*threads, changer(world, *states, BROKEN), canceller(world, *cancelled)]

    return make


def barrier_is_empty(world: World) -> str:
    if world.data["count"] or world.data["state"] != BROKEN:
        return f"{world.data['count']} are counted, and it is {world.data['state']}"
    at_entrance = world.data["entrance"]["queue"] or world.data["entrance"]["batons"]
    return "somebody is left at the entrance" if at_entrance else queue_is_empty(world)


@pytest.mark.slow
@pytest.mark.parametrize(("waiters", "cancelled", "states"), [(2, (0,), ()), (2, (0, 1), ()), (2, (0,), (RESETTING,))])
def test_barrier(waiters: int, cancelled: tuple[int, ...], states: tuple[str, ...]) -> None:
    print(f"states: {explore(barriers(waiters, cancelled, *states), nothing, barrier_is_empty)}")


# ---- what is broken is found -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_wake_up_that_is_not_passed_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(world: World, me: int) -> Thread:
        return
        yield

    monkeypatch.setattr(sync_model, "pass_on_to_starving", keep)
    with pytest.raises(Wrong, match="nobody wakes"):
        explore(locks(2, 1, 2), two_inside, is_free)


def test_a_wake_up_that_is_taken_for_the_cancellation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def cancelled_first(*args: object, **kwargs: object) -> Thread:
        world, me = args[0], args[1]
        assert isinstance(world, World)
        result = yield from wait_two(*args, **kwargs)  # type: ignore[arg-type]
        return SIGNAL if world.words.get(("cancel", me)) else result

    monkeypatch.setattr(sync_model, "park_wait_some", cancelled_first)
    monkeypatch.setattr(sync_model, "sync_lock_wait", leave_without_a_look)
    with pytest.raises(Wrong):
        explore(locks(2, 1), two_inside, is_free)


def leave_without_a_look(world: World, me: int, asleep: str = "asleep") -> Thread:
    """sync_lock_wait() of a thread that doesn't try once more after an EINTR."""
    while not (yield from sync_model.take(world, False)):
        yield "sync_lock_wait"
        if not world.exchange_if("lock", HELD, CONTENDED) and world.words["lock"] != CONTENDED:
            continue
        if (yield from sync_model.park_wait_some(world, me, "lock", CONTENDED, NORMAL, asleep)) is not None:
            return False
    return True


def test_a_look_before_the_sleep_only_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_and_sleep(
        world: World, me: int, word: object, expected: object, bits: int, asleep: str = "asleep"
    ) -> Thread:
        if world.words.get(("cancel", me)):
            return SIGNAL
        return (yield from plain_wait(world, me, word, expected, bits, asleep))

    monkeypatch.setattr(sync_model, "park_wait_some", look_and_sleep)
    with pytest.raises(Wrong, match="nobody wakes"):
        explore(semaphores(1, 1), nothing, nothing)


def test_a_grant_that_a_cancelled_thread_keeps_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(world: World) -> Thread:
        return
        yield

    def make() -> tuple[World, list[Thread]]:
        world = can_cancel(semaphore_world(1), 0)
        return world, [taker(world, 0), giver_once(world), canceller(world, 0)]

    giver_once = sync_model.semaphore_give
    monkeypatch.setattr(sync_model, "semaphore_give", keep)
    with pytest.raises(Wrong, match="1 given"):
        explore(make, nothing, counted(1))


def test_one_that_leaves_a_barrier_uncounted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(world: World, generation: int) -> Thread:
        return
        yield

    monkeypatch.setitem(globals(), "barrier_leave", leave)
    with pytest.raises(Wrong, match="1 are counted"):
        explore(barriers(2, (0,)), nothing, barrier_is_empty)


@pytest.mark.parametrize("make", [events(2, 0), barriers(3, (0,))], ids=["event", "barrier"])
def test_a_baton_that_a_cancelled_thread_keeps_is_found(
    make: Callable[[], tuple[World, list[Thread]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(world: World, me: int) -> Thread:
        world.words[me] = ASLEEP
        _, baton = yield from sleep_in(world, me, sync_model.sync_queue_enter(world, me), "")
        if baton and me not in world.data["cancellable"]:
            yield from sync_model.sync_queue_pass_baton(world)
        return me in world.data["raised"]

    monkeypatch.setitem(globals(), "sleep_in_queue", keep)
    with pytest.raises(Wrong, match=r"nobody wakes|is left"):
        explore(make, nothing, queue_is_empty)
