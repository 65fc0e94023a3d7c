"""Mutual exclusion and no lost wake-up, proved for few threads: every order of the models in sync_model.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sync_model
from sync_model import ASK, ASLEEP, DOZING, FREE, HELD, SIGNAL, TIMEOUT, Thread, World, Wrong, explore

pytestmark = pytest.mark.timeout(600)  # the models compute, for a minute on a busy machine

# ---- lock ------------------------------------------------------------------------------------------------------------


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


def two_inside(world: World) -> str:
    return "two hold the lock" if world.inside > 1 else ""


def not_free(world: World) -> str:
    return "" if world.words == {"lock": FREE, "starving": 0} else "the lock is left behind"


# ---- queue -----------------------------------------------------------------------------------------------------------


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


@pytest.mark.slow
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


# ---- condition -------------------------------------------------------------------------------------------------------


def notifier(world: World, notifies: int) -> Thread:
    """Begins with the lock, ends without."""
    for _ in range(notifies):
        yield from sync_model.condition_notify(world)
    world.inside -= 1
    yield from sync_model.sync_lock_release(world)


def passer_by(world: World) -> Thread:
    """Takes the lock if it is free."""
    if (yield from sync_model.sync_lock_try(world)):
        world.inside += 1
        yield "inside"
        world.inside -= 1
        yield from sync_model.sync_lock_release(world)


def condition_world(places: int) -> World:
    """Somebody holds the lock, and all wait who are going to be notified: their places are in the queue."""
    words = {"lock": HELD, "starving": 0, "deferred": None, **dict.fromkeys(range(places), ASLEEP)}
    data = {"queue": (), "entitled": 0, "tickets": 0, "away": frozenset(), "batons": 0, "locked": False}
    return World(words=words, inside=1, data=data | {"interrupted": frozenset(), "notified": 0})


def waiting(world: World, me: int, handler: str = "signal handler") -> Thread:
    """condition_wait() from when the lock is given up."""
    ticket = sync_model.sync_queue_enter(world, me)

    def rest() -> Thread:
        notified, taken = yield from sync_model.condition_woken(world, me, ticket, handler)
        world.data["notified"] += notified
        if taken:
            world.inside -= 1
            yield from sync_model.sync_lock_release(world)

    return rest()


def conditions(waiters: int, notifies: int, users: int, passers_by: int) -> Callable[[], tuple[World, list[Thread]]]:
    """Threads that wait, one that holds the lock and notifies them, others that want the lock."""

    def make() -> tuple[World, list[Thread]]:
        world = condition_world(waiters)
        threads = [waiting(world, me) for me in range(waiters)]
        threads.append(notifier(world, notifies))
        threads += [lock_user(world, waiters + 1 + at, 1) for at in range(users)]
        return world, threads + [passer_by(world) for _ in range(passers_by)]

    return make


def lock_is_left(world: World) -> str:
    return "" if world.words["lock"] == FREE and world.words["starving"] == 0 else "the lock is left behind"


def all_notified(*counts: int) -> Callable[[World], str]:
    def check(world: World) -> str:
        data = world.data
        if data["notified"] not in counts:
            return f"{data['notified']} were notified, not {counts}"
        if data["queue"] or data["batons"] or world.words["deferred"] is not None:
            return "somebody is left in the queue"
        return lock_is_left(world)

    return check


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waiters", "notifies", "users", "passers_by", "notified", "events"),
    [
        (1, 1, 1, 1, (1,), {}),
        (2, 2, 1, 0, (2,), {}),
        (3, 3, 0, 0, (3,), {}),
        (1, 1, 1, 0, (0, 1), {0: (SIGNAL,)}),
        (2, 2, 0, 0, (1, 2), {0: (SIGNAL, TIMEOUT)}),
    ],
)
def test_condition(
    waiters: int,
    notifies: int,
    users: int,
    passers_by: int,
    notified: tuple[int, ...],
    events: dict[int, tuple[str, ...]],
) -> None:
    """A signal handler may raise, and then the notification is for another."""
    make = conditions(waiters, notifies, users, passers_by)
    print(f"states: {explore(make, two_inside, all_notified(*notified), events)}")


def sleeper_of_another_condition(world: World, me: int) -> Thread:
    yield from sync_model.sync_queue_wait(world, me)
    yield from lock_user(world, me, 1)


def notifier_of_two(world: World) -> Thread:
    """A lock has room for one deferred wake-up; a waiter of another queue is woken at once."""
    for place in (0, 1):
        if not (yield from sync_model.defer_wake(world, place)):
            yield from sync_model.wake_place(world, place)
    world.inside -= 1
    yield from sync_model.sync_lock_release(world)


def two_conditions() -> tuple[World, list[Thread]]:
    world = condition_world(2)
    sleepers = [sleeper_of_another_condition(world, me) for me in (0, 1)]
    return world, [*sleepers, notifier_of_two(world), passer_by(world)]


@pytest.mark.slow
def test_two_conditions_of_a_lock() -> None:
    print(f"states: {explore(two_conditions, two_inside, lock_is_left)}")


def ended_after_its_sleep(world: World, me: int) -> Thread:
    ticket = sync_model.sync_queue_enter(world, me)

    def rest() -> Thread:
        yield from sync_model.sync_queue_wait(world, me)
        yield from sync_model.never_woke(world, me, ticket)

    return rest()


def conditions_at_the_end() -> tuple[World, list[Thread]]:
    world = condition_world(2)
    return world, [ended_after_its_sleep(world, 0), waiting(world, 1), notifier(world, 2)]


def test_condition_when_the_interpreter_ends_a_sleeper() -> None:
    """A waiter that has cancelled its deferred wake-up leaves too, and passes its baton."""
    events = {0: (TIMEOUT, SIGNAL)}
    print(f"states: {explore(conditions_at_the_end, two_inside, all_notified(1), events)}")


# ---- sleepers that doze: their wake-up may be deferred by a waker that never pays it ---------------------------------


def dozing(
    make: Callable[[], tuple[World, list[Thread]]], dozers: frozenset[int]
) -> Callable[[], tuple[World, list[Thread]]]:
    """The same threads, of which these doze.  None has taken a step yet that asks for it."""

    def make_dozing() -> tuple[World, list[Thread]]:
        world, threads = make()
        world.data["dozers"] = dozers
        return world, threads

    return make_dozing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("takers", "gives", "dozers", "events"),
    [
        (2, (2,), {0, 1}, {}),
        (2, (1, 1), {0}, {}),
        (2, (2,), {0, 1}, {0: (TIMEOUT,)}),
        (2, (2,), {0}, {0: (SIGNAL, TIMEOUT)}),
    ],
)
def test_semaphore_with_dozers(
    takers: int, gives: tuple[int, ...], dozers: set[int], events: dict[int, tuple[str, ...]]
) -> None:
    make = dozing(semaphores(takers, *gives), frozenset(dozers))
    print(f"states: {explore(make, nothing, counted(sum(gives)), events)}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waiters", "notifies", "users", "notified", "events"),
    [(1, 1, 1, (0, 1), {}), (2, 1, 0, (0, 1), {1: (TIMEOUT,)}), (1, 1, 0, (0, 1), {0: (SIGNAL, TIMEOUT)})],
)
def test_condition_with_dozers(
    waiters: int, notifies: int, users: int, notified: tuple[int, ...], events: dict[int, tuple[str, ...]]
) -> None:
    """Also a doze that its time has ended may have had a signal, whose handler raises: then another is notified."""
    make = dozing(conditions(waiters, notifies, users, 0), frozenset(range(waiters)))
    print(f"states: {explore(make, two_inside, all_notified(*notified), events)}")


# ---- a fork ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.slow
@pytest.mark.parametrize("make", [forked_giver, forked_taker])
def test_semaphore_with_dozers_when_somebody_forks(make: Callable[[], tuple[World, list[Thread]]]) -> None:
    make = dozing(make, frozenset({0, 1, 3}))
    print(f"states: {explore(make, nothing, one_got_it_in_the_child, {0: (SIGNAL,)})}")


def notifier_who_forks(world: World) -> Thread:
    """With the lock, to which the lost thread's wake-up is deferred; or not yet, or no longer."""
    yield from sync_model.condition_notify(world)
    yield "fork"
    world.inside -= 1
    yield from sync_model.sync_lock_release(world)


