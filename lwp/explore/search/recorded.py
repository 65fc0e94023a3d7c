"""The order of a run under `lwp run --chaos-record`, followed by runs under control.

A record says which thread did its next operation, again and again, and where threads were held between bytecodes.
Runs follow it, each one up to the first step at which another thread goes on than the record has: that is one more
deviation for the next run. A record doesn't say where threads were switched otherwise, nor what came from outside. So
the schedule that comes of it may pass, where the recorded run failed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

from ...chaos.chaos import KINDS
from ..run.plans import Kind, Plan, Step, last_steps
from ..run.session import Session

_MOST_OPERATIONS = 20_000  # a run has fewer steps
_MOST_COMPARED = 2000  # operations of a thread, between what begins and what ends alike: that takes the square of it
_SECONDS = 10.0  # for all runs that follow

Place = tuple[str, str, int, int]  #: file, qualified name, line, offset of the instruction


class BadRecord(ValueError):
    """The file is no record, or one that can't be followed."""


class Done(NamedTuple):
    """What a thread did next. With `held`: it was held there, between bytecodes."""

    thread: int
    kind: Kind
    held: Place | None = None


def read_record(path: str | os.PathLike[str]) -> list[Done]:
    """BadRecord: why it can't be followed."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        done = [
            Done(int(thread), Kind(KINDS.index(kind)), (str(where[0]), str(where[1]), *where[2:]) if where else None)
            for thread, kind, *where in record["operations"]
        ]
        lost = int(record["lost"])
    except OSError as error:
        raise BadRecord(f"{os.fspath(path)}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, IndexError):
        raise BadRecord(f"{os.fspath(path)} is no record of `lwp run --chaos-record`") from None
    if lost or len(done) > _MOST_OPERATIONS:
        raise BadRecord(
            f"{os.fspath(path)} has {len(done) + lost:,} operations, and a run under control at most "
            f"{_MOST_OPERATIONS:,}: record the test alone, without a loop around it"
        )
    return done


def follow(record: list[Done], session: Session, test: Callable[[], object]) -> Plan:
    """The plan of a run that fails, or of the one that has followed the record the furthest."""
    granularity = "opcode" if any(one.held for one in record) else "sync"
    plan = Plan(granularity=granularity)
    until = time.monotonic() + _SECONDS
    while True:
        places: defaultdict[int, list[Place]] = defaultdict(list)

        def note(thread: int, kind: int, object: object, now: float, places: dict[int, list[Place]] = places) -> None:
            if kind == Kind.CODE:
                frame = sys._getframe(1)
                code = frame.f_code
                places[thread].append((code.co_filename, code.co_qualname, frame.f_lineno or 0, frame.f_lasti))

        run = session.run(test, plan, note)
        after = plan.deviations[-1][0] if plan.deviations else -1
        found = None if run.failed else _departure(record, last_steps(), places, after)
        if found is None or time.monotonic() > until:
            return plan
        plan = Plan(granularity=granularity, deviations=(*plan.deviations, found))


def _departure(
    record: list[Done], steps: list[Step], places: dict[int, list[Place]], after: int
) -> tuple[int, int] | None:
    """The first step behind `after` at which another thread goes on than the record has, and the record's thread."""
    record, known = _in_both(record, steps)
    threads = {thread: _Steps(places.get(thread, [])) for thread in range(1 + max(one.thread for one in record))}
    for number, step in enumerate(steps):
        threads.setdefault(step.chosen, _Steps([])).numbers.append(number)
    at = 0
    for number, step in enumerate(steps):
        while at < len(record) and threads[record[at].thread].is_past(record[at], step.can, steps, known):
            at += 1
        if at == len(record):
            return None
        if step.chosen == record[at].thread:
            at += number in known
        elif number > after and step.can >> record[at].thread & 1:
            return number, record[at].thread
        threads[step.chosen].take(step)
    return None


class _Steps:
    """A thread's, and how many of them have been taken."""

    def __init__(self, places: list[Place]) -> None:
        self.numbers: list[int] = []
        self._places = places  # of the steps between bytecodes
        self._taken = self._codes = 0

    def take(self, step: Step) -> None:
        self._taken += 1
        self._codes += step.kind == Kind.CODE

    def is_past(self, one: Done, can: int, steps: list[Step], known: set[int]) -> bool:
        """Whether the thread is where it was held, or already behind that place."""
        if one.held is None:
            return False
        if not can >> one.thread & 1 or self._taken == len(self.numbers):
            return True  # it waits for another thread
        number = self.numbers[self._taken]
        if steps[number].kind != Kind.CODE:
            return number in known
        place = self._places[self._codes] if self._codes < len(self._places) else None
        return place is not None and place[:3] == one.held[:3] and place[3] >= one.held[3]


def _in_both(record: list[Done], steps: list[Step]) -> tuple[list[Done], set[int]]:
    """What both have done: the record without the rest, and the numbers of the steps.

    A process that explores has imported what the recorded one did import, so each thread may do less, or more.
    """
    left, known = {at for at, one in enumerate(record) if one.held}, set[int]()
    for thread in {one.thread for one in record}:
        there = [at for at, one in enumerate(record) if one.thread == thread and not one.held]
        here = [at for at, step in enumerate(steps) if step.chosen == thread and step.kind != Kind.CODE]
        for one, other in _matching([record[at].kind for at in there], [steps[at].kind for at in here]):
            left.add(there[one])
            known.add(here[other])
    return [one for at, one in enumerate(record) if at in left], known


def _matching(one: list[int], other: list[int]) -> Iterator[tuple[int, int]]:
    """Places of what is the same in both."""
    begin, end, end_of_other = 0, len(one), len(other)
    while begin < min(end, end_of_other) and one[begin] == other[begin]:
        yield begin, begin
        begin += 1
    while begin < min(end, end_of_other) and one[end - 1] == other[end_of_other - 1]:
        end, end_of_other = end - 1, end_of_other - 1
        yield end, end_of_other
    if max(end, end_of_other) - begin <= _MOST_COMPARED:
        between = SequenceMatcher(None, one[begin:end], other[begin:end_of_other], autojunk=False)
        for block in between.get_matching_blocks():
            for place in range(block.size):
                yield begin + block.a + place, begin + block.b + place
