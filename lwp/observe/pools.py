"""Pools, and groups with a limit, whose threads all wait for calls that only a thread of theirs could make."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Set
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from types import FrameType
from typing import Any, TypeVar

from .. import native
from ..core import members
from ..core import native as core
from ..reading import RUNTIME
from ..reading.source import outwards
from .crowds import some
from .waits import Wait, Waiting

_POOL = os.path.join(RUNTIME, "pool.py")

#: The variables with the futures that the functions of concurrent.futures wait for.  as_completed() is a generator:
#: without a GIL it may go on while its variables are read.
_PENDING = {"wait": "not_done"}
if getattr(sys, "_is_gil_enabled", lambda: True)():
    _PENDING["as_completed"] = "pending"

_Key = TypeVar("_Key", bound=Hashable)


def stuck(needs: Mapping[_Key, tuple[int, set[_Key]]]) -> set[_Key]:
    """What can't go on.  needs: of each, how many of which others must go on before it can; all others can."""
    left = {one: number for one, (number, _) in needs.items()}
    waiters: dict[_Key, list[_Key]] = defaultdict(list)
    for one, (_, others) in needs.items():
        for other in others:
            waiters[other].append(one)
    free = [one for one in waiters if one not in needs]
    while free:
        for one in waiters.pop(free.pop(), ()):
            left[one] -= 1
            if left[one] == 0:
                free.append(one)
    return {one for one, number in left.items() if number > 0}


@dataclass(frozen=True)
class _Pool:
    """A pool, or a group with a limit."""

    key: int  #: id() of what has its queue
    group: str  #: "group at FILE:LINE"; "": it is a pool
    idents: tuple[int, ...]  #: of its threads; of those that have a turn in the group
    queued: tuple[Any, ...]  #: the futures of calls that wait for a thread


@dataclass(frozen=True)
class Exhausted:
    """Pools and groups that can't go on: one, or several that wait for each other."""

    pools: tuple[_Pool, ...]
    waits: tuple[Wait, ...]  #: of all their threads
    through_others: bool  #: a thread waits for a lock or the end of a thread that waits for such a call

    def __str__(self) -> str:
        alone = len(self.pools) == 1
        of_group = all(pool.group for pool in self.pools)
        call, thread, kind = ("task", "turn", "group") if of_group else ("call", "thread", "pool")
        whose = " and ".join(self._threads_of(pool, alone) for pool in self.pools)
        number = sum(len(pool.queued) for pool in self.pools)
        calls = f"{number:,} {call}{'s' * (number != 1)} in {'its queue' if alone else 'their queues'}"
        does = f"wait{'s' * (len(self.waits) == 1)} for {call}s of {f'the same {kind}' if alone else 'each other'}"
        does += " or for threads that do so" * self.through_others
        left = f"which {'has' if alone else 'have'} no {thread} left for the {calls}"
        return f"{whose} {does}, {left}: {some(self.waits, lambda wait: repr(wait.name))}"

    def _threads_of(self, pool: _Pool, alone: bool) -> str:
        prefixes = {wait.name.rpartition("_")[0] for wait in self.waits if wait.ident in pool.idents}
        name = pool.group or ("a pool" if alone or len(prefixes) > 1 else f"pool {prefixes.pop()!r}")
        return f"all {len(pool.idents):,} threads of {name}" if len(pool.idents) > 1 else f"the only thread of {name}"


def _pools(stock: Any, waiting: Set[int]) -> Iterator[_Pool]:
    """The pools whose threads are there; with what is in the queue if all of them are among those."""
    holders: dict[int, Any] = {}
    idents = defaultdict(list)
    for reference, queue in tuple(stock._threads_queues.data.items()):
        thread = reference()
        if thread is not None and threading._active.get(thread.ident) is thread:  # type: ignore[attr-defined]
            holder = getattr(queue, "_queue", queue)  # of a queue that is made in Python, and of runtime.pool
            holders[id(holder)] = holder
            idents[id(holder)].append(thread.ident)
    for key, holder in holders.items():
        queued = _queued(stock, holder) if waiting >= set(idents[key]) else ()
        yield _Pool(key, "", tuple(idents[key]), tuple(queued))


def _queued(stock: Any, holder: Any) -> list[Any]:
    """The futures of the calls that wait for a thread.  Only the collector lists what is in a queue of C."""
    found = gc.get_referents(holder)
    for inner in [one for one in found if type(one) is list]:  # of a SimpleQueue before Python 3.13
        found += inner
    items = [one.future for one in found if issubclass(type(one), stock._WorkItem)]
    return items + [one for one in found if issubclass(type(one), stock._base.Future)]


def _made(stock: Any, innermost: FrameType | None) -> Iterator[Any]:
    """The future of the call that a pool's thread makes."""
    for frame in outwards(innermost):
        file, function = frame.f_code.co_filename, frame.f_code.co_qualname
        if file == stock.__file__ and function == "_WorkItem.run":
            yield getattr(frame.f_locals.get("self"), "future", None)
        elif file == _POOL and function == "_Worker.run":
            yield frame.f_locals.get("future")


