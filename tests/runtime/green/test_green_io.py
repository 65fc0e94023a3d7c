"""Calls of the standard library that block, in green threads: `wait_fd()`, `install(green=True)`, `run --green`."""

from __future__ import annotations

import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, in_child, run_thread, together, until_alone
from lwp_tasks import tasks

import runtime
from runtime import native, patch, scheduler
from runtime.scheduler import Scheduler, sleep, wait_fd, yield_

pytestmark = pytest.mark.timeout(20)


# ---- wait_fd ---------------------------------------------------------------------------------------------------------


@in_child
def test_a_ready_file_waits_at_most_a_millisecond_of_turns() -> None:
    """Turns of half a millisecond; without that it would be for up to 64 of them."""
    runtime.install(green=True)
    green, turns, waited = scheduler.Scheduler(1, None), [0], []
    (request, client), (ready, more) = os.pipe(), os.pipe()

    def never_waits() -> None:
        while len(waited) < 6:
            until = time.perf_counter() + 0.0005
            while time.perf_counter() < until:
                pass
            turns[0] += 1
            if turns[0] % 23 == 5:
                os.write(client, turns[0].to_bytes(4, "big"))
            os.write(more, b"x")
            os.read(ready, 1)
            scheduler.yield_()

    def serve() -> None:
        while len(waited) < 6:
            waited.append(turns[0] - int.from_bytes(os.read(request, 4), "big"))

    for function in (serve, never_waits, never_waits):
        green.spawn(function)
    green.run()
    assert len(waited) == 6
    assert max(waited) <= 5


def test_wait_fd() -> None:
    """Many on one descriptor, each for its own event; timeouts; files; what is closed."""
    green, found = Scheduler(), {}
    read, write = os.pipe()

    def wait(name: str, fd: Any, events: int = select.POLLIN, timeout: float | None = None) -> None:
        found[name] = wait_fd(fd, events, timeout)

    def feed() -> None:
        green.spawn(wait, "times out", read, select.POLLIN, 0.01)
        while "times out" not in found:
            sleep(0.001)
        assert "reader" not in found
        os.write(write, b".")
        yield_()

    def refuse() -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            wait_fd(9999, select.POLLIN)
        with pytest.raises(ValueError, match="negative"):
            wait_fd(-1, select.POLLIN)

    try:
        with Path(__file__).open() as file:
            for name, fd in (("reader", read), ("other reader", read), ("file", file)):
                green.spawn(wait, name, fd)
            green.spawn(wait, "writer", write, select.POLLOUT)
            green.spawn(feed)
            green.spawn(refuse)
            green.run()
        reads = dict.fromkeys(["reader", "other reader", "file"], select.POLLIN)
        assert found == {**reads, "writer": select.POLLOUT, "times out": 0}
        refuse()  # in a thread with an LWP
        assert wait_fd(read, select.POLLIN) == select.POLLIN
        os.read(read, 1)
        assert wait_fd(read, select.POLLIN, 0.001) == 0
        green.spawn(wait, "hangs up", read)
        green.spawn(os.close, write)
        green.run()
        assert found["hangs up"] == select.POLLHUP
    finally:
        os.close(read)


def test_a_descriptor_used_again() -> None:
    """The kernel forgets what was closed; what has its number next is another file."""
    green, found = Scheduler(), []

    def wait_and_close() -> None:
        for _ in range(3):
            read, write = os.pipe()
            green.spawn(os.write, write, b".")
            found.append(wait_fd(read, select.POLLIN))
            os.close(read)
            os.close(write)

    green.spawn(wait_and_close)
    green.run()
    assert found == [select.POLLIN] * 3


# ---- install(green=True) ---------------------------------------------------------------------------------------------


