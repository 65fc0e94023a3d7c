"""The runner's place and its sleep, proved for few threads: a model of green/carrier.c, run in every order there is.

A carrier is a generator, whose functions are named after those in C and go the same way.  Each `yield` stands before
one atomic operation, so between two of them nobody else comes; what C does under the scheduler's lock is one step.  One
that sleeps on a futex goes on when it is woken, and if it may, at any time by its deadline: all are tried.  Memory is
one for all, as sequentially consistent atomics see it.

A green thread is a list of operations, which the carrier that is in it goes through.  The watcher takes over whenever
it may, not only after a tick; or never, where C code says that it is about to block.  The clock moves when the runner's
sleep ends by its deadline, and when the watcher finds timers due.  One carrier more than take part is in C until the
end.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass, field
from typing import Any

import pytest
from child_programs import in_forked_child

pytestmark = pytest.mark.timeout(600)  # the models compute, for a minute on a busy machine

FOREVER = 99  # later than all deadlines
TIMEOUT = "ETIMEDOUT"
Operation = tuple[str, Any]
Thread = Generator[str, Any, Any]


class Wrong(AssertionError):
    """What must not be; its message has the way there."""


@dataclass
class World:
    """What the threads share."""

    words: dict[Any, Any] = field(default_factory=dict)
    sleepers: list[tuple[int, Any]] = field(default_factory=list)  # thread, word; the first sleeps longest
    woken: set[int] = field(default_factory=set)
    data: dict[str, Any] = field(default_factory=dict)

    def key(self) -> Hashable:
        """Words and data are all there from the beginning, in one order."""
        return tuple(self.words.values()), tuple(self.sleepers), frozenset(self.woken), repr(self.data)

    def wake(self, word: Any) -> None:
        """FUTEX_WAKE of one."""
        for at, (thread, where) in enumerate(self.sleepers):
            if where == word:
                del self.sleepers[at]
                self.woken.add(thread)
                return


def futex_wait(world: World, me: int, word: Any, asleep: str = "asleep") -> Thread:
    """None: woken, or the word was not 0.  "dozing": a deadline ends it."""
    yield "futex_wait"
    if world.words[word]:
        return None
    world.sleepers.append((me, word))
    event = yield asleep
    if me in world.woken:  # a wake-up that came is not lost to a deadline that comes at once
        world.woken.discard(me)
        return None
    world.sleepers = [sleeper for sleeper in world.sleepers if sleeper[0] != me]
    return event


Make = Callable[[], tuple[World, list[Thread]]]


# ---- every order -----------------------------------------------------------------------------------------------------


def _place(thread: Thread) -> Hashable:
    """Where a generator is, and the ones that it waits for, with what they know for themselves.

    `data` is the world's: as it was when the thread was last looked up it would tell apart what is the same state.
    """
    found: list[Hashable] = []
    at: Any = thread
    while at is not None and at.gi_frame is not None:
        known = {name: value for name, value in at.gi_frame.f_locals.items() if name not in ("world", "data")}
        found.append((at.gi_code.co_name, at.gi_frame.f_lasti, repr(known)))
        at = at.gi_yieldfrom
    return tuple(found)


class Run:
    """One order, as far as it has come."""

    def __init__(self, make: Make) -> None:
        self.world, self.threads = make()
        self.labels: list[str | None] = []
        self.places: list[Hashable] = [None] * len(self.threads)  # None: not looked up since its last step
        for at in range(len(self.threads)):
            self.labels.append(None)
            self.step(at, None)

    def step(self, at: int, event: Any) -> None:
        self.places[at] = None
        try:
            self.labels[at] = self.threads[at].send(event)
        except StopIteration:
            self.labels[at] = None

    def choices(self) -> list[tuple[int, Any]]:
        """What can be next: steps, and deadlines."""
        steps: list[tuple[int, Any]] = []
        for at, label in enumerate(self.labels):
            if label == "dozing" and at not in self.world.woken:
                steps.append((at, TIMEOUT))
            elif label is not None and (label != "asleep" or at in self.world.woken):
                steps.append((at, None))
        return steps

    def key(self) -> Hashable:
        for at, place in enumerate(self.places):
            if place is None:
                self.places[at] = _place(self.threads[at])
        return self.world.key(), tuple(self.places)


def explore(make: Make) -> int:
    """Runs the threads in every order; how many states there are.

    Wrong: a thread says so, or nobody is left who could wake a sleeper.
    """
    seen: set[Hashable] = set()
    paths: list[tuple[list[tuple[int, Any]], list[Hashable]]] = [([], [])]
    while paths:
        path, places = paths.pop()
        run = Run(make)
        for choice in path[:-1]:
            run.step(*choice)
        if path:
            run.places = places  # which need not be looked up again
            run.step(*path[-1])
        while (key := run.key()) not in seen:
            seen.add(key)
            steps = run.choices()
            if not steps:
                asleep = [at for at, label in enumerate(run.labels) if label is not None]
                if asleep:
                    raise Wrong(f"nobody wakes {asleep}, after {path}: {run.labels}, {run.world}")
                break
            paths += [([*path, choice], run.places.copy()) for choice in steps[:-1]]
            path = [*path, steps[-1]]  # the run goes on with this one; for the others it begins anew
            run.step(*steps[-1])
    return len(seen)


# ---- switch.c --------------------------------------------------------------------------------------------------------


def runner_mark_busy(world: World) -> None:
    """And poller_wake(), with the lock."""
    if world.data["idle"] == "in C":
        runner_hand_over(world)
    elif world.data["idle"]:
        world.data["idle"] = False
        poller_wake(world)


def poller_wake(world: World) -> None:
    """An edge of the eventfd: it wakes one sleeper, or the next that comes."""
    if any(word == "epoll" for _, word in world.sleepers):
        world.wake("epoll")
    else:
        world.words["epoll"] = 1


def runner_hand_over(world: World) -> None:
    """And runner_wake(), with the lock."""
    data = world.data
    spare = (*data["spares"], data["watcher"])[0]
    data["idle"] = "in C" if spare is None else False
    if spare is None:
        return
    word = f"spare {spare}" if data["spares"] else "watch"
    data["spares"] = data["spares"][1:]
    data["runner"], data["handed"] = spare, True
    world.words[word] = 1
    world.wake(word)


def make_ready(world: World, green: int) -> None:
    world.data["timers"] = tuple(timer for timer in world.data["timers"] if timer[1] != green)
    world.data["queue"] += (green,)


def green_resume(world: World, green: int) -> Thread:
    yield "green_resume"
    make_ready(world, green)
    runner_mark_busy(world)
    tick(world)


def tick(world: World) -> None:
    """The watcher may look now: its ticks find nothing but after a change, of which each is announced here."""
    world.words["watch"] = 1
    world.wake("watch")


# ---- carrier.c: the runner -------------------------------------------------------------------------------------------


def fire_timers(world: World) -> None:
    for deadline, green in world.data["timers"]:
        if deadline <= world.data["now"]:
            make_ready(world, green)


def runner_sleep(world: World, me: int) -> Thread:
    """Begins and ends with the lock."""
    data = world.data
    until = data["timers"][0][0] if data["timers"] else FOREVER
    data["idle"], data["sleeps until"] = True, until
    world.words["sleepers"] += 1
    event = yield from epoll_wait(world, me, until)
    world.words["sleepers"] -= 1
    if event != TIMEOUT and world.words["sleepers"]:  # whose was it?
        poller_wake(world)
    yield "park_lock"
    if data["runner"] != me:
        return
    data["idle"] = False
    fire_timers(world)


def epoll_wait(world: World, me: int, until: int) -> Thread:
    yield "epoll_wait"
    if world.words["epoll"]:
        world.words["epoll"] = 0
        return None
    event = yield from futex_wait(world, me, "epoll", "asleep" if until == FOREVER else "dozing")
    if event == TIMEOUT:
        world.data["now"] = max(world.data["now"], until)
        if world.data["sleeps until"] == until and world.data["idle"]:
            note_what_is_late(world)
    return event


def note_what_is_late(world: World) -> None:
    """A thread that should have gone on before, unless its carrier is about to look."""
    told = [green for _, green in world.data["leaving"]]
    late = [green for deadline, green in world.data["timers"] if deadline < world.data["now"] and green not in told]
    if late:
        raise Wrong(f"{late} should have gone on before {world.data['now']}")


def runner_must_look(world: World) -> bool:
    data = world.data
    return bool(data["queue"] or not data["out"] or (data["timers"] and data["timers"][0][0] < data["sleeps until"]))


# ---- carrier.c: helpers and spares -----------------------------------------------------------------------------------


def may_help(world: World, me: int) -> bool:
    data = world.data
    if me in data["helpers"] and (not data["queue"] or data["idle"]):
        data["helpers"] -= {me}
    return me in data["helpers"]


def may_take_over(world: World) -> bool:
    """What the watcher has ruled out already is left out."""
    return world.data["runner"] is None or world.data["runner"] in world.data["in threads"]


def watch_runner(world: World, me: int) -> Thread:
    data = world.data
    while not data["over"] and data["runner"] != me:
        yield from sleep_as_spare(world, me, "watch")
        if data["idle"] or data["over"] or data["runner"] == me or not data["slice"]:
            continue
        if data["timers"] and not data["queue"]:
            data["now"] = max(data["now"], data["timers"][0][0])
            fire_timers(world)
        if data["queue"] and may_take_over(world):
            data["helpers"] |= {data["runner"]} if data["parallel"] else set()
            data["runner"] = me
            return


def sleep_as_spare(world: World, me: int, word: str) -> Thread:
    """Begins and ends with the lock."""
    yield from futex_wait(world, me, word)
    yield "park_lock"
    world.words[word] = 0


def take_free_place(world: World, me: int) -> None:
    if world.data["runner"] is None or takes_the_place(world):
        world.data["runner"], world.data["idle"] = me, False


def be_spare(world: World, me: int) -> Thread:
    data = world.data
    while not data["over"] and data["runner"] != me and data["watcher"] not in (None, me):
        if me not in data["spares"]:
            data["spares"] = (me, *data["spares"])
        yield from sleep_as_spare(world, me, f"spare {me}")
    if not data["over"] and data["runner"] != me:
        data["watcher"] = me
        yield from watch_runner(world, me)
    if data["over"] or data["watcher"] != me:
        return
    data["watcher"], data["spares"] = (*data["spares"], None)[0], data["spares"][1:]
    if data["watcher"] is not None:
        world.words[f"spare {data['watcher']}"] = 1
        world.wake(f"spare {data['watcher']}")
        tick(world)


# ---- carrier.c: every carrier ----------------------------------------------------------------------------------------


def carrier_run(world: World, me: int) -> Thread:
    data = world.data
    yield "scheduler_carry"  # others may have gone on meanwhile
    while not data["over"]:
        take_free_place(world, me)
        if data["runner"] != me and not may_help(world, me):
            yield from be_spare(world, me)
            data["handed"] = data["handed"] and data["runner"] != me
        elif not data["queue"]:
            yield from runner_sleep(world, me)
        else:
            data["out"] += 1
            data["in threads"] |= {me}
            yield from run_threads(world, me)
            yield "park_lock"
            data["out"] -= 1
            data["in threads"] -= {me}
            has_left(world, me)
            if data["runner"] != me and data["idle"] != "in C" and runner_must_look(world):
                runner_mark_busy(world)


def takes_the_place(world: World) -> bool:
    return world.data["idle"] == "in C" and runner_must_look(world)


def run_threads(world: World, me: int) -> Thread:
    """From the base into a thread, and from that into the next; ends with the switch to the base."""
    data = world.data
    while data["queue"] and (data["runner"] == me or may_help(world, me)):
        if data["watcher"] == me:
            raise Wrong(f"nobody watches {me}, and nobody takes its place")
        green, data["queue"] = data["queue"][0], data["queue"][1:]
        has_left(world, me)
        tick(world)
        yield from turn(world, me, green)
        data["leaving"] += ((me, green),)


def has_left(world: World, me: int) -> None:
    world.data["leaving"] = tuple(one for one in world.data["leaving"] if one[0] != me)


def turn(world: World, me: int, green: int) -> Thread:
    """Until the thread leaves its LWP, with the lock."""
    data = world.data
    for name, argument in data["left"][green]:
        data["left"] = {**data["left"], green: data["left"][green][1:]}
        if (yield from OPERATIONS[name](world, me, green, argument)):
            return
    yield "green_end"
    data["living"] -= 1
    if not data["living"]:
        data["over"] = True
        carriers_wake(world)


def carriers_wake(world: World) -> None:
    for carrier in range(world.data["carriers"]):
        world.words[f"spare {carrier}"] = 1
        world.wake(f"spare {carrier}")
    tick(world)
    runner_mark_busy(world)


# ---- what a thread does: each says whether it leaves its LWP ---------------------------------------------------------


def call(world: World, me: int, green: int, word: str, asleep: str = "asleep for ever") -> Thread:
    """Of C: keeps the LWP until the word is set."""
    yield "call"
    while not world.words[word]:
        yield from futex_wait(world, me, word, asleep)
        yield "call"
    return False


def foreign(world: World, me: int, green: int, word: str) -> Thread:
    """A call of C that is known to block."""
    data = world.data
    yield "carrier_enters_c"
    if data["runner"] == me:
        data["in C"] |= {me}
        data["sleeps until"] = FOREVER
        if data["queue"] or data["timers"]:
            runner_hand_over(world)
        else:
            data["idle"] = "in C"
    yield from call(world, me, green, word, "asleep")
    data["in C"] -= {me}
    yield "carrier_leaves_c"
    runner = data["runner"]
    if runner == me or data["handed"] or data["idle"] == "in C" or runner in data["in C"]:
        if data["handed"] and runner != data["watcher"]:
            data["spares"] = (runner, *data["spares"])
        data["runner"], data["handed"], data["idle"] = me, False, False
    return False


def sleep(world: World, me: int, green: int, length: int) -> Thread:
    yield "green_wait"
    deadline = world.data["now"] + length
    world.data["timers"] = tuple(sorted((*world.data["timers"], (deadline, green))))
    tick(world)
    return True


def wait(world: World, me: int, green: int, word: str) -> Thread:
    yield "green_wait"
    if world.words[word]:
        return False
    world.data["waiters"] += ((word, green),)
    return True


def green_yield(world: World, me: int, green: int, _: None) -> Thread:
    yield "green_yield"
    world.data["queue"] += (green,)
    return True


def set_word(world: World, me: int, green: int, word: str) -> Thread:
    yield "set"
    world.words[word] = 1
    woken = [waiter for name, waiter in world.data["waiters"] if name == word]
    world.data["waiters"] = tuple(waiter for waiter in world.data["waiters"] if waiter[0] != word)
    for _ in range(len(world.sleepers)):
        world.wake(word)
    for waiter in woken:
        yield from green_resume(world, waiter)
    return False


OPERATIONS: dict[str, Callable[[World, int, int, Any], Thread]] = {
    "call": call,
    "foreign": foreign,
    "sleep": sleep,
    "wait": wait,
    "yield": green_yield,
    "set": set_word,
}


def outside(world: World, words: tuple[str, ...]) -> Thread:
    """A thread that isn't green."""
    for word in words:
        yield from set_word(world, -1, -1, word)


