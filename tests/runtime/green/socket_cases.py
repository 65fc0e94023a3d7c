"""What test_green_sockets.py runs in green threads: each function is a program."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import inspect
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from without_pytest import raises, run_thread, together

import runtime
from runtime.scheduler import Scheduler

TIMEOUTS = (None, 20)  # with a timeout a socket's descriptor is in non-blocking mode


@contextmanager
def beside(function: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=function)
    thread.start()
    yield thread
    thread.join()


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


def registered() -> tuple[socket.socket, socket.socket]:
    """Connected.  The poller knows that the first has nothing to read, and its descriptor is in blocking mode."""
    sock, other = connected()
    later(other.sendall, b"first")
    assert sock.recv(100) == b"first"
    assert os.get_blocking(sock.fileno())
    return sock, other


def what_is_not_closed_leaves_its_number_to_another() -> None:
    """Its object dies, or C has closed it.  The next socket may also have the memory of the one before."""
    for by_c in [False, True] * 15:
        sock, _other = registered()
        (second, third), number = connected(), sock.fileno()
        if by_c:
            ctypes.CDLL(None).close(sock.detach())
        del sock
        sock = numbered(second, number)
        third.sendall(b"is there")
        assert sock.recv(100) == b"is there"
        later(third.sendall, b"later")
        assert sock.recv(100) == b"later"
        later(sock.sendall, b"back")
        assert third.recv(100) == b"back"


def a_number_is_overwritten() -> None:
    sock, _other = registered()
    second, third = connected()
    third.sendall(b"is there before")
    os.dup2(second.fileno(), sock.fileno())
    assert sock.recv(100) == b"is there before"
    later(third.sendall, b"later")
    assert sock.recv(100) == b"later"


def a_range_is_closed() -> None:
    sock, _other = registered()
    number = sock.fileno()
    second, third = connected()
    third.sendall(b"is there")
    os.closerange(number, number + 1)
    second = numbered(second, number)
    assert sock.recv(2) == b"is"
    assert second.recv(100) == b" there"
    sock.detach()


def a_descriptor_is_given_away() -> None:
    sock, other = registered()
    other.sendall(b"is there")
    second = socket.socket(fileno=sock.detach())
    del sock
    assert second.recv(100) == b"is there"
    later(other.sendall, b"later")
    assert second.recv(100) == b"later"


def a_copy_keeps_the_file_open() -> None:
    sock, other = registered()
    copy, number = sock.dup(), sock.fileno()
    second, third = connected()
    sock.close()
    second = numbered(second, number)
    other.sendall(b"for the copy")
    third.sendall(b"for the second")
    assert copy.recv(100) == b"for the copy"
    assert second.recv(100) == b"for the second"


def the_end_comes_with_the_data_or_after_it() -> None:
    for _ in range(20):
        sock, other = registered()
        later(lambda other: (other.sendall(b"last"), other.close()), other)
        assert sock.recv(100) == b"last"
        assert sock.recv(100) == b""
        assert sock.recv(100) == b""
    for here, how in ((1, socket.SHUT_WR), (0, socket.SHUT_RD)):
        ends = registered()
        later(ends[here].shutdown, how)
        assert ends[0].recv(100) == b""


def urgent_data_ends_a_short_read() -> None:
    sock, other = registered()
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


def peeking_takes_nothing() -> None:
    sock, other = registered()
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
    assert sock.recv(0) == b""
    assert sock.recv_into(bytearray()) == 0
    assert sock.send(b"") == 0
    sock.sendall(b"")


def receives(sock: socket.socket) -> list[Any]:
    """All that receive eight bytes with given flags."""
    buffer = bytearray(8)
    return [
        lambda flags: sock.recv(8, flags),
        lambda flags: buffer[: sock.recv_into(buffer, 0, flags)],
        lambda flags: buffer[: sock.recv_into(buffer, flags=flags, nbytes=8)],
        lambda flags: sock.recvfrom(8, flags)[0],
        lambda flags: buffer[: sock.recvfrom_into(buffer, flags=flags)[0]],
        lambda flags: sock.recvmsg(8, 0, flags)[0],
        lambda flags: buffer[: sock.recvmsg_into([buffer], 0, flags)[0]],
    ]


def rare_flags() -> None:
    """MSG_WAITALL: the whole, though it comes in parts, from an LWP of its own.  MSG_TRUNC: a datagram's own length."""
    for timeout in TIMEOUTS:
        sock, other = connected()
        sock.settimeout(timeout)
        for receive in receives(sock):
            if timeout:  # its descriptor is in non-blocking mode
                later(other.sendall, b"half")
                assert receive(socket.MSG_WAITALL) == b"half"
                continue
            sender = runtime.Thread(target=send_slowly, args=(other, b"half", b"more"))
            sender.start()
            assert receive(socket.MSG_WAITALL) == b"halfmore"
            sender.join()
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.settimeout(timeout)
        for receive in (partial(one.recv, 2), partial(one.recv_into, bytearray(2), 2)):
            later(two.send, b"datagram", socket.MSG_EOR)
            found: Any = receive(socket.MSG_TRUNC)
            assert (found if isinstance(found, int) else len(found)) == 8


