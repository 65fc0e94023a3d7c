"""The methods of sockets and TLS sockets in green threads: what they cost, and that no event is lost or another's."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import socket_cases
import tls_cases
from commands import environment
from conftest import FREE_THREADED, SLOW, Child, count_calls, in_child, lines_between_marks, under_strace
from this_machine import TREE

import runtime
from runtime import patch

pytestmark = pytest.mark.timeout(30)
HERE = [str(Path(__file__).parent), str(TREE / "tests")]
OPTIONS = pytest.mark.parametrize("options", [{"time_slice": None}, {}], ids=["one LWP", "a time slice"])

#: A wait registers the descriptor, which counts for none of the calls after it.
WAITS_ONCE = """
import os, socket, sys, threading

def wait_once(sock, call):
    timeout = sock.gettimeout()
    sock.settimeout(1e-9)
    try:
        call()
    except TimeoutError:
        sock.settimeout(timeout)
"""

SERVER = """
def echo(connection):
    wait_once(connection, lambda: connection.recv(1))
    connection.sendall(b"!")
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


ACCEPTS = """
listener = socket.create_server(("127.0.0.1", 0))
listener.settimeout(eval(sys.argv[1]))

def serve():
    wait_once(listener, listener.accept)
    print(listener.getsockname()[1], flush=True)
    for number in range(int(sys.argv[2]) + 2):
        connection, _ = listener.accept()
        connection.sendall(b".")
        connection.close()
        if number == 1:  # the first two don't count
            os.access("/begin", 0)
    os.access("/end", 0)

threading.Thread(target=serve).start()
"""

#: The ends of an echo, by sys.argv[1]: how each reads, and how it writes.
ECHO = """
from functools import partial
timeout, folders, pem = eval(sys.argv[2]), sys.argv[3].split(":"), sys.argv[4]

def pipes(read, write):
    (a, b), (c, d) = os.pipe(), os.pipe()
    return [(partial(read, a), partial(write, d)), (partial(read, c), partial(write, b))]

def readv(fd):
    parts = bytearray(2), bytearray(100)
    length = os.readv(fd, parts)
    return b"".join(parts)[:length]

def writev(fd, data):
    os.writev(fd, [data[:1], data[1:]])

def datagrams(read, write):
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for end in ends:
        end.bind(("127.0.0.1", 0))
        end.settimeout(timeout)
    return [(partial(read, end), partial(write, end, to.getsockname())) for end, to in (ends, ends[::-1])]

def tls():
    sys.path[:0] = folders
    import tls_cases
    return [(partial(end.recv, 100), end.sendall) for end in tls_cases.secured(pem, timeout)]

def echo():
    while data := read():
        write(data)

def ask(times):
    for _ in range(times):
        ask_write(b"data")
        assert ask_read() == b"data"

def count():
    ask(3)  # after which both are registered
    os.access("/begin", 0)
    ask(20)
    os.access("/end", 0)
    os._exit(0)

(read, write), (ask_read, ask_write) = eval(sys.argv[1])
print(0, flush=True)
for each in (echo, count):
    threading.Thread(target=each).start()
"""
ECHO_WAITS = {"epoll_pwait2": 42, "epoll_wait": 42}
A_PIPE = {"pwritev2": 40, "preadv2": 82, "lseek": 82, "fcntl": 42, "epoll_ctl": 42, **ECHO_WAITS}
#: For 40 messages: how often each call may be made, and the first, which sends, is.
ECHOES = {
    "pipes": ("pipes(lambda fd: os.read(fd, 100), os.write)", A_PIPE),
    "pipes by parts": ("pipes(readv, writev)", A_PIPE),
    # One call to receive it, one to send, and one to find that no other is there.
    "datagrams": (
        "datagrams(lambda end: end.recvfrom(100)[0], lambda end, to, data: end.sendto(data, to))",
        {"sendto": 40, "recvfrom": 80, **ECHO_WAITS},
    ),
    "messages": (
        "datagrams(lambda end: end.recvmsg(100)[0], lambda end, to, data: end.sendmsg([data], [], 0, to))",
        {"sendmsg": 40, "recvmsg": 80, **ECHO_WAITS},
    ),
    # For a record in vain, its head, its body, and one that is written.
    "tls": ("tls()", {"write": 40, "read": 3 * 40, "ioctl": 2 * 3 * 40, **ECHO_WAITS}),
}


