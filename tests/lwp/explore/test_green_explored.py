"""What explored threads do with calls that green ones give to a helper, or have replaced."""

from __future__ import annotations

import threading
import time

import pytest
from conftest import Child, run_threads

import runtime
from runtime.scheduler import blocking


@pytest.mark.loads
def test_explored_it_is_direct() -> None:
    def run() -> None:
        seen = []

        def look() -> None:
            assert blocking(threading.get_ident) == threading.get_ident()
            seen.append(1)

        run_threads(runtime.Thread(target=look) for _ in range(2))
        assert seen == [1, 1]

    runtime.explore(run, runs=20).check()


def test_exploring_finds_the_function_behind_one(child: Child) -> None:
    def explore() -> None:
        runtime.install(green=True)
        result = runtime.explore(lambda: time.sleep(1000), runs=3)  # an explored sleep takes no time
        assert result.outcome.value != "found", result

    child(explore)
