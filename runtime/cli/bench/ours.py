"""The runtime as a module with threading's names, to stand beside `threading` without install()."""

from threading import stack_size

from runtime import Thread
from runtime.scheduler import keep_warm
from runtime.sync import Barrier, Condition, Event, Lock, RLock, Semaphore
from runtime.thread import current_thread
from runtime.tls import local

__all__ = [
    "Barrier",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
    "Thread",
    "current_thread",
    "keep_warm",
    "local",
    "stack_size",
]