def notified_in_the_child(world: World, me: int) -> Thread:
    """Waits, and sees to its own notification before it gives up the lock."""
    yield "unborn"
    world.data["notified"] = 0
    if not (yield from sync_model.sync_lock_try(world)):
        yield from sync_model.sync_lock_wait(world, me, "asleep for ever")
    ticket = sync_model.sync_queue_enter(world, me)
    yield from sync_model.condition_notify(world)
    yield from sync_model.sync_lock_release(world)
    world.data["notified"], _ = yield from sync_model.condition_woken(world, me, ticket)
    yield from sync_model.sync_lock_release(world)


def notifier_of_the_child(world: World, me: int) -> Thread:
    yield "unborn"
    if not (yield from sync_model.sync_lock_try(world)):
        yield from sync_model.sync_lock_wait(world, me, "asleep for ever")
    yield from sync_model.condition_notify(world)
    yield from sync_model.sync_lock_release(world)


def forked_notifier() -> tuple[World, list[Thread]]:
    world = condition_world(4)
    threads = [waiting(world, 0), lock_user(world, 1, 1), notifier_who_forks(world), notified_in_the_child(world, 3)]
    return world, threads


def forked_waiter() -> tuple[World, list[Thread]]:
    world = condition_world(1)
    return world, [waiting(world, 0, "fork if free"), notifier(world, 1), notifier_of_the_child(world, 2)]


