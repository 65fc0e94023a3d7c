"""Small concurrent programs from the literature, each with a bug that only some interleavings show, and its repair.

A program is one function name(fixed): it runs its scenario once, on plain `threading`, and asserts what must hold.
With fixed=True it holds in every interleaving, at any relative speed of the threads: a timeout may fire at any moment
and a sleep orders nothing.  Each is retold from its source, in code of its own.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pkgutil import iter_modules
from typing import Any


class Find(Enum):
    """How the bug shows itself."""

    ASSERTION = "a failed assert, in any thread"
    EXCEPTION = "another exception, in any thread"
    DEADLOCK = "threads that wait and that nothing can wake any more"
    LIVELOCK = "threads that run without end"
    LEFT_BEHIND = "a thread that is not a daemon and that outlives the program's end"


class Needs(Enum):
    """Where threads must be switched for it, as coarse as suffices."""

    SYNC = "before an operation of a primitive, a start, a join, a sleep or a thread's end"
    GIL = "also at calls, returns and backward jumps: where CPython with a GIL switches"
    OPCODE = "between two bytecodes"


ASSERTION, EXCEPTION, DEADLOCK, LIVELOCK, LEFT_BEHIND = Find
SYNC, GIL, OPCODE = Needs

Run = Callable[[bool], None]


@dataclass(frozen=True)
class Program:
    name: str
    run: Run
    source: str
    find: Find
    needs: Needs
    early: bool  # whether a timeout has to fire, or a sleep to end, though others could go on
    depth: int  # how many pairs of steps must come in a certain order for the bug to show (the PCT paper's bug depth)


PROGRAMS: list[Program] = []


def program(find: Find, needs: Needs, depth: int, early: bool = False) -> Callable[[Run], Run]:
    """Registers a function as a program of the corpus. Its docstring names its source."""

    def register(run: Run) -> Run:
        PROGRAMS.append(Program(run.__name__, run, inspect.getdoc(run) or "", find, needs, early, depth))
        return run

    return register


def lock_if(fixed: bool) -> AbstractContextManager[object]:
    """A lock, which only the repair has."""
    return threading.Lock() if fixed else nullcontext()


class Atomic:
    """A value: each method is one critical section."""

    def __init__(self, value: Any) -> None:
        self.lock = threading.Lock()
        self.value = value

    def get(self) -> Any:
        with self.lock:
            return self.value

    def set(self, value: Any) -> None:
        with self.lock:
            self.value = value

    def add(self, change: int) -> int:
        with self.lock:
            self.value += change
            return self.value

    def replace(self, old: Any, new: Any) -> bool:
        with self.lock:
            if self.value != old:
                return False
            self.value = new
            return True


def started(body: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=body)
    thread.start()
    return thread


def together(*bodies: Callable[[], object]) -> None:
    """Runs each in a thread of its own, starts them in this order and joins them all."""
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


for _module in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")
