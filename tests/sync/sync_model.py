"""The state machines of native/kernel/lock/ and native/waits/ as models, run in every order there is.

A thread is a generator whose functions are named after those in C and go the same way.  Each `yield` stands before one
atomic operation, so between two of them nobody else comes.  What is not atomic in C is more than one step here; what C
does under the queue's lock is one, for that lock lets nobody in between, but where it touches a word that is also
changed without the lock.  A thread that sleeps on a futex goes on when
it is woken, and if it may, at any time by its deadline or a signal: the explorer tries all.  Memory is one for all, as
sequentially consistent atomics see it.  A thread may fork: it goes on in the child, without the others; the parent goes
on as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass, field
from typing import Any

FREE, HELD, CONTENDED, HANDED, OWING = "FREE", "HELD", "CONTENDED", "HANDED", "OWING"
ASLEEP, DOZING, WOKEN = "ASLEEP", "DOZING", "WOKEN"
ASK = "ASK"
NORMAL, STARVING = 1, 2
TIMEOUT, SIGNAL, AGAIN = "ETIMEDOUT", "EINTR", "EAGAIN"

Thread = Generator[str, Any, Any]


class Wrong(AssertionError):
    """What must not be; its message has the way there."""


@dataclass
class World:
    """What the threads share."""

    words: dict[Any, Any] = field(default_factory=dict)
    sleepers: list[tuple[int, Any, int]] = field(default_factory=list)  # thread, word, bits; the first sleeps longest
    woken: set[int] = field(default_factory=set)
    inside: int = 0  # threads that hold the lock
    data: dict[str, Any] = field(default_factory=dict)

    def key(self) -> Hashable:
        words = tuple(sorted((repr(k), repr(v)) for k, v in self.words.items()))
        data = tuple(sorted((k, repr(v)) for k, v in self.data.items()))
        return words, tuple(self.sleepers), frozenset(self.woken), self.inside, data

    def fork(self, me: int) -> None:
        """What the child of `me` makes of it, here at once: see sync_forks, forget_lost() and after_fork_in_child()."""
        self.sleepers, self.woken = [], set()
        self.data["forked"] = True
        self.words |= {word: none for word, none in (("starving", 0), ("deferred", None)) if word in self.words}
        if "queue" in self.data:
            self.data["queue"] = tuple(entry for entry in self.data["queue"] if entry[0] == me)
            self.data |= {"batons": 0, "locked": False}

    def exchange_if(self, word: Any, expected: Any, value: Any) -> bool:
        """Compare and exchange."""
        if self.words[word] != expected:
            return False
        self.words[word] = value
        return True

    def wake(self, word: Any, bits: int) -> None:
        """FUTEX_WAKE_BITSET of one."""
        for at, (thread, where, group) in enumerate(self.sleepers):
            if where == word and group & bits:
                del self.sleepers[at]
                self.woken.add(thread)
                return


def park_wait_some(world: World, me: int, word: Any, expected: Any, bits: int, asleep: str = "asleep") -> Thread:
    """None: woken, or the word was another.  "asleep for ever": no deadline ends it; "dozing": one does."""
    yield "park_wait_some"
    if world.words[word] != expected:
        return None
    world.sleepers.append((me, word, bits))
    event = yield asleep
    if me in world.woken:  # a wake-up that came is not lost to a deadline that comes at once
        world.woken.discard(me)
        return None
    world.sleepers = [sleeper for sleeper in world.sleepers if sleeper[0] != me]
    return event


# ---- every order -----------------------------------------------------------------------------------------------------


def _place(thread: Thread) -> Hashable:
    """Where a generator is, and the ones that it waits for, with what they know."""
    found: list[Hashable] = []
    at: Any = thread
    while at is not None and at.gi_frame is not None:
        known = {name: value for name, value in at.gi_frame.f_locals.items() if name != "world"}
        found.append((at.gi_code.co_name, at.gi_frame.f_lasti, repr(sorted(known.items(), key=lambda item: item[0]))))
        at = at.gi_yieldfrom
    return tuple(found)


class Run:
    """One order, as far as it has come."""

    def __init__(self, make: Callable[[], tuple[World, list[Thread]]]) -> None:
        self.world, self.threads = make()
        self.labels: list[str | None] = []
        self.places: list[Hashable] = [None] * len(self.threads)  # None: not looked up since its last step
        for at in range(len(self.threads)):
            self.labels.append(None)
            self.step(at, None)

    def step(self, at: int, event: Any) -> None:
        forks = self.labels[at] == "fork" or (self.labels[at] == "fork if free" and self.world.words["lock"] == FREE)
        if forks and "forked" not in self.world.data:  # once
            self.world.fork(at)
            lost = [other for other, label in enumerate(self.labels) if other != at and label != "unborn"]
            for other in lost:
                self.threads[other].close()
                self.labels[other] = self.places[other] = None
        self.places[at] = None
        try:
            self.labels[at] = self.threads[at].send(event)
        except StopIteration:
            self.labels[at] = None

    def choices(self, events: dict[int, tuple[str, ...]]) -> tuple[list[tuple[int, Any]], list[tuple[int, Any]]]:
        """What can be next: steps, and what the time and others can do to a sleeper."""
        steps: list[tuple[int, Any]] = []
        chances: list[tuple[int, Any]] = []
        for at, label in enumerate(self.labels):
            if label in ("clock", "deferred"):
                steps += [(at, False), (at, True)]
            elif label == "dozing" and at not in self.world.woken:
                steps.append((at, TIMEOUT))
                chances += [(at, event) for event in events.get(at, ()) if event != TIMEOUT]
            elif label in ("asleep", "asleep for ever") and at not in self.world.woken:
                chances += [(at, event) for event in events.get(at, ()) if label == "asleep" or event != TIMEOUT]
            elif label == "unborn" and "forked" not in self.world.data:  # one of the child's
                continue
            elif label is not None:
                steps.append((at, None))
        return steps, chances

    def key(self) -> Hashable:
        for at, place in enumerate(self.places):
            if place is None:
                self.places[at] = _place(self.threads[at])
        return self.world.key(), tuple(self.places)


def explore(
    make: Callable[[], tuple[World, list[Thread]]],
    check: Callable[[World], str],
    check_end: Callable[[World], str],
    events: dict[int, tuple[str, ...]] | None = None,
) -> int:
    """Runs the threads in every order; how many states there are.

    Wrong: a check has something to say, or nobody is left who could wake a sleeper.

    events: by thread, what may end its sleep besides a wake-up.
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
            steps, chances = run.choices(events or {})
            said = check(run.world)
            if not said and not steps:
                asleep = [at for at, label in enumerate(run.labels) if label not in (None, "unborn")]
                said = f"nobody wakes {asleep}" if asleep else check_end(run.world)
            if said:
                raise Wrong(f"{said}, after {path}: {run.labels}, {run.world}")
            if not (choices := steps + chances):
                break
            paths += [([*path, choice], run.places.copy()) for choice in choices[:-1]]
            path = [*path, choices[-1]]  # the run goes on with this one; for the others it begins anew
            run.step(*choices[-1])
    return len(seen)


