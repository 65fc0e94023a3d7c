"""Sockets in threads with an LWP of their own: the results of CPython's calls, and the way back to the GIL."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Child

import runtime

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def in_force() -> Iterator[None]:
    with runtime.installed():
        yield


# ---- as CPython's ----------------------------------------------------------------------------------------------------


def outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return type(error), error.args


def outcomes(end: socket.socket) -> list[Any]:
    return [
        *(outcome(end.recv, *args) for args in [(-1,), (0,), (), ("1",), (1, 0, 0), (1, "0"), (1, 1 << 40)]),
        *(outcome(end.recv, 1, flags) for flags in (socket.MSG_DONTWAIT, socket.MSG_OOB)),
        *(outcome(end.recv_into, bytearray(4), *args) for args in [(-1,), (5,), ("1",), (1, socket.MSG_DONTWAIT)]),
        *(outcome(end.recv_into, *args) for args in [(), (b"constant",), (bytearray(),)]),
        outcome(end.recv_into, bytearray(4), wrong=1),
        outcome(end.recv_into, bytearray(4), nbytes=9, flags=0),
        *(outcome(call, *args) for call in (end.send, end.sendall) for args in [(), ("text",), (b"", 0), (b"x", "0")]),
        outcome(end.sendall, b"x", flags=1),
    ]


def outcomes_of_each_kind() -> list[Any]:
    found = []
    for timeout in (None, 0.05, 0):
        one, other = socket.socketpair()
        with one, other:
            one.settimeout(timeout)
            found += outcomes(one)
            if timeout is not None:  # nothing comes, and nobody reads
                found += [outcome(one.recv, 1), outcome(one.recv_into, bytearray(1))]
                found += [outcome(one.sendall, bytes(1 << 24))]
        found += [outcome(one.recv, 1), outcome(one.sendall, b"x")]  # closed
        one, other = socket.socketpair()
        with one:
            one.settimeout(timeout)
            other.close()
            found += [outcome(one.recv, 1), outcome(one.recv_into, bytearray(1)), outcome(one.sendall, b"x")]
    return found


def test_answers_and_errors_are_stocks(in_force: None) -> None:
    ours = outcomes_of_each_kind()
    runtime.uninstall()
    try:
        assert ours == outcomes_of_each_kind()
    finally:
        runtime.install()


@pytest.mark.parametrize("timeout", [None, 20])
def test_data_arrives_whole(timeout: float | None, in_force: None) -> None:
    one, other = socket.socketpair()
    one.settimeout(timeout)
    other.settimeout(timeout)
    data = os.urandom(3_000_001)
    sender = threading.Thread(target=one.sendall, args=(data,))
    with one, other:
        sender.start()
        assert other.recv(5, socket.MSG_PEEK) == data[:5]
        assert other.recv(4, socket.MSG_WAITALL) == data[:4]
        got, buffer = bytearray(data[:4]), bytearray(1000)
        while len(got) < len(data):
            got += other.recv(70_000)
            if len(got) < len(data):
                got += buffer[: other.recv_into(buffer)]
        sender.join()
    assert got == data


def test_a_signal_handler_runs_and_may_end_the_wait(in_force: None) -> None:
    one, other = socket.socketpair()
    called: list[int] = []

    def handle(*args: object) -> None:
        called.append(1)
        if len(called) == 2:
            raise InterruptedError
        signal.setitimer(signal.ITIMER_REAL, 0.02)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with one, other:
            for timeout in (None, 30):
                called.clear()
                one.settimeout(timeout)
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                with pytest.raises(InterruptedError):
                    one.recv(1)
                assert len(called) == 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_uninstall_gives_it_back() -> None:
    method = socket.socket.recv
    with runtime.installed():
        assert socket.socket.recv is method
    one, other = socket.socketpair()
    with one, other:
        other.sendall(b"x")
        assert one.recv(2) == b"x"


# ---- the way back to the GIL -----------------------------------------------------------------------------------------


def many_have_something_to_receive(many: int) -> None:
    import ctypes
    import os
    import resource
    import socket
    import threading
    import time

    def asleep() -> int:
        count = 0
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/wchan") as place:
                count += "unix_stream" in place.read()
        return count

    runtime.install()
    one, other = socket.socketpair()
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(one.recv(1))) for _ in range(many)]
    for thread in threads:
        thread.start()
    while asleep() < many:
        time.sleep(0.001)
    with_gil = ctypes.PyDLL(None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    with_gil.shutdown(other.fileno(), socket.SHUT_WR)
    with_gil.usleep(500_000)  # who waits for the GIL wakes every 5 ms
    for thread in threads:
        thread.join()
    assert got == [b""] * many
    print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before)


def test_few_wait_for_the_gil_at_one_time(child: Child) -> None:
    many = 200
    woken = int(child(many_have_something_to_receive, many).stdout)
    assert woken < 15 * many  # 100 each, if all of them do
