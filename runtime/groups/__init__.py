"""Threads that answer: groups that no thread outlives, results, cancellation, waiting for the first."""

from .cancellation import Cancelled, checkpoint, shield
from .group import Group
from .task import Task
from .waiting import ALL_COMPLETED, FIRST_COMPLETED, wait

__all__ = ["ALL_COMPLETED", "FIRST_COMPLETED", "Cancelled", "Group", "Task", "checkpoint", "shield", "wait"]
