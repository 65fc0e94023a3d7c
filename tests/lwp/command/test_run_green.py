"""`lwp run --green`: a program whose threads share LWPs."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
from functools import partial

import pytest
from conftest import ROOT, TREE, environment, lwp, python, refusal, together
from lwp_tasks import tasks


def test_run_green() -> None:
    program = "import threading, lwp_tasks; threading.Thread(target=lambda: print(lwp_tasks.tasks())).start()"
    done = lwp("run", "--green", "--time-slice", "0", "--report", "-c", program)
    assert done.stdout == "1\n"
    assert "of them green" in done.stderr
    assert lwp("run", "-c", program).stdout == "2\n"
    assert "of them green" not in lwp("run", "--report", "-c", program).stderr
    assert lwp("run", "--green", "--time-slice", "0", "--lwps", "3", "-c", program).stdout == "4\n"
    assert lwp("run", "--green", "-c", "import lwp_tasks; print(lwp_tasks.tasks())").stdout == "1\n"
    for wrong in (("--green", "--lwps", "0"), ("--lwps", "2"), ("--time-slice", "1")):
        refusal(lwp("run", *wrong, "-c", program, status=2))
    for seconds in ("1e-05", "-1", "nan", "soon"):
        assert seconds in refusal(lwp("run", "--green", "--time-slice", seconds, "-c", program, status=2))


def test_run_green_with_a_time_slice() -> None:
    program = """if True:
        import threading
        flag = []
        def compute():
            while not flag:
                pass
        threads = [threading.Thread(target=compute) for _ in range(3)]
        for thread in threads:
            thread.start()
        threading.Thread(target=flag.append, args=(1,)).start()
        for thread in threads:
            thread.join()
        print("has ended")
    """
    for options in ((), ("--time-slice", "0.002")):
        done = lwp("run", "--green", *options, "-c", program)
        assert (done.stdout, done.stderr) == ("has ended\n", "")


WAITS = """
import signal, sys, threading, time
waits = threading.Semaphore(0)
def tick():
    while True:
        waits.acquire()
        time.sleep(0.001)
        print("others run", flush=True)
def wait(function, *args):
    waits.release()
    try:
        print(repr(function(*args)), flush=True)
    except EOFError as end:
        print(end, flush=True)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
threading.Thread(target=tick, daemon=True).start()
wait(signal.sigwait, {signal.SIGUSR1})
wait(input, "prompt\\n")
wait(sys.stdin.readline)
wait(next, sys.stdin)
wait(sys.stdin.buffer.read1)
wait(sys.stdin.read)
wait(input)
"""


@pytest.mark.parametrize("options", [(), ("--time-slice", "0")], ids=["a time slice", "one LWP"])
def test_standard_input_and_signals_green(options: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "runtime", "run", "--green", *options, "-c", WAITS]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment()) as process:
        says = process.stdout.readline
        assert says() == "others run\n"
        process.send_signal(signal.SIGUSR1)
        assert says() == "<Signals.SIGUSR1: 10>\n"
        assert says() == "prompt\n"
        for line, is_given in (("one", "'one'"), ("two", r"'two\n'"), ("three", r"'three\n'"), ("four", r"b'four\n'")):
            assert says() == "others run\n"
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert says() == f"{is_given}\n"
        assert says() == "others run\n"
        process.stdin.write("the rest\nof it")
        process.stdin.close()
        assert says() == r"'the rest\nof it'" + "\n"
        assert says() == "EOF when reading a line\n"
    assert process.returncode == 0


def test_an_example_runs_green() -> None:
    path = TREE / "examples" / "wordcount.py"
    arguments = path, ROOT / "runtime"
    stock, green = python(*arguments), lwp("run", "--green", *arguments)
    assert green.stderr == ""
    assert green.stdout.splitlines()[:-1] == stock.stdout.splitlines()[:-1]  # the last has the time


SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.path.encode() * 100
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 128

server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    ("options", "lwps"),
    [
        pytest.param(("--time-slice", "0"), {1}, id="one LWP"),
        pytest.param(("--time-slice", "0", "--lwps", "2"), {3}, id="two LWPs"),
        pytest.param((), set(range(3, 100)), id="a time slice"),
    ],
)
@pytest.mark.stock_threads
def test_a_server_under_load_from_another_process(options: tuple[str, ...], lwps: set[int]) -> None:
    command = [sys.executable, "-m", "runtime", "run", "--green", *options, "-c", SERVER]
    right: list[bool] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as server:
        port = int(server.stdout.readline())

        def ask(number: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            for turn in range(10):
                path = f"/{number}/{turn}"
                connection.request("GET", path)
                right.append(connection.getresponse().read() == path.encode() * 100)
            connection.close()

        together(*(partial(ask, number) for number in range(40)))
        found = tasks(server.pid, "lwp-helper")  # one has looked up the server's name
        server.send_signal(signal.SIGINT)
        assert server.stdout.read() == "interrupted\n"
    assert right == [True] * 400
    assert found in lwps
    assert server.returncode == 0
