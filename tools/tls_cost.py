"""The processor time of an echo by TLS between two green threads, as it is and by a memory BIO.

    python tools/tls_cost.py [--rounds ROUNDS]

In microseconds for a question and its answer, both ends: medians of rounds that alternate, and the quartiles of the
ratio.  `record by record` reads what OpenSSL would read from a socket; `reading ahead` takes what is there, which a
program that calls select() or unwrap() could not bear.  Needs the command openssl.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runtime

ECHOES = 1000


class Bio:
    """In the place of an SSLSocket's _sslobj."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, ahead: bool, **options: Any) -> None:
        self._sock, self._ahead = sock, ahead
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, **options)
        self._turn = runtime.sync.RLock()

    def _fill(self) -> None:
        if self._ahead:
            self._feed(32768)
        elif head := self._feed(5):
            left = int.from_bytes(head[3:5], "big")
            while left and (part := self._feed(left)):
                left -= len(part)

    def _feed(self, size: int) -> bytes:
        data = socket.socket.recv(self._sock, size)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return data

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        while True:
            wants = False
            with self._turn:
                result = None
                try:
                    result = function(*args)
                except ssl.SSLWantReadError:
                    wants = True
                if self._outgoing.pending:
                    socket.socket.sendall(self._sock, self._outgoing.read())
            if not wants:
                return result
            self._fill()

    def read(self, *args: Any) -> Any:
        return self._call(self._ssl.read, *args)

    def write(self, data: Any) -> Any:
        return self._call(self._ssl.write, data)

    def do_handshake(self) -> None:
        self._call(self._ssl.do_handshake)


def contexts(folder: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key, certificate = Path(folder, "key"), Path(folder, "certificate")
    make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = ["openssl", *make.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


def secured(sock: socket.socket, context: ssl.SSLContext, how: str, **options: Any) -> ssl.SSLSocket:
    secure = context.wrap_socket(sock, do_handshake_on_connect=False, **options)
    if how != "as it is":
        secure._sslobj = Bio(secure, context, how == "reading ahead", **options)  # type: ignore[attr-defined]
        for name in ("read", "write", "send", "do_handshake"):  # the stock ones
            setattr(secure, name, STOCK[name].__get__(secure))
    secure.do_handshake()
    return secure


def measure(server: ssl.SSLContext, client: ssl.SSLContext, how: str, timeout: float | None) -> float:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asks = socket.create_connection(listener.getsockname())
        answers = listener.accept()[0]
    times: list[float] = []

    def answer() -> None:
        secure = secured(answers, server, how, server_side=True)
        while data := secure.recv(1000):
            secure.sendall(data)

    def ask() -> None:
        secure = secured(asks, client, how, server_hostname="localhost")
        for times_asked in (20, ECHOES):
            begin = time.process_time()
            for _ in range(times_asked):
                secure.sendall(b"." * 64)
                secure.recv(1000)
            times.append((time.process_time() - begin) / times_asked * 1e6)
        secure.close()

    for sock in (asks, answers):
        sock.settimeout(timeout)
    threads = [threading.Thread(target=function) for function in (answer, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.close()
    return times[-1]


STOCK = {name: vars(ssl.SSLSocket)[name] for name in ("read", "write", "send", "do_handshake")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    runtime.install(green=True, time_slice=None)
    with tempfile.TemporaryDirectory() as folder:
        server, client = contexts(folder)
        ways = [("as it is", 60.0), ("as it is", None), ("record by record", None), ("reading ahead", None)]
        found = [[measure(server, client, how, timeout) for how, timeout in ways] for _ in range(rounds)]
    print(f"{'us an echo':36} {'time':>6} {'ratio':>6}  quartiles")
    for (how, timeout), times in zip(ways, zip(*found, strict=True), strict=True):
        ratios = [time / each[0] for time, each in zip(times, found, strict=True)]
        low, middle, high = statistics.quantiles(ratios)
        name = f"{how}, {'with' if timeout else 'without'} a timeout"
        print(f"{name:36} {statistics.median(times):6.1f} {middle:6.2f}  {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
