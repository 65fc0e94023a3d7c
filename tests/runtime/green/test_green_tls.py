"""TLS sockets in green threads: what they cost, and that they promise what stock ones do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tls_cases
from commands import environment
from conftest import Child, count_calls, lines_between_marks, under_strace
from this_machine import TREE

pytestmark = pytest.mark.timeout(60)
HERE = [str(Path(__file__).parent), str(TREE / "tests")]

ECHO = """
import os, sys
import runtime
runtime.install(green=True, time_slice=None)
sys.path[:0] = sys.argv[1].split(":")
import tls_cases

one, other = tls_cases.secured(sys.argv[2], eval(sys.argv[3]))

def echo():
    while data := other.recv(100):
        other.sendall(data)

def ask(times):
    for _ in range(times):
        one.sendall(b"data")
        assert one.recv(100) == b"data"

def count():
    ask(3)  # after which both are registered
    os.access("/begin", 0)
    ask(20)
    os.access("/end", 0)
    one.close()

tls_cases.together(echo, count)
"""


@pytest.mark.parametrize("timeout", [None, 20])
def test_what_a_tls_echo_costs(timeout: int | None, tmp_path: Path, pem: str) -> None:
    """For a record in vain, its head, its body, and one that is written; no poll, and no epoll_ctl."""
    script, trace = tmp_path / "echo.py", tmp_path / "trace"
    script.write_text(ECHO)
    command = [*under_strace(trace), sys.executable, str(script), ":".join(HERE), pem, repr(timeout)]
    subprocess.run(command, check=True, env=environment(), timeout=50)
    calls = count_calls(lines_between_marks(trace))
    assert calls["write"] == 40
    assert calls["read"] <= 3 * 40
    assert calls["epoll_pwait2"] + calls["epoll_wait"] <= 42
    assert calls["ioctl"] <= (0 if timeout else 2 * 3 * 40), "the mode is changed for a try only if it must be"
    assert not set(calls) - {"write", "read", "epoll_pwait2", "epoll_wait", "ioctl"}


@pytest.mark.parametrize("name", tls_cases.NAMES)
@pytest.mark.parametrize("timeout", [None, 20])
@pytest.mark.parametrize("options", [{"time_slice": None}, {}], ids=["one LWP", "a time slice"])
def test_tls(name: str, timeout: int | None, options: dict[str, Any], child: Child, pem: str) -> None:
    def case(folders: list[str], *args: Any) -> None:
        sys.path[:0] = folders
        import tls_cases

        tls_cases.run(*args)

    assert child(case, HERE, name, pem, timeout, options).stdout == "done\n"
