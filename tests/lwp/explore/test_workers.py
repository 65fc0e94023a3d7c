"""explore(workers=N): the same answers as of one process, and none of its processes left."""

from __future__ import annotations

import itertools
import os
import pickle
import pty
import select
import signal
import subprocess
import sys
import threading
import traceback
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from conftest import environment
from counted import both

import runtime
from lwp.explore import Died, Inconclusive, Outcome, Progress

pytestmark = pytest.mark.loads  # what the green I/O stands in for is imported: ssl, with its library


def lost() -> None:
    assert both() == 2


def right() -> None:
    assert both() in (1, 2)


def test_a_find_comes_back_as_if_it_was_made_here() -> None:
    result = runtime.explore(lost, workers=3, seed=1)
    assert result.outcome is Outcome.FOUND
    assert isinstance(result.error, AssertionError)
    assert "lost" in [frame.name for frame in traceback.extract_tb(result.error.__traceback__)]
    assert (result.seed, result.replays) == (1, 10)
    assert result.found_by.partition(",")[0] in ("pct", "random", "pos")
    assert result.token in result.report()
    assert isinstance(result.page(), str)
    assert runtime.replay(lost, result.token).outcome is Outcome.FOUND
    with pytest.raises(AssertionError):
        result.check()


def waits_for_an_answer() -> None:
    answered = threading.Event()
    threading.Thread(target=answered.set).start()
    assert answered.wait(5)


def test_an_early_timeout_of_one_worker_ends_no_other() -> None:
    result = runtime.explore(waits_for_an_answer, workers=2, runs=4000, seed=1, strategy="pct", early_timeouts=True)
    assert result.outcome is Outcome.EARLY_TIMEOUT
    assert result.runs > 2 * 1500  # each has first spent what is for other finds
    assert isinstance(result.error, AssertionError)


def test_the_runs_are_shared() -> None:
    told: list[Progress] = []
    result = runtime.explore(right, workers=3, runs=50_000, seed=2, progress=told.append)
    assert (result.outcome, result.runs, result.error) == (Outcome.BUDGET_SPENT, 50_000, None)
    assert "50,000 runs" in result.report()
    assert all(before.runs <= after.runs <= 50_000 for before, after in itertools.pairwise(told))
    assert told


def test_the_same_seed_tries_the_same() -> None:
    first, second = (runtime.explore(right, workers=2, runs=400, seed=5) for _ in range(2))
    assert (first.runs, first.distinct) == (second.runs, second.distinct) == (400, first.distinct)


def test_each_worker_tries_schedules_of_its_own() -> None:
    """Of two workers that tried the same, the second would add nothing."""
    options: dict[str, Any] = {"strategy": "random", "granularity": "opcode", "seed": 5}
    one = runtime.explore(right, workers=1, runs=100, **options)
    two = runtime.explore(right, workers=2, runs=200, **options)
    assert two.distinct > one.distinct


def test_fewer_runs_than_workers() -> None:
    assert runtime.explore(right, workers=5, runs=2).runs == 2


def test_one_worker_exhausts_the_schedules() -> None:
    """The others try schedules by chance, which has no end."""
    result = runtime.explore(lambda: None, workers=2, runs=10_000_000)
    assert (result.outcome, result.error) == (Outcome.EXHAUSTED, None)
    assert result.report().startswith("EXHAUSTED: ")


def test_schedules_that_do_not_depend_on_chance_are_tried_by_one() -> None:
    alone, shared = (runtime.explore(right, strategy="dfs", granularity="sync", workers=count) for count in (1, 2))
    assert shared.outcome is alone.outcome
    assert shared.runs == alone.runs


@pytest.mark.parametrize(
    ("end", "how"),
    [(lambda: os.kill(os.getpid(), signal.SIGKILL), "by SIGKILL"), (lambda: os._exit(3), "with status 3")],
)
def test_a_run_that_ends_its_worker_is_found(end: Callable[[], NoReturn], how: str) -> None:
    result = runtime.explore(end, workers=2)
    assert (result.outcome, result.token, result.replays) == (Outcome.FOUND, "s-0", 10)
    assert f"DIED: a run of the test ends its process {how}" in result.report()
    with pytest.raises(Died, match=how):
        result.check()


