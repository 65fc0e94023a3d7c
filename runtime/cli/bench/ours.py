"""The runtime as a module with threading's names, to stand beside `threading` without install()."""

from threading import stack_size

from ... import Thread
from ...sync import Barrier, Condition, Event, Lock, RLock, Semaphore
from ...thread import current_thread

__all__ = [
    "Barrier",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
    "Thread",
    "current_thread",
    "stack_size",
]
