"""recv, recv_into, send and sendall in green threads: what they cost, and that no event is lost or another file's."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import socket_cases
from conftest import ROOT, Child

import runtime

pytestmark = pytest.mark.timeout(30)
HERE = str(Path(__file__).parent)

SERVER = """
import os, socket, threading

def echo(connection):
    while data := connection.recv(100):
        if data[:1] == b"/":
            os.access(data, 0)
        connection.sendall(data)
        if data == b"/end":
            os._exit(0)

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
"""


def test_an_echo_is_two_system_calls(tmp_path: Path) -> None:
    """And one epoll_wait for all connections that are ready at a time: no poll, no epoll_ctl."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    program, trace = tmp_path / "server.py", tmp_path / "trace"
    program.write_text(SERVER)
    command = ["strace", "-f", "-qq", "-o", str(trace), sys.executable, "-m", "runtime", "run", "--green", str(program)]
    many, rounds = 8, 50
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(many)]

        def ask(data: bytes, some: list[socket.socket] = connections) -> None:
            for connection in some:
                connection.sendall(data)
            for connection in some:
                assert connection.recv(100) == data

        ask(b"first")
        ask(b"/begin", connections[:1])
        for _ in range(rounds):
            ask(b".")
        ask(b"/end", connections[:1])
        assert process.wait(20) == 0
    for connection in connections:
        connection.close()
    counted = re.search(r'"/begin".*?\n(.*)\n.*"/end"', trace.read_text(errors="replace"), re.DOTALL)
    assert counted
    calls = Counter(re.findall(r"^\d+ +(\w+)\(", counted[1], re.MULTILINE))
    assert calls["recvfrom"] <= many * rounds + 2  # the first and the last are around the marks
    assert calls["sendto"] <= many * rounds + 2
    assert calls["epoll_pwait2"] + calls["epoll_wait"] <= many * rounds + 2
    assert not calls["poll"]
    assert not calls["epoll_ctl"]
    assert not calls["write"], "the LWP wakes itself"


@pytest.mark.parametrize("name", socket_cases.NAMES)
@pytest.mark.parametrize("options", [{"time_slice": None}, {}], ids=["one LWP", "a time slice"])
def test_sockets(name: str, options: dict[str, Any], child: Child) -> None:
    def case(folder: str, name: str, options: dict[str, Any]) -> None:
        sys.path.insert(0, folder)
        runtime.install(green=True, **options)
        import socket_cases

        socket_cases.in_a_thread(name)
        print("done")

    assert child(case, HERE, name, options).stdout == "done\n"


def test_a_socket_whose_insides_are_not_known(child: Child) -> None:
    """Another CPython may have changed them: then all goes through Python."""

    def case(folder: str) -> None:
        sys.path.insert(0, folder)
        from runtime import native

        native.find_in_object = lambda *args: set()
        runtime.install(green=True)
        import socket_cases

        assert type(socket_cases.socket.socket.recv) is type(case), "in Python"
        socket_cases.in_a_thread("parts")
        socket_cases.in_a_thread("timeouts")
        print("done")

    assert child(case, HERE).stdout == "done\n"
