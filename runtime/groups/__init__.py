"""Threads that answer: groups that no thread outlives, results, cancellation, waiting for the first."""

from __future__ import annotations

from ..lazily import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cancellation import Cancelled, checkpoint, fail_after, move_on_after, shield
    from .group import Group
    from .task import Task, TaskStatus
    from .waiting import ALL_COMPLETED, FIRST_COMPLETED, as_completed, wait

__all__ = ["ALL_COMPLETED", "FIRST_COMPLETED", "Cancelled", "Group", "Task", "TaskStatus", "as_completed"]
__all__ += ["checkpoint", "fail_after", "move_on_after", "shield", "wait"]

_HOMES = {
    **dict.fromkeys(("Cancelled", "checkpoint", "fail_after", "move_on_after", "shield"), ".groups.cancellation"),
    "Group": ".groups.group",
    **dict.fromkeys(("Task", "TaskStatus"), ".groups.task"),
    **dict.fromkeys(("ALL_COMPLETED", "FIRST_COMPLETED", "as_completed", "wait"), ".groups.waiting"),
}

if not TYPE_CHECKING:
    # Loaded when first asked for: who only asks in which group a thread is, members.py, needs no groups.
    __getattr__, __dir__ = loading(globals(), _HOMES)
