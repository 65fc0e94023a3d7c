"""`lwp explore --dask`, on a cluster in processes of this machine."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import environment, lwp, python, refusal
from counted import IMPORT, LOST, RIGHT

pytestmark = [pytest.mark.slow, pytest.mark.loads]  # distributed's libraries

ENDS = "import os\n\ndef test_ends():\n    os._exit(5)\n"

CLUSTER = """
import sys
import distributed
if __name__ == "__main__":
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "cluster.py").write_text(CLUSTER)
    process = subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdin
        yield process.stdout.readline().strip()
        process.stdin.close()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(IMPORT + LOST + RIGHT + ENDS)
    return tmp_path


def explore(folder: Path, *args: str, status: int) -> subprocess.CompletedProcess[str]:
    return lwp("explore", *args, cwd=folder, status=status, timeout=90, COLUMNS="120")


def test_a_find(cluster: str, folder: Path) -> None:
    found = explore(folder, "--dask", cluster, "test_it.py::test_lost", status=1)
    assert found.stderr == ""
    assert "FOUND" in found.stdout
    assert "  counted 1\n" in found.stdout  # it was replayed here
    command = re.search(r"lwp explore (.*--replay.*)", found.stdout)
    assert command
    explore(folder, *shlex.split(command[1]), status=1)


def test_the_runs_are_shared(cluster: str, folder: Path) -> None:
    found = explore(folder, "--dask", cluster, "--runs=5001", "test_it.py::test_right", status=0)
    assert found.stderr == ""
    assert "BUDGET SPENT: 5,001 runs" in found.stdout


def test_a_program(cluster: str, folder: Path) -> None:
    (folder / "program.py").write_text("import sys\nfrom counted import both\nsys.exit(both() != int(sys.argv[1]))\n")
    found = explore(folder, "--dask", cluster, "program.py", "2", status=1)
    assert re.search(r"lwp explore --replay \S+ program.py 2\n", found.stdout)


def test_a_process_that_dies(cluster: str, folder: Path) -> None:
    found = explore(folder, "--dask", cluster, "test_it.py::test_ends", status=3)
    assert re.search(r"INCONCLUSIVE: the process of task \d+ on tcp://\S+ ended with status 5", found.stdout)


#: Random schedules are never exhausted; without a thread in the test, all others are at once.
WITHOUT_END = ("--runs=1000000000", "--strategy=random")
FOREVER = """
import os, sys, threading

def start():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()

def processes():
    return [name for name in os.listdir({0!r}) if name.endswith(".pid")]

first = False
if not sys.argv[0].endswith("__main__.py"):  # on the cluster
    first = not processes()
    open(os.path.join({0!r}, str(os.getpid()) + ".pid"), "x").close()

def test_found_by_one():
    start()
    assert not first or len(processes()) == 1

def test_found_by_none():
    start()
"""


def processes_of(folder: Path) -> list[int]:
    return [int(file.stem) for file in folder.glob("*.pid")]


def wait_until_ended(pids: list[int]) -> None:
    end = time.monotonic() + 60
    while [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < end


def test_a_find_ends_all(cluster: str, folder: Path) -> None:
    """One process finds; the other would go on for hours."""
    (folder / "test_it.py").write_text(FOREVER.format(str(folder)))
    explore(folder, "--dask", cluster, *WITHOUT_END, "test_it.py::test_found_by_one", status=1)
    pids = processes_of(folder)
    assert len(pids) >= 2
    wait_until_ended(pids)


def test_the_end_of_the_client_ends_all(cluster: str, folder: Path) -> None:
    (folder / "test_it.py").write_text(FOREVER.format(str(folder)))
    command = [sys.executable, "-m", "runtime", "explore", "--dask", cluster, *WITHOUT_END]
    client = subprocess.Popen([*command, "test_it.py::test_found_by_none"], cwd=folder, env=environment())
    with client:
        try:
            end = time.monotonic() + 60
            while len(processes_of(folder)) < 2:
                assert time.monotonic() < end
        finally:
            client.kill()
    wait_until_ended(processes_of(folder))


def test_a_function_goes_there_by_value(cluster: str, folder: Path) -> None:
    program = f"""
import threading
from lwp.explore.ways.cluster import explore_on

class Counter:
    n = 0

def bump():
    seen = Counter.n
    threading.Event().wait(0)
    Counter.n = seen + 1

def test():
    Counter.n = 0
    threads = [threading.Thread(target=bump) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert Counter.n == 2

if __name__ == "__main__":
    result = explore_on({cluster!r}, test, seed=1)
    print(result.outcome, type(result.error), result.seed)
"""
    (folder / "program.py").write_text(program)
    said = python("program.py", cwd=folder, timeout=90).stdout
    assert said.endswith("Outcome.FOUND <class 'AssertionError'> 1\n"), said


def test_no_cluster(folder: Path) -> None:
    pytest.importorskip("distributed")
    said = refusal(explore(folder, "--dask", "tcp://127.0.0.1:1", "test_it.py::test_lost", status=2))
    assert said.startswith("lwp: no cluster at tcp://127.0.0.1:1: ")


def test_without_the_extra(folder: Path) -> None:
    (folder / "distributed.py").write_text("raise ImportError\n")
    found = explore(folder, "--dask", "tcp://127.0.0.1:1", "test_it.py::test_lost", status=2)
    assert found.stderr == "lwp: --dask needs distributed: pip install 'lwp-runtime[dask]'\n"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--workers=2", "--dask and --workers can't go together"),
        ("--replay=s-1", "a token is replayed here: --replay and --dask can't go together"),
    ],
)
def test_options_that_do_not_go_with_it(option: str, says: str, folder: Path) -> None:
    assert explore(folder, "--dask", "x", option, "test_it.py::test_lost", status=2).stderr == f"lwp: {says}\n"