#: What is ready at once: sys.argv[1] is done 20 times.
READY = """
import tempfile, tty
read, write = os.pipe()
primary, secondary = os.openpty()
tty.setraw(secondary)
one, other = socket.socketpair()
file = tempfile.TemporaryFile()
file.write(bytes(60_000))
file.flush()
os.write(primary, bytes(20))
os.write(write, bytes(20))
raw, text = open(read, "rb", 0), open(write, "w")
one.settimeout(30)
wait_once(one, lambda: one.recv(1))

def run():
    file.seek(0)
    os.access("/begin", 0)
    for _ in range(20):
        exec(sys.argv[1])
    os.access("/end", 0)

print(0, flush=True)
threading.Thread(target=run).start()
"""

ALLOCATORS = {"brk", "getrandom", "madvise", "mmap", "mremap", "munmap"}
#: For each: the calls that it makes.
READY_AT_ONCE = {
    "os.read(read, 1)": "lseek preadv2",
    "os.readv(read, [bytearray(1)])": "lseek preadv2",
    "os.write(write, b'x')": "lseek pwritev2",
    "os.writev(write, [b'x', b'y'])": "lseek pwritev2",
    # Files of open(), as subprocess and sys.stdin have them.
    "raw.read(1)": "lseek preadv2",
    "raw.readinto(bytearray(1))": "lseek preadv2",
    "print(end='x', file=text, flush=True)": "lseek pwritev2",
    # RWF_NOWAIT isn't known there.
    "os.read(secondary, 1)": "lseek preadv2 ppoll read",
    "os.readv(secondary, [bytearray(1)])": "lseek preadv2 ppoll readv",
    "os.write(secondary, b'x')": "lseek pwritev2 ppoll write",
    "os.writev(secondary, [b'x', b'y'])": "lseek pwritev2 ppoll writev",
    # preadv2: whether the first byte is in memory, then all is read by one call.
    "os.read(file.fileno(), 3000)": "lseek preadv2 read",
    "os.readv(file.fileno(), [bytearray(3000)])": "lseek preadv2 readv",
    # lseek: of file.seek()
    "one.sendfile(file, 0, 100); other.recv(100)": "fstat preadv2 pread64 sendto recvfrom lseek",
    "os.sendfile(write, file.fileno(), 0, 100); os.read(read, 100)": "fstat fstat fcntl preadv2 pread64 lseek pwritev2"
    " lseek preadv2",
}


PATIENCE = 20 * SLOW  # seconds until it hangs: programs under strace


def counted(
    tmp_path: Path, program: str, arguments: list[str], talk: Callable[[int], None] = lambda port: None, **options: Any
) -> Counter[str]:
    """The system calls of a green program between its two marks.  talk: with the port that it prints."""
    script, trace = tmp_path / "server.py", tmp_path / "trace"
    script.write_text(f"import runtime\nruntime.install(green=True, **{options})\n{WAITS_ONCE}{program}")
    command = [*under_strace(trace), sys.executable]
    with subprocess.Popen(
        [*command, str(script), *arguments], stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout
        talk(int(process.stdout.readline()))
        assert process.wait(PATIENCE) == 0
    return count_calls(lines_between_marks(trace))


def test_an_echo_is_two_system_calls(tmp_path: Path) -> None:
    """And one epoll_wait for all connections that are ready at a time: no poll, no epoll_ctl."""
    many, rounds = 8, 50

    def talk(port: int) -> None:
        connections = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(many)]

        def ask(data: bytes, some: list[socket.socket] = connections) -> None:
            for connection in some:
                connection.sendall(data)
            for connection in some:
                assert connection.recv(100) == data

        assert all(connection.recv(1) == b"!" for connection in connections)
        ask(b"/begin", connections[:1])
        for _ in range(rounds):
            ask(b".")
        ask(b"/end", connections[:1])
        for connection in connections:
            connection.close()

    # With a time slice a second LWP overtakes one that the kernel keeps from its processor, and is woken by a write.
    calls = counted(tmp_path, SERVER, [], talk, time_slice=None)
    assert calls["recvfrom"] <= many * rounds + 2  # the first and the last are around the marks
    assert calls["sendto"] <= many * rounds + 2
    assert calls["epoll_pwait2"] + calls["epoll_wait"] <= many * rounds + 2
    assert not calls["poll"]
    assert not calls["epoll_ctl"]
    # Without a GIL a second LWP may have taken some from the queue, and left the rest to one that sleeps in epoll_wait.
    assert calls["write"] <= (many if FREE_THREADED else 0), "the LWP wakes itself"