# ---- the worlds ------------------------------------------------------------------------------------------------------


def worlds(
    *programs: tuple[Operation, ...],
    carriers: int = 3,
    parallel: bool = False,
    sets: tuple[str, ...] = ("go",),
    slice: bool = True,
) -> Make:
    def make() -> tuple[World, list[Thread]]:
        words = {operation[1] for program in programs for operation in program if isinstance(operation[1], str)}
        spares = {f"spare {carrier}" for carrier in range(carriers)}
        world = World(words=dict.fromkeys(words | spares | {"epoll", "watch", "sleepers", *sets}, 0))
        world.data |= {"queue": tuple(range(len(programs))), "timers": (), "waiters": (), "living": len(programs)}
        world.data |= {"left": dict(enumerate(programs)), "leaving": (), "carriers": carriers, "parallel": parallel}
        world.data |= {"runner": None, "watcher": None, "spares": (), "helpers": frozenset(), "out": 1}  # see above
        world.data |= {"idle": False, "sleeps until": 0, "now": 0, "over": False}
        world.data |= {"handed": False, "in threads": frozenset(), "in C": frozenset(), "slice": slice}
        return world, [*(carrier_run(world, me) for me in range(carriers)), outside(world, sets)]

    return make


def in_every_order(make: Make, wrong: str = "") -> None:
    """In a forked child, because the allocator may keep so much memory that it looks like a leak."""

    def tries() -> None:
        try:
            with pytest.raises(Wrong, match=wrong) if wrong else contextlib.nullcontext():
                print(f"states: {explore(make)}", flush=True)
        except BaseException:
            traceback.print_exc()
            raise

    assert in_forked_child(tries) == 0


