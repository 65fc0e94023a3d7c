"""Grades how page faults are counted, and what was said of them before."""

from __future__ import annotations

import mmap
import os
import resource
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import pytest

PAGES = 1000


class Memory:
    def __init__(self, flags: int = mmap.MAP_PRIVATE) -> None:
        self.memory = mmap.mmap(-1, PAGES * mmap.PAGESIZE, flags=flags | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_NOHUGEPAGE)

    def read(self, pages: int = PAGES) -> None:
        for page in range(pages):
            self.memory[page * mmap.PAGESIZE]

    def write(self, pages: int = PAGES) -> None:
        for page in range(pages):
            self.memory[page * mmap.PAGESIZE] = 1

    def nothing(self) -> None:
        pass

    def read_and_write(self) -> None:
        self.read()
        self.write()

    def write_twice(self) -> None:
        self.write()
        self.write()


Do = Callable[[Memory], None]


def faults(who: int) -> int:
    return resource.getrusage(who).ru_minflt


def of_child(work: Callable[[], object]) -> int:
    """All faults of a child of fork that calls it."""
    before = faults(resource.RUSAGE_CHILDREN)
    if (child := os.fork()) == 0:
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return faults(resource.RUSAGE_CHILDREN) - before


def nothing() -> None:
    pass


def child(first: Do, then: Do, flags: int = mmap.MAP_PRIVATE) -> Callable[[], int]:
    """Counts the child's faults: its parent does one thing first, and then it does another."""

    def count() -> int:
        memory = Memory(flags)
        first(memory)
        return of_child(lambda: then(memory)) - of_child(nothing)

    return count


def parent(first: Do, child: Do, then: Do) -> Callable[[], int]:
    """Counts the parent's faults when the child has ended."""

    def count() -> int:
        memory = Memory()
        first(memory)
        of_child(lambda: child(memory))
        before = faults(resource.RUSAGE_SELF)
        then(memory)
        return faults(resource.RUSAGE_SELF) - before

    return count


def added_up(make: Callable[[list[float]], Iterable[float]]) -> Callable[[], int]:
    def count() -> int:
        numbers = make([float(number) for number in range(100_000)])
        return of_child(lambda: sum(numbers)) - of_child(nothing)

    return count


EXPERIMENTS = {
    "parent writes, then child reads": child(Memory.write, Memory.read),
    "parent writes, then child writes": child(Memory.write, Memory.write),
    "parent writes, then child writes twice": child(Memory.write, Memory.write_twice),
    "parent writes, then child writes and ends, then parent writes": parent(Memory.write, Memory.write, Memory.write),
    "parent writes, then child ends, then parent writes": parent(Memory.write, Memory.nothing, Memory.write),
    "parent reads, then child writes": child(Memory.read, Memory.write),
    "nobody writes, then child reads": child(Memory.nothing, Memory.read),
    "nobody writes, then child reads and writes": child(Memory.nothing, Memory.read_and_write),
    "parent writes to shared memory, then child writes": child(Memory.write, Memory.write, mmap.MAP_SHARED),
    "parent has a list of 100,000 floats, then child adds them up": added_up(list),
    "parent has an array of 100,000 floats, then child adds them up": added_up(lambda numbers: array("d", numbers)),
}


def about(number: int) -> object:
    """Python's own code has some faults more, or fewer."""
    return pytest.approx(number, rel=0.1, abs=60)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_prediction(yours: ModuleType, name: str) -> None:
    assert yours.PREDICTED[name] is not None, "it has no number"
    assert yours.PREDICTED[name] == about(EXPERIMENTS[name]())


@pytest.mark.parametrize("pages", [0, 100, 1000])
def test_faults_are_counted(yours: ModuleType, pages: int) -> None:
    memory = Memory()
    memory.write()
    assert yours.child_faults(lambda: memory.write(pages)) == about(pages)


def test_the_child_does_not_change_its_parent(yours: ModuleType) -> None:
    seen: list[int] = []
    yours.child_faults(lambda: seen.append(1))
    assert not seen


def test_work_that_raises(yours: ModuleType, tmp_path: Path) -> None:
    """The child ends there, instead of going on with what its parent does."""
    parent = os.getpid()
    try:
        with pytest.raises(ChildProcessError):
            yours.child_faults(lambda: 1 // 0)
    finally:
        if os.getpid() != parent:
            (tmp_path / "escaped").touch()
            os._exit(1)
    assert not (tmp_path / "escaped").exists(), "the child went on with its parent's code"


def test_no_child_is_left(yours: ModuleType) -> None:
    assert yours.child_faults(nothing) == about(0)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
