"""SCTBench's programs of few and of many threads: what must come in order is a few steps, also of a crowd's."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from threading import Lock

from . import ASSERTION, EXCEPTION, GIL, OPCODE, SYNC, program, together


class _Pair:
    """Two values, which belong together."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.a = self.b = 0

    def set_a(self) -> None:
        self.a = 1

    def set_b(self) -> None:
        self.b = -1

    def write(self, fixed: bool) -> None:
        with self.lock if fixed else nullcontext():
            self.set_a()  # window: between the two, as long as no other writer has come further
            self.set_b()

    def read(self) -> None:
        with self.lock:
            seen = self.a, self.b
        assert seen in ((0, 0), (1, -1))


def _reorder(writers: int, fixed: bool) -> None:
    pair = _Pair()
    together(*[partial(pair.write, fixed)] * writers, pair.read)


@program(ASSERTION, GIL, depth=2)
def reorder_10(fixed: bool) -> None:
    """SCTBench, after CS/reorder_10: of many writers the first is between its two writes when the reader comes"""
    _reorder(9, fixed)


@program(ASSERTION, GIL, depth=2)
def reorder_20(fixed: bool) -> None:
    """SCTBench, after CS/reorder_20: as reorder_10, in a larger crowd"""
    _reorder(19, fixed)


@program(ASSERTION, SYNC, depth=2)
def two_stage_100(fixed: bool, writers: int = 99) -> None:
    """SCTBench, after CS/twostage_100: the second half of a write has a lock of its own, and 99 threads write"""
    first, second = Lock(), Lock()
    data = [0, 0]

    def write() -> None:
        with first:
            data[0] = 1
            if fixed:
                data[1] = 2
        if not fixed:
            with second:  # window: the reader comes before any writer has done this
                data[1] = 2

    def read() -> None:
        with first:
            seen = list(data)
        if not fixed and seen[0]:
            with second:
                seen[1] = data[1]
        assert seen in ([0, 0], [1, 2])

    together(*[write] * writers, read)


@program(ASSERTION, SYNC, depth=2)
def two_stage(fixed: bool) -> None:
    """SCTBench, after CS/twostage, also in the IBM contest benchmark: as two_stage_100, with one thread that writes"""
    two_stage_100(fixed, writers=1)


@program(ASSERTION, OPCODE, depth=2)
def wrong_lock_3(fixed: bool) -> None:
    """SCTBench, after CS/wronglock_3: one thread holds a lock that the three others don't take"""
    right, wrong = Lock(), Lock()
    data = 0

    def look() -> None:
        nonlocal data
        with right:
            before = data
            data += 1  # window: the others' additions
            assert data == before + 1

    def add() -> None:
        nonlocal data
        with right if fixed else wrong:
            data += 1

    together(look, add, add, add)


@program(EXCEPTION, SYNC, depth=2)
def big_shot(fixed: bool) -> None:
    """SCTBench, after CB/bigshot: a buffer is filled if it is there, and read if it is there"""
    buffers: list[dict[str, str]] = []

    def make() -> None:
        if fixed:
            buffers.append({"text": "big shot"})
        else:
            buffers.append(dict())

    def fill() -> None:
        if buffers:
            buffers[0]["text"] = "big shot"

    together(make, fill)  # window: fill() comes before make()
    if buffers:
        assert buffers[0]["text"] == "big shot"
