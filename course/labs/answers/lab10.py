"""Lab 10: tickets.  Threads go in by the numbers that they draw; a reader that is in lets the next one look."""

from __future__ import annotations

from monitor import Monitor


class ReadersWriter:
    def __init__(self) -> None:
        self.monitor = Monitor()
        self._drawn = 0  # tickets
        self._next = 0  # the ticket of the next thread to go in
        self._readers = 0
        self._writing = False

    def acquire_read(self) -> None:
        with self.monitor:
            mine, self._drawn = self._drawn, self._drawn + 1
            while self._next != mine or self._writing:
                self.monitor.wait()
            self._readers += 1
            self._next += 1
            self.monitor.wake_all()  # the next may be a reader, too

    def release_read(self) -> None:
        with self.monitor:
            self._readers -= 1
            self.monitor.wake_all()

    def acquire_write(self) -> None:
        with self.monitor:
            mine, self._drawn = self._drawn, self._drawn + 1
            while self._next != mine or self._writing or self._readers:
                self.monitor.wait()
            self._writing = True
            self._next += 1

    def release_write(self) -> None:
        with self.monitor:
            self._writing = False
            self.monitor.wake_all()