IN_C = ("call", "go")  # until the thread that isn't green ends it
WAITER = (("wait", "woken"),)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [False, True], ids=["a GIL", "none"])
@pytest.mark.parametrize(
    ("programs", "carriers"),
    [
        (((IN_C, ("sleep", 1), ("set", "woken")), WAITER), 2),
        (((IN_C, ("sleep", 1), ("set", "woken")), WAITER), 3),
        (((IN_C, ("sleep", 1), ("set", "woken")), WAITER, (("sleep", 5),)), 2),
        (((IN_C, ("sleep", 2)), (("sleep", 1),)), 3),
        (((IN_C, ("yield", None), ("set", "woken")), WAITER, (("sleep", 1),)), 2),
        (((IN_C, ("set", "woken")), WAITER, (("sleep", 1), ("yield", None))), 2),
        (((IN_C,), (("sleep", 1), ("sleep", 1)), (("sleep", 1),)), 2),
    ],
)
def test_a_thread_that_left_an_lwp_goes_on_in_time(
    programs: tuple[tuple[Operation, ...], ...], carriers: int, parallel: bool
) -> None:
    in_every_order(worlds(*programs, carriers=carriers, parallel=parallel))


FOREIGN = [
    (((("foreign", "done"),), (("set", "done"),)), 2),
    (((("foreign", "done"),), (("set", "done"),)), 3),
    (((("foreign", "done"),), (("sleep", 1), ("set", "done"))), 3),
    (((("yield", None), ("foreign", "done")), (("wait", "go"), ("set", "done"))), 2),
    (((("foreign", "done"), ("sleep", 1)), (("yield", None), ("set", "done"))), 2),
    (((("foreign", "one"), ("set", "two")), (("foreign", "two"),), (("set", "one"),)), 3),
]


