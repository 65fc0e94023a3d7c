"""Many threads that wait for the GIL: they don't wake up only to ask for it, and are asked for it as before."""

from __future__ import annotations

import os
import resource
import sys
import time

import pytest
from conftest import in_child, in_forked_child

import runtime


@in_child
def test_a_crowd_wakes_up_as_often_as_thirty_two_threads() -> None:
    """Each that is let through sleeps once more, so `2 * many` don't count."""
    many = 1000
    reader, writer = os.pipe()

    def woken() -> float:
        """Threads that wait for the GIL wake up so often in a switch interval."""
        threads = [runtime.Thread(target=os.read, args=(reader, 1)) for _ in range(many)]
        for thread in threads:
            thread.start()
        os.write(writer, b"x" * many)
        before, since = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, time.perf_counter()
        sum(range(1 << 25))  # with the GIL: C code, which nobody can ask
        after, until = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, time.perf_counter()
        for thread in threads:
            thread.join()
        return (after - before - 2 * many) / ((until - since) / sys.getswitchinterval())

    assert woken() < 40
    assert in_forked_child(lambda: 1 / (woken() < 40)) == 0


@pytest.mark.parametrize("interval", [0.005, 0.0001])
@in_child
def test_a_computing_thread_is_asked_until_the_last_has_run(interval: float) -> None:
    many = 500
    sys.setswitchinterval(interval)
    reader, writer = os.pipe()
    ran = []

    def run() -> None:
        os.read(reader, 1)
        ran.append(1)

    threads = [runtime.Thread(target=run) for _ in range(many)]
    for thread in threads:
        thread.start()
    os.write(writer, b"x" * many)
    while len(ran) < many:  # Python code, which gives the GIL up when it is asked
        pass
    for thread in threads:
        thread.join()
