"""Threads on an LWP that has lost its place as the runner to another one: what they begin there ends in time.

The thread was in C for longer than the time slice.  Another LWP is the runner by then, and sleeps with nothing to run.
"""

from __future__ import annotations

import ctypes
import os
import select
import selectors
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import in_child

import runtime
from runtime import scheduler

pytestmark = pytest.mark.timeout(60)
libc = ctypes.CDLL(None)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="a time slice"),
        pytest.param({"lwps": 3}, id="and three LWPs"),
        pytest.param({"lwps": 3, "time_slice": None}, id="three LWPs"),
    ],
)
@in_child
def test_sleeps_begun_on_another_lwp_end_in_time(options: dict[str, Any]) -> None:
    # Each ends by itself after 10 ms; a child process is given more.
    timeouts = {
        "sleep": "time.sleep(0.01)",
        "event": "threading.Event().wait(0.01)",
        "lock": "held.acquire(timeout=0.01)",
        "RLock": "held_again.acquire(timeout=0.01)",
        "condition": "with condition: condition.wait(0.01)",
        "wait_for": "with condition: condition.wait_for(list, 0.01)",
        "semaphore": "threading.Semaphore(0).acquire(timeout=0.01)",
        "barrier": "with suppress(threading.BrokenBarrierError): threading.Barrier(2).wait(0.01)",
        "queue": "with suppress(queue.Empty): queue.Queue().get(timeout=0.01)",
        "SimpleQueue": "with suppress(queue.Empty): queue.SimpleQueue().get(timeout=0.01)",
        "join": "long_call.join(0.01)",
        "future": "with suppress(TimeoutError): Future().result(0.01)",
        "runtime.wait": "runtime.wait([long_call, threading.Event()], 0.01)",
        "recv": "silent.settimeout(0.01)\nwith suppress(TimeoutError): silent.recv(1)",
        "accept": "quiet.settimeout(0.01)\nwith suppress(TimeoutError): quiet.accept()",
        "wait_fd": "scheduler.wait_fd(silent.fileno(), 1, 0.01)",
        "select": "select.select([silent], [], [], 0.01)",
        "poll": "poll.poll(10)",
        "epoll": "epoll.poll(0.01)",
        "selector": "selector.select(0.01)",
        "timer": "timer = threading.Timer(0.01, set); timer.start(); timer.join()",
        "subprocess": "with suppress(subprocess.TimeoutExpired): subprocess.run(['sleep', '60'], timeout=0.05)",
        "sigtimedwait": "signal.sigtimedwait([signal.SIGUSR1], 0.01)",
        "asyncio": "asyncio.run(asyncio.sleep(0.01))",
    }

    # Each ends by what the main thread does meanwhile, or another thread.
    woken = [
        ("yield", "scheduler.yield_()", "pass"),
        ("sleep(0)", "time.sleep(0)", "pass"),
        ("an event", "event.wait()", "event.set()"),
        ("a lock", "lock.acquire()", "lock.release()"),
        ("a byte", "one.recv(1)", "other.send(b'.')"),
        ("a pipe", "os.read(reads, 1)", "os.write(writes, b'.')"),
        ("select()", "select.select([one], [], [])", "other.send(b'.')"),
        ("a connection", "listener.accept()[0].close()", "socket.create_connection(listener.getsockname()).close()"),
        ("a helper", "scheduler.blocking(int)", "pass"),
        ("a thread", "thread = threading.Thread(target=int); thread.start(); thread.join()", "pass"),
        ("a child process", "subprocess.run(['true'])", "pass"),
        ("the end", "pass", "pass"),
    ]
    free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
    runtime.install(green=True, **options)
    import asyncio
    import queue
    import subprocess
    from concurrent.futures import Future
    from contextlib import suppress

    _ = asyncio, queue, subprocess, Future, suppress  # for the texts
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    held, held_again, lock = threading.Lock(), threading.RLock(), threading.Lock()
    for it in (held, held_again, lock):
        it.acquire()
    event, condition = threading.Event(), threading.Condition()
    (silent, _silent), (one, other) = socket.socketpair(), socket.socketpair()
    reads, writes = os.pipe()
    listener, quiet = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    poll, epoll, selector = select.poll(), select.epoll(), selectors.DefaultSelector()
    for it in (poll, epoll):
        it.register(silent, 1)
    selector.register(silent, 1)

    def in_c(pipe: tuple[int, int]) -> None:
        """Until a byte comes; ctypes releases the GIL, and no stand-in sees it."""
        assert libc.read(pipe[0], ctypes.create_string_buffer(1), 1) == 1

    def begin(text: str) -> None:
        in_c(short)
        exec(text, globals(), names)
        ended.set()

    def others_sleep() -> bool:
        me = str(threading.get_native_id())
        stats = [Path(f"/proc/self/task/{tid}/stat").read_text() for tid in os.listdir("/proc/self/task") if tid != me]
        return all(stat.rpartition(")")[2].split()[0] == "S" for stat in stats)

    def turn() -> None:
        slept.append(scheduler.green_statistics().sleeps)
        had_turn.set()
        ended.wait()

    for name, text, action in (*((name, text, "pass") for name, text in timeouts.items()), *woken):
        long, short = os.pipe(), os.pipe()
        slept: list[int] = []
        had_turn, ended = threading.Event(), threading.Event()
        threads = [
            threading.Thread(target=function, args=args, daemon=True)
            for function, *args in ((in_c, long), (begin, text), (turn,))
        ]
        long_call = threads[0]
        names = locals().copy()
        for thread in threads:
            thread.start()
        had_turn.wait()  # so the runner's place is on the third LWP
        while scheduler.green_statistics().sleeps == slept[0]:  # and that one goes to sleep, with no deadline
            if free_threaded and others_sleep() and others_sleep():
                break  # the third LWP had that turn in parallel, and needed no place for it
            os.sched_yield()
        os.write(short[1], b".")
        exec(action, globals(), names)
        assert ended.wait(5), f"{name}: goes on when another thread's call in C ends"
        os.write(long[1], b".")
        for thread in threads:
            thread.join()
        for end in (*long, *short):
            os.close(end)