@pytest.mark.slow
@pytest.mark.parametrize(("programs", "carriers"), FOREIGN)
def test_nobody_waits_for_a_time_slice_while_c_blocks_as_expected(
    programs: tuple[tuple[Operation, ...], ...], carriers: int
) -> None:
    in_every_order(worlds(*programs, carriers=carriers, slice=False))


@pytest.mark.slow
def test_an_lwp_that_runs_watches_no_more() -> None:
    """A spare becomes the watcher, and the runner, before it has woken up: the runner took over from a thread in C that
    was not expected to block, and its thread is expected to."""
    in_every_order(worlds((IN_C,), (("foreign", "go"),), (("yield", None),)))


#: The first call hands over to a spare that the second must find, if it is not awake by then.
HANDED = ((("foreign", "done"),), (("foreign", "done"),), (("set", "done"),))


@pytest.mark.slow
def test_a_spare_keeps_the_place_that_it_was_handed_asleep() -> None:
    in_every_order(worlds(*HANDED, sets=()))


# ---- what is broken is found -----------------------------------------------------------------------------------------


def look_at_no_timers(world: World) -> bool:
    return bool(world.data["queue"] or not world.data["out"])


def look_only_at_a_sleep_without_end(world: World) -> bool:
    data = world.data
    return bool(data["queue"] or not data["out"] or (data["timers"] and data["sleeps until"] == FOREVER))


