"""`gunicorn -k lwp_gunicorn.Worker`: what its clients and who runs it rely on."""

from __future__ import annotations

import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from test_programs import PATIENCE, end, free_port, get, needs, running, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.loads,
    pytest.mark.stock_threads,
    needs("gunicorn"),
]


class Server:
    """gunicorn with our worker, which serves programs/worker_app.py."""

    def __init__(self, port: int, process: Any, log: Path) -> None:
        self.port, self.process, self.log = port, process, log

    def get(self, path: str = "") -> str:
        return get(self.port, path)

    def connection(self) -> closing[HTTPConnection]:
        return closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE))

    def socket(self, sent: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        client.sendall(sent)
        return client


@contextmanager
def served(folder: Path, *options: str, app: str = "worker_app:app", **variables: str) -> Iterator[Server]:
    port = free_port()
    command = ["-m", "gunicorn", "-k", "lwp_gunicorn.Worker", "-b", f"127.0.0.1:{port}", "--no-control-socket"]
    with running([*command, *options, app], folder, **variables) as (process, log):
        server = Server(port, process, log)
        if "--certfile" not in options:
            until(server.get, process)
        yield server


def has_ended(process: int) -> bool:
    return not os.path.exists(f"/proc/{process}")


def is_refused(server: Server) -> bool:
    try:
        server.socket().close()
    except ConnectionRefusedError:
        return True
    return False


def ask(connection: HTTPConnection, path: str, method: str = "GET", **more: Any) -> tuple[HTTPResponse, bytes]:
    connection.request(method, path, **more)
    response = connection.getresponse()
    return response, response.read()


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: here", *lines, "", ""]).encode()


def test_a_connection_is_kept_and_its_thread_is_green(tmp_path: Path) -> None:
    with served(tmp_path, LWP_TIME_SLICE="0") as server:
        with server.connection() as connection:
            ports = [ask(connection, "/port")[1] for _ in range(3)]
            process, lwp = ask(connection, "/lwp")[1].split()
        assert len(set(ports)) == 1
        assert process == lwp
        assert end(server.process) == 0


def test_200_connections_wait_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as server, ThreadPoolExecutor(200) as pool:
        assert list(pool.map(lambda _: server.get("together/200"), range(200))) == ["all"] * 200


def test_200_requests_wait_in_c_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as server, ThreadPoolExecutor(200) as pool:
        assert list(pool.map(lambda _: server.get("polls/200"), range(200))) == ["all"] * 200


def test_tls(tmp_path: Path, pem: str) -> None:
    """A client that speaks no TLS, or says nothing, holds nobody up, and loses its connection."""
    with served(tmp_path, "--certfile", pem, "--keyfile", pem, "--keep-alive", "1") as server:
        until(lambda: server.socket(), server.process).close()
        with server.socket(head("/")) as plain, server.socket() as silent:
            context = ssl.create_default_context(cafile=pem)
            with context.wrap_socket(server.socket(), server_hostname="localhost") as client:
                for _ in range(2):
                    client.sendall(head("/lwp"))
                    answer = HTTPResponse(client)
                    answer.begin()
                    assert len(answer.read().split()) == 2
            for other in (plain, silent):
                with suppress(ConnectionResetError):
                    while other.recv(100):  # an alert of TLS
                        pass


def test_a_slow_head_ends_the_connection(tmp_path: Path) -> None:
    """--keep-alive is for all of it, so a byte now and then doesn't keep a connection for ever."""
    with served(tmp_path, "--keep-alive", "1") as server, server.socket(b"GET / HTTP/1.1\r\nX: ") as client:
        client.settimeout(0.1)
        for _ in range(10 * PATIENCE):
            with suppress(TimeoutError):
                assert client.recv(100) == b""
                break
            with suppress(BrokenPipeError):
                client.sendall(b"x")
        else:
            pytest.fail("the connection is still there")


def test_bodies(tmp_path: Path) -> None:
    large = os.urandom(1 << 16) * 128
    with served(tmp_path) as server:
        with server.connection() as connection:
            assert ask(connection, "/echo", "POST", body=large)[1] == large
            chunks = (large[at : at + 100_000] for at in range(0, len(large), 100_000))
            assert ask(connection, "/echo", "POST", body=chunks, encode_chunked=True)[1] == large
            response, parts = ask(connection, "/parts/1000")
            assert response.getheader("Transfer-Encoding") == "chunked"
            assert parts.split(b",") == [*(b"%d" % part for part in range(1000)), b""]
            assert ask(connection, "/", "HEAD")[1] == b""
            assert ask(connection, "/echo", "POST", body=b"")[1] == b""
        with server.socket(head("/echo", "Content-Length: 5", "Expect: 100-continue")) as client:
            assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"hello")
            assert client.recv(1000).endswith(b"\r\n\r\nhello")


