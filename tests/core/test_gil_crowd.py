"""Many threads that wait for the GIL: they don't wake up only to ask for it, and are asked for it as before."""

from __future__ import annotations

import os
import sys

import pytest
from conftest import Child

import runtime


def wait_while_one_computes(many: int) -> None:
    import resource
    import time

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

    print(woken(), flush=True)
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        print(woken(), flush=True)
        os._exit(0)


def test_a_crowd_wakes_up_as_often_as_thirty_two_threads(child: Child) -> None:
    """Each that is let through sleeps once more, so `2 * many` don't count."""
    done = child(wait_while_one_computes, 1000)
    assert [float(line) < 40 for line in done.stdout.split()] == [True, True], done.stdout


def compute_until_all_have_run(many: int, interval: float) -> None:
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


@pytest.mark.parametrize("interval", [0.005, 0.0001])
def test_a_computing_thread_is_asked_until_the_last_has_run(interval: float, child: Child) -> None:
    child(compute_until_all_have_run, 500, interval)
