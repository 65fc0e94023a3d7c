"""Models of protocols that are not explored in C, run in every order there is.

A thread is a generator whose functions are named after those in C and go the same way.  Each `yield` stands before one
atomic operation, so between two of them nobody else comes.  What C does under a lock is one step.  A thread that sleeps
on a futex goes on when it is woken, and if it may, at any time by its deadline: all are tried.  Memory is one for all,
as sequentially consistent atomics see it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass, field
from typing import Any

NORMAL = 1
TIMEOUT = "ETIMEDOUT"

Thread = Generator[str, Any, Any]


class Wrong(AssertionError):
    """What must not be; its message has the way there."""


@dataclass
class World:
    """What the threads share."""

    words: dict[Any, Any] = field(default_factory=dict)
    sleepers: list[tuple[int, Any, int]] = field(default_factory=list)  # thread, word, bits; the first sleeps longest
    woken: set[int] = field(default_factory=set)
    data: dict[str, Any] = field(default_factory=dict)

    def key(self) -> Hashable:
        """Words and data are all there from the beginning, in one order."""
        return tuple(self.words.values()), tuple(self.sleepers), frozenset(self.woken), repr(self.data)

    def wake(self, word: Any, bits: int) -> None:
        """FUTEX_WAKE_BITSET of one."""
        for at, (thread, where, group) in enumerate(self.sleepers):
            if where == word and group & bits:
                del self.sleepers[at]
                self.woken.add(thread)
                return


def park_wait_some(world: World, me: int, word: Any, expected: Any, bits: int, asleep: str = "asleep") -> Thread:
    """None: woken, or the word was another.  "dozing": a deadline ends it."""
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

    def __init__(self, make: Callable[[], tuple[World, list[Thread]]]) -> None:
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


def explore(
    make: Callable[[], tuple[World, list[Thread]]],
    check: Callable[[World], str],
    check_end: Callable[[World], str],
) -> int:
    """Runs the threads in every order; how many states there are.

    Wrong: a check has something to say, or nobody is left who could wake a sleeper.
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
            said = check(run.world)
            if not said and not steps:
                asleep = [at for at, label in enumerate(run.labels) if label is not None]
                said = f"nobody wakes {asleep}" if asleep else check_end(run.world)
            if said:
                raise Wrong(f"{said}, after {path}: {run.labels}, {run.world}")
            if not steps:
                break
            paths += [([*path, choice], run.places.copy()) for choice in steps[:-1]]
            path = [*path, steps[-1]]  # the run goes on with this one; for the others it begins anew
            run.step(*steps[-1])
    return len(seen)
