"""What test_green_sockets.py runs in green threads: each function is a program."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import threading
import time
from typing import Any

import pytest

import runtime
from runtime.scheduler import Scheduler


def in_a_thread(name: str) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            globals()[name]()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client


def numbered(sock: socket.socket, number: int) -> socket.socket:
    """The same connection under this number, which is free."""
    fd = sock.detach()
    if fd != number:
        assert fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, number) == number
        os.close(fd)
    return socket.socket(fileno=number)


def later(function: Any, *args: object) -> None:
    threading.Timer(0.02, function, args).start()


def asked_and_answered(sock: socket.socket, other: socket.socket) -> None:
    """From here on nothing is there, which the poller knows, and the descriptor is registered."""
    later(other.sendall, b"first")
    assert sock.recv(100) == b"first"


def an_unclosed_socket_leaves_its_number_to_another() -> None:
    for _ in range(20):
        sock, other = connected()
        asked_and_answered(sock, other)
        number = sock.fileno()
        second, other = connected()
        del sock
        sock = numbered(second, number)
        later(other.sendall, b"second")
        assert sock.recv(100) == b"second"
        later(sock.sendall, b"third")
        assert other.recv(100) == b"third"


def a_number_is_overwritten() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    second, third = connected()
    third.sendall(b"is there before")
    os.dup2(second.fileno(), sock.fileno())
    assert sock.recv(100) == b"is there before"
    later(third.sendall, b"later")
    assert sock.recv(100) == b"later"


def a_range_is_closed() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    number = sock.fileno()
    second, third = connected()
    third.sendall(b"is there")
    os.closerange(number, number + 1)
    second = numbered(second, number)
    assert sock.recv(2) == b"is"
    assert second.recv(100) == b" there"
    sock.detach()


def a_descriptor_is_given_away() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    other.sendall(b"is there")
    second = socket.socket(fileno=sock.detach())
    del sock
    assert second.recv(100) == b"is there"
    later(other.sendall, b"later")
    assert second.recv(100) == b"later"


def what_was_given_away_is_closed_by_c() -> None:
    """The next socket has the number, and the memory, of the one before."""
    for _ in range(20):
        sock, other = connected()
        asked_and_answered(sock, other)
        spare, third = connected()
        number = sock.detach()
        del sock
        ctypes.CDLL(None).close(number)
        sock = numbered(spare, number)
        third.sendall(b"is there")
        assert sock.recv(100) == b"is there"


def a_copy_keeps_the_file_open() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    copy, number = sock.dup(), sock.fileno()
    second, third = connected()
    sock.close()
    second = numbered(second, number)
    other.sendall(b"for the copy")
    third.sendall(b"for the second")
    assert copy.recv(100) == b"for the copy"
    assert second.recv(100) == b"for the second"


def the_end_comes_with_the_data() -> None:
    for _ in range(20):
        sock, other = connected()
        asked_and_answered(sock, other)

        def send(other: socket.socket) -> None:
            other.sendall(b"last")
            other.close()

        later(send, other)
        assert sock.recv(100) == b"last"
        assert sock.recv(100) == b""
        assert sock.recv(100) == b""


def the_end_comes_after_the_data() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    later(other.shutdown, socket.SHUT_WR)
    assert sock.recv(100) == b""
    sock, other = connected()
    asked_and_answered(sock, other)
    later(sock.shutdown, socket.SHUT_RD)
    assert sock.recv(100) == b""


def urgent_data_ends_a_short_read() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    other.sendall(b"before")
    other.send(b"!", socket.MSG_OOB)
    other.sendall(b"after")
    time.sleep(0.05)
    assert sock.recv(100) == b"before"
    assert sock.recv(1, socket.MSG_OOB) == b"!"
    assert sock.recv(100) == b"after"


def rights_end_a_short_read() -> None:
    sock, other = socket.socketpair()
    later(other.sendall, b"first")
    assert sock.recv(100) == b"first"
    socket.send_fds(other, [b"with one"], [other.fileno()])
    other.sendall(b"without")
    assert sock.recv(100) == b"with one"
    assert sock.recv(100) == b"without"


def timeouts() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    for timeout in (1e-9, 0.001, 0.05):
        sock.settimeout(timeout)
        before = time.monotonic()
        with pytest.raises(TimeoutError, match=r"^timed out$"):
            sock.recv(1)
        assert time.monotonic() - before >= timeout
        with pytest.raises(TimeoutError, match=r"^timed out$"):
            sock.sendall(bytes(50_000_000))
    sock.settimeout(0)
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    sock.settimeout(20)
    other.sendall(b".")
    assert sock.recv(1) == b"."
    assert sock.get_inheritable() is False
    assert not os.get_blocking(sock.fileno())


def the_mode_of_the_descriptor_stays() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    assert os.get_blocking(sock.fileno())


def peeking_takes_nothing() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    later(other.sendall, b"data")
    assert sock.recv(100, socket.MSG_PEEK) == b"data"
    assert sock.recv(100, socket.MSG_PEEK) == b"data"
    assert sock.recv(100) == b"data"


def parts() -> None:
    """A full read says nothing about what is left."""
    sock, other = connected()
    other.sendall(b"abcdefgh")
    assert sock.recv(3) == b"abc"
    buffer = bytearray(4)
    assert sock.recv_into(buffer, 2) == 2
    assert sock.recv_into(memoryview(buffer)[2:]) == 2
    assert buffer == b"defg"
    assert sock.recv(3) == b"h"
    later(other.sendall, b"later")
    assert sock.recv_into(buffer, nbytes=2) == 2
    assert sock.recv(100) == b"ter"


def nothing() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    assert sock.recv(0) == b""
    assert sock.recv_into(bytearray()) == 0
    assert sock.send(b"") == 0
    sock.sendall(b"")


def several_readers() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    found: list[bytes] = []

    def read() -> None:
        for _ in range(10):
            found.append(sock.recv(1))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(40):
        time.sleep(0.001)
        other.sendall(bytes([number]))
    for thread in threads:
        thread.join()
    assert sorted(found) == [bytes([number]) for number in range(40)]


def much_both_ways() -> None:
    sock, other = connected()
    size, found = 5_000_000, []

    def read(sock: socket.socket) -> None:
        count = 0
        while count < size:
            count += len(sock.recv(100_000))
        found.append(count)

    threads = [threading.Thread(target=read, args=(each,)) for each in (sock, other)]
    threads += [threading.Thread(target=each.sendall, args=(bytes(size),)) for each in (sock, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [size, size]


def a_subclass_and_a_mock() -> None:
    from unittest import mock

    class Socket(socket.socket):
        def recv(self, *args: int) -> bytes:
            return b"<" + super().recv(*args) + b">"

    sock, other = connected()
    own = Socket(fileno=sock.detach())
    later(other.sendall, b"data")
    assert own.recv(100) == b"<data>"
    with mock.patch.object(socket.socket, "recv", return_value=b"mocked"):
        assert other.recv(1) == b"mocked"
    assert mock.Mock(spec=own).recv(1) is not None


def a_child_process_has_its_own() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    pid = os.fork()
    if not pid:
        other.sendall(b"from the child")
        assert sock.recv(100) == b"from the child"
        later(other.sendall, b"to the parent")
        time.sleep(0.1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert sock.recv(100) == b"to the parent"
    later(other.sendall, b"later")
    assert sock.recv(100) == b"later"


def two_schedulers() -> None:
    sock, other = connected()
    asked_and_answered(sock, other)
    found: list[bytes] = []

    def read() -> None:
        for _ in range(10):
            found.append(sock.recv(1))

    def run() -> None:
        mine = Scheduler()
        mine.spawn(read)
        mine.run()

    threads = [threading.Thread(target=read), *(runtime.Thread(target=run) for _ in range(2))]
    for thread in threads:
        thread.start()
    for number in range(30):
        time.sleep(0.001)
        other.sendall(bytes([number]))
    for thread in threads:
        thread.join()
    assert sorted(found) == [bytes([number]) for number in range(30)]


#: Those that need nothing else.
NAMES = [
    "an_unclosed_socket_leaves_its_number_to_another",
    "a_number_is_overwritten",
    "a_range_is_closed",
    "a_descriptor_is_given_away",
    "what_was_given_away_is_closed_by_c",
    "a_copy_keeps_the_file_open",
    "the_end_comes_with_the_data",
    "the_end_comes_after_the_data",
    "urgent_data_ends_a_short_read",
    "rights_end_a_short_read",
    "timeouts",
    "the_mode_of_the_descriptor_stays",
    "peeking_takes_nothing",
    "parts",
    "nothing",
    "several_readers",
    "much_both_ways",
    "a_subclass_and_a_mock",
    "a_child_process_has_its_own",
    "two_schedulers",
]