@pytest.mark.parametrize(("make", "events"), [(forked_notifier, {}), (forked_waiter, {0: (SIGNAL,)})])
def test_condition_when_somebody_forks(
    make: Callable[[], tuple[World, list[Thread]]], events: dict[int, tuple[str, ...]]
) -> None:
    print(f"states: {explore(make, two_inside, all_notified(0, 1), events)}")


# ---- what the explorer finds -----------------------------------------------------------------------------------------


def keep_the_baton(world: World) -> Thread:
    yield "sync_queue_pass_baton"


def test_a_baton_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_model, "sync_queue_pass_baton", keep_the_baton)
    with pytest.raises(Wrong, match=r"nobody wakes|left in the queue"):
        explore(semaphores(2, 2), nothing, counted(2))


def doze_without_a_deadline(world: World, me: int) -> Thread:
    yield "sync_queue_doze"
    if world.exchange_if(me, ASLEEP, DOZING):
        yield from sync_model.park_wait_some(world, me, me, DOZING, sync_model.NORMAL)
    return (yield from sync_model.sync_queue_wait(world, me))


def doze_on(world: World, me: int) -> Thread:
    """Goes to sleep, and its word still says that it dozes."""
    yield "sync_queue_doze"
    world.words[me] = DOZING
    yield from sync_model.park_wait_some(world, me, me, DOZING, sync_model.NORMAL, "dozing")
    while True:
        yield "sync_queue_wait"
        if world.words[me] == sync_model.WOKEN:
            return None
        yield from sync_model.park_wait_some(world, me, me, DOZING, sync_model.NORMAL)


@pytest.mark.parametrize("broken", [doze_without_a_deadline, doze_on])
def test_a_doze_that_nobody_ends_is_found(broken: Callable[..., Thread], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_model, "sync_queue_doze", broken)
    with pytest.raises(Wrong, match="nobody wakes"):
        explore(dozing(semaphores(1, 1), frozenset({0})), nothing, counted(1))


def ask_nobody(world: World, value: object) -> Thread:
    """The one who is about to sleep does not say so: a release takes the number for the truth."""
    yield "semaphore_take"
    return True


def test_a_sleeper_who_does_not_say_so_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_model, "semaphore_ask", ask_nobody)
    with pytest.raises(Wrong, match="nobody wakes"):
        explore(semaphores(2, 2), nothing, counted(2))


def defer_wake_without_looking(world: World, place: int) -> Thread:
    """A release that came before the deferral doesn't see it."""
    yield "defer_wake"
    world.words["deferred"] = place
    yield "defer_wake"
    world.exchange_if("lock", HELD, sync_model.OWING)
    return True


def forget_the_deferred(world: World) -> Thread:
    yield "do_deferred"


def someone_else_releases() -> tuple[World, list[Thread]]:
    """A Lock may be released by others than its holder."""
    world = condition_world(1)
    return world, [waiting(world, 0), notifier_who_keeps_it(world), releaser(world)]


def notifier_who_keeps_it(world: World) -> Thread:
    yield from sync_model.condition_notify(world)


def releaser(world: World) -> Thread:
    world.inside -= 1
    yield from sync_model.sync_lock_release(world)


@pytest.mark.parametrize(
    ("name", "broken", "make"),
    [
        ("defer_wake", defer_wake_without_looking, someone_else_releases),
        ("do_deferred", forget_the_deferred, conditions(1, 1, 0, 0)),
    ],
)
def test_a_deferred_wake_up_that_is_not_done_is_found(
    name: str,
    broken: Callable[..., Thread],
    make: Callable[[], tuple[World, list[Thread]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    explore(make, two_inside, lock_is_left)
    monkeypatch.setattr(sync_model, name, broken)
    with pytest.raises(Wrong, match="nobody wakes"):
        explore(make, two_inside, lock_is_left)


def test_a_baton_of_a_lost_thread_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = World.fork

    def forgetful(world: World, me: int) -> None:
        batons = world.data["batons"]
        fork(world, me)
        world.data["batons"] = batons

    monkeypatch.setattr(World, "fork", forgetful)
    with pytest.raises(Wrong, match=r"nobody wakes|got it"):
        explore(forked_giver, nothing, one_got_it_in_the_child)
