"""Mixes that fail, each in another way. They show what a failure looks like, and prove that it would be seen."""

from __future__ import annotations

import ctypes
import os

from runtime import sync

from ._run import Run, Worker, mix, turns
from .sync import hammer


class _NoLock(sync.Semaphore):
    """A lock that lets a thousand in."""

    def locked(self) -> bool:
        return True


@mix
def broken_lock(run: Run) -> None:
    """The mix "lock" with a lock that excludes no thread."""
    hammer(run, [_NoLock(1000)])


@mix
def broken_hang(run: Run) -> None:
    """A worker waits for an event that nobody sets."""

    @turns
    def body(worker: Worker) -> None:
        worker.note("wait for an event that nobody sets")
        sync.Event().wait()

    run.workers(2, body)


@mix
def broken_crash(run: Run) -> None:
    """A worker reads address 0."""

    @turns
    def body(worker: Worker) -> None:
        worker.note("read address 0")
        ctypes.string_at(0)

    run.workers(2, body)


@mix
def broken_leak(run: Run) -> None:
    """A descriptor is left open."""
    os.dup(2)