@pytest.mark.loads
def test_install_and_uninstall() -> None:
    before = {id(value) for value in vars(threading).values()}
    sleeping = time.sleep
    with patch.installed(green=True, time_slice=None):
        assert time.sleep is not sleeping
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(threading.get_native_id()))
        thread.start()
        assert seen == [], "nobody has left the LWP yet"
        thread.join()
        assert seen == [threading.get_native_id()]
        run_thread(runtime.Thread(target=lambda: seen.append(threading.get_native_id())))
        assert seen[1] != seen[0], "a runtime.Thread without a scheduler has an LWP"
        with pytest.raises(RuntimeError, match="on a scheduler itself"):
            Scheduler().run()

        def uninstall() -> None:
            with pytest.raises(RuntimeError, match="has not lent its LWP"):
                patch.uninstall()

        together(uninstall)
    assert time.sleep is sleeping
    assert {id(value) for value in vars(threading).values()} == before
    assert "recv" not in vars(__import__("socket").socket)
    with patch.installed(), pytest.raises(RuntimeError, match="in force without green threads"):
        patch.install(green=True)
    for wrong in ("lwps", "time_slice"):
        with pytest.raises(ValueError, match=f"{wrong} is for green threads"):
            patch.install(**{wrong: 2})  # type: ignore[arg-type]
    assert not patch.is_installed()


@pytest.mark.parametrize("options", [{}, {"lwps": 2}, {"lwps": 2, "time_slice": None}, {"time_slice": None}], ids=str)
@in_child(timeout=10)
def test_threads_go_on_after_uninstall(options: dict[str, Any]) -> None:
    def on() -> object:
        return vars(threading.Thread)["_lwp_scheduler"]

    runtime.install(green=True, **options)
    first, go, stay = on(), threading.Event(), threading.Event()
    going, staying = threading.Thread(target=go.wait), threading.Thread(target=stay.wait, daemon=True)
    going.start()
    staying.start()
    runtime.uninstall()
    go.set()
    going.join()
    assert (going.is_alive(), staying.is_alive()) == (False, True)
    runtime.install(green=True, **options)
    assert on() is first, "it has a thread, and goes on as install()'s"
    together(int)
    runtime.uninstall()
    refused = ""
    try:
        runtime.install(green=True, time_slice=0.1)
    except RuntimeError as error:
        refused = str(error)
    assert ("on a scheduler itself" in refused) == (options == {"time_slice": None}), refused
    assert on() is not first
    runtime.uninstall()
    stay.set()
    staying.join()
    runtime.install(green=True, **options)
    assert on() is not first, "it had no threads left"
    together(int)
    runtime.uninstall()
    until_alone()


