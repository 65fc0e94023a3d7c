"""What Thread(), spawn() and Group() take besides threading's arguments, as types."""

from __future__ import annotations

from collections.abc import Iterable
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
    timer_slack: float | None  #: seconds by which its sleeps may be longer, so that wake-ups come together
    cgroup: int | None  #: a descriptor of a cgroup's directory, open until the start: threaded, or of version 1
    uclamp: tuple[int, int] | None  #: the least and the most of a core's capacity that it counts for, of 1024


class Options(Placing, total=False):
    """What Thread() takes besides threading's arguments; a type for functions that pass them on."""

    stack_size: int | None  #: in bytes
    flags: int | None  #: of runtime.Clone
    scheduler: Scheduler | None  #: of a green thread
