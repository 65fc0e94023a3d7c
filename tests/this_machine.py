"""What tests ask about this machine, this Python and this tree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import runtime

TREE = Path(__file__).resolve().parent.parent  # that these tests belong to
HELPERS = TREE / "tests" / "helpers"
ROOT = Path(runtime.__file__).parent.parent  # of the runtime that is tested: the source tree or site-packages

#: How many times slower this machine is than those that time limits were chosen for: an emulated one, for example.
SLOW = int(os.environ.get("LWP_SLOW", "1"))
if SLOW > 1:  # a wait for a process, subprocess.run() too, is in the machine's time

    def _communicate_slowly(
        process: subprocess.Popen[Any],
        input: Any = None,
        timeout: float | None = None,
        communicate: Callable[..., Any] = subprocess.Popen.communicate,
    ) -> Any:
        return communicate(process, input, timeout and SLOW * timeout)

    subprocess.Popen.communicate = _communicate_slowly  # type: ignore[method-assign]


FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()


def needs_gil(why: str) -> pytest.MarkDecorator:
    """why: what a GIL gives, and its absence takes."""
    return pytest.mark.skipif(FREE_THREADED, reason=f"without a GIL {why}")


needs_matplotlib = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
needs_mypy = pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed: the extra lint")
#: runtime/native/python/threads/wake.c: a thread defers wake-ups, and dozes, after turns of 50 microseconds at most.
needs_fast_turns = pytest.mark.skipif(SLOW > 1, reason="a turn takes longer than a wake-up is deferred for")


@pytest.fixture
def one_processor() -> Iterator[int]:
    """The one that the test may run on, and the programs that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield min(before)
    os.sched_setaffinity(0, before)