def send_slowly(sock: socket.socket, *parts: bytes) -> None:
    for part in parts:
        time.sleep(0.02)
        sock.sendall(part)


def each_byte_is_read_once(count: int, *readers: Callable[[Callable[[], None]], object]) -> None:
    """Of `count` that are sent one after the other.  Each reader calls what reads ten of them."""
    sock, other = registered()
    found: list[bytes] = []

    def send() -> None:
        for number in range(count):
            time.sleep(0.001)
            other.sendall(bytes([number]))

    def read() -> None:
        for _ in range(10):
            found.append(sock.recv(1))

    together(*(partial(reader, read) for reader in readers), send)
    assert sorted(found) == [bytes([number]) for number in range(count)]


def several_readers() -> None:
    each_byte_is_read_once(40, *[lambda read: read()] * 4)


def much_both_ways() -> None:
    ends, size = connected(), 5_000_000
    reads = [partial(drain, partial(sock.recv, 100_000), size, []) for sock in ends]
    together(*reads, *(partial(sock.sendall, bytes(size)) for sock in ends))


def drain(read: Callable[[], bytes], size: int, found: list[bytes]) -> None:
    while sum(map(len, found)) < size:
        found.append(read())
    assert sum(map(len, found)) == size


def a_blocking_send_sends_all() -> None:
    for send in (socket.socket.send, lambda one, data: one.sendmsg([data[:10], memoryview(data)[10:]])):
        one, other = connected()
        data = os.urandom(30_000_001)
        with collecting(partial(other.recv, 100_000)) as got:
            assert send(one, data) == len(data)
            one.settimeout(20)
            assert 0 < send(one, data) <= len(data)
            one.close()
        assert b"".join(got)[: len(data)] == data


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
    sock, other = registered()
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
    def on_another(read: Callable[[], None]) -> None:
        mine = Scheduler()
        mine.spawn(read)
        run_thread(runtime.Thread(target=mine.run))

    each_byte_is_read_once(30, lambda read: read(), on_another, on_another)


def many_connect_at_once() -> None:
    """One event of the listener may stand for many connections."""
    for timeout in TIMEOUTS:
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            listener.settimeout(timeout)
            assert os.get_blocking(listener.fileno()) is (timeout is None)
            found: list[bytes] = []
            serve = partial(accept_many, listener, found)
            together(serve, serve, partial(connect_many, listener.getsockname()))
            assert sorted(found) == [bytes([number]) for number in range(30)]


def accept_many(listener: socket.socket, found: list[bytes]) -> None:
    for _ in range(15):
        connection, _ = listener.accept()
        assert connection.gettimeout() is None
        assert os.get_blocking(connection.fileno())
        assert not connection.get_inheritable()
        found.append(connection.recv(10))


