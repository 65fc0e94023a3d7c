"""The standard library's queues on the runtime's locks: `from runtime import queue` in place of `import queue`.

A thread of a Group that waits in one is cancelled there, and a green thread leaves its LWP to others.  After install()
those of the standard library do the same, except SimpleQueue, which is in C and waits for a lock of CPython's.
Exceptions are the standard library's own.  See the module queue for the methods.
"""

from __future__ import annotations

import queue as _stock
import sys
from collections import deque
from queue import Empty, Full
from typing import TYPE_CHECKING, Any, TypeVar

from .sync import Condition, Lock, Semaphore

__all__ = ["Empty", "Full", "LifoQueue", "PriorityQueue", "Queue", "SimpleQueue"]

if sys.version_info >= (3, 13):
    from queue import ShutDown as ShutDown

    __all__ += ["ShutDown"]

_Item = TypeVar("_Item")
if TYPE_CHECKING:
    from _typeshed import SupportsRichComparisonT as _Comparable
else:
    _Comparable = _Item


class Queue(_stock.Queue[_Item]):
    """First in, first out; queue.Queue.

    maxsize: how many items it holds, before put() waits; 0 or less: any number.
    """

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self.mutex = Lock()
        self.not_empty = Condition(self.mutex)
        self.not_full = Condition(self.mutex)
        self.all_tasks_done = Condition(self.mutex)


class LifoQueue(Queue[_Item], _stock.LifoQueue[_Item]):
    """Last in, first out; queue.LifoQueue."""


class PriorityQueue(Queue[_Comparable], _stock.PriorityQueue[_Comparable]):
    """The least item first; queue.PriorityQueue."""


if TYPE_CHECKING:

    class SimpleQueue(_stock.SimpleQueue[_Item]): ...

else:
    # The stock class is a base for isinstance() alone, because its C code waits for a lock of CPython's.
    _bases: Any = dict.fromkeys((_stock._PySimpleQueue, _stock.SimpleQueue))  # install(green=True) makes them one

    class SimpleQueue(*_bases):
        """First in, first out, without bounds and without task_done(); queue.SimpleQueue."""

        def __init__(self) -> None:
            self._queue = deque()
            self._count = Semaphore(0)