# ---- lock ------------------------------------------------------------------------------------------------------------


def sync_lock_try(world: World) -> Thread:
    yield "sync_lock_try"
    return world.exchange_if("lock", FREE, HELD)


def take(world: World, starving: bool) -> Thread:
    yield "take"
    if world.exchange_if("lock", FREE, CONTENDED):
        return True
    if starving:
        yield "take"
        return world.exchange_if("lock", HANDED, CONTENDED)
    return False


def free_if_nobody_starves(world: World) -> Thread:
    yield "free_if_nobody_starves"
    if world.words["starving"]:
        return
    yield "free_if_nobody_starves"
    if not world.exchange_if("lock", HANDED, FREE):
        return
    handed = "watchers" in world.words and (yield from hand_to_watcher(world, FREE))
    if handed is None:
        yield from sync_lock_release_any(world)
    elif not handed:
        yield "free_if_nobody_starves"
        world.wake("lock", NORMAL | STARVING)


def starving_add(world: World, change: int) -> Thread:
    yield "starving_add"
    world.words["starving"] += change


def pass_on_to_starving(world: World, me: int) -> Thread:
    """By a thread that can be cancelled, whose sleep knows no bits."""
    yield "pass_on_to_starving"
    if world.words["lock"] == HANDED:
        yield "pass_on_to_starving"
        world.wake("lock", STARVING)