def test_an_application_that_fails(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        worker = server.get()
        for path in ("/raise", "/exit"):
            with server.connection() as connection:
                assert ask(connection, path)[0].status == 500
        assert server.get() == worker


def test_clients_that_leave_give_back_their_places(tmp_path: Path) -> None:
    """In the middle of a head, of a body, of an answer."""
    with served(tmp_path, "--worker-connections", "2") as server:
        for _ in range(3):
            for sent in (b"GET /", head("/echo", "Content-Length: 1000") + b"x", head("/parts/10000000")):
                with server.socket(sent) as client:
                    if b"parts" in sent:
                        client.recv(100)
        assert int(server.get()) > 0


@pytest.mark.parametrize("option", ["--worker-connections", "--threads"])
def test_limits(option: str, tmp_path: Path) -> None:
    with served(tmp_path, option, "3") as server, ThreadPoolExecutor(30) as pool:
        assert list(pool.map(lambda _: server.get("together/3"), range(30))) == ["all"] * 30
        with server.connection() as connection:
            assert ask(connection, "/")[0].getheader("X-Most") == "3"


def keep_asking(server: Server, until_done: Callable[[], bool]) -> set[int]:
    """The workers that have answered on kept and on new connections; an error is raised."""
    workers = set()
    with server.connection() as connection:
        while not until_done():
            workers.add(int(ask(connection, "/")[1]))
            workers.add(int(server.get()))
    return workers


def test_a_restart_loses_no_request(tmp_path: Path) -> None:
    with served(tmp_path, "-w", "2", "--backlog", "1000") as server, ThreadPoolExecutor(8) as pool:
        done = False
        clients = [pool.submit(keep_asking, server, lambda: done) for _ in range(8)]
        try:
            for _ in range(3):
                before = server.get()
                server.process.send_signal(signal.SIGHUP)
                until(partial(has_ended, int(before)), server.process)
        finally:
            done = True
        assert len(set().union(*(client.result(PATIENCE) for client in clients))) > 2
        assert "rror" not in server.log.read_text()


def test_a_worker_that_is_told_to_end_before_it_serves(tmp_path: Path) -> None:
    """Its listener is closed before the thread that accepts has had a turn."""
    early = """
import os, signal
try:
    os.mkdir("first")
    os.kill(os.getpid(), signal.SIGTERM)
except FileExistsError:
    pass
from worker_app import app
"""
    (tmp_path / "early.py").write_text(early)
    with served(tmp_path, app="early:app") as server:
        assert server.log.read_text().count("Booting worker") == 2
        assert "rror" not in server.log.read_text()


def test_the_end_waits_for_requests(tmp_path: Path) -> None:
    with served(tmp_path, "--graceful-timeout", "300") as server, ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.get, "hold/it")
        with server.socket(head("/release/it", "Content-Length: 1")) as client:
            assert server.get("entered/it") == "entered"
            server.process.send_signal(signal.SIGTERM)
            until(lambda: is_refused(server), server.process)
            client.sendall(b"x" + head("/"))  # the second request comes when the worker is about to end
            with client.makefile("rb") as answers:
                assert answers.read().count(b"Connection: close") == 1
        assert held.result(PATIENCE) == "released"
        assert server.process.wait(PATIENCE) == 0