def connect_many(address: Any) -> None:
    time.sleep(0.01)
    clients = [socket.create_connection(address) for _ in range(30)]
    for number, client in enumerate(clients):
        client.sendall(bytes([number]))


def what_does_not_listen_accepts_nothing() -> None:
    sock, _ = connected()
    with raises(OSError, match="Invalid argument"):
        sock.accept()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, raises(OSError, match="not supported"):
        sock.accept()


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def datagrams() -> None:
    server, client = bound(), bound()
    address = server.getsockname()
    for timeout in TIMEOUTS:
        server.settimeout(timeout)
        later(client.sendto, b"one", address)
        assert server.recvfrom(100) == (b"one", client.getsockname())
        assert client.sendto(b"two and more", 0, address) == 12
        assert server.recvfrom(3, socket.MSG_PEEK)[0] == b"two"
        assert server.recvfrom(3) == (b"two", client.getsockname())
        buffer = bytearray(10)
        later(client.sendto, b"three", address)
        assert server.recvfrom_into(buffer) == (5, client.getsockname())
        client.sendto(b"four", address)
        assert server.recvfrom_into(buffer, 2) == (2, client.getsockname())
        client.sendto(b"", address)
        assert server.recvfrom(100)[0] == b""
        later(client.sendmsg, [b"fi", b"ve"], [], 0, address)
        assert server.recvmsg(100) == (b"five", [], 0, client.getsockname())


def datagrams_by_name() -> None:
    """The name is looked up by a helper, and the others go on."""
    from runtime.patch.blocking import sockets

    asked: list[Any] = []
    stock = sockets.getaddrinfo
    sockets.getaddrinfo = lambda *args: (asked.append(args[0]), stock(*args))[1]  # type: ignore[assignment]
    server = bound()
    port = server.getsockname()[1]
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"number", ("127.0.0.1", port))
    assert not asked
    client.sendto(b"one", ("localhost", port))
    client.sendto(b"two", 0, ("localhost", port))
    client.sendmsg([b"three"], [], 0, ("localhost", port))
    assert [server.recv(10) for _ in range(4)] == [b"number", b"one", b"two", b"three"]
    client.connect(("localhost", port))
    assert asked == ["localhost"] * 4
    for port_ in (70_000, "http"):
        with raises((OverflowError, TypeError), match=r"port|integer"):
            client.sendto(b"x", ("localhost", port_))
    with raises(socket.gaierror):
        client.sendto(b"x", ("no.such.name.invalid", port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    client.connect(("<broadcast>", port))


def nobody_is_there() -> None:
    """An error makes the socket ready."""
    with bound() as sock:
        address = sock.getsockname()
    for timeout in TIMEOUTS:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(address)
        client.settimeout(timeout)
        later(client.send, b"lost")
        with raises(ConnectionRefusedError):
            client.recvfrom(100)


def a_full_queue_of_datagrams() -> None:
    """Nothing says when the receiver of a Unix socket that is not connected has space."""
    server, address = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), f"\0green-{os.getpid()}"
    server.bind(address)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.settimeout(0.05)
    sent = 0
    with suppress(TimeoutError):
        while True:
            client.sendto(b"x", address)
            sent += 1
    assert sent > 2
    later(server.recv, 10)
    client.settimeout(None)
    client.sendto(b"y", address)
    later(server.recv, 10)
    client.sendmsg([b"z"], [], 0, address)
    assert [server.recv(10) for _ in range(sent)] == [b"x"] * (sent - 2) + [b"y", b"z"]


def descriptors_are_passed() -> None:
    for timeout in TIMEOUTS:
        sock, other = socket.socketpair()
        sock.settimeout(timeout)
        read, write = os.pipe()
        later(socket.send_fds, other, [b"one"], [read])
        data, fds, _, _ = socket.recv_fds(sock, 100, 4)
        assert data == b"one"
        os.write(write, b"through it")
        assert os.read(fds[0], 100) == b"through it"
        buffer = bytearray(2), bytearray(20)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, read.to_bytes(4, "little"))
        later(other.sendmsg, iter([b"ab", b"cd"]), iter([rights]))
        count, ancillary, _, _ = sock.recvmsg_into(iter(buffer), socket.CMSG_SPACE(4))
        assert count == 4
        assert b"".join(buffer)[:4] == b"abcd"
        assert ancillary[0][:2] == rights[:2]