def sync_lock_wait(world: World, me: int, asleep: str = "asleep") -> Thread:
    """Whether it was taken.  An end by deadline or signal leaves, as there; "clock": has a millisecond passed?"""
    starving, result = False, None
    while not (taken := (yield from take(world, starving))) and result is None:
        yield "sync_lock_wait"
        seen = world.words["lock"]
        if seen in (HELD, OWING):
            yield "sync_lock_wait"
            if not world.exchange_if("lock", seen, CONTENDED):
                continue
            seen = CONTENDED
        if seen == HANDED and not starving:
            yield from free_if_nobody_starves(world)
        if seen == FREE or (seen == HANDED and starving):
            continue
        result = yield from park_wait_some(world, me, "lock", seen, STARVING if starving else NORMAL, asleep)
        if not starving and result is None and me in world.data.get("cancellable", ()):
            yield from pass_on_to_starving(world, me)
        if not starving and (yield "clock"):
            starving = True
            yield from starving_add(world, 1)
    if starving:
        yield from starving_add(world, -1)
        if not taken:
            yield from free_if_nobody_starves(world)
    return taken


def defer_wake(world: World, place: int) -> Thread:
    """By the holder of the queue's lock; whether the release sees to the sleeper."""
    yield "defer_wake"
    if not world.exchange_if("deferred", None, place):
        return False
    yield "defer_wake"
    if world.words["lock"] in (OWING, CONTENDED) or world.exchange_if("lock", HELD, OWING):
        return True
    yield "defer_wake"
    return not world.exchange_if("deferred", place, None)


def cancel_deferred(world: World, place: int) -> Thread:
    if "deferred" not in world.words:  # it names no lock
        return False
    yield "cancel_deferred"
    return world.exchange_if("deferred", place, None)


def wake_place(world: World, place: int) -> Thread:
    """A wake-up that is deferred may never come."""
    yield "wake_place"
    dozing = world.words[place] == DOZING
    world.words[place] = WOKEN
    if dozing and (yield "deferred"):
        return
    yield "sync_wake"
    world.wake(place, NORMAL)


def do_deferred(world: World) -> Thread:
    if "deferred" not in world.words:  # no condition's lock
        return
    yield "do_deferred"
    deferred, world.words["deferred"] = world.words["deferred"], None
    if deferred is not None:
        yield from wake_place(world, deferred)


def sync_lock_release_any(world: World) -> Thread:
    while True:
        yield "sync_lock_release_any"
        seen = world.words["lock"]
        if seen in (FREE, HANDED):
            raise Wrong("released, and nobody holds it")
        yield "sync_lock_release_any"
        to = HANDED if world.words["starving"] else FREE
        yield "sync_lock_release_any"
        if not world.exchange_if("lock", seen, to):
            continue
        if seen != HELD:
            yield from do_deferred(world)
        handed = False
        if "watchers" in world.words and ((yield "clock") if to == HANDED else seen == CONTENDED):  # whose turn it is
            handed = yield from hand_to_watcher(world, to)
        if handed is None:
            continue
        if handed:
            return
        if to == HANDED or seen == CONTENDED:
            yield "park_wake_some"
            world.wake("lock", STARVING if to == HANDED else NORMAL | STARVING)
        if to == HANDED:
            yield from free_if_nobody_starves(world)
        return


