"""What a program has replaced before it is explored, and descriptors that a test closes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, lwp


def replaced(command: str) -> None:
    """Functions of Python stand in place of builtin functions, and call these."""
    import builtins
    import fcntl
    import io
    import select
    import socket

    def wrapped(stock: Any) -> Any:
        return lambda *args, **kwargs: stock(*args, **kwargs)

    names = [
        (os, "pread preadv pwrite sendfile read readv write writev close dup2 closerange open waitpid wait4 system"),
        (time, "sleep time monotonic perf_counter"),
        (select, "select poll"),
        (signal, "sigtimedwait sigwaitinfo"),
        (socket, "close gethostbyname getnameinfo"),
        (fcntl, "flock lockf"),
        (io, "open"),
        (builtins, "open input print"),
    ]
    ours = [(module, name, wrapped(getattr(module, name))) for module, all in names for name in all.split()]
    for module, name, function in ours:
        setattr(module, name, function)
    exec(command, dict(globals()))
    for module, name, function in ours:
        assert getattr(module, name) is function, name


EXPLORED = """
def test():
    count = [0]
    def work():
        seen = count[0]
        time.sleep(1000)
        count[0] = seen + 1
        reads, writes = os.pipe()
        os.write(writes, b"x")
        assert os.read(reads, 1) == b"x"
        os.close(reads)
        os.close(writes)
    run_threads([threading.Thread(target=work) for _ in range(2)])
    assert count[0] == 2
result = runtime.explore(test, runs=50)
assert result.outcome is runtime.explore.Outcome.FOUND, result.report()
"""

GREEN = """
runtime.install(green=True)
def work():
    time.sleep(0.01)
    reads, writes = os.pipe()
    os.write(writes, b"x")
    assert os.read(reads, 1) == b"x"
run_threads([threading.Thread(target=work) for _ in range(3)])
runtime.uninstall()
"""


@pytest.mark.parametrize("command", [EXPLORED, GREEN], ids=["explored", "green"])
def test_builtin_functions_that_are_replaced_stay_so(command: str, child: Child) -> None:
    """As input() in a notebook; and what they call is under control."""
    child(replaced, command)


RACE = """
import contextlib, ctypes, os
from without_pytest import together
def test():
    count = [0]
    def work():
        seen = count[0]
        count[0] = seen + 1
    together(work, work)
    close()
    assert count[0] == 2
def close_each():
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            os.close(fd)
"""


@pytest.mark.parametrize(
    ("close", "workers"),
    [
        ("lambda: os.closerange(3, 1 << 20)", 1),
        ("lambda: os.closerange(3, 1 << 20)", 2),
        ("close_each", 1),
        ("lambda: ctypes.CDLL(None).closefrom(3)", 1),
    ],
)
def test_a_test_that_closes_all_descriptors_is_explored(close: str, workers: int, tmp_path: Path) -> None:
    """What exploring has opened itself is not the test's to close."""
    (tmp_path / "race.py").write_text(f"{RACE}\nclose = {close}\n")
    done = lwp("explore", "--workers", workers, "race.py::test", cwd=tmp_path, status=1)
    assert "AssertionError race.py:test" in done.stdout, done.stdout + done.stderr
    assert done.stderr == "" or "Traceback" not in done.stderr
