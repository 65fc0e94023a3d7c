"""What Thread() takes besides threading's arguments, as a type."""

from __future__ import annotations

from .native import SchedulerBase as Scheduler  # scheduler.py, which derives from it, stands above
from .placement import Placing

__all__ = ["Options"]


class Options(Placing, total=False):
    """What Thread() takes besides threading's arguments; a type for functions that pass them on."""

    stack_size: int | None  #: in bytes
    flags: int | None  #: of runtime.Clone
    scheduler: Scheduler | None  #: of a green thread
