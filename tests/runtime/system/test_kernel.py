"""What serves where the kernel has a feature, and where it hasn't: tools/other_systems.py boots such kernels."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sync_helpers import KERNEL_HAS, call_of_cancellable

from runtime import Group, Thread
from runtime.scheduler import spawn
from runtime.sync import Event


def _guard() -> str:
    gate = Event()
    lwp = spawn(gate.wait)
    context = lwp.context
    assert context
    found = "a guard region"
    for line in Path("/proc/self/maps").read_text().splitlines():
        places, access, *_ = line.split()
        low, high = (int(place, 16) for place in places.split("-"))
        if low <= context.guard[0] < high and access.startswith("---"):
            found = "mprotect"
    gate.set()
    lwp.join()
    return found


def _descriptor() -> str:
    gate = Event()
    thread = Thread(target=gate.wait)
    thread.start()
    found = os.readlink(f"/proc/self/fd/{thread.fileno()}")
    gate.set()
    thread.join()
    return "an eventfd" if "eventfd" in found else "a pidfd" if "pidfd" in found else found


def _sleep() -> str:
    began, found = Event(), ""

    def wait() -> None:
        began.set()
        Event().wait()

    with Group() as group:
        task = group.spawn(wait)
        began.wait()
        while not found:
            assert task.thread
            found = call_of_cancellable(task.thread.native_id)
        group.cancel()
    assert task.cancelled()
    return found


@pytest.mark.parametrize(
    ("feature", "look", "there", "without"),
    [
        pytest.param("guard regions", _guard, "a guard region", "mprotect", id="a stack's guard"),
        pytest.param("pidfd for threads", _descriptor, "a pidfd", "an eventfd", id="fileno"),
        pytest.param("futex_waitv", _sleep, "futex_waitv", "futex", id="a sleep that can be cancelled"),
    ],
)
def test_features_are_those_of_the_kernel(feature: str, look: Callable[[], str], there: str, without: str) -> None:
    assert look() == (there if KERNEL_HAS[feature] else without)