#: A child process ends when another thread has had a turn.  After a time it could end before a busy parent waits.
FORKED = "pid = os.spawnlp(os.P_NOWAIT, 'sh', 'sh', '-c', until_turn)"
BLOCKS = {
    "sleep": "time.sleep(0.05)",
    "select": "assert select.select([late], [], [], 30)[0] == [late]",
    "poll": "poll = select.poll(); poll.register(late, select.POLLIN); assert poll.poll(30_000)",
    "DefaultSelector": "assert selector(selectors.DefaultSelector)",
    "PollSelector": "assert selector(selectors.PollSelector)",
    "SelectSelector": "assert selector(selectors.SelectSelector)",
    "recv": "assert late.recv(1) == b'.'",
    "recv with a timeout": "late.settimeout(30); assert late.recv(1) == b'.'",
    "recv_into": "assert late.recv_into(bytearray(1)) == 1",
    "makefile": "assert late.makefile('rb').read(1) == b'.'",
    "send": "full.setblocking(True); full.sendall(bytes(4_000_000))",
    "epoll": "epoll = select.epoll(); epoll.register(late, select.EPOLLIN); assert epoll.poll(30) and epoll.poll(0)",
    "os.read": "assert os.read(late.fileno(), 1) == b'.'",
    "os.write": "read, write = os.pipe(); drain(read); os.write(write, bytes(1_000_000))",
    "waitpid": f"{FORKED}; assert os.waitpid(pid, 0) == (pid, 0)",
    "waitid": f"{FORKED}; assert os.waitid(os.P_PID, pid, os.WEXITED).si_pid == pid",
    "waitid for any": f"{FORKED}; assert os.waitid(os.P_ALL, 0, os.WEXITED).si_pid == pid",
    "wait3": f"{FORKED}; assert os.wait3(0)[:2] == (pid, 0)",
    "wait4": f"{FORKED}; assert os.wait4(pid, 0)[:2] == (pid, 0)",
    "wait for any": f"{FORKED}; assert os.wait() == (pid, 0)",
    "system": "assert os.system(until_turn) == 0",
    "subprocess.run": "assert subprocess.run(['sh', '-c', until_turn], timeout=30).returncode == 0",
    "communicate": "assert subprocess.run(['sh', '-c', until_turn + '; cat'], input=big, stdout=-1).stdout == big",
    "multiprocessing": "lock = multiprocessing.Lock(); lock.acquire(); later(lock.release); lock.acquire()",
    "its queue": "shared = multiprocessing.Queue(); later(shared.put, 5); assert shared.get() == 5; shared.close()",
    "check_output": "assert subprocess.check_output(['sh', '-c', until_turn + '; echo x']) == b'x\\n'",
    "os.open": "fifo = named_pipe(); later(fifo.read_bytes); os.close(os.open(fifo, os.O_WRONLY))",
    "open": "fifo = named_pipe(); later(fifo.write_text, 'x\\n'); assert open(fifo).readline() == 'x\\n'",
    "open to write": "fifo = named_pipe(); later(fifo.read_bytes); open(fifo, 'wb').write(bytes(300_000))",
    "open to append": "fifo = named_pipe(); later(fifo.read_bytes); open(fifo, 'a').write('x' * 300_000)",
    "a named pipe's end": "fifo = named_pipe(); later(fifo.write_text, ''); assert fifo.read_bytes() == b''",
    "fsync": "with open(gate.with_name('file'), 'w') as file: os.fsync(file); os.fdatasync(file.fileno())",
    "a pipe's readline": "assert piped(['sh', '-c', until_turn + '; echo x; exec cat']).stdout.readline() == 'x\\n'",
    "a pipe's lines": "assert list(piped(['sh', '-c', until_turn + '; echo x']).stdout) == ['x\\n']",
    "a pipe's write": "cat = piped(['sh', '-c', until_turn + '; cat >/dev/null']); cat.stdin.write('.' * 300_000)",
    "popen": "assert os.popen(until_turn + '; echo x').read() == 'x\\n'",
    "fdopen": "assert os.fdopen(late.detach(), 'rb', 0).read(1) == b'.'",
    "flock": "one, two = twice(); fcntl.flock(one, fcntl.LOCK_EX); later(one.close); fcntl.flock(two, fcntl.LOCK_SH)",
    "getaddrinfo": "socket.getaddrinfo('localhost', 80)",
    "SimpleQueue": "simple = queue.SimpleQueue(); later(simple.put, 1); assert simple.get() == 1",
    "Queue": "full_queue = queue.Queue(); later(full_queue.put, 1); assert full_queue.get() == 1",
    "executor": "assert executor.submit(lambda: time.sleep(0.05) or 5).result() == 5",
    "asyncio": "import asyncio as a; a.run(a.sleep(0.05)); assert a.run(a.to_thread(lambda: 5)) == 5",
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize(
    ("main", "options", "lwps"),
    [
        pytest.param(False, {"time_slice": None}, range(1, 2), id="a green thread"),
        pytest.param(True, {"time_slice": None}, range(1, 2), id="the main thread"),
        pytest.param(False, {"time_slice": None, "lwps": 2}, range(3, 4), id="two LWPs"),
        # The main thread's, and as many as threads may keep at one time on a busy machine (tick, block, two timers, a
        # reader, a queue's feeder), and two.
        pytest.param(False, {}, range(3, 1 + 6 + 2 + 1), id="a time slice"),
    ],
)
def test_what_blocks_lets_others_run(name: str, main: bool, options: Any, lwps: range, child: Child) -> None:
    def blocks(text: str, main: bool, options: Any, lwps: range) -> None:
        gate = Path(sys.argv[0]).with_name("gate")
        os.mkfifo(gate)
        opens_gate, until_turn = os.open(gate, os.O_RDWR | os.O_NONBLOCK), f"read line <{gate}"
        runtime.install(green=True, **options)
        import fcntl
        import multiprocessing
        import queue
        import select
        import selectors
        import socket
        import subprocess
        from concurrent.futures import ThreadPoolExecutor

        _ = fcntl, multiprocessing, queue, select, subprocess  # for the text

        turns: list[int] = []
        gates: list[int] = []
        pipes: list[Any] = []
        executor = ThreadPoolExecutor(1)
        big = bytes(300_000)
        late, other = socket.socketpair()
        full, drained = socket.socketpair()

        def tick() -> None:
            while True:
                opened = gates.copy()  # first: so the turn that opens the gate is not among those that block() saw
                turns.append(1)
                for fd in opened:
                    os.write(fd, b"\n")
                scheduler.sleep(0.001)

        def later(function: Any, *args: object) -> None:
            threading.Timer(0.05, function, args).start()

        def drain(fd: int) -> None:
            def read() -> None:
                time.sleep(0.02)
                while os.read(fd, 100_000):
                    pass

            threading.Thread(target=read, daemon=True).start()

        def named_pipe() -> Path:
            path = gate.with_name("fifo")
            os.mkfifo(path)
            return path

        def twice() -> Any:
            return [Path(sys.argv[0]).open() for _ in range(2)]

        def piped(command: list[str]) -> Any:
            process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
            pipes.append(process)
            return process

        def selector(cls: Any) -> object:
            with cls() as selector:
                selector.register(late, selectors.EVENT_READ)
                return selector.select(30)

        def block() -> None:
            later(other.send, b".")
            drain(drained.fileno())
            names = {**globals(), **scope}
            begun = len(turns)
            gates.append(opens_gate)
            exec(text, names)
            assert len(turns) > begun or "getaddrinfo" in text or "sync" in text, "nobody else ran"
            for process in pipes:
                process.communicate()
            print("done")

        scope = {**locals()}
        threading.Thread(target=tick, daemon=True).start()
        block() if main else together(block)
        assert tasks("self", "lwp-helper") in lwps
        sys.stdout.flush()

    result = child(blocks, BLOCKS[name], main, options, lwps)
    assert result.stdout == "done\n"
    assert result.stderr == ""


READY = {
    "select": "select.select([late], [], [])",
    "select that only looks": "select.select([late], [], [], 0)",
    "poll": "poll.poll()",
    "epoll": "epoll.poll()",
    "DefaultSelector": "selector.select()",
    "recv": "late.recv(1, socket.MSG_PEEK)",
    "recv that only looks": "unblocked.recv(1, socket.MSG_PEEK)",
    "send": "late.send(b'')",
    "os.read": "os.read(zeros, 1)",
    "os.write": "os.write(sink, b'.')",
    "a file": "file.read(1)",
    "waitpid": "os.waitpid(pid, os.WNOHANG)",
}


@pytest.mark.parametrize("text", READY.values(), ids=READY)
@pytest.mark.parametrize("main", [False, True], ids=["a green thread", "the main thread"])
@in_child(prints=". slept\n")
def test_what_is_ready_at_once_lets_others_run(text: str, main: bool) -> None:
    """A loop around a call that never waits: one who sleeps, and one who waits for a file, have their turns."""
    runtime.install(green=True, time_slice=None)
    late, other = socket.socketpair()
    other.send(b".")
    unblocked = socket.socket(fileno=os.dup(late.fileno()))
    unblocked.settimeout(0)
    poll, epoll, selector = select.poll(), select.epoll(), selectors.DefaultSelector()
    for each in (poll, epoll, selector):
        each.register(late, 1)
    zeros = os.open("/dev/zero", os.O_RDONLY)
    sink = os.open("/dev/null", os.O_WRONLY)
    file = os.fdopen(os.dup(zeros), "rb", 0)
    process: Any = subprocess.Popen(["cat"], stdin=-1, stdout=-1)
    pid, call, come = process.pid, compile(text, "<ready>", "eval"), list[str]()

    def block() -> None:
        process.stdin.write(b".")
        process.stdin.flush()
        while len(come) < 2:
            eval(call, names)

    names = {**globals(), **locals()}
    threading.Thread(target=lambda: (time.sleep(0.01), come.append("slept"))).start()
    threading.Thread(target=lambda: come.append(os.read(process.stdout.fileno(), 1).decode())).start()
    block() if main else together(block)
    process.communicate()
    print(*sorted(come))


@in_child(prints="nobody reads\n")
def test_threads_share_an_open_pipe() -> None:
    """The lock that a buffered file has in C is no place where green threads could meet."""
    runtime.install(green=True, time_slice=None)
    read, write = os.pipe()
    reader, writer = os.fdopen(read, "rb"), os.fdopen(write, "wb")
    lines: list[bytes] = []

    def take() -> None:
        lines.append(reader.readline())

    def fill(data: bytes) -> None:
        writer.write(data)
        writer.flush()

    def close_while_they_read() -> None:
        time.sleep(0.001)
        together(reader.close, lambda: (scheduler.yield_(), fill(b"1\n2\n")))

    together(take, take, close_while_they_read)
    assert sorted(lines) == [b"1\n", b"2\n"]
    assert reader.closed
    try:
        fill(b"3")
    except BrokenPipeError:
        print("nobody reads")
    writer.raw.close()  # type: ignore[union-attr]
    read, write = os.pipe()
    reader, writer = os.fdopen(read, "rb"), os.fdopen(write, "wb")
    got: list[bytes] = []
    as_, bs = b"a" * 100_000, b"b" * 100_000
    together(partial(fill, as_), partial(fill, bs), lambda: got.append(reader.read(200_000)))
    assert sorted(got[0]) == sorted(as_ + bs)
    writer.close()
    assert reader.read() == b""
    reader.close()


@in_child
def test_a_server_and_its_clients() -> None:
    """An HTTP server of threads, and clients of it, all on one LWP."""
    runtime.install(green=True, time_slice=None)
    import urllib.request
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # with less the kernel drops connections, which are tried again after a second

    program = Path(sys.argv[0])
    server = Server(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=program.parent))
    threading.Thread(target=server.serve_forever).start()
    got = []

    def get() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{program.name}") as reply:
            got.append(reply.read())

    together(*[get] * 100)
    server.shutdown()
    server.server_close()
    assert got == [program.read_bytes()] * 100
    assert tasks("self", "lwp-helper") == 1, "except the one that looked up the server's name"


