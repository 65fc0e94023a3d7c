"""select(), poll() and the selectors over them, in green threads: they find what stock's find, without a descriptor."""

from __future__ import annotations

import json
import os
import resource
import select
import selectors
import socket
import sys
import threading
import time
from typing import Any

import pytest
from conftest import Child, in_child, run_thread

import runtime
from runtime import scheduler

pytestmark = pytest.mark.timeout(60)

OPTIONS = [pytest.param({}, id="a time slice"), pytest.param({"time_slice": None}, id="one LWP")]


def find(options: dict[str, Any] | None) -> None:
    """None: stock threads."""
    if options is not None:
        runtime.install(green=True, **options)
    from concurrent.futures import ThreadPoolExecutor

    _ = selectors  # for the texts
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    found: dict[str, str] = {}
    executor = ThreadPoolExecutor(8)

    def later(function: Any, *args: object) -> None:
        threading.Timer(0.02, function, args).start()

    def polled(*fds: int, events: int = select.POLLIN, timeout: float | None = None) -> Any:
        poll = select.poll()
        for fd in fds:
            poll.register(fd, events)
        return sorted((fds.index(fd), it) for fd, it in poll.poll(timeout))

    def selected(read: Any = (), write: Any = (), exceptional: Any = (), timeout: float | None = None) -> Any:
        every = [*read, *write, *exceptional]
        return [[every.index(one) for one in kind] for kind in select.select(read, write, exceptional, timeout)]

    cases = {
        "a byte": "later(b.send, b'.'); it = selected([a]), polled(c.fileno(), a.fileno())",
        "no byte": "it = selected([a], timeout=0.01), polled(a.fileno(), timeout=10)",
        "at once": "it = selected([a], timeout=0), polled(a.fileno(), timeout=0)",
        "a negative timeout": "later(b.send, b'.'); it = polled(a.fileno(), timeout=-5)",
        "twice": "later(b.send, b'.'); it = selected([a, a, a.fileno()]), selected([a], [a])",
        "level-triggered": "later(b.send, b'..'); it = [(selected([a]), a.recv(1) if n < 2 else 0) for n in (0, 1)]",
        "after a receiver": "later(b.send, b'.'); a.recv(1); later(b.send, b'.'); it = polled(a.fileno()); a.recv(1); "
        "later(b.send, b'.'); it = it, a.recv(1), selected([a], timeout=0.01)",
        "space": "c.setblocking(False)\n"
        "try:\n while True: c.send(bytes(100_000))\n"
        "except BlockingIOError: later(d.recv, 10_000_000); it = selected([], [c])",
        "hung up": "later(b.close); it = polled(a.fileno(), events=0), selected([a]), selected([a], [], [a])",
        "one fd, many threads": "jobs = [executor.submit(selected, [a]) for _ in range(3)]; jobs += [executor.submit("
        "polled, a.fileno()) for _ in range(3)]; later(b.send, b'.'); it = [job.result() for job in jobs]",
        "urgent": "k.sendall(b'.'); m.recv(1); later(k.send, b'!', socket.MSG_OOB); it = selected([], [], [m]), "
        "polled(m.fileno(), events=select.POLLPRI)",
        "a file": "it = selected([file]), selected([], [file]), selected([], [], [file], 0.01), "
        "polled(file.fileno(), events=select.POLLPRI, timeout=10), polled(file.fileno())",
        "a file and a byte": "later(b.send, b'.'); it = selected([a], [], [file])",
        "no such file": "it = polled(9999), polled(a.fileno(), 9999)",
        "no such file to select": "n = os.dup(0); os.close(n); it = selected([n])",
        "nothing": "it = select.select([], [], [], 0.01), select.poll().poll(10)",
        "1,100": "ends = [os.pipe() for _ in range(1100)]; later(os.write, ends[1050][1], b'.'); "
        "it = polled(*(read for read, _ in ends))",
        "a number too large to select": "it = selected([os.dup2(a.fileno(), 3000)], timeout=0.01)",
        "an epoll": "e = select.epoll(); e.register(a); e.modify(a, 1); later(b.send, b'.'); it = selected([e]), "
        "[events for _, events in e.poll()]",
        "a selector": "s = selectors.PollSelector(); s.register(a, 1); later(b.send, b'.'); it = len(s.select()), "
        "len(s.select(0.01)), a.recv(1), len(s.select(0.01))",
    }

    def run(name: str) -> None:
        (a, b), (c, d), file = socket.socketpair(), socket.socketpair(), os.fdopen(os.open(sys.argv[0], os.O_RDWR))
        with socket.create_server(("127.0.0.1", 0)) as server:
            k, (m, _) = socket.create_connection(server.getsockname()), server.accept()
        names = {**globals(), **scope, **dict(zip("abcdkm", (a, b, c, d, k, m), strict=True)), "file": file}
        try:
            exec(cases[name], names)
            found[name] = repr(names["it"])
        except (OSError, ValueError) as error:
            found[name] = repr(error)

    scope = locals().copy()
    for name in cases:
        run_thread(threading.Thread(target=run, args=(name,)))
    print(json.dumps(found))


