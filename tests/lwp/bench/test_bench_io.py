"""`bench io`: the load notices each wrong answer, each server does its work, and what the command says."""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from checkout import bench, environment, hiding, with_site
from commands import refusal
from conftest import FREE_THREADED, Child
from this_machine import needs_matplotlib

from bench import serving
from bench.load import run as run_load
from lwp.bench.measure import Failed

pytestmark = [
    pytest.mark.stock_threads,  # the servers of these tests
    pytest.mark.skipif(shutil.which("cc") is None, reason="the load is written in C, and there is no compiler"),
]

NAMES = [f"{kind}-{number}" for kind in ("echo", "http", "select") for number in (10, 100, 1000, 4000)]
SHORT = ("--seconds", "0.05", "--rounds", "2")

# ---- the load --------------------------------------------------------------------------------------------------------


def loaded(answer: Answer, http: bool = False, **more: Any) -> Any:
    """What the load finds of a server that answers each request so: (connection, request, its number)."""

    def serve(connection: socket.socket) -> None:
        with connection:
            number = 0
            try:
                while request := connection.recv(1024):
                    number += 1
                    answer(connection, request, number)
            except OSError:  # the load has closed it
                pass

    def accept() -> None:
        for _ in range(task["connections"] + task["idle"]):
            threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
            threads[-1].start()

    task = {"connections": 2, "idle": 0, "seconds": 0.05, "patience": 30, "http": http, "server": os.getpid(), **more}
    threads = [threading.Thread(target=accept)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads[0].start()
        try:
            return SimpleNamespace(**run_load(listener.getsockname()[1], **task))
        except Failed as error:
            return str(error)
        finally:
            for thread in threads:
                thread.join()


Answer = Callable[[socket.socket, bytes, int], None]


def sends(made: Callable[[bytes, int], bytes]) -> Answer:
    """What it makes of each request and of its number."""
    return lambda connection, request, number: connection.sendall(made(request, number))


def response(request: bytes, status: str = "200 OK", length: int = 64) -> bytes:
    path = request.split()[1]
    return f"HTTP/1.1 {status}\r\nServer: x\r\nContent-Length: {length}\r\n\r\n".encode() + path


def test_each_answer_is_counted() -> None:
    requests: list[bytes] = []
    result = loaded(sends(lambda data, _: requests.append(data) or data), connections=3)  # type: ignore[func-returns-value]
    # Besides, each connection's first is not measured, and the last ones come after the time.
    assert result.answers + 3 <= len(requests) <= result.answers + 3 + 3
    assert {len(request) for request in requests} == {64}
    assert len(set(requests)) == len(requests)
    assert 0.05 <= result.seconds < 5
    assert result.server_cpu > 0
    assert 0 < result.own_cpu <= result.seconds


def test_a_slow_server_has_a_rate_too() -> None:
    result = loaded(sends(lambda data, _: time.sleep(0.02) or data), connections=3, seconds=0.001)  # type: ignore[func-returns-value]
    assert result.answers >= 3
    assert result.seconds > 0.02


def test_an_answer_that_comes_in_pieces() -> None:
    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        for at in range(0, len(request), 10):
            connection.sendall(request[at : at + 10])

    assert loaded(answer).answers > 0


def test_responses_in_pieces_too() -> None:
    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        assert request.endswith(b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        whole = response(request)
        for part in (whole,) if number % 2 else (whole[:5], whole[5:40], whole[40:]):
            connection.sendall(part)

    assert loaded(answer, http=True).answers > 0


def test_a_server_that_closes_each_connection_is_asked_by_a_new_one() -> None:
    """As Flask's development server does."""
    served: list[bytes] = []

    def serve() -> None:
        with suppress(OSError):  # the listener ends
            while True:
                with listener.accept()[0] as connection:
                    head, end, path = response(connection.recv(1024)).partition(b"\r\n\r\n")
                    connection.sendall(
                        head.replace(b"Content-Length", b"content-length") + b"\r\nConnection: close" + end
                    )
                    connection.sendall(path)
                    served.append(path)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        result = run_load(listener.getsockname()[1], os.getpid(), True, 1, 0, 0.05)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(set(served)) == len(served) == result["answers"] + 2  # the first of all, and the last


def test_idle_connections_send_nothing_after_their_first_answer() -> None:
    asked: list[int] = []
    result = loaded(sends(lambda data, at: asked.append(at) or data), connections=1, idle=5)  # type: ignore[func-returns-value]
    assert result.answers > 0
    assert asked.count(1) == 6
    assert asked.count(2) == 1


def test_memory_is_the_growth_after_one_answer_each() -> None:
    kept: list[mmap.mmap] = []  # bytes may lie in memory that an earlier test has left

    def answer(connection: socket.socket, request: bytes, number: int) -> None:
        kept.append(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        for page in range(0, 1 << 20, mmap.PAGESIZE):
            kept[-1][page] = 1
        connection.sendall(request)

    result = loaded(answer, connections=1, idle=9, seconds=0.01)
    assert 10 <= result.server_grew / (1 << 20) < 12


def at_third(change: Callable[[bytes], bytes]) -> Answer:
    return sends(lambda request, number: change(request) if number == 3 else request)


@pytest.mark.parametrize("at", [0, 1, 31, 63])
def test_each_byte_is_compared(at: int) -> None:
    broken = loaded(at_third(lambda data: data[:at] + b"\x01" + data[at + 1 :]), connections=1)
    found = re.fullmatch(r"connection 1: wrong answer to its request 3, (\S{64}): (\S{64})", broken)
    assert found
    assert found[2] == found[1][:at] + "." + found[1][at + 1 :]


former: list[bytes] = []


def closes(connection: socket.socket, request: bytes, number: int) -> None:
    connection.sendall(request)
    if number == 3:
        connection.shutdown(socket.SHUT_RDWR)


THIRD = r"connection 1: wrong answer to its request 3, .*"
RESPONSE = r"connection [12]: wrong answer to its request 1, /[0-9a-f]{63}: HTTP.*"
LOST = r"1 of 1 connections wait for an answer, and none came for 0\.2 s"
#: Servers, how the load asks them, and what it says.
WRONG: dict[str, tuple[Answer, dict[str, Any], str]] = {
    "longer": (at_third(lambda data: data + b"x"), {}, THIRD),
    "reversed": (at_third(lambda data: data[::-1]), {}, THIRD),
    "a former answer": (sends(lambda data, at: former.append(data) or former[-1 - (at == 3)]), {}, THIRD),  # type: ignore[func-returns-value]
    "one answer twice": (sends(lambda data, at: data * (1 + (at == 2))), {}, r"connection 1: wrong answer .*"),
    "a failure": (sends(lambda data, _: response(data, "500 No")), {"http": True, "connections": 2}, RESPONSE),
    "a length": (sends(lambda data, _: response(data, length=65)), {"http": True, "connections": 2}, RESPONSE),
    "a head without end": (sends(lambda *_: b"HTTP/1.1 200 OK\r\n" * 100), {"http": True}, r".*wrong answer.*"),
    "a close": (closes, {"connections": 2}, r"connection [12]: the server has closed it"),
    "the first request is lost": (sends(lambda data, at: data * (at != 1)), {"patience": 0.2}, LOST),
    "one that is measured is lost": (sends(lambda data, at: data * (at != 3)), {"patience": 0.2}, LOST),
}


@pytest.mark.parametrize(("answer", "how", "says"), WRONG.values(), ids=WRONG)
def test_wrong_answers(answer: Answer, how: dict[str, Any], says: str) -> None:
    assert re.fullmatch(says, str(loaded(answer, **{"connections": 1, **how})), re.DOTALL)


def test_bytes_for_an_idle_connection() -> None:
    connections: list[socket.socket] = []

    def to_the_idle_one(connection: socket.socket, request: bytes, number: int) -> None:
        if number == 1:
            connections.append(connection)
        connection.sendall(request)
        if number == 3:  # so both have had their first answer
            next(other for other in connections if other is not connection).sendall(b"!")

    assert loaded(to_the_idle_one, connections=1, idle=1) == "connection 2: bytes came for no request"


def test_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Failed, match=r"^connection 1: Connection refused$"):
        run_load(port, os.getpid(), False, 1, 0, 1)


# ---- the command -----------------------------------------------------------------------------------------------------


def there(kind: str) -> list[str]:
    return [way.name for way in serving.WAYS if way.there and kind in way.kinds]


ALONE = hiding("gevent", "uvloop")


@pytest.mark.slow
def test_each_way_that_is_there_as_table_and_as_data(tmp_path: Path) -> None:
    written = tmp_path / "io.json"
    done = bench("io", "--connections", "4", *SHORT, "--json", str(written))
    data = json.loads(written.read_text())
    assert (data["stopped"], data["seconds"], data["rounds"], data["idle"]) == (False, 0.05, 2, 0)
    libraries = list(dict.fromkeys(way.library for way in serving.WAYS if not way.there))
    assert [one["vs"] for one in data["missing"]] == libraries
    assert data["failures"] == []
    assert data["machine"].keys() == {"python", "processor", "system", "load", "on", "rounds"}
    there_are = os.sched_getaffinity(0)
    assert data["cores"] == {"server": max(there_are), "load": min(there_are)}
    assert [result["name"] for result in data["results"]] == ["echo-4", "http-4", "select-4"]
    for result in data["results"]:
        assert list(result["ways"]) == there(result["kind"])
        for name, figures in result["ways"].items():
            assert 0 < figures["spread"][0] <= figures["rate"] <= figures["spread"][1]
            assert 0 < figures["ratio_spread"][0] <= figures["ratio"] <= figures["ratio_spread"][1]
            assert (figures["ratio"] == 1) == (name == "threading")
            assert 1 < figures["cost_us"] < 100_000
            assert 0 < figures["load_busy"] < 1.1
            assert figures["kib"] >= 0 or FREE_THREADED  # whose allocator gives pages back meanwhile
    lines = done.stdout.splitlines()
    for kind, ways in ((result["kind"], result["ways"]) for result in data["results"]):
        at = next(at for at, line in enumerate(lines) if re.match(rf"{kind}: requests/s +4 *$", line))
        rows = lines[at + 2 : at + 2 + len(ways)]
        for name, row in zip(ways, rows, strict=True):
            assert row.startswith(next(way.text for way in serving.WAYS if way.name == name))
            assert f"{ways[name]['rate']:,.0f} (" in row
    for library in ("gevent", "uvloop"):
        line = f"not measured: {library} is not installed: pip install 'lwp-runtime[peers]'"
        assert lines.count(line) == (library in libraries)


@pytest.mark.slow
def test_without_peers_and_the_runs_that_are_chosen(tmp_path: Path) -> None:
    done = with_site(tmp_path, ALONE, "io", "echo", "--connections", "2", *SHORT)
    assert done.stdout.splitlines()[-2:] == [
        f"not measured: {library} is not installed: pip install 'lwp-runtime[peers]'"
        for library in ("gevent", "uvloop")
    ]
    options = ("echo", "--green", "--vs", "asyncio", "--connections", "2", *SHORT, "--json")
    done = with_site(tmp_path, ALONE, "io", *options)
    (result,) = json.loads(done.stdout)["results"]
    assert list(result["ways"]) == ["threading", "green", "asyncio-streams", "asyncio-protocol"]


@pytest.mark.slow
def test_the_memory_of_an_idle_connection_on_a_green_thread() -> None:
    done = bench("io", "echo", "--green", "--vs", "threading", "--connections", "1", "--idle", "3000", *SHORT, "--json")
    (result,) = json.loads(done.stdout)["results"]
    assert 4 < result["ways"]["green"]["kib"] < (76 if FREE_THREADED else 14)  # where each thread has heaps of its own


def test_green_threads_alone(tmp_path: Path) -> None:
    done = bench("io", "http-2", "--green", "--vs", "threading", "--connections", "2", "--no-pin", *SHORT, "--json")
    data = json.loads(done.stdout)
    assert data["cores"] == {"server": None, "load": None}
    (result,) = data["results"]
    assert (result["name"], list(result["ways"])) == ("http-2", ["threading", "green"])


@needs_matplotlib
@pytest.mark.slow
def test_plot(tmp_path: Path) -> None:
    picture = tmp_path / "io.svg"
    done = bench("io", "--green", "--vs", "threading", "--connections", "3,2", *SHORT, "--plot", str(picture))
    assert "<svg" in picture.read_text()
    assert re.search(r"^echo: requests/s +3 +2 *$", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1] == f"picture: {picture}"


@needs_matplotlib
def test_the_picture_says_what_it_shows(child: Child) -> None:
    def program() -> None:
        from bench import io, serving

        kept: list[Any] = []
        io.save_plot = lambda figure, path: kept.append(figure)
        figures = serving.Figures(10.0, (9.0, 11.0), 1.0, (1.0, 1.0), 5.0, 0.5, 16.0)
        io._plot([serving.Served(kind, kind, 3, 2, {"green": figures}) for kind in ("a", "b")], "x.png")
        assert [axes.get_title() for axes in kept[0].axes] == ["a: median and quartiles", "b: median and quartiles"]
        assert [axes.get_ylabel() for axes in kept[0].axes] == ["requests a second"] * 2
        assert [text.get_text() for text in kept[0].legends[0].get_texts()] == ["run --green"]

    child(program)


def test_one_core_is_said(one_processor: int) -> None:
    done = bench("io", "echo", "--green", "--vs", "threading", "--connections", "2", *SHORT)
    assert f"core {one_processor} alone, which server and load share" in done.stdout


def test_another_checkout() -> None:
    """By its Python, which finds its runtime: here the same one."""
    other = f"green={sys.executable}"
    done = bench("io", "echo", "--green", "--vs", other, "--connections", "2", *SHORT)
    rates = done.stdout.split("requests/s")[1].split("spread")[0].splitlines()
    assert [line.split("  ")[0] for line in rates[2:5]] == ["threading", "run --green", other]
    assert "(1.00)" in rates[2]
    assert re.search(r"\([\d.]+\)$", rates[4].rstrip())


def test_list() -> None:
    done = bench("io", "--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == NAMES
    listed = bench("io", "--list", "--connections", "7,8", "http").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["http-7", "http-8"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["io", "lock-pair"], f"no operation 'lock-pair': there are {', '.join(NAMES)}"),
        (["io", "--vs", "tokio"], "'tokio' is none of threading, gevent, asyncio-streams, asyncio-protocol, uvloop"),
        (["io", "--vs", "tokio=python3"], "tokio=python3: 'tokio' is none of threading, run, green, gevent"),
        (["io", "--vs", "green=no-such-python"], "green=no-such-python: no program 'no-such-python'"),
        (["io", "--connections", "10,x"], "'10,x': it is numbers with commas between them, such as 10,100"),
        (["io", "--connections", "0"], "'0': it is numbers"),
        (["io", "--rounds", "1"], "--rounds"),
        (["io", "eco-100"], "no operation 'eco-100': did you mean echo-100?"),
        (["ois"], "No such command 'ois'"),
    ],
)
def test_errors_are_one_line_before_anything_is_measured(args: list[str], says: str) -> None:
    assert says in refusal(bench(*args, status=2))


def test_a_peer_that_is_asked_for_and_not_installed(tmp_path: Path) -> None:
    says = "bench: Invalid value for --vs: uvloop is not installed: pip install 'lwp-runtime[peers]'\n"
    assert refusal(with_site(tmp_path, ALONE, "io", "--vs", "uvloop", status=2)) == says


def test_no_compiler() -> None:
    says = "the load is written in C, and can't be compiled: [Errno 2] No such file or directory: 'no-such-compiler'"
    assert refusal(bench("io", "echo", *SHORT, CC="no-such-compiler -O2", status=2)) == f"bench: {says}\n"


def test_more_connections_than_descriptors() -> None:
    def limited(*args: str) -> subprocess.CompletedProcess[str]:
        limits = ["sh", "-c", 'ulimit -Sn 150; ulimit -Hn 400; exec "$@"', "-"]
        command = [*limits, sys.executable, "-m", "bench", "io", "echo", "--green", "--vs", "threading", *SHORT, *args]
        env = {**os.environ, **environment()}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)

    assert refusal(limited("--connections", "10,1000")).endswith(
        "--connections: that needs 1,100 descriptors, and the limit of this process is 400 (ulimit -Hn)\n"
    )
    done = limited("--connections", "200")  # more than the soft limit
    assert (done.returncode, done.stderr) == (0, "")
    assert limited("--connections", "200", "--idle", "101").returncode == 2


