"""What a program of tests imports: pytest would be most of its time."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from types import TracebackType


class raises:
    """The block raises one of these, with a text in which `match` is found; `value` is then what was raised."""

    def __init__(self, kinds: type[BaseException] | tuple[type[BaseException], ...], match: str = "") -> None:
        self.kinds, self.match = kinds, match

    def __enter__(self) -> raises:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        assert value is not None, f"nothing was raised, instead of {self.kinds}"
        if not isinstance(value, self.kinds):
            return False
        assert re.search(self.match, str(value)), f"{value} has no {self.match}"
        self.value = value
        return True


def run_thread(thread: threading.Thread) -> None:
    """Starts it and returns when it has ended."""
    thread.start()
    thread.join()


def run_threads(threads: Iterable[threading.Thread]) -> None:
    """Starts all and returns when all have ended."""
    threads = list(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def together(*functions: Callable[[], object]) -> None:
    """Runs each in a thread, and raises what the first has raised that failed."""
    failed: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            failed.append(error)

    run_threads(threading.Thread(target=run, args=(function,)) for function in functions)
    if failed:
        raise failed[0]