def sync_lock_release(world: World) -> Thread:
    yield "sync_lock_release"
    if not world.exchange_if("lock", HELD, FREE):
        yield from sync_lock_release_any(world)


# ---- who waits for one of several things -----------------------------------------------------------------------------
# waits/any.h, and waits/watch.c where there is a word "watchers"; data["watching"]: those in the table.


TOO_LATE, CLAIMED, COMPLETES = 0, 1, 2


def claim(world: World, me: int) -> int:
    """sync_any_claim(); a thread that waits for one thing has no word `needed`."""
    needed = world.words.get(("needed", me), 1)
    if needed == 0:
        return TOO_LATE
    if ("needed", me) in world.words:
        world.words["needed", me] = needed - 1
    return COMPLETES if needed == 1 else CLAIMED


def sleep_until_woken(world: World, me: int) -> Thread:
    """What ends the sleep besides the wake-up."""
    event = None
    while event is None:
        yield "sleep_until_woken"
        if world.words[me] == WOKEN:
            break
        event = yield from park_wait_some(world, me, me, ASLEEP, NORMAL)
    return event


def close_any(world: World, me: int) -> Thread:
    """Whether the wait was completed before."""
    yield "sync_any_close"
    completed, world.words["needed", me] = world.words["needed", me] == 0, 0
    return completed


def sync_watch_tell(world: World) -> int | None:
    """Whose wait it completes.  Under the table's lock, except for the wake-up."""
    while world.data["watching"]:
        me, *others = world.data["watching"]
        world.data["watching"] = tuple(others)
        if claim(world, me):
            world.data["claimed"] |= {(me, "lock")}
            world.words[me] = WOKEN
            return int(me)
    return None


def hand_to_watcher(world: World, free: str) -> Thread:
    """None: all were too late, and the caller releases what was taken for them.  (In C this one does it: a loop.)"""
    yield "hand_to_watcher"
    if not world.words["watchers"]:
        return False
    yield "sync_is_watched"
    if not world.data["watching"]:
        return False
    while True:
        yield "hand_to_watcher"
        if world.exchange_if("lock", free, CONTENDED):
            break
        seen = world.words["lock"]
        if free == HANDED or seen in (CONTENDED, HANDED):
            return False
        yield "hand_to_watcher"
        if seen in (HELD, OWING) and world.exchange_if("lock", seen, CONTENDED):
            return False
    yield "sync_watch_tell"
    if (me := sync_watch_tell(world)) is None:
        return None
    yield "sync_any_wake_shared"
    world.wake(me, NORMAL)
    return True


# ---- queue, and python_sleep_in_queue() of python/threads/sleep.c ---------------------------------------------------
# world.data["queue"]: the places in it, oldest first; "tickets": given out; "entitled": those below are; "away";
# "batons"; "locked": somebody holds the queue's lock for more than one step.  Where there is a word "deferred" the
# places name the lock.  A place's word is called after its thread.


def sync_queue_lock(world: World) -> Thread:
    """Comes back when nobody has it; what the caller does up to its next step, it does under the lock."""
    while True:
        yield "sync_queue_lock"
        if not world.data["locked"]:
            return


def _next_with_baton(world: World) -> int | None:
    """next_with_baton(), and what stands before it: under the queue's lock."""
    data = world.data
    if data["batons"]:
        return None
    for place, ticket in data["queue"]:
        if place not in data["away"]:
            if ticket >= data["entitled"]:
                return None
            data["queue"] = tuple(entry for entry in data["queue"] if entry[0] != place)
            data["batons"] += 1
            return int(place)
    return None


def sync_queue_enter(world: World, me: int) -> int:
    """The ticket; under the queue's lock."""
    ticket: int = world.data["tickets"]
    world.data["tickets"] += 1
    world.data["queue"] = (*world.data["queue"], (me, ticket))
    return ticket


