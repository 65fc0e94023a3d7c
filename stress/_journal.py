"""What is known of a run after a crash: the last operations and where each worker stands, in a mapped file."""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

WORKERS = 256  # places; the first is the main thread's
_ENTRIES = 4096  # operations that are kept

_STANDING = struct.Struct("<QQ")  # operations so far; ns when the present one began, 0 between them
_ENTRY = struct.Struct("<QQiI72s")  # sequence number from 1 on, ns, pid, worker, text
_RING = WORKERS * _STANDING.size
_SIZE = _RING + _ENTRIES * _ENTRY.size


@dataclass(frozen=True)
class Entry:
    """One operation that a worker was about to do."""

    ns: int  #: CLOCK_MONOTONIC
    pid: int
    worker: int
    text: str


@dataclass(frozen=True)
class Standing:
    """How far a worker has come."""

    operations: int
    busy_for: float  #: seconds since its operation began, 0 between two


class Journal:
    """Written by the process under stress and those that it forks, read by the one that watches it.

    Nothing is locked, because a line that a crash has torn is better than a lock that a crash has left.
    """

    def __init__(self, path: Path, fresh: bool) -> None:
        if fresh:
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._numbers = itertools.count(1)
        self._done = [0] * WORKERS

    # the writer

    def note(self, worker: int, text: str) -> None:
        number = next(self._numbers)
        at = _RING + number % _ENTRIES * _ENTRY.size
        _ENTRY.pack_into(self._map, at, number, time.monotonic_ns(), os.getpid(), worker, text.encode()[:72])

    def begin(self, worker: int, count: int = 1) -> None:
        """The worker is about to do its next operation."""
        self._done[worker] += count
        _STANDING.pack_into(self._map, worker * _STANDING.size, self._done[worker], time.monotonic_ns())

    def rest(self, worker: int) -> None:
        """The worker has nothing to do, so it can't hang."""
        _STANDING.pack_into(self._map, worker * _STANDING.size, self._done[worker], 0)

    # the reader

    def standings(self) -> list[Standing]:
        now = time.monotonic_ns()
        return [
            Standing(done, (now - since) / 1e9 if since else 0.0)
            for done, since in _STANDING.iter_unpack(self._map[:_RING])
        ]

    def last(self, count: int) -> list[Entry]:
        """The operations noted last, oldest first."""
        found = sorted((entry for entry in _ENTRY.iter_unpack(self._map[_RING:]) if entry[0]), key=lambda e: e[1])
        return [
            Entry(ns, pid, worker, text.rstrip(b"\0").decode(errors="replace"))
            for _, ns, pid, worker, text in found[-count:]
        ]

    def close(self) -> None:
        self._map.close()
