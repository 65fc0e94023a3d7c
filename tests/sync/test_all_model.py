"""runtime.wait() for all of several things, proved for few threads: python/waits/wait_all.c in every order.

A semaphore is A or B, as in test_wait_model.py; an event is E or F, whose queue is like a semaphore's.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sync_model
from sync_model import ASLEEP, COMPLETES, SIGNAL, TIMEOUT, WOKEN, Thread, World, Wrong, claim, close_any, explore
from test_cancel_model import can_cancel, canceller, wait_two
from test_wait_model import counted, give, leave_all, lock_queue, nothing, take_now, unlock_and_wake, wait_for_first

pytestmark = pytest.mark.timeout(600)  # the models compute, for a minute on a busy machine

EVENTS, SEMAPHORES = "EF", "AB"

# ---- events ----------------------------------------------------------------------------------------------------------


def grant_all(world: World, name: str) -> Thread:
    """grant_each(): one whose wait that completes goes on when it has the baton; the others are out of the queue."""
    for me, _ in world.data[f"queue {name}"]:
        yield "sync_any_claim"
        claimed = claim(world, me)
        queue = world.data[f"queue {name}"]
        at = queue.index((me, False))
        place = ((me, True),) if claimed == COMPLETES else ()
        world.data[f"queue {name}"] = (*queue[:at], *place, *queue[at + 1 :])
        if claimed:
            world.data["claimed"] |= {(me, name)}


def set_event(world: World, name: str) -> Thread:
    yield from lock_queue(world, name)
    world.data["locked"] |= {name}
    yield "event_set"
    world.words["flag", name] = 1
    yield from grant_all(world, name)
    yield "sync_queue_unlock"
    world.data["locked"] -= {name}
    yield from unlock_and_wake(world, name)


def enter_event(world: World, me: int, name: str) -> Thread:
    """Whether it is in the queue."""
    yield from lock_queue(world, name)
    if world.words["flag", name]:
        return False
    world.data[f"queue {name}"] += ((me, False),)
    return True


# ---- who waits for all -----------------------------------------------------------------------------------------------


def count_missing(world: World, names: str) -> Thread:
    missing = ""
    for name in names:
        yield "look_at_event"
        missing += "" if world.words["flag", name] else name
    return missing


def claim_it(world: World, me: int) -> Thread:
    """By the waiter itself, of an event that was set meanwhile: whether it came in time."""
    yield "wait_claim"
    claimed = claim(world, me)
    if claimed == COMPLETES:
        world.words[me] = WOKEN
    return bool(claimed)


def wait_for_states(world: World, me: int, names: str) -> Thread:
    """Whether they have all come: an event stays so, even if it is cleared."""
    while names := (yield from count_missing(world, names)):
        world.words |= {("needed", me): len(names), me: ASLEEP}
        entered, came = "", ""
        for name in names:
            if (yield from enter_event(world, me, name)):
                entered += name
            elif (yield from claim_it(world, me)):
                came += name
            if world.words[me] == WOKEN:
                break
        event = yield from sync_model.sleep_until_woken(world, me)
        completed = yield from close_any(world, me)
        came += yield from leave_all(world, me, entered)
        if (len(came) == len(names)) != completed or (event is None and not completed):
            raise Wrong(f"{came} of {names} came, and completed is {completed}")
        if event is not None and not completed:
            return False
        names = "".join(name for name in names if name not in came)
    return True


def give_all_back(world: World, names: str) -> Thread:
    for name in names:
        yield from give(world, name)


def take_rest(world: World, names: str, taken: str) -> Thread:
    """All that it has then, and the first that is missing."""
    for name in names:
        if name not in taken:
            if not (yield from take_now(world, name)):
                return taken, name
            taken += name
    return taken, ""


def wait_for_all(world: World, me: int, names: str) -> Thread:
    """Whether it has all semaphores, and all events have come."""
    events = "".join(name for name in names if name in EVENTS)
    semaphores = "".join(name for name in names if name in SEMAPHORES)
    if not (yield from wait_for_states(world, me, events)):
        return False
    taken = ""
    while True:
        taken, missing = yield from take_rest(world, semaphores, taken)
        if not missing:
            return True
        yield from give_all_back(world, taken)
        taken = missing
        if not (yield from wait_for_first(world, me, missing)):
            return False


def waiter(world: World, me: int, names: str) -> Thread:
    """What it has taken it keeps, or gives back at the end if data["gives back"]."""
    if not (yield from wait_for_all(world, me, names)):
        return
    if any(not world.words["flag", name] for name in names if name in EVENTS):
        raise Wrong("an event is reported, and is not set")
    taken = "".join(name for name in names if name in SEMAPHORES)
    if world.data["gives back"]:
        yield from give_all_back(world, taken)
    else:
        world.data["got"] += len(taken)


def setter(world: World, names: str) -> Thread:
    for name in names:
        yield from (set_event if name in EVENTS else give)(world, name)


def worlds(waiters: tuple[str, ...], *sets: str, gives_back: bool = False) -> Callable[[], tuple[World, list[Thread]]]:
    def make() -> tuple[World, list[Thread]]:
        words = {("value", name): 0 for name in SEMAPHORES} | {("flag", name): 0 for name in EVENTS}
        world = World(words=words | dict.fromkeys(range(len(waiters)), ASLEEP))
        for name in EVENTS + SEMAPHORES:
            world.data |= {f"queue {name}": (), f"batons {name}": 0}
        world.data |= {"claimed": frozenset(), "has baton": frozenset(), "locked": frozenset()}
        world.data |= {"got": 0, "gives back": gives_back}
        threads = [waiter(world, me, names) for me, names in enumerate(waiters)]
        return world, [*threads, *(setter(world, names) for names in sets)]

    return make


def permits(sets: tuple[str, ...]) -> int:
    return sum(name in SEMAPHORES for names in sets for name in names)


def all_is_well(sets: tuple[str, ...]) -> Callable[[World], str]:
    def check(world: World) -> str:
        stay = [name for name in EVENTS if world.data[f"queue {name}"] or world.data[f"batons {name}"]]
        return f"somebody is left in {stay}" if stay else counted(permits(sets))(world)

    return check


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waiters", "sets"),
    [
        (("EF",), ("E", "F")),
        (("EF", "FE"), ("EF",)),
        (("EF", "E"), ("F", "E")),
        (("AB",), ("A", "B")),
        (("AE",), ("A", "E")),
        (("AB", "A"), ("ABA",)),
        (("EA", "EA"), ("AEA",)),
    ],
)
def test_all(waiters: tuple[str, ...], sets: tuple[str, ...]) -> None:
    print(f"states: {explore(worlds(waiters, *sets), nothing, all_is_well(sets))}")


@pytest.mark.slow
@pytest.mark.parametrize(("waiters", "sets"), [(("AB", "BA"), ("AB",)), (("AB", "B"), ("B", "A"))])
def test_two_that_want_the_same(waiters: tuple[str, ...], sets: tuple[str, ...]) -> None:
    """There is one of each, and who has all gives it back: neither keeps one while it sleeps for another."""
    print(f"states: {explore(worlds(waiters, *sets, gives_back=True), nothing, all_is_well(sets))}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waiters", "sets"), [(("EF",), ("E", "F")), (("AB",), ("A", "B")), (("EA",), ("A", "E")), (("AB", "A"), ("AB",))]
)
@pytest.mark.parametrize("event", [TIMEOUT, SIGNAL])
def test_one_that_gives_up(waiters: tuple[str, ...], sets: tuple[str, ...], event: str) -> None:
    print(f"states: {explore(worlds(waiters, *sets, gives_back=True), nothing, all_is_well(sets), {0: (event,)})}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waiters", "sets"), [(("EF",), ("E", "F")), (("AB",), ("A", "B")), (("EA",), ("A", "E")), (("AB", "A"), ("AB",))]
)
def test_cancelled(waiters: tuple[str, ...], sets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_model, "park_wait_some", wait_two)

    def make() -> tuple[World, list[Thread]]:
        world, threads = worlds(waiters, *sets, gives_back=True)()
        return can_cancel(world, 0), [*threads, canceller(world, 0)]

    print(f"states: {explore(make, nothing, all_is_well(sets))}")


# ---- what is broken is found -----------------------------------------------------------------------------------------


def keep_it(world: World, names: str) -> Thread:
    """And it sleeps for another."""
    return
    yield


def claim_without_a_word(world: World, me: int) -> Thread:
    """The waiter's own claim is the last one, and nobody is there to wake it."""
    yield "wait_claim"
    return bool(claim(world, me))


