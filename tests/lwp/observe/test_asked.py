"""Threads that are stuck, and watching and recording that a program or its environment asks for."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, Environment, in_child, run_thread, told
from sync_helpers import until

import runtime
from lwp.observe.trace import read
from lwp.observe.watchdog import Watchdog
from runtime import Thread, scheduler, sync

RUN = ["-m", "runtime", "run"]

STUCK = """
import threading, time
lock = threading.Lock()
def holds(held):
    with lock:
        held.set()
        threading.Event().wait()
def wants():
    lock.acquire()
held = threading.Event()
threading.Thread(target=holds, args=(held,), daemon=True).start()
held.wait()
for _ in range(10):
    threading.Thread(target=wants, daemon=True).start()
while True:
    time.sleep(0.01)
"""

STILL = "import threading\nthreading.Event().wait()\n"


# ---- stuck beside threads that go on ---------------------------------------------------------------------------------


def test_threads_that_wait_for_one_lock_for_long(tmp_path: Path) -> None:
    said = told(tmp_path, STUCK, "threading.Event().wait()", *RUN, "--stuck", "0.4")
    head, *waits, holder = said.split("\n\n")
    assert re.fullmatch(
        r"lwp: (a thread waits for a lock|\d+ threads wait for one lock, the first) for more than 0.4 s", head
    )
    assert re.match(r"(('Thread-\d+ \(wants\)' \(tid \d+\)(, )?)+|\d+ threads): waits? for lock ", waits[0])
    assert "held by 'Thread-1 (holds)' (taken at program.py:5 in holds), " in waits[0]
    assert re.match(r"'Thread-1 \(holds\)' \(tid \d+\): waits for event ", holder)
    assert "  File " in holder
    assert "  File " not in "".join(waits)


def test_a_lock_is_reported_once_for_each_holder() -> None:
    said: list[str] = []
    lock, go = sync.Lock(), sync.Event()
    look = Watchdog(None, said.append, stuck=1e-9).look

    def holds() -> None:
        with lock:
            go.wait()

    def waits() -> int:
        return sum(wait.address == id(lock) for wait in scheduler.waiting().waits)

    first = Thread(target=holds, name="first")
    first.start()
    until(lock.locked)
    others = [Thread(target=holds, name=f"other {number}") for number in range(10)]
    for number, thread in enumerate(others, 1):
        thread.start()
        until(lambda: waits() == number)  # noqa: B023
    assert not look(False)
    assert not look(True)
    [text] = said
    head, _, line = text.splitlines()[:3]
    assert head == "lwp: 10 threads wait for one lock, the first for more than 1e-09 s"
    assert re.fullmatch(
        r"10 threads: wait for lock lock held by 'first' \(.*\), the first for \d+\.\d s: "
        r"'other 0', 'other 1', 'other 2' and 7 more",
        line,
    )
    go.set()
    for thread in (first, *others):
        thread.join()
    with lock:
        last = Thread(target=holds, name="last")
        last.start()
        until(lambda: waits() == 1)
        look(False)
    last.join()
    assert re.match(
        r"lwp: a thread waits for a lock for more than 1e-09 s\n\n'last' \(tid \d+\): waits for lock ", said[1]
    )
    assert len(said) == 2


def test_a_deadlock_of_locks_is_reported_once_and_called_so() -> None:
    said: list[str] = []
    one, two, both = sync.Lock(), sync.Lock(), sync.Barrier(2)

    def take(first: sync.Lock, second: sync.Lock) -> None:
        first.acquire()
        both.wait()
        second.acquire()

    threads = [Thread(target=take, args=locks, name=name) for name, locks in (("a", (one, two)), ("b", (two, one)))]
    for thread in threads:
        thread.start()
    until(lambda: scheduler.waiting().cycles)
    look = Watchdog(None, said.append, stuck=1e-9).look
    look(False)
    look(False)
    [text] = said
    assert text.splitlines()[0] == "lwp: a thread waits for a lock for more than 1e-09 s"
    assert text.splitlines()[1].startswith("deadlock: '")
    assert len(re.findall(r"^'[ab]' \(tid \d+\): waits for lock .*\n  File ", text, re.MULTILINE)) == 2, text
    two.release()
    one.release()
    for thread in threads:
        thread.join()


# ---- asked for by the program ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "needs seconds"),
        ({"seconds": 0}, "seconds=0 is not a number of seconds from 0.1 to 1e6"),
        ({"stuck": float("nan")}, "stuck=nan is not"),
        ({"stuck": 1, "exit": 3}, "exit=3 is not a status"),
        ({"seconds": 1, "exit": 256}, "exit=256 is not a status"),
    ],
)
def test_a_wrong_patience_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runtime.watchdog(**wrong)


@in_child
def test_a_program_is_watched_once() -> None:
    import pytest

    before = len(os.listdir("/proc/self/fd"))
    runtime.watchdog(1000, stuck=1000, exit=3)
    with pytest.raises(RuntimeError, match="it is watched already"):
        runtime.watchdog(1000)
    assert len(os.listdir("/proc/self/fd")) == before + 1


def test_a_program_records_itself(child: Child, tmp_path: Path) -> None:
    def program(folder: str) -> None:
        from lwp.observe import trace

        def refused(name: str) -> str:
            try:
                trace.record(Path(folder, name), size=1 << 20)
            except RuntimeError as error:
                return str(error)
            raise AssertionError(name)

        run_thread(runtime.Thread(target=trace.record, args=(Path(folder, "records"), 1 << 20), name="other"))
        assert refused("records") == "this process records already"
        assert refused("another") == f"this process has its records in {folder}/records"
        run_thread(runtime.Thread(target=int, name="recorded"))
        if (pid := os.fork()) == 0:
            trace.record(Path(folder, "child's"), size=1 << 20)
            run_thread(runtime.Thread(target=int, name="in the child"))
            raise SystemExit
        assert os.waitpid(pid, 0)[1] == 0

    child(program, str(tmp_path))
    timeline = read(tmp_path / "records")
    assert timeline.finished
    assert {track.name for track in timeline.tracks} == {"MainThread", "other", "recorded"}
    child_s = read(tmp_path / "child's")
    assert child_s.finished
    assert {track.name for track in child_s.tracks} == {"MainThread", "in the child"}
    assert {path.name for path in tmp_path.iterdir()} == {"records", "child's", "program.py"}


# ---- asked for by its environment ------------------------------------------------------------------------------------


def test_a_service_and_its_forked_workers_are_watched(tmp_path: Path, installed: Environment) -> None:
    """As gunicorn starts it: no command line says anything."""
    forks = """