@pytest.mark.parametrize("timeout", [None, 20])
def test_what_an_accept_costs(timeout: int | None, tmp_path: Path) -> None:
    """A try when the connection is there, and one to find that no other is: in blocking mode accept4 can't try."""
    many = 20

    def talk(port: int) -> None:
        for _ in range(many + 2):
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                assert connection.recv(1) == b"."

    calls = counted(tmp_path, ACCEPTS, [repr(timeout), str(many)], talk)
    assert not calls["epoll_ctl"]
    assert not calls["poll"]
    if timeout:
        assert calls["accept4"] <= 2 * many
        assert not calls["ppoll"]
    else:
        assert calls["accept4"] == many
        assert calls["ppoll"] <= 2 * many


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("ends", "timeout"),
    [(ends, timeout) for ends in ECHOES for timeout in ([None] if "pipes" in ends else [None, 20])],
)
def test_what_an_echo_costs(ends: str, timeout: int | None, tmp_path: Path, pem: str) -> None:
    """Each end tries, then waits, and poll(2) is never asked."""
    text, most = ECHOES[ends]
    arguments = [text, repr(timeout), ":".join(HERE), pem]
    calls = counted(tmp_path, ECHO, arguments, time_slice=None)
    if "pipes" in ends and (calls["read"] or calls["readv"]):
        pytest.skip("this Linux has no RWF_NOWAIT for pipes")
    assert calls[next(iter(most))] == 40
    assert not {name: count for name, count in calls.items() if count > most.get(name, 0) and name not in ALLOCATORS}
    assert not (timeout and calls["ioctl"]), "the mode is changed for a try only if it must be"


@pytest.mark.parametrize("call", READY_AT_ONCE)
def test_what_is_ready_costs(call: str, tmp_path: Path) -> None:
    """No wait, and poll(2) only where a call can't be tried."""
    calls = counted(tmp_path, READY, [call], time_slice=None)
    # The allocator's may come once in twenty, by what the program has allocated before.
    found = {name: count / 20 for name, count in calls.items() if count >= 20 or name not in ALLOCATORS}
    assert found == Counter(READY_AT_ONCE[call].split())


def case(folders: list[str], options: dict[str, Any], module: str, name: str, *args: Any) -> None:
    sys.path[:0] = folders
    cases = __import__(module)
    runtime.install(green=True, **options)
    if name == "signals_come_in_a_wait":
        getattr(cases, name)()  # handlers run in the main thread
    else:
        cases.together(lambda: getattr(cases, name)(*args))
    print("done")


@pytest.mark.parametrize("name", socket_cases.NAMES)
@OPTIONS
def test_sockets(name: str, options: dict[str, Any], child: Child) -> None:
    assert child(case, HERE, options, "socket_cases", name).stdout == "done\n"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", tls_cases.NAMES)
@pytest.mark.parametrize("timeout", [None, 20])
@OPTIONS
def test_tls(name: str, timeout: int | None, options: dict[str, Any], child: Child, pem: str) -> None:
    assert child(case, HERE, options, "tls_cases", name, pem, timeout).stdout == "done\n"


@in_child(says="it can't be found where a socket of this Python has its descriptor and timeout\n")
def test_sockets_with_unknown_insides_are_refused() -> None:
    """Another CPython may have changed them.  Here they are of a class whose objects can't be copied as bytes."""

    stock, sleep = socket.socket, time.sleep
    socket.socket = type("Socket", (stock,), {})  # type: ignore[misc]
    try:
        runtime.install(green=True)
    except RuntimeError as error:
        print(error)
    assert not patch.is_installed()
    assert time.sleep is sleep
    socket.socket = stock  # type: ignore[misc]
    runtime.install(green=True)


@in_child(prints="refused\n")
def test_no_socket_is_made_to_find_their_insides() -> None:
    """A sandbox may forbid it."""

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.__new__":
            raise PermissionError(event)

    sys.addaudithook(refuse)
    runtime.install(green=True)
    try:
        socket.socket()
    except PermissionError:
        print("refused")
