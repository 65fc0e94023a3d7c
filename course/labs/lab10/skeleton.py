"""Lab 10: a readers-writer lock.  Copy this file and make its tests pass; the sheet is course/lab10.md."""

from __future__ import annotations

from monitor import Monitor


class ReadersWriter:
    def __init__(self) -> None:
        self.monitor = Monitor()

    def acquire_read(self) -> None:
        """Returns when the calling thread may read: other readers may be inside, but no writer."""
        raise NotImplementedError

    def release_read(self) -> None:
        raise NotImplementedError

    def acquire_write(self) -> None:
        """Returns when the calling thread is alone inside."""
        raise NotImplementedError

    def release_write(self) -> None:
        raise NotImplementedError