def makers() -> dict[int, int]:
    """By its future's id(), the ident of the thread of a pool that makes a call."""
    stock, frames = sys.modules.get("concurrent.futures.thread"), native.current_frames()
    idents = [ident for pool in _pools(stock, set()) for ident in pool.idents] if stock else []
    return {id(future): ident for ident in idents for future in _made(stock, frames.get(ident)) if future is not None}


def _is_submitting(stock: Any, innermost: FrameType) -> bool:
    """Whether the thread may be about to give a pool one more thread."""
    return any(
        frame.f_code.co_name == "submit" and frame.f_code.co_filename in (stock.__file__, _POOL)
        for frame in outwards(innermost)
    )


def _variables_now(ident: int) -> dict[str, Any]:
    """Those of the thread's innermost frame.

    It is one call in C, which keeps the GIL, because a generator must not end meanwhile: CPython 3.13.0 to 3.13.5 frees
    its variables then, and reading them would end the process (gh-125723).
    """
    frames = map(itemgetter(ident), iter(native.current_frames, None))
    try:
        return next(map(dict, map(attrgetter("f_locals"), frames)))
    except KeyError:  # it has ended
        return {}


def _need(stock: Any, wait: Wait, thing: Any, frame: FrameType | None, calls: Set[int]) -> tuple[int, set[int]]:
    """What the thread waits for, and how many of these must come.  A thread is its ident, other things their id().

    calls: of pools' futures and, by which a thread waits for one of concurrent.futures, of these futures' conditions.
    """
    if isinstance(thing, tuple):  # runtime.wait(), for the first of these
        return 1, {one.ident if isinstance(one, core.LWP) else id(one) for one in thing}
    if stock and frame is not None and frame.f_code.co_filename == stock._base.__file__:
        pending = _PENDING.get(frame.f_code.co_name, "")
        names = _variables_now(wait.ident) if pending else {}
        waiter: Any = names.get("waiter")
        if getattr(waiter, "event", None) is thing:
            futures = {id(future) for future in list(names[pending])}
            # With FIRST_EXCEPTION any of them may end the wait.
            of_all = type(waiter) is stock._base._AllCompletedWaiter and not waiter.stop_on_exception
            return (len(futures) if of_all else 1), futures
    return 1, {wait.holder if wait.holder and id(thing) not in calls else id(thing)}


def _asleep(waits: Mapping[int, Wait]) -> dict[int, Any]:
    """What the threads of these waits wait for that have slept since."""
    return {
        ident: thing
        for ident, _, thing, _, since, *_ in native.waits()
        if ident in waits and waits[ident].since == since
    }


def exhausted(seen: Waiting) -> list[Exhausted]:
    """Pools of which every thread waits, without a timeout, for a call that is in the queue of such a pool or is made
    by such a thread; groups with a limit, whose tasks do so; and several that wait for each other."""
    stock = sys.modules.get("concurrent.futures.thread")  # loading it could change what the program does at its end
    waits = {wait.ident: wait for wait in seen.waits if wait.deadline is None}
    turns = [one for member in list(members.members.values()) for one in member.turns()] if waits else []
    pools = list(_pools(stock, waits.keys())) if stock and waits else []
    pools += {one.key: _Pool(one.key, one.group, tuple(one.running.values()), one.queued) for one in turns}.values()
    if not any(waits.keys() >= {*pool.idents} for pool in pools if pool.idents):
        return []
    asleep, frames = _asleep(waits), native.current_frames()
    if stock and any(_is_submitting(stock, frame) for frame in frames.values()):
        return []
    # What must go on before each future's call is made
    calls: dict[int, tuple[int, set[int]]] = {
        key: (1, {ident}) for one in turns for key, ident in one.running.items() if key
    }
    for pool in pools:
        made = [(future, ident) for ident in pool.idents if stock for future in _made(stock, frames.get(ident))]
        for future, by in [*made, *((future, pool.key) for future in pool.queued)]:
            condition = getattr(future, "__dict__", {}).get("_condition")
            calls |= {id(one): (1, {by}) for one in (future, condition) if one is not None}
    needs = calls | {pool.key: (1, {*pool.idents}) for pool in pools}
    needs |= {
        ident: _need(stock, waits[ident], thing, frames.get(ident), calls.keys()) for ident, thing in asleep.items()
    }
    left = stuck(needs)
    if _asleep(waits).keys() != asleep.keys():  # what was read in between is not of one moment
        return []
    found = []
    for ring in _rings([pool for pool in pools if pool.key in left], needs, left):
        idents = [ident for pool in ring for ident in pool.idents]
        through_others = any(needs[ident][1].isdisjoint(calls) for ident in idents)
        found.append(Exhausted(ring, tuple(waits[ident] for ident in idents), through_others))
    return found


def _rings(
    pools: list[_Pool], needs: Mapping[int, tuple[int, set[int]]], left: set[int]
) -> Iterator[tuple[_Pool, ...]]:
    """Those that wait for each other, or for themselves."""
    reached: dict[int, set[int]] = {}
    for pool in pools:
        found = reached[pool.key] = set()
        ahead = [pool.key]
        while ahead:
            new = (needs[ahead.pop()][1] & left) - found
            found |= new
            ahead += new
    told: set[int] = set()
    for pool in pools:
        ring = tuple(one for one in pools if one.key in reached[pool.key] and pool.key in reached[one.key])
        if ring and pool.key not in told:
            told.update(one.key for one in ring)
            yield ring