def a_generator_is_sent_once_it_fits() -> None:
    sock, other = connected()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
    sock.settimeout(0.01)
    with raises(TimeoutError):
        sock.sendall(bytes(50_000_000))
    sock.settimeout(20)
    other.settimeout(0.2)
    later(read_until_silence, other)
    assert sock.sendmsg(part for part in (b"a", b"b")) == 2


def read_until_silence(sock: socket.socket) -> None:
    with suppress(TimeoutError):
        while sock.recv(1_000_000):
            pass


def waiting(sock: socket.socket) -> list[tuple[socket.socket, Callable[[], object]]]:
    """Calls that wait, each with its socket: nothing is there, and nobody connects."""
    calls: list[Callable[[], object]] = [
        lambda: sock.recv(10),
        lambda: sock.recv_into(bytearray(10)),
        lambda: sock.recvfrom(10),
        lambda: sock.recvfrom_into(bytearray(10)),
        lambda: sock.recvmsg(10, 10),
        lambda: sock.recvmsg_into([bytearray(10)]),
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    return [*((sock, call) for call in calls), (listener, listener.accept)]


def timeouts() -> None:
    sock, other = registered()
    for each, call in [*waiting(sock), (sock, partial(sock.sendall, bytes(50_000_000)))]:
        for timeout in (1e-9, 0.001, 0.03):
            each.settimeout(timeout)
            before = time.monotonic()
            with raises(TimeoutError, match=r"^timed out$"):
                call()
            assert timeout <= time.monotonic() - before < timeout + 5
            assert each.gettimeout() == timeout
        each.settimeout(0)
        with raises(BlockingIOError):
            call()
    sock.settimeout(20)
    other.sendall(b".")
    assert sock.recv(1) == b"."
    assert sock.get_inheritable() is False
    assert not os.get_blocking(sock.fileno())


def closes(fd: int, close: Callable[[], object], another: int, call: Callable[[], object]) -> None:
    """The call gets EBADF when another green thread closes what it waits for, and the number is another's at once."""
    closed = threading.Event()

    def replace() -> None:
        close()
        os.dup2(another, fd)
        closed.set()

    later(replace)
    with raises(OSError, match="Bad file descriptor"):
        call()
    assert closed.wait(20)  # the call has ended between the two lines


def closed_meanwhile() -> None:
    for index in range(8):
        for timeout in TIMEOUTS:
            sock, _peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM if index == 7 else socket.SOCK_DGRAM)
            sock, call = [*waiting(sock), (sock, partial(sock.sendall, bytes(10_000_000)))][index]
            sock.settimeout(timeout)
            second, third = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            third.send(b"for the second")
            number = sock.fileno()
            closes(number, sock.close, second.fileno(), call)
            assert second.recv(100) == b"for the second"
            os.close(number)


def the_timeout_is_seen_by_others() -> None:
    """A call doesn't change it meanwhile."""
    sock, other = connected()
    sock.settimeout(20)
    seen: set[Any] = set()

    def look() -> None:
        for _ in range(300):
            seen.add(sock.gettimeout())
            other.sendall(b".")  # which the call waits for

    with beside(look):
        for _ in range(300):
            assert sock.recvfrom(1)[0] == b"."
    assert seen == {20}


def unconnected(timeout: float | None, family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family)
    sock.settimeout(timeout)
    return sock