@in_child(prints="concurrent poll() invocation\nTrue []\n")
def test_a_registration_during_a_poll_counts_from_the_next() -> None:
    runtime.install(green=True, time_slice=None)
    read, write = os.pipe()
    other, _end = os.pipe()
    poll, found = select.poll(), []
    poll.register(read, select.POLLIN)
    thread = threading.Thread(target=lambda: found.append(poll.poll(30_000)))
    thread.start()
    while not poll._polled:
        time.sleep(0)
    poll.unregister(read)
    poll.register(other, select.POLLIN)
    try:
        poll.poll(10)
    except RuntimeError as error:
        print(error)
    os.write(write, b".")
    thread.join()
    print(found == [[(read, select.POLLIN)]], poll.poll(0))


#: What socket_cases.py has not: closed_meanwhile, closed_while_connecting, a_pipe_is_closed_meanwhile.
CLOSED = {
    "accept": ("quiet.accept()", "quiet.close()", "[Errno 9] Bad file descriptor"),
    "a file": ("file.read(1)", "file.close()", "[Errno 9] Bad file descriptor"),
    "wait_fd": ("scheduler.wait_fd(read, select.POLLIN)", "os.close(read)", "[Errno 9] Bad file descriptor"),
    "select": ("select.select([late], [], [])", "late.close()", "[Errno 9] Bad file descriptor"),
    "poll": ("poll.poll()[0][1] == select.POLLNVAL", "late.close()", "True"),
    "epoll": ("epoll.poll()", "epoll.close()", "[]"),
    "DefaultSelector": ("selector.select()", "selector.close()", "[]"),
}


