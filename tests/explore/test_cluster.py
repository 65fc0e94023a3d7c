"""`lwp explore --dask`, on a cluster in processes of this machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = """
import os, threading

lock = threading.Lock()

class Counter:
    n = 0

def bump():
    with lock:
        seen = Counter.n
    with lock:
        Counter.n = seen + 1

def both():
    Counter.n = 0
    threads = [threading.Thread(target=bump) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("counted", Counter.n)
    return Counter.n

def test_lost():
    assert both() == 2

def test_right():
    assert both() in (1, 2)

def test_ends():
    os._exit(5)
"""

CLUSTER = """
import sys
import distributed
if __name__ == "__main__":
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "COLUMNS": "120"}


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
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def lwp(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "runtime", "explore", *args)


def test_a_find(cluster: str, folder: Path) -> None:
    found = lwp(folder, "--dask", cluster, "test_it.py::test_lost")
    assert (found.returncode, found.stderr) == (1, "")
    assert "FOUND" in found.stdout
    assert "  counted 1\n" in found.stdout  # it was replayed here
    command = re.search(r"lwp explore (.*--replay.*)", found.stdout)
    assert command
    assert lwp(folder, *shlex.split(command[1])).returncode == 1


def test_the_runs_are_shared(cluster: str, folder: Path) -> None:
    found = lwp(folder, "--dask", cluster, "--runs=5001", "test_it.py::test_right")
    assert (found.returncode, found.stderr) == (0, "")
    assert "BUDGET SPENT: 5,001 runs" in found.stdout


def test_a_program(cluster: str, folder: Path) -> None:
    script = TESTS + "\nimport sys\nsys.exit(both() != int(sys.argv[1]))\n"
    (folder / "program.py").write_text(script)
    found = lwp(folder, "--dask", cluster, "program.py", "2")
    assert found.returncode == 1
    assert re.search(r"lwp explore --replay \S+ program.py 2\n", found.stdout)


def test_a_process_that_dies(cluster: str, folder: Path) -> None:
    found = lwp(folder, "--dask", cluster, "test_it.py::test_ends")
    assert found.returncode == 3
    assert re.search(r"INCONCLUSIVE: the process of task \d+ on tcp://\S+ ended with status 5", found.stdout)


#: Random schedules are never exhausted; without a thread in the test, all others are at once.
WITHOUT_END = ("--runs=1000000000", "--strategy=random")
FOREVER = """
import os, sys

def processes():
    return [name for name in os.listdir({0!r}) if name.endswith(".pid")]

first = False
if not sys.argv[0].endswith("__main__.py"):  # on the cluster
    first = not processes()
    open(os.path.join({0!r}, str(os.getpid()) + ".pid"), "x").close()

def test_found_by_one():
    assert not first or len(processes()) == 1

def test_found_by_none():
    pass
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
    found = lwp(folder, "--dask", cluster, *WITHOUT_END, "test_it.py::test_found_by_one")
    assert found.returncode == 1, found.stdout + found.stderr
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
    program = (
        TESTS.replace("lock = threading.Lock()", "")
        + f"""
from runtime.explore.ways.cluster import explore_on

def bump():
    seen = Counter.n
    threading.Event().wait(0)
    Counter.n = seen + 1

def test():
    assert both() == 2

if __name__ == "__main__":
    result = explore_on({cluster!r}, test, seed=1)
    print(result.outcome, type(result.error), result.seed)
"""
    )
    (folder / "program.py").write_text(program)
    found = python(folder, "program.py")
    assert found.stdout.endswith("Outcome.FOUND <class 'AssertionError'> 1\n"), found.stdout + found.stderr


def test_no_cluster(folder: Path) -> None:
    pytest.importorskip("distributed")
    found = lwp(folder, "--dask", "tcp://127.0.0.1:1", "test_it.py::test_lost")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("lwp: no cluster at tcp://127.0.0.1:1: ")
    assert found.stderr.count("\n") == 1


def test_without_the_extra(folder: Path) -> None:
    (folder / "distributed.py").write_text("raise ImportError\n")
    found = lwp(folder, "--dask", "tcp://127.0.0.1:1", "test_it.py::test_lost")
    assert (found.returncode, found.stderr) == (2, "lwp: --dask needs distributed: pip install 'lwp-runtime[dask]'\n")


def test_options_that_do_not_go_with_it(folder: Path) -> None:
    found = lwp(folder, "--dask", "x", "--workers=2", "test_it.py::test_lost")
    assert (found.returncode, found.stderr) == (2, "lwp: --dask and --workers can't go together\n")
    found = lwp(folder, "--dask", "x", "--replay=s-1", "test_it.py::test_lost")
    assert (found.returncode, found.stderr) == (
        2,
        "lwp: a token is replayed here: --replay and --dask can't go together\n",
    )
