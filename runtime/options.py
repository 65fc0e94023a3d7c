"""What Thread(), spawn() and Group() take besides threading's arguments, as types."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import Context
from typing import TypedDict

from .native import SchedulerBase as Scheduler  # scheduler.py, which derives from it, stands above

__all__ = ["Options", "Placing"]


class Placing(TypedDict, total=False):
    """What a thread may ask for.  What is left out, or None, stays as its creator has it."""

    #: The CPUs that it may run on, by their numbers.  The kernel leaves out those that the cpuset doesn't have.
    affinity: Iterable[int] | None
    nice: int | None  #: -20 (urgent) to 19, of this thread alone; with policy "other" and "batch"
    policy: str | None  #: one of POLICIES; "fifo" and "rr" run before all others
    priority: int | None  #: 1 to 99 (urgent), with policy "fifo" or "rr"


class Options(Placing, total=False):
    """What Thread() takes besides threading's arguments; a type for functions that pass them on."""

    stack_size: int | None  #: in bytes
    flags: int | None  #: of runtime.Clone
    scheduler: Scheduler | None  #: of a green thread
    context: Context | None  #: in which run() is called; from Python 3.14 on, as threading.Thread's