def sync_queue_grant(world: World) -> int:
    """Entitles one; how many are waiting then.  Under the queue's lock."""
    waiting = [ticket for _, ticket in world.data["queue"] if ticket >= world.data["entitled"]]
    if waiting:
        world.data["entitled"] = waiting[0] + 1
    return len(waiting[1:])


def sync_queue_unlock_and_wake(world: World, place: int | None) -> Thread:
    """The place is next_with_baton()'s: nobody comes between that and what is done here first."""
    if place is None:
        return
    if "deferred" in world.words:
        world.data["locked"] = True
        deferred = yield from defer_wake(world, place)
        world.data["locked"] = False
        if deferred:
            return
    yield from wake_place(world, place)


def sync_queue_pass_baton(world: World) -> Thread:
    yield from sync_queue_lock(world)
    world.data["batons"] -= 1
    yield from sync_queue_unlock_and_wake(world, _next_with_baton(world))


def sync_queue_wait(world: World, me: int, result: str | None = None) -> Thread:
    """None: woken, with the baton.  result: of a sleep before."""
    while True:
        yield "sync_queue_wait"
        if world.words[me] == WOKEN:
            break
        if result is None:
            result = yield from park_wait_some(world, me, me, ASLEEP, NORMAL)
        elif (yield from cancel_deferred(world, me)):
            world.words[me] = WOKEN
        else:
            return result
    if result in (SIGNAL, AGAIN) and "interrupted" in world.data:
        world.data["interrupted"] |= {me}
    return None


def sync_queue_doze(world: World, me: int) -> Thread:
    result = None
    yield "sync_queue_doze"
    if world.exchange_if(me, ASLEEP, DOZING):
        result = yield from park_wait_some(world, me, me, DOZING, NORMAL, "dozing")
        yield "sync_queue_doze"
        world.exchange_if(me, DOZING, ASLEEP)
    return (yield from sync_queue_wait(world, me, AGAIN if result == TIMEOUT else result))


def sync_queue_leave(world: World, me: int, ticket: int) -> Thread:
    """(entitled, baton)"""
    yield from sync_queue_lock(world)
    entitled = ticket < world.data["entitled"]
    baton = all(place != me for place, _ in world.data["queue"])
    world.data["queue"] = tuple(entry for entry in world.data["queue"] if entry[0] != me)
    if baton and not (yield from cancel_deferred(world, me)):
        while (yield from sync_queue_wait(world, me)):
            pass
    return entitled, baton


def never_woke(world: World, me: int, ticket: int) -> Thread:
    """Of python/threads/sleep.c, when the thread is ended as it wants the GIL after its sleep."""
    _, baton = yield from sync_queue_leave(world, me, ticket)
    if baton:
        yield from sync_queue_pass_baton(world)


def sync_queue_away(world: World, me: int, ticket: int, away: bool) -> Thread:
    yield from sync_queue_lock(world)
    world.data["away"] = world.data["away"] | {me} if away else world.data["away"] - {me}
    entitled = ticket < world.data["entitled"]
    if entitled:
        _, baton = yield from sync_queue_leave(world, me, ticket)
        if baton:
            yield from sync_queue_pass_baton(world)
    return entitled


def sleep_in(world: World, me: int, ticket: int, handler: str) -> Thread:
    """(entitled, baton)"""
    while True:
        dozes = me in world.data.get("dozers", ())
        result = yield from sync_queue_doze(world, me) if dozes else sync_queue_wait(world, me)
        if result is None:
            return True, True
        if result == TIMEOUT:
            return (yield from sync_queue_leave(world, me, ticket))
        entitled = yield from sync_queue_away(world, me, ticket, True)
        yield handler
        if not entitled:
            entitled = yield from sync_queue_away(world, me, ticket, False)
        if entitled:
            return True, False


# ---- condition: python/sync/condition.c ------------------------------------------------------------------------


