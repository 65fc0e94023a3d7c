"""Threads that answer: groups that no thread outlives, results, cancellation, waiting for the first."""

from .cancellation import Cancelled, checkpoint, fail_after, move_on_after, shield
from .group import Group
from .task import Task, TaskStatus
from .waiting import ALL_COMPLETED, FIRST_COMPLETED, as_completed, wait

__all__ = ["ALL_COMPLETED", "FIRST_COMPLETED", "Cancelled", "Group", "Task", "TaskStatus", "as_completed"]
__all__ += ["checkpoint", "fail_after", "move_on_after", "shield", "wait"]