def test_the_end_does_not_wait_for_kept_connections(tmp_path: Path) -> None:
    """It takes requests on them for two seconds."""
    with served(tmp_path, "--keep-alive", "300", "--graceful-timeout", "300") as server, ExitStack() as kept:
        for _ in range(2):
            connection = kept.enter_context(server.connection())
            assert ask(connection, "/")[0].getheader("Connection") != "close"
        assert end(server.process) == 0


def test_the_end_does_not_wait_for_ever(tmp_path: Path) -> None:
    with served(tmp_path, "--graceful-timeout", "1") as server, ExitStack() as clients:
        worker = int(server.get())
        for number in (signal.SIGHUP, signal.SIGQUIT):
            clients.enter_context(server.socket(head("/hold/it")))
            assert server.get("entered/it") == "entered"
            server.process.send_signal(number)
            until(partial(has_ended, worker))
            worker = int(server.get()) if number == signal.SIGHUP else worker
        assert server.process.wait(PATIENCE) == 0


def test_max_requests(tmp_path: Path) -> None:
    options = ("--max-requests", "5", "--max-requests-jitter", "3")
    workers: set[int] = set()

    def three_have_answered() -> bool:
        with server.connection() as connection:
            workers.update(int(ask(connection, "/")[1]) for _ in range(10))
        return len(workers) >= 3

    with served(tmp_path, *options) as server:
        until(three_have_answered, server.process)


def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    """And says where it has hung."""
    with served(tmp_path, "--timeout", "2", LWP_TIME_SLICE="0") as server:
        worker = server.get()
        with server.socket(head("/compute")) as client, suppress(ConnectionResetError):
            assert client.recv(100) == b""
        assert until(server.get, server.process) != worker
        assert "worker_app.py" in server.log.read_text()


def test_others_go_on_beside_a_request_that_computes(tmp_path: Path) -> None:
    with served(tmp_path) as server, server.socket(head("/compute")):
        assert len({server.get() for _ in range(20)}) == 1


def test_a_worker_that_is_killed_is_replaced_and_ends_with_its_arbiter(tmp_path: Path) -> None:
    """The application's lock was made in the arbiter."""
    with served(tmp_path, "--preload") as server:
        worker = int(server.get())
        os.kill(worker, signal.SIGKILL)
        replaced = int(until(server.get, server.process))
        assert replaced != worker
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        until(partial(has_ended, replaced))


def test_several_addresses(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    options = ("-b", f"unix:{path}", "--worker-connections", "1")
    with served(tmp_path, *options) as server, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(head("/", "Connection: close"))
        with client.makefile("rb") as answer:
            assert answer.read().endswith(server.get().encode())


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """What has no descriptor waits until there is one."""
    with served(tmp_path) as server, ExitStack() as clients:
        worker = int(server.get())
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (40, 40))
        for _ in range(60):
            clients.enter_context(server.socket())
        until(lambda: "Too many open files" in server.log.read_text(), server.process)
        clients.close()
        assert int(server.get()) == worker


def test_an_application_has_its_own_runtime(tmp_path: Path) -> None:
    """It comes to the path when the worker has loaded ours."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "runtime.py").write_text("mine = True\n")
    (tmp_path / "late.py").write_text('import sys\nsys.path.insert(0, "own")\nfrom worker_app import app\n')
    with served(tmp_path, app="late:app") as server:
        assert server.get("runtime") == "True"


def test_on_lwp_run(tmp_path: Path) -> None:
    """Green threads in the arbiter are green threads in its workers; threads with LWPs are refused."""
    port = free_port()
    command = ["-m", "gunicorn", "-k", "lwp_gunicorn.Worker", "-b", f"127.0.0.1:{port}", "worker_app:app"]
    with running(["-m", "runtime", "run", "--green", *command], tmp_path) as (process, _):
        assert int(until(lambda: get(port), process)) > 0
        assert end(process) == 0
    with running(["-m", "runtime", "run", *command], tmp_path) as (process, log):
        assert process.wait(PATIENCE) == 3
        assert "install() is in force without green threads" in log.read_text()
