"""A lock for readers and writers that is wrong: which thread may wait for ever?"""

from __future__ import annotations

from monitor import Monitor


class ReadersWriter:
    def __init__(self) -> None:
        self.monitor = Monitor()
        self._readers = 0
        self._writing = False

    def acquire_read(self) -> None:
        with self.monitor:
            while self._writing:
                self.monitor.wait()
            self._readers += 1

    def release_read(self) -> None:
        with self.monitor:
            self._readers -= 1
            self.monitor.wake_all()

    def acquire_write(self) -> None:
        with self.monitor:
            while self._writing or self._readers:
                self.monitor.wait()
            self._writing = True

    def release_write(self) -> None:
        with self.monitor:
            self._writing = False
            self.monitor.wake_all()
