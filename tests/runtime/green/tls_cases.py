"""What test_green_sockets.py runs in green threads: each function is a program, on a TLS connection."""

from __future__ import annotations

import inspect
import os
import socket
import ssl
import threading
import time
from functools import partial

import socket_cases
from without_pytest import raises, together

import runtime

Pair = tuple[ssl.SSLSocket, ssl.SSLSocket]


def contexts(pem: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=pem)
    server.load_cert_chain(pem)
    for context in (server, client):
        context.set_alpn_protocols(["one"])
    return server, client


def secured(pem: str, timeout: float | None, raw: tuple[socket.socket, socket.socket] | None = None) -> Pair:
    """The two ends of a connection, the server's first."""
    for_server, for_client = raw or socket_cases.connected()
    for_server.settimeout(timeout)
    for_client.settimeout(timeout)
    server_side, client_side = contexts(pem)
    server = server_side.wrap_socket(for_server, server_side=True, do_handshake_on_connect=False)
    with socket_cases.beside(lambda: server.do_handshake(block=True)):
        client = client_side.wrap_socket(for_client, server_hostname="localhost")
    return server, client


def exactly(sock: ssl.SSLSocket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        assert part
        parts += part
    return parts


def questions_and_answers(pem: str, timeout: float | None) -> None:
    """Each waits for the other, each time: an edge that is lost stops both."""
    one, other = secured(pem, timeout)

    def answer() -> None:
        while data := other.recv(100):
            other.sendall(data)

    def ask() -> None:
        for number in range(300):
            one.sendall(b"%d" % number)
            assert one.recv(100) == b"%d" % number
        one.close()

    together(answer, ask)


def one_reads_while_another_writes(pem: str, timeout: float | None) -> None:
    data = bytes(range(256)) * 4000
    ends = secured(pem, timeout)
    found: list[bytes] = []
    reads = (lambda sock=sock: found.append(exactly(sock, len(data))) for sock in ends)
    together(*reads, *(partial(sock.sendall, data) for sock in ends))
    assert found == [data, data]


def several_read(pem: str, timeout: float | None) -> None:
    """Each byte comes once.  What one leaves of a record is for the others, though the descriptor has nothing."""
    one, other = secured(pem, timeout)
    found: list[bytes] = []

    def read() -> None:
        while part := other.recv(3):
            found.append(part)

    def write() -> None:
        one.sendall(b"begin")
        for number in range(200):
            one.sendall(b"%010d" % number)
        deadline = time.monotonic() + 20
        while sum(map(len, found)) < 2005 and time.monotonic() < deadline:
            time.sleep(0.001)
        one.shutdown(socket.SHUT_WR)

    together(read, read, read, write)
    assert sorted(b"".join(found)) == sorted(b"begin" + b"".join(b"%010d" % number for number in range(200)))


def closed_meanwhile(pem: str, timeout: float | None) -> None:
    """A thread that waits gets EBADF, and not what comes for the number's next file."""
    for call in (lambda sock: sock.recv(10), lambda sock: sock.sendall(bytes(20_000_000)), lambda sock: sock.read(10)):
        one, other = secured(pem, timeout)
        number = other.fileno()
        another, its_peer = socket.socketpair()
        its_peer.sendall(b"for another")
        socket_cases.closes(number, other.close, another.fileno(), partial(call, other))
        assert os.read(number, 100) == b"for another"
        os.close(number)
        one.close()


def plain_then_secure_then_plain(pem: str, timeout: float | None) -> None:
    """What the peer sends in plain behind the last record isn't read ahead."""
    raw = socket_cases.connected()
    raw[0].settimeout(timeout)
    socket_cases.later(raw[1].sendall, b"STARTTLS")
    assert raw[0].recv(100) == b"STARTTLS"
    one, other = secured(pem, timeout, raw)

    def first() -> None:
        one.sendall(b"secret")
        plain = one.unwrap()
        assert plain.gettimeout() == timeout
        assert plain.recv(100) == b"plain"
        assert os.get_blocking(plain.fileno()) is (timeout is None)

    def second() -> None:
        assert other.recv(100) == b"secret"
        assert other.recv(100) == b""
        other.unwrap().sendall(b"plain")

    together(first, second)


def what_stock_gives(pem: str, timeout: float | None) -> None:
    one, other = secured(pem, timeout)
    assert one.gettimeout() == other.gettimeout() == timeout
    assert one.selected_alpn_protocol() == other.selected_alpn_protocol() == "one"
    assert other.session is not None
    socket_cases.later(one.sendall, b"some data")
    assert other.read(4) == b"some"
    assert other.pending() == 5
    buffer = bytearray(100)
    assert other.read(100, buffer) == 5
    assert buffer[:5] == b" data"
    socket_cases.later(one.sendall, b"more")
    assert other.recv_into(buffer) == 4
    assert other.read(len=0) == b""
    for wrong in ((), ("x", None, 1)):
        with raises(TypeError):
            other.write(*wrong)
    with raises(ValueError, match="non-zero flags"):
        other.send(b"x", 1)
    socket.socket.sendall(one, b"no record at all")
    with raises(ssl.SSLError):
        other.recv(100)
    one, other = secured(pem, timeout)
    socket_cases.later(one.close)
    assert other.recv(100) == b""  # a ragged end
    one, other = secured(pem, timeout)
    other.settimeout(0)
    with raises(ssl.SSLWantReadError):
        other.recv(1)
    other.settimeout(0.02)
    with raises(TimeoutError, match="The read operation timed out"):
        other.recv(1)
    with raises(TimeoutError, match="The write operation timed out"):
        other.sendall(bytes(50_000_000))
    assert other.gettimeout() == 0.02


def a_record_comes_in_parts(pem: str, timeout: float | None) -> None:
    through = socket.socketpair()
    raw, behind = socket.socketpair()

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(7):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    there, back = partial(pass_on, through[1], behind), partial(pass_on, behind, through[1])
    with socket_cases.beside(there), socket_cases.beside(back):
        one, other = secured(pem, timeout, (through[0], raw))
        together(lambda: one.sendall(bytes(5000)), lambda: exactly(other, 5000))
        one.close()
        other.close()


def one_has_an_lwp_of_its_own(pem: str, timeout: float | None) -> None:
    """It calls the stock methods of the same socket."""
    one, other = secured(pem, timeout)
    found: list[bytes] = []

    def read() -> None:
        for _ in range(100):
            found.append(exactly(other, 4))

    reader = runtime.Thread(target=read)
    reader.start()
    for number in range(100):
        one.sendall(b"%04d" % number)
        other.sendall(b"%04d" % number)
        assert exactly(one, 4) == b"%04d" % number
    reader.join()
    assert found == [b"%04d" % number for number in range(100)]


def another_thread_tries(pem: str, timeout: float | None) -> None:
    """The socket's timeout is 0 meanwhile, which is no other thread's."""
    for_server, for_client = socket.socketpair()
    for_server.settimeout(timeout)
    server_side, client_side = contexts(pem)
    tries = threading.Event()

    def stop_in_a_try(*_: object) -> None:
        tries.set()
        time.sleep(0.05)

    server_side.sni_callback = stop_in_a_try
    server = server_side.wrap_socket(for_server, server_side=True, do_handshake_on_connect=False)

    def talk() -> None:
        with client_side.wrap_socket(for_client, server_hostname="localhost") as client:
            client.sendall(b"data")
            assert client.recv(100) == b"answer"

    def answer() -> None:
        tries.wait()
        assert server.recv(100) == b"data"
        assert server.gettimeout() == timeout
        server.sendall(b"answer")

    together(talk, server.do_handshake, answer)


#: Cases take the certificate and a timeout, and return nothing.
NAMES = [
    name
    for name, value in list(globals().items())
    if inspect.isfunction(value) and inspect.signature(value) == inspect.signature(one_has_an_lwp_of_its_own)
]
