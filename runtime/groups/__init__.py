"""Threads that answer: groups that no thread outlives, results, cancellation."""

from .cancellation import Cancelled, checkpoint, shield
from .group import Group
from .task import Task

__all__ = ["Cancelled", "Group", "Task", "checkpoint", "shield"]