def connecting() -> None:
    for timeout in TIMEOUTS:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            sock = unconnected(timeout)
            sock.connect(address)
            assert os.get_blocking(sock.fileno()) is (timeout is None)
            assert sock.gettimeout() == timeout
            with raises(OSError, match="already connected"):
                sock.connect(address)
            listener.accept()[0].sendall(b"hello")
            assert sock.recv(10) == b"hello"
            sock = unconnected(timeout)
            assert sock.connect_ex(address) == 0
            assert sock.connect_ex(("localhost", address[1])) == errno.EISCONN
            listener.accept()[0].close()
        sock = unconnected(timeout)
        for _ in range(3):
            with raises(ConnectionRefusedError):
                sock.connect(address)
            assert sock.connect_ex(address) == errno.ECONNREFUSED
        assert os.get_blocking(sock.fileno()) is (timeout is None)
        with socket.create_server(address):
            sock.connect(address)


def filled(listener: socket.socket, address: Any) -> list[socket.socket]:
    """What fills its backlog: the next connection waits."""
    socks: list[socket.socket] = []
    for _ in range(4):
        socks.append(unconnected(0.05, listener.family))
        if result := socks[-1].connect_ex(address):
            break
    assert result == errno.EAGAIN
    return socks


def connecting_takes_too_long() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    path = f"\0connect-{os.getpid()}"
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    unix.listen(0)
    for server, address in ((listener, listener.getsockname()), (unix, path)):
        _socks = filled(server, address)
        with raises(TimeoutError, match=r"^timed out$"):
            unconnected(0.02, server.family).connect(address)
    sock = socket.socket(socket.AF_UNIX)
    later(unix.accept)
    sock.connect(path)
    assert os.get_blocking(sock.fileno())


def closed_while_connecting() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    _socks = filled(listener, listener.getsockname())
    sock = socket.socket()
    later(sock.close)
    with raises(OSError, match="Bad file descriptor"):
        sock.connect(listener.getsockname())
    sock = socket.socket()
    later(sock.close)
    assert sock.connect_ex(listener.getsockname()) == errno.EBADF


def signals_come_in_a_wait() -> None:
    """A handler that returns lets the wait go on, one that raises ends it.  Handlers run in the main thread."""
    seen: list[int] = []

    def handle(number: int, frame: Any) -> None:
        seen.append(number)
        if len(seen) == 2:
            raise KeyError("from the handler")
        signal.setitimer(signal.ITIMER_REAL, 0.02)

    signal.signal(signal.SIGALRM, handle)
    sock, _other = connected()
    for each, call in waiting(sock):
        for timeout in TIMEOUTS:
            each.settimeout(timeout)
            seen.clear()
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with raises(KeyError):
                call()
    later(socket.create_connection, each.getsockname())
    call()


def another_forks_meanwhile() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    found: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            with listener.accept()[0] as connection:
                found.append(connection.recvfrom(10)[0])

    with beside(serve):
        time.sleep(0.01)
        for data in (b"one", b"two"):
            pid = os.fork()
            if not pid:
                sock = socket.socket()
                sock.connect(listener.getsockname())
                sock.sendall(data)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
    assert found == [b"one", b"two"]


def a_file_is_sent() -> None:
    data = bytes(range(256)) * 8000
    sock, other = connected()
    with collecting(partial(other.recv, 100_000)) as found, tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        assert sock.sendfile(file, 1, 2_000_000) == 2_000_000
        assert file.tell() == 2_000_001
        sock.settimeout(10)
        assert sock.sendfile(file, 2_000_001) == len(data) - 2_000_001
        sock.settimeout(0)
        with raises(ValueError, match="non-blocking"):
            sock.sendfile(file)
        sock.shutdown(socket.SHUT_WR)
    assert b"".join(found) == data[1:]


def pipe_and_sockets() -> Iterator[tuple[int, int]]:
    """Of both kinds the ends to read from and to write to."""
    yield os.pipe()
    read, write = socket.socketpair()
    yield read.detach(), write.detach()


def collect(read: Callable[[], bytes], found: list[bytes]) -> None:
    while part := read():
        found.append(part)