def enter_without_a_look(world: World, me: int, name: str) -> Thread:
    yield from lock_queue(world, name)
    world.data[f"queue {name}"] += ((me, False),)
    return True


def grant_to_each_alike(world: World, name: str) -> Thread:
    """Each goes on when it has the baton, also one that waits for more."""
    for me, _ in world.data[f"queue {name}"]:
        yield "sync_any_claim"
        if claim(world, me):
            world.data["claimed"] |= {(me, name)}
    world.data[f"queue {name}"] = tuple((me, True) for me, _ in world.data[f"queue {name}"])


@pytest.mark.parametrize(
    ("name", "broken", "waiters", "sets", "says"),
    [
        ("give_all_back", keep_it, ("AB", "BA"), ("AB",), "nobody wakes"),
        ("claim_it", claim_without_a_word, ("EF",), ("E", "F"), "nobody wakes"),
        ("enter_event", enter_without_a_look, ("EF",), ("E", "F"), "nobody wakes"),
        ("grant_all", grant_to_each_alike, ("EF", "E"), ("E", "F"), "completed is False"),
    ],
)
def test_a_step_that_is_missing_is_found(
    name: str,
    broken: Callable[..., Thread],
    waiters: tuple[str, ...],
    sets: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(globals(), name, broken)
    with pytest.raises(Wrong, match=says):
        explore(worlds(waiters, *sets), nothing, all_is_well(sets))