@pytest.mark.parametrize("options", OPTIONS)
def test_they_find_the_same_as_stocks(options: dict[str, Any], child: Child) -> None:
    stock, green = (json.loads(child(find, how).stdout) for how in (None, options))
    assert stock["1,100"] == "[(1050, 1)]", "it had its descriptors"
    assert green == stock


@pytest.mark.parametrize("options", OPTIONS)
@in_child(prints="True\n")
def test_they_wait_where_no_descriptor_is_left(options: dict[str, Any]) -> None:
    runtime.install(green=True, **options)
    from contextlib import suppress

    a, b = socket.socketpair()
    threads = [threading.Thread(target=os.read, args=(os.pipe()[0], 1), daemon=True)]  # its scheduler has a poller
    threads[0].start()
    time.sleep(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with suppress(OSError):
        while True:
            os.dup(0)
    poll = select.poll()
    poll.register(a, select.POLLIN)
    found: list[object] = []

    def wait(function: Any, *args: object) -> None:
        try:
            found.append(function(*args))
        except OSError as error:
            found.append(repr(error))

    for wait_for in ((select.select, [a], [], [], 0.01), (poll.poll, 10), (select.select, [a], [], []), (poll.poll,)):
        thread = threading.Thread(target=wait, args=wait_for)
        thread.start()
        if len(found) == 2:
            b.send(b".")
        thread.join()
    print(found == [([], [], []), [], ([a], [], []), [(a.fileno(), select.POLLIN)]] or found)


@in_child(prints="0\n")
def test_a_reused_number_gets_no_events_of_the_closed_file() -> None:
    runtime.install(green=True, time_slice=None)
    old, write = os.pipe()
    assert select.select([old], [], [], 0.02) == ([], [], [])  # after 1 ms a busy machine may not have begun to wait
    os.dup(old)  # so the file stays open, and epoll(7) goes on watching it
    os.close(old)
    new, _ = os.pipe()
    assert new == old
    os.write(write, b".")
    print(scheduler.wait_fd(new, select.POLLIN, 0.05))


@pytest.mark.parametrize("call", ["select", "poll", "epoll", "PollSelector", "EpollSelector"])
@in_child
def test_the_main_thread_waits_for_files_after_green_threads_that_could_go_on(call: str) -> None:
    """Not always: its patience ends after 5 ms, and other processes may keep the LWP from its processor for longer."""
    runtime.install(green=True)
    ready, other = socket.socketpair()
    other.send(b".")
    poll, epoll = select.poll(), select.epoll()
    of_poll, of_epoll = selectors.PollSelector(), selectors.EpollSelector()
    for at in (poll, epoll, of_poll, of_epoll):
        at.register(ready, selectors.EVENT_READ)
    calls: dict[str, Any] = {"select": lambda: select.select([ready], [], []), "poll": poll.poll, "epoll": epoll.poll}
    calls |= {"PollSelector": of_poll.select, "EpollSelector": of_epoll.select}
    before = 0

    def work(go: threading.Event, gone: list[int]) -> None:
        go.wait()
        for _ in range(3):
            scheduler.yield_()
        gone.append(1)

    for _ in range(40):
        gone, go = list[int](), threading.Event()
        threads = [threading.Thread(target=work, args=(go, gone)) for _ in range(20)]
        for thread in threads:
            thread.start()
        go.set()
        assert calls[call]()
        before += len(gone) == len(threads)
        for thread in threads:
            thread.join()
    assert before >= 4