@contextmanager
def collecting(read: Callable[[], bytes]) -> Iterator[list[bytes]]:
    """What read() returns in another thread, up to the end."""
    found: list[bytes] = []
    with beside(partial(collect, read, found)):
        yield found


def reading_waits_and_ends() -> None:
    for read, write in pipe_and_sockets():
        later(os.write, write, b"one")
        assert os.read(read, 100) == b"one"
        assert os.write(write, memoryview(b"two and more")) == 12
        assert os.read(read, 3) == b"two"
        assert os.read(read, 100) == b" and more"
        assert os.read(read, 0) == b""
        assert os.write(write, b"") == 0
        later(os.close, write)
        assert os.read(read, 100) == b""
        assert os.read(read, 100_000) == b""
        assert os.get_blocking(read)


def more_than_a_pipe_holds() -> None:
    """As in blocking mode, all of it is written."""
    data = bytes(range(250)) * 4000
    for write_all in (os.write, lambda fd, data: os.writev(fd, [data[:10], data[10:]])):
        for read, write in pipe_and_sockets():
            with collecting(partial(os.read, read, 5000)) as parts:
                assert write_all(write, data) == len(data)
                os.close(write)
            assert b"".join(parts) == data


def nobody_reads() -> None:
    read, write = os.pipe()
    os.close(read)
    with raises(BrokenPipeError):
        os.write(write, b"x")
    read, write = os.pipe()
    later(os.close, read)
    assert 0 < os.write(write, bytes(1_000_000)) < 1_000_000
    with raises(BrokenPipeError):
        os.write(write, bytes(1_000_000))


def pipes_in_the_other_mode() -> None:
    read, write = os.pipe2(os.O_NONBLOCK)
    with raises(BlockingIOError):
        os.read(read, 1)
    written = os.write(write, bytes(1_000_000))
    assert 0 < written < 1_000_000
    with raises(BlockingIOError):
        os.write(write, b"x")
    assert len(os.read(read, 60_000)) == 60_000


def files_are_read_and_written_whole() -> None:
    data = os.urandom(300_000)
    with tempfile.TemporaryFile(dir=".") as file:
        fd = file.fileno()
        assert os.write(fd, data) == len(data)
        os.fsync(fd)
        for start in (0, 50_000):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.pread(fd, 4096, start)  # a part is in memory
            os.lseek(fd, start, os.SEEK_SET)
            assert os.read(fd, 60_000) == data[start : start + 60_000]
        os.lseek(fd, -10, os.SEEK_END)
        assert os.read(fd, 100) == data[-10:]
        assert os.read(fd, 100) == b""
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.read(fd, 1_000_000) == data


def a_file_is_read_by_one_call() -> None:
    """Otherwise another thread reads what comes behind the part that is in memory."""
    numbers = b"".join(n.to_bytes(4, "little") for n in range(1 << 18))
    size = 16 << 10
    with tempfile.TemporaryFile(dir=".") as file:
        fd = file.fileno()
        os.write(fd, numbers)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # nothing is read ahead
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for start in range(0, len(numbers), size):
            os.pread(fd, 4096, start)
        os.lseek(fd, 0, os.SEEK_SET)
        parts: list[bytes] = []

        def read_into(size: int) -> bytes:
            buffers = bytearray(100), bytearray(size - 100)
            length = os.readv(fd, buffers)
            return b"".join(buffers)[:length]

        reads = (partial(os.read, fd, size), partial(read_into, size)) * 2
        together(*(partial(collect, read, parts) for read in reads))
    assert {len(part) for part in parts} == {size}
    parts.sort(key=lambda part: int.from_bytes(part[:4], "little"))
    assert b"".join(parts) == numbers


def a_terminal_and_an_eventfd() -> None:
    primary, secondary = os.openpty()
    later(os.write, primary, b"line\n")
    assert os.read(secondary, 100) == b"line\n"
    later(os.write, primary, b"another\n")
    parts = bytearray(3), bytearray(100)
    assert os.readv(secondary, parts) == 8
    assert b"".join(parts)[:8] == b"another\n"
    fd = os.eventfd(0)
    later(os.write, fd, (7).to_bytes(8, sys.byteorder))
    assert os.read(fd, 8) == (7).to_bytes(8, sys.byteorder)