#: In the server whose command line has a certain word.
IN_SERVER = "import os, signal, sys\nif 'streams' in sys.orig_argv:\n    "


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "print('no luck', file=sys.stderr); os._exit(1)",
            ["no server; the server ended with exit status 1, and said:", "  no luck"],
        ),
        (
            "import asyncio; asyncio.StreamWriter.write = lambda *_: [print('help', file=sys.stderr), os.abort()]",
            ["connection 1: the server has closed it; the server ended with SIGABRT, and said:", "  help"],
        ),
        (
            "import asyncio; asyncio.StreamWriter.write = lambda self, data: self.transport.write(data[::-1])",
            ["connection 1: wrong answer to its request 1, "],
        ),
    ],
)
def test_a_server_that_fails_is_shown_and_the_rest_is_measured(code: str, says: list[str], tmp_path: Path) -> None:
    written = tmp_path / "io.json"
    arguments = ("echo", "--green", "--vs", "asyncio", "--connections", "1", *SHORT, "--json", str(written))
    done = with_site(tmp_path, IN_SERVER + code, "io", *arguments, status=1)
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"bench: echo-1: asyncio-streams: {says[0]}")
    assert rest[: len(says) - 1] == says[1:]
    data = json.loads(written.read_text())
    assert list(data["results"][0]["ways"]) == ["threading", "green", "asyncio-protocol"]
    assert [(one["operation"], one["vs"]) for one in data["failures"]] == [("echo-1", "asyncio-streams")]


def test_without_threading_there_is_no_ratio(tmp_path: Path) -> None:
    code = "import sys\nif sys.orig_argv[-1] == 'echo' and not '-c' in sys.orig_argv:\n    sys.exit('no threads')\n"
    options = ("echo", "--green", "--vs", "asyncio-streams", "--connections", "2", *SHORT, "--json")
    done = with_site(tmp_path, code, "io", *options, status=1)
    ((_, green), (_, streams)) = json.loads(done.stdout)["results"][0]["ways"].items()
    assert green["ratio"] is streams["ratio"] is None
    assert green["rate"] > 0


def test_ctrl_c_leaves_the_rows_until_then(tmp_path: Path) -> None:
    code = "import os, signal, sys, time\nif sys.orig_argv[-1] == 'http':\n    os.kill(os.getppid(), signal.SIGINT)\n"
    code += "    time.sleep(100)\n"
    done = with_site(tmp_path, code, "io", "--green", "--vs", "threading", "--connections", "2", *SHORT, status=130)
    assert done.stderr == ""
    assert "echo: requests/s" in done.stdout
    assert done.stdout.splitlines()[-1] == "stopped: 1 of 3 rows"