@pytest.mark.parametrize(("waits", "closes", "says"), CLOSED.values(), ids=CLOSED)
@pytest.mark.parametrize("options", [{}, {"time_slice": 0.001}], ids=["one LWP", "a time slice"])
@in_child
def test_closing_a_file_ends_the_waits_for_it(waits: str, closes: str, says: str, options: dict[str, Any]) -> None:
    """The kernel says nothing to a thread that waits in an epoll for a file that is closed."""
    runtime.install(green=True, **options)
    late, other = socket.socketpair()
    quiet = socket.create_server(("127.0.0.1", 0))
    read, write = os.pipe()
    file = os.fdopen(os.dup(read), "rb", 0)
    poll, epoll, selector = select.poll(), select.epoll(), selectors.DefaultSelector()
    for each in (poll, epoll, selector):
        each.register(late, select.POLLIN)
    names = {**globals(), **locals()}

    begun, found = threading.Semaphore(0), list[str]()

    def run() -> None:
        begun.release()
        try:
            found.append(str(eval(waits, names)))
        except OSError as error:
            found.append(str(error))

    def close() -> None:
        for _ in waiters:
            begun.acquire()
        time.sleep(0.05)
        exec(closes, names)

    waiters = [run] * (3 if "accept" in waits else 1)
    together(*waiters, close)
    assert found == [says] * len(waiters)