def look_at_no_queue(world: World) -> bool:
    data = world.data
    return bool(not data["out"] or (data["timers"] and data["timers"][0][0] < data["sleeps until"]))


@pytest.mark.parametrize(
    ("broken", "programs", "says"),
    [
        (look_at_no_timers, ((IN_C, ("sleep", 1), ("set", "woken")), WAITER), "nobody wakes"),
        (look_only_at_a_sleep_without_end, ((IN_C, ("sleep", 1)), (("sleep", 5),)), "should have gone on before 5"),
        (look_at_no_queue, ((IN_C, ("yield", None), ("set", "woken")), WAITER), "nobody wakes"),
    ],
)
def test_an_untold_runner_is_found(
    broken: Callable[[World], bool],
    programs: tuple[tuple[Operation, ...], ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(globals(), "runner_must_look", broken)
    with pytest.raises(Wrong, match=says):
        explore(worlds(*programs, carriers=2))


def mark_only_a_sleeper(world: World) -> None:
    if world.data["idle"] is True:
        world.data["idle"] = False
        poller_wake(world)


@pytest.mark.parametrize(
    ("name", "broken", "programs"),
    [
        ("takes_the_place", lambda world: False, FOREIGN[0]),
        ("runner_mark_busy", mark_only_a_sleeper, FOREIGN[3]),
        ("runner_hand_over", lambda world: None, FOREIGN[0]),
    ],
)
def test_a_place_that_is_not_handed_over_is_found(
    name: str, broken: Callable[[World], Any], programs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), name, broken)
    with pytest.raises(Wrong, match="nobody wakes"):
        explore(worlds(*programs[0], carriers=programs[1], slice=False))


@pytest.mark.slow
def test_a_place_that_is_taken_from_a_runner_asleep_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spare is neither the runner nor listed when the second call finds nobody to hand over to."""
    monkeypatch.setitem(globals(), "may_take_over", lambda world: True)
    in_every_order(worlds(*HANDED, sets=()), wrong="nobody wakes")
