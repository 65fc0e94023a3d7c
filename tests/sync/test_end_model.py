"""Waiting for threads' ends, proved for few threads: kernel/lwp/join.c in every order, alone and among several things.

A thread that ends is a letter.  `alive` is the kernel's word: it clears it and then wakes one sleeper there.  `ending`
is what the thread itself writes before; then it tells those that watch it, under the lock of waits/any.c's table, which
is here one for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import sync_model
from sync_model import (
    ASLEEP,
    COMPLETES,
    NORMAL,
    SIGNAL,
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
    sleep_until_woken,
    wait_two,
)

pytestmark = pytest.mark.timeout(600)  # the models compute, for a minute on a busy machine

COUNTS_AS_ENDED = -1
HAVE_ENDED = (0, COUNTS_AS_ENDED)

plain_wait = sync_model.park_wait_some


def lock_table(world: World) -> Thread:
    while True:
        yield "park_lock"
        if not world.words["table"]:
            return


def wake_all(world: World, word: object) -> None:
    for _ in range(len(world.sleepers)):
        world.wake(word, NORMAL)


# ---- who ends --------------------------------------------------------------------------------------------------------


def move_sleeper(world: World, me: int, to: object) -> None:
    """FUTEX_CMP_REQUEUE of one."""
    if world.words[me] == WOKEN:
        moved = [(who, to if word == me else word, bits) for who, word, bits in world.sleepers if who == me]
        world.sleepers = [sleeper for sleeper in world.sleepers if sleeper[0] != me] + moved


def wake_watcher(world: World, me: int) -> Thread:
    yield "sync_any_wake_shared"
    world.words[me] = WOKEN
    yield "sync_any_wake_shared"
    world.wake(me, NORMAL)


def move_to_alive(world: World, me: int, name: str) -> Thread:
    yield "move_to_alive"
    if me not in world.data["moves"] or world.words["alive", name] in HAVE_ENDED:
        yield from wake_watcher(world, me)
        return
    yield "move_to_alive"
    world.words["joiners", name] += 1
    world.data["moved"] |= {(me, name)}
    yield "move_to_alive"
    world.words[me] = WOKEN
    yield "move_sleeper"
    move_sleeper(world, me, ("alive", name))


def lwp_tell_end(world: World, name: str) -> Thread:
    yield "lwp_tell_end"
    if not world.words["watched", name]:
        return
    yield from lock_table(world)
    world.words["table"] = 1
    while world.data[f"watching {name}"]:
        me = world.data[f"watching {name}"][0]
        yield "sync_any_claim"
        claimed = claim(world, me)
        world.data[f"watching {name}"] = world.data[f"watching {name}"][1:]
        if claimed:
            world.data["claimed"] |= {(me, name)}
        if claimed == COMPLETES:
            yield from move_to_alive(world, me, name)
    yield "park_unlock"
    world.words["table"] = 0


def thread_exit(world: World, name: str) -> Thread:
    yield "thread_exit"
    world.words["ending", name] = 1
    yield from lwp_tell_end(world, name)
    yield "the kernel"
    world.words["alive", name] = 0
    yield "the kernel"
    world.wake(("alive", name), NORMAL)


def green_exit(world: World, name: str, explored: bool = False) -> Thread:
    """thread_exit(), and lwp_clear_alive() of kernel/lwp/start.c."""
    yield "thread_exit"
    world.words["ending", name] = 1
    if explored:
        yield from lwp_tell_end(world, name)
    yield "clear_alive"
    world.words["alive", name] = 0
    yield "clear_alive"
    if world.words["joiners", name]:
        yield "clear_alive"
        wake_all(world, ("alive", name))
    yield from lwp_tell_end(world, name)


def explored_exit(world: World, name: str) -> Thread:
    yield from green_exit(world, name, explored=True)


def lwp_count_as_ended(world: World, name: str) -> Thread:
    yield "lwp_count_as_ended"
    if not world.exchange_if(("alive", name), 1, COUNTS_AS_ENDED):
        return
    yield "lwp_count_as_ended"
    wake_all(world, ("alive", name))
    yield "lwp_count_as_ended"
    world.words["ending", name] = 1
    yield from lwp_tell_end(world, name)


# ---- who waits -------------------------------------------------------------------------------------------------------


def wake_other_joiners(world: World, name: str) -> Thread:
    yield "await_cleared"
    wake_all(world, ("alive", name))


def await_cleared(world: World, me: int, name: str, asleep: str = "asleep") -> Thread:
    """Whether it has ended; if not, its time is up, a signal has come, or it is cancelled."""
    wait = sync_model.park_wait_some if asleep == "asleep" else plain_wait
    event = None
    while True:
        yield "await_cleared"
        if (alive := world.words["alive", name]) in HAVE_ENDED or event is not None:
            break
        event = yield from wait(world, me, ("alive", name), alive, NORMAL, asleep)
    yield "await_cleared"
    world.words["joiners", name] -= 1
    if world.words["joiners", name] > 0 and alive == 0:
        yield from wake_other_joiners(world, name)
    return alive in HAVE_ENDED


def join(world: World, me: int, name: str) -> Thread:
    yield "await_end"
    world.words["joiners", name] += 1
    yield from await_cleared(world, me, name)


def look_once_more(world: World, name: str) -> Thread:
    yield "lwp_watch"
    return bool(world.words["ending", name])


def leave_table(world: World, me: int, name: str) -> Thread:
    """Whether it was claimed."""
    yield from lock_table(world)
    watching = world.data[f"watching {name}"]
    world.data[f"watching {name}"] = tuple(other for other in watching if other != me)
    return (me, name) in world.data["claimed"]


def lwp_watch(world: World, me: int, name: str) -> Thread:
    """Whether it is entered, and whether it was claimed before it left again, since the thread was ending."""
    yield from lock_table(world)
    world.data[f"watching {name}"] += (me,)
    yield "lwp_watch"
    world.words["watched", name] = 1
    if not (yield from look_once_more(world, name)):
        return True, False
    claimed = yield from leave_table(world, me, name)
    return claimed, claimed


def lwp_finish_watch(world: World, me: int, name: str) -> Thread:
    """No cancellation ends this, and no time."""
    if (me, name) in world.data["moved"]:
        world.data["moved"] -= {(me, name)}
    else:
        yield "lwp_finish_watch"
        world.words["joiners", name] += 1
    while not (yield from await_cleared(world, me, name, "asleep for ever")):
        yield "lwp_finish_watch"
        world.words["joiners", name] += 1


def sleep_for(world: World, me: int, names: Iterable[str], needed: int) -> Thread:
    """A sleep of runtime.wait(): those that have come, and whether they are enough; None: it came to nothing."""
    world.words |= {("needed", me): needed, me: ASLEEP}
    entered, came = "", ""
    for name in names:
        if (yield from lwp_watch(world, me, name))[0]:
            entered += name
        else:
            yield "wait_claim"
            claimed = claim(world, me)
            came += name if claimed else ""
            if claimed == COMPLETES:
                world.words[me] = WOKEN
        if world.words[me] == WOKEN:
            break
    event = yield from sleep_until_woken(world, me)
    completed = yield from close_any(world, me)
    for name in entered:
        came += name if (yield from leave_table(world, me, name)) else ""
    world.data["claimed"] = frozenset(one for one in world.data["claimed"] if one[0] != me)
    if (len(came) == needed) != completed:
        raise Wrong(f"{came} came, {needed} needed, and completed is {completed}")
    for name in came:
        yield from lwp_finish_watch(world, me, name)
        if world.words["alive", name] not in HAVE_ENDED:
            raise Wrong(f"{name} is reported, and alive")
    return came, None if event is not None and not completed else completed


def missing_of(world: World, names: Iterable[str]) -> Thread:
    missing = ""
    for name in names:
        yield "lwp_alive"
        missing += "" if world.words["alive", name] in HAVE_ENDED else name
    return missing


def wait_for_first(world: World, me: int, names: str) -> Thread:
    if (yield from missing_of(world, names)) == names:
        yield from sleep_for(world, me, names, 1)


def wait_for_all(world: World, me: int, names: str) -> Thread:
    missing = names
    while missing := (yield from missing_of(world, missing)):
        came, completed = yield from sleep_for(world, me, missing, len(missing))
        if completed is None:
            return
        missing = "".join(name for name in missing if name not in came)


WAITS = {"join": join, "first": wait_for_first, "all": wait_for_all}
ENDS = {"lwp": thread_exit, "green": green_exit, "explored": explored_exit, "counted": lwp_count_as_ended}


def worlds(
    waits: tuple[tuple[str, str], ...], *ends: tuple[str, str], wakes: tuple[int, ...] = ()
) -> Callable[[], tuple[World, list[Thread]]]:
    """wakes: of the waiters, those that aren't moved, as green ones and those that poll."""

    def make() -> tuple[World, list[Thread]]:
        words = {
            (word, name): int(word == "alive") for word in ("alive", "ending", "watched", "joiners") for name in "AB"
        }
        world = World(words=words | dict.fromkeys(range(len(waits)), ASLEEP) | {"table": 0})
        world.data |= {"watching A": (), "watching B": (), "claimed": frozenset(), "moved": frozenset()}
        world.data["moves"] = frozenset(range(len(waits))) - {*wakes}
        threads = [WAITS[how](world, me, names) for me, (how, names) in enumerate(waits)]
        return world, [*threads, *(ENDS[how](world, name) for how, name in ends)]

    return make