@in_child(prints="[Errno 9] Bad file descriptor\n")
def test_a_closed_descriptors_number_is_not_read_from() -> None:
    """The event has come, but before it is the thread's turn the number is another file's."""
    runtime.install(green=True, time_slice=None)

    def turn() -> None:
        end = time.monotonic() + 0.002
        native.may_block()
        while time.monotonic() < end:
            pass
        native.may_block()  # who calls it goes on before those that the poller finds meanwhile

    def wait() -> None:
        try:
            print("read", os.read(read, 1))
        except OSError as error:
            print(error)

    read, write = os.pipe()
    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.001)
    os.write(write, b".")
    turn()
    os.close(read)
    other, source = os.pipe()
    assert other == read
    os.write(source, b"another's")
    thread.join()
    assert os.read(other, 100) == b"another's"


@in_child(timeout=60)
def test_another_lwp_makes_a_number_anothers_during_a_call() -> None:
    """A write of more than fits, part of which is written: the rest doesn't go to the other file."""
    runtime.install(green=True, lwps=2)
    from contextlib import suppress

    sys.setswitchinterval(1e-6)

    def write_more_than_fits(write: int) -> None:
        with suppress(OSError):  # EBADF, or EPIPE
            os.write(write, bytes(300_000))

    for turn in range(3000):
        (read, write), (another, source) = os.pipe(), os.pipe()
        writer = threading.Thread(target=write_more_than_fits, args=(write,))
        writer.start()
        while not select.select([read], [], [], 0)[0]:  # it has begun
            pass
        for _ in range(turn % 3):
            os.read(read, 65536)
        os.dup2(source, write)
        os.close(read)
        writer.join(1)  # one that waits to write more to another's pipe never ends
        assert not writer.is_alive()
        os.close(write)
        os.close(source)
        assert os.read(another, 1) == b""
        os.close(another)


@pytest.mark.parametrize("options", [{}, {"lwps": 2}, {"time_slice": 0.001}], ids=str)
@in_child
def test_fork_with_green_threads_installed(options: dict[str, Any]) -> None:
    runtime.install(green=True, **options)
    import multiprocessing

    read, write = os.pipe()
    scheduler.wait_fd(read, select.POLLIN, 0.001)  # there is an epoll that the child must not share

    def wait_for_it() -> None:
        assert os.read(read, 1) == b"1"

    def in_child() -> None:
        together(partial(time.sleep, 0.01))
        mine, theirs = os.pipe()
        together(partial(os.read, mine, 1), lambda: (time.sleep(0.01), os.write(theirs, b".")))
        if "time_slice" in options:
            stop: list[int] = []
            together(lambda: [0 for _ in iter(lambda: bool(stop), True)], lambda: stop.append(1))

    reader = threading.Thread(target=wait_for_it)
    reader.start()
    time.sleep(0.01)
    process = multiprocessing.get_context("fork").Process(target=in_child)
    process.start()
    process.join()
    assert process.exitcode == 0
    os.write(write, b"1")
    reader.join()


@in_child(says="interrupted\nall green threads sleep")
def test_signals_while_the_main_thread_waits() -> None:
    runtime.install(green=True, time_slice=None)
    event = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: event.set())

    def kill_later(number: int) -> None:
        threading.Thread(target=lambda: (time.sleep(0.02), os.kill(os.getpid(), number))).start()

    kill_later(signal.SIGUSR1)
    assert event.wait(30)
    kill_later(signal.SIGINT)
    try:
        time.sleep(30)
    except KeyboardInterrupt:
        print("interrupted")
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    try:
        threading.Event().wait()
    except scheduler.Deadlock as found:
        print(found)
