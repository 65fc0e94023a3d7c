"""What happens to a thread from its making to its end, step by step, recorded when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..native import steps_read, steps_record


@dataclass(frozen=True)
class Step:
    """One thing that happened to a thread; native/kernel/base/events.h says what a and b are for each name."""

    ns: int  #: CLOCK_MONOTONIC, nanoseconds
    tid: int  #: of the thread that did it
    name: str  #: one of STEP_NAMES
    a: int  #: an address, a number or a flag, as it comes with that name
    b: int  #: likewise


# In the order of enum step_kind.
STEP_NAMES = (
    "map",
    "guard",
    "reuse",
    "tls",
    "tcb",
    "list",
    "mask",
    "clone",
    "cloned",
    "born",
    "glibc",
    "robust",
    "rseq",
    "unmask",
    "python",
    "target",
    "returned",
    "destructors",
    "unlist",
    "exit",
    "join",
    "cleared",
    "recycled",
)


@contextmanager
def record_steps() -> Iterator[list[Step]]:
    """Records what happens to all threads made and ended inside the `with`; the list is filled when it is left."""
    steps: list[Step] = []
    steps_record(True)
    try:
        yield steps
    finally:
        steps_record(False)
        steps += [Step(ns, tid, STEP_NAMES[kind], a, b) for ns, tid, kind, a, b in steps_read()]
        # A thread takes its place in the record before it reads the clock, so a later place may have an earlier time.
        steps.sort(key=lambda step: step.ns)