def nothing(world: World) -> str:
    return ""


def all_have_left(world: World) -> str:
    left = {name: world.words["joiners", name] for name in "AB" if world.words["joiners", name]}
    watching = [name for name in "AB" if world.data[f"watching {name}"]]
    return f"left behind: {left}, {watching}, {world.data}" if left or watching or world.data["moved"] else ""


ONE = (("first", "A"),)
BOTH = (("first", "AB"),)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waits", "ends"),
    [
        ((("join", "A"), ("join", "A")), [("lwp", "A")]),
        (BOTH, [("lwp", "A"), ("lwp", "B")]),
        ((*ONE, ("join", "A")), [("lwp", "A")]),
        (ONE * 2, [("lwp", "A")]),
        (ONE * 2, [("green", "A")]),
        (ONE * 2, [("explored", "A")]),
        (ONE * 2, [("counted", "A")]),
        ((*ONE, ("join", "A")), [("counted", "A"), ("lwp", "A")]),
        (ONE * 2, [("counted", "A"), ("lwp", "A")]),
        ((*BOTH, ("first", "BA")), [("lwp", "A")]),
        ((("all", "AB"),), [("lwp", "A"), ("lwp", "B")]),
        ((("all", "AB"),), [("lwp", "B"), ("green", "A")]),
    ],
)
@pytest.mark.parametrize("wakes", [(), (0,)], ids=["moved", "woken"])
def test_an_end(waits: tuple[tuple[str, str], ...], ends: list[tuple[str, str]], wakes: tuple[int, ...]) -> None:
    print(f"states: {explore(worlds(waits, *ends, wakes=wakes), nothing, all_have_left)}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waits", "ends"),
    [
        ((("join", "A"), ("join", "A")), [("lwp", "A")]),
        (BOTH, [("lwp", "A"), ("lwp", "B")]),
        ((*ONE, ("join", "A")), [("lwp", "A")]),
        ((("join", "A"), *ONE), [("lwp", "A")]),
        ((("all", "AB"),), [("lwp", "A"), ("lwp", "B")]),
    ],
)
@pytest.mark.parametrize("events", [(TIMEOUT,), (SIGNAL,)])
def test_one_that_gives_up(
    waits: tuple[tuple[str, str], ...], ends: list[tuple[str, str]], events: tuple[str, ...]
) -> None:
    print(f"states: {explore(worlds(waits, *ends), nothing, all_have_left, {0: events})}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("waits", "ends", "cancelled"),
    [
        ((("join", "A"), ("join", "A")), [("lwp", "A")], (0,)),
        ((("join", "A"), ("join", "A")), [("lwp", "A")], (0, 1)),
        (ONE, [("lwp", "A")], (0,)),
        (BOTH, [("lwp", "A"), ("lwp", "B")], (0,)),
        ((*ONE, ("join", "A")), [("lwp", "A")], (0,)),
        ((*ONE, ("join", "A")), [("lwp", "A")], (1,)),
        ((("all", "AB"),), [("lwp", "A"), ("lwp", "B")], (0,)),
        (ONE, [], (0,)),
    ],
)
def test_cancelled(
    waits: tuple[tuple[str, str], ...],
    ends: list[tuple[str, str]],
    cancelled: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one that was moved just then: it has the end, or is woken with nothing."""
    monkeypatch.setattr(sync_model, "park_wait_some", wait_two)

    def make() -> tuple[World, list[Thread]]:
        world, threads = worlds(waits, *ends)()
        return can_cancel(world, *cancelled), [*threads, canceller(world, *cancelled)]

    print(f"states: {explore(make, nothing, all_have_left)}")


# ---- what is broken is found -----------------------------------------------------------------------------------------


def do_not_look(world: World, name: str) -> Thread:
    return False
    yield


def wake_no_other(world: World, name: str) -> Thread:
    yield "await_cleared"


def move_uncounted(world: World, me: int, name: str) -> Thread:
    yield from original_move(world, me, name)
    if (me, name) in world.data["moved"]:
        world.words["joiners", name] -= 1


def move_before_the_word(world: World, me: int, name: str) -> Thread:
    """One that is about to sleep at its word isn't moved, and goes to sleep there."""
    yield "move_to_alive"
    world.words["joiners", name] += 1
    world.data["moved"] |= {(me, name)}
    was, world.words[me] = world.words[me], WOKEN
    move_sleeper(world, me, ("alive", name))
    world.words[me] = was
    yield "move_to_alive"
    world.words[me] = WOKEN


def move_without_a_look(world: World, me: int, name: str) -> Thread:
    """To a word that was cleared before."""
    alive, world.words["alive", name] = world.words["alive", name], 1
    moving = original_move(world, me, name)
    yield next(moving)
    step = next(moving)
    world.words["alive", name] = alive
    yield step
    yield from moving


def do_not_finish(world: World, me: int, name: str) -> Thread:
    return
    yield


def tell_one(world: World, me: int, name: str) -> Thread:
    yield from original_move(world, me, name)
    world.data[f"watching {name}"] = ()


original_move = move_to_alive


@pytest.mark.parametrize(
    ("name", "broken", "make", "says"),
    [
        ("look_once_more", do_not_look, worlds(ONE, ("lwp", "A")), "nobody wakes"),
        ("wake_other_joiners", wake_no_other, worlds((*ONE, ("join", "A")), ("lwp", "A")), "nobody wakes"),
        ("move_to_alive", move_uncounted, worlds(ONE * 2, ("lwp", "A")), "nobody wakes|left behind"),
        ("move_to_alive", move_before_the_word, worlds(ONE, ("lwp", "A")), "nobody wakes"),
        ("move_to_alive", move_without_a_look, worlds(ONE, ("green", "A")), "nobody wakes"),
        ("lwp_finish_watch", do_not_finish, worlds(ONE, ("lwp", "A")), "is reported, and alive"),
        ("move_to_alive", tell_one, worlds(ONE * 2, ("lwp", "A")), "nobody wakes"),
    ],
)
def test_a_step_that_is_missing_is_found(
    name: str,
    broken: Callable[..., Thread],
    make: Callable[[], tuple[World, list[Thread]]],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(globals(), name, broken)
    with pytest.raises(Wrong, match=says):
        explore(make, nothing, all_have_left)


def test_a_claim_of_one_that_has_given_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(world: World, me: int) -> int:
        world.words["needed", me] = 0
        return COMPLETES

    monkeypatch.setitem(globals(), "claim", always)
    with pytest.raises(Wrong, match="completed is"):
        explore(worlds(BOTH, ("lwp", "A"), ("lwp", "B")), nothing, all_have_left)