def condition_wait(world: World, me: int, handler: str = "signal handler") -> Thread:
    """(notified, whether it has the lock).  A handler raises where it runs in the wait for the lock, not before."""
    yield from sync_queue_lock(world)
    ticket = sync_queue_enter(world, me)
    world.inside -= 1
    yield from sync_lock_release(world)
    return (yield from condition_woken(world, me, ticket, handler))


def condition_woken(world: World, me: int, ticket: int, handler: str = "signal handler") -> Thread:
    """The rest of it, the lock being given up."""
    entitled, baton = yield from sleep_in(world, me, ticket, handler)
    taken = yield from sync_lock_try(world)
    if not taken:
        interrupted = me in world.data["interrupted"]
        if not interrupted:
            interrupted = not (taken := (yield from sync_lock_wait(world, me, "asleep for ever")))
        if interrupted:
            if baton:
                yield from sync_queue_pass_baton(world)
            baton = False
            yield handler
    world.inside += taken
    if baton:
        yield from sync_queue_pass_baton(world)
    if entitled and not taken:  # the notification isn't lost with us
        yield from condition_notify(world)
    return entitled and taken, taken


def condition_notify(world: World) -> Thread:
    yield from sync_queue_lock(world)
    sync_queue_grant(world)
    yield from sync_queue_unlock_and_wake(world, _next_with_baton(world))


# ---- semaphore: python/sync/semaphore.c ------------------------------------------------------------------------


def semaphore_try(world: World) -> Thread:
    """(taken, value).  A look and a successful exchange are one step: who comes in between makes it look again."""
    yield "semaphore_try"
    value = world.words["value"]
    if value in (0, ASK):
        return False, value
    world.words["value"] -= 1
    return True, value


def semaphore_give(world: World) -> Thread:
    while True:
        yield "semaphore_give"
        if world.words["value"] != ASK:
            world.words["value"] += 1
            return
        yield from sync_queue_lock(world)
        if world.words["value"] == ASK:  # now only who has the lock changes it
            break
    before = world.data["entitled"]
    if sync_queue_grant(world) == 0:  # a child forked here must not find a number while somebody waits
        world.data["locked"] = True
        yield "semaphore_give"
        world.words["value"] = int(world.data["entitled"] == before)
        world.data["locked"] = False
    yield from sync_queue_unlock_and_wake(world, _next_with_baton(world))


def semaphore_ask(world: World, value: Any) -> Thread:
    yield "semaphore_take"
    return world.exchange_if("value", value, ASK)


def semaphore_take(world: World, me: int, handler: str = "signal handler") -> Thread:
    """Whether it got one."""
    taken, _ = yield from semaphore_try(world)
    if taken:
        return True
    yield from sync_queue_lock(world)
    world.data["locked"] = True
    while True:
        taken, value = yield from semaphore_try(world)
        if taken:
            world.data["locked"] = False
            return True
        if value == ASK or (yield from semaphore_ask(world, value)):
            break
    world.data["locked"] = False
    entitled, baton = yield from sleep_in(world, me, sync_queue_enter(world, me), handler)
    if baton:
        yield from sync_queue_pass_baton(world)
    return entitled


# ---- threads and worlds ----------------------------------------------------------------------------------------------


def lock_user(world: World, me: int, rounds: int) -> Thread:
    for _ in range(rounds):
        taken = yield from sync_lock_try(world)
        if not taken:
            taken = yield from sync_lock_wait(world, me)
        if taken:
            world.inside += 1
            yield "inside"
            world.inside -= 1
            yield from sync_lock_release(world)


def two_inside(world: World) -> str:
    return "two hold the lock" if world.inside > 1 else ""


plain_wait = park_wait_some
ALL = NORMAL | STARVING


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


def can_cancel(world: World, *whom: int) -> World:
    world.words |= {("cancel", me): 0 for me in whom}
    world.data |= {"cancellable": frozenset(whom), "raised": frozenset()}
    return world
