"""Lab 3: a pool of threads.  Copy this file and make its tests pass; the sheet is course/lab3.md.

Use what `threading` has: Thread, Lock, Condition, Semaphore.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Task:
    def result(self) -> Any:
        """What the function has returned; raises what it has raised.  Waits until it has done either."""
        raise NotImplementedError


class Pool:
    def __init__(self, size: int) -> None:
        """size: of how many threads."""
        raise NotImplementedError

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Task:
        """Has one of the threads call function(*arguments).  RuntimeError: shutdown() was called before."""
        raise NotImplementedError

    def shutdown(self) -> None:
        """Returns when all submitted tasks are done, and all threads of the pool have ended."""
        raise NotImplementedError