import os, threading
if (child := os.fork()) == 0:
    print("child", os.getpid(), flush=True)
else:
    print("parent", os.getpid(), flush=True)
threading.Event().wait()
"""
    source = forks.replace("print(", "print(*['lwp is off'] if not __import__('runtime').is_installed() else [], ")
    (tmp_path / "program.py").write_text(source)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "LWP_"))}
    with subprocess.Popen(
        [str(installed.python), "program.py"],
        cwd=tmp_path,
        env={**clean, "LWP_CHILDREN": "1", "LWP_WATCHDOG": "0.3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        pids = dict(process.stdout.readline().split() for _ in range(2))
        missing = set(pids.values())
        for line in process.stderr:
            if line.startswith("lwp: no thread has gone on for 0.3 s; process "):
                missing.discard(line.split()[-1])
            if not missing:
                break
        os.killpg(process.pid, 9)
    assert set(pids) == {"parent", "child"}
    assert not missing


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LWP_WATCHDOG", "0", "LWP_WATCHDOG='0' is not a number of seconds from 0.1 to 1e6"),
        ("LWP_STUCK", "soon", "LWP_STUCK='soon' is not a number of seconds from 0.1 to 1e6"),
        ("LWP_TRACE", "records", "LWP_TRACE='records' has no %p for the process's number"),
    ],
)
def test_a_wrong_variable_is_refused(
    name: str, value: str, message: str, tmp_path: Path, installed: Environment
) -> None:
    started = installed.run("-c", "print('ran')", cwd=tmp_path, LWP_CHILDREN="1", **{name: value})
    assert started.stdout == "ran\n"
    assert started.stderr.startswith(f"lwp: this process's threads are plain ones: {message}")
    assert started.stderr.count("\n") == 1
    run = installed.run("-m", "runtime", "run", "-c", "print('ran')", cwd=tmp_path, **{name: value})
    assert (run.stdout, run.returncode) == ("", 2)
    assert run.stderr.startswith(f"lwp: {message}")
    called = installed.run("-c", "import runtime; runtime.install()", cwd=tmp_path, **{name: value})
    assert f"\nValueError: {message}" in called.stderr
    ignored = installed.run("-E", "-m", "runtime", "run", "-c", "print('ran')", cwd=tmp_path, **{name: value})
    assert (ignored.stdout, ignored.stderr) == ("ran\n", "")


def test_variables_where_the_runtime_is_active(tmp_path: Path) -> None:
    install = "import runtime\nruntime.install()\n"
    assert "process" in told(tmp_path, install + STILL, "no thread has gone on", LWP_WATCHDOG="0.2")
    assert "process" in told(tmp_path, STILL, "no thread has gone on", *RUN, LWP_WATCHDOG="0.2")
    assert "0.3 s\n" in told(tmp_path, STILL, "no thread has gone on", *RUN, "--watchdog", "0.3", LWP_WATCHDOG="0.2")
    assert "lwp: " in told(tmp_path, STUCK, "for more than 0.3 s; process", *RUN, LWP_STUCK="0.3", LWP_TRACE="r.%p")
    [records] = tmp_path.glob("r.*")
    names = [track.name for track in read(records).tracks]
    assert names.count("MainThread") == 1
    assert {"Thread-1 (holds)", "Thread-2 (wants)"} <= set(names)
