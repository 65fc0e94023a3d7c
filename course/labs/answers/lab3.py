"""Lab 3: one condition for "there is a task, or no more will come", and an event for each task."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Task:
    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function, self._arguments = function, arguments
        self._done = threading.Event()
        self._returned: Any = None
        self._raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._returned = self._function(*self._arguments)
        except BaseException as error:
            self._raised = error
        self._done.set()

    def result(self) -> Any:
        self._done.wait()
        if self._raised is not None:
            raise self._raised
        return self._returned


class Pool:
    def __init__(self, size: int) -> None:
        self._changed = threading.Condition()
        self._tasks = deque[Task]()
        self._closed = False
        self._threads = [threading.Thread(target=self._work) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._tasks and not self._closed:
                    self._changed.wait()
                if not self._tasks:
                    return
                task = self._tasks.popleft()
            task.run()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Task:
        task = Task(function, arguments)
        with self._changed:
            if self._closed:
                raise RuntimeError("the pool was shut down")
            self._tasks.append(task)
            self._changed.notify()
        return task

    def shutdown(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