def a_terminal_that_takes_no_more() -> None:
    primary, secondary = os.openpty()
    tty.setraw(secondary)
    data = bytes(range(256)) * 2000
    for write in (partial(os.write, secondary), lambda data: os.writev(secondary, [data[:7], data[7:]])):
        parts: list[bytes] = []
        thread = threading.Thread(target=drain, args=(partial(os.read, primary, 10_000), len(data), parts))
        later(thread.start)
        assert write(data) == len(data)
        thread.join()
        assert b"".join(parts) == data
        assert os.write(secondary, b"short") == 5
        assert os.read(primary, 100) == b"short"


def several_buffers() -> None:
    for read, write in pipe_and_sockets():
        later(os.writev, write, [b"one", bytearray(b" and "), memoryview(b"two")])
        parts = [bytearray(4), bytearray(2), bytearray(100)]
        assert os.readv(read, parts) == 11
        assert [bytes(part).rstrip(b"\0") for part in parts] == [b"one ", b"an", b"d two"]
        assert os.writev(write, (b"", b"x")) == 1
        assert os.readv(read, (bytearray(), parts[0])) == 1
        assert parts[0] == b"xne "
        later(os.close, write)
        assert os.readv(read, parts) == 0


def a_file_is_sent_to_a_descriptor() -> None:
    data = bytes(range(256)) * 8000
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        for read, write in pipe_and_sockets():
            with collecting(partial(os.read, read, 100_000)) as found:
                assert os.sendfile(write, file.fileno(), 1, 2_000_000) == 2_000_000
                os.lseek(file.fileno(), 5, os.SEEK_SET)
                assert os.sendfile(write, file.fileno(), None, 3_000_000) == len(data) - 5
                assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == len(data)
                assert os.sendfile(write, file.fileno(), None, 3_000_000) == 0
                os.close(write)
            assert b"".join(found) == data[1:2_000_001] + data[5:]
        with raises(OSError, match="Bad file descriptor"):
            os.sendfile(write, file.fileno(), 0, 10)
        read, write = os.pipe()
        os.close(read)
        with raises(BrokenPipeError):
            os.sendfile(write, file.fileno(), 0, 10)


def a_pipe_is_closed_meanwhile() -> None:
    much = bytes(500_000)
    with tempfile.TemporaryFile() as file:
        file.write(much)
        file.flush()
        calls: list[tuple[int, Callable[[int], object]]] = [
            (0, lambda fd: os.read(fd, 100)),
            (0, lambda fd: os.readv(fd, [bytearray(100)])),
            (1, lambda fd: os.write(fd, much)),
            (1, lambda fd: os.writev(fd, [much, much])),
            (1, lambda fd: os.sendfile(fd, file.fileno(), 0, 500_000)),
        ]
        for end, call in calls:
            fd, others = os.pipe()[end], os.pipe()
            os.write(others[1], b"for the other")
            closes(fd, partial(os.close, fd), others[end], partial(call, fd))
            assert os.read(others[0], 100) == b"for the other"


def numbers_of_pipes() -> None:
    """A descriptor may be what __index__ gives, and a length more than there is."""
    import posix

    assert posix.read is os.read
    read, write = os.pipe()

    class Number:
        def __index__(self) -> int:
            return read

    later(os.write, write, b"data")
    assert os.read(Number(), 100) == b"data"  # type: ignore[arg-type]
    later(os.write, write, bytearray(70_000))
    assert len(os.read(read, 1_000_000)) > 60_000


def is_case(function: Any) -> bool:
    """Cases take nothing, and return nothing."""
    return inspect.isfunction(function) and inspect.signature(function) == inspect.signature(signals_come_in_a_wait)


NAMES = [name for name, value in list(globals().items()) if is_case(value)]
