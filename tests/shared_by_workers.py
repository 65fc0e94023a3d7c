"""What the workers of pytest-xdist make once, or do one at a time."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def folder_of_the_run(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base  # that is a worker's own


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` has filled, one for all of xdist's workers: one makes it, who needs it meanwhile waits."""
    base = folder_of_the_run(factory)
    folder, made = base / name, base / f"{name}.made"
    with Path(base, f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # another worker's, which has failed
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For a test of 10,000 threads: of all workers' such tests one runs at a time, as pid_max may be 32,768.

    xdist_group, which would put them on one worker, is nothing to pytest-xdist 3.8 under pytest 9.2.
    """
    with (folder_of_the_run(tmp_path_factory) / "crowd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