def lost_ends_the_process() -> None:
    if both() != 2:
        os._exit(3)


def test_the_token_of_a_run_that_ended_its_worker_is_simple() -> None:
    result = runtime.explore(lost_ends_the_process, workers=2, seed=1)
    assert (result.outcome, result.name, result.replays) == (Outcome.FOUND, "Died with status 3", 10)
    assert 1 <= result.deviations <= 2
    assert result.runs > 1
    assert "  MainThread was last at " in result.report()


def test_a_run_that_ends_its_process_once_is_inconclusive() -> None:
    mine = os.getpid()
    reads, writes = os.pipe()
    os.write(writes, b".")

    def test() -> None:
        both()
        if os.getpid() != mine and select.select([reads], [], [], 0)[0] and os.read(reads, 1):
            os._exit(3)

    result = runtime.explore(test, workers=2)
    os.close(reads)
    os.close(writes)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "a run has ended its process with status 3, and the same schedule (token " in result.report()
    with pytest.raises(Inconclusive):
        result.check()


def test_skips_and_ctrl_c_come_through() -> None:
    def skips() -> NoReturn:
        raise unittest.SkipTest("not here")

    with pytest.raises(unittest.SkipTest, match="not here"):
        runtime.explore(skips, workers=2)


def test_an_exception_that_can_not_be_pickled() -> None:
    class OwnError(Exception):
        pass

    def fails() -> None:
        raise OwnError(threading.Lock())

    result = runtime.explore(fails, workers=2)
    assert type(result.error).__name__ == "OwnError"


def test_a_failure_in_workers_alone_is_reported() -> None:
    here = os.getpid()

    def fails() -> None:
        assert os.getpid() == here, "in a worker"

    result = runtime.explore(fails, workers=2)
    assert result.outcome is Outcome.FOUND
    assert "in a worker" in str(result.error)
    assert result.token in result.report()


def test_a_result_can_be_pickled() -> None:
    for test in (lost, right):
        result = runtime.explore(test, seed=3)
        again = pickle.loads(pickle.dumps(result))
        assert (again.outcome, again.token, again.runs) == (result.outcome, result.token, result.runs)
        assert again.report() == result.report()
        assert type(again.error) is type(result.error)


FOREVER = """
from without_pytest import together
def test():
    together(int)
"""


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@dataclass
class Exploring:
    process: subprocess.Popen[str]
    terminal: int  #: what the command writes to its stderr can be read here
    said: str = ""
    workers: list[int] = field(default_factory=list)

    def read(self) -> bool:
        """False: all that could write have ended."""
        with suppress(OSError):  # EIO
            self.said += os.read(self.terminal, 4096).decode()
            return True
        return False


@contextmanager
def exploring(folder: Path, workers: int) -> Iterator[Exploring]:
    """The command, at work for good: on a terminal, where it says how many runs it has made."""
    (folder / "test_it.py").write_text(FOREVER)
    options = [f"--workers={workers}", "--runs=1000000000", "--strategy=random"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "explore", *options, "test_it.py::test"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    with process:
        try:
            found = Exploring(process, ours)
            while "runs/s" not in found.said:
                assert found.read(), found.said
            while len(found.workers) < (workers if workers > 1 else 0):
                found.workers = [worker for child in children_of(process.pid) for worker in children_of(child)]
            yield found
        finally:
            process.kill()
            os.close(ours)


@pytest.mark.parametrize("workers", [1, 3])
def test_control_c_ends_all(workers: int, tmp_path: Path) -> None:
    with exploring(tmp_path, workers) as found:
        found.process.send_signal(signal.SIGINT)
        while found.read():
            pass
        stdout, _ = found.process.communicate()
    assert (found.process.returncode, stdout) == (130, "")
    last = found.said.rpartition("\x1b[K")[2]
    assert last.startswith("lwp: interrupted after ")
    assert last.endswith(": none fails\r\n")
    assert not [child for child in found.workers if is_alive(child)]


def test_workers_end_when_the_command_is_killed(tmp_path: Path) -> None:
    with exploring(tmp_path, 3) as found:
        found.process.kill()
        while any(is_alive(worker) for worker in found.workers):
            os.sched_yield()
