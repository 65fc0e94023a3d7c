"""C code of others that releases the GIL and blocks: the other green threads go on at once, on another LWP.

The time slice is 1,000 s here, so a thread whose LWP is not given up keeps the others waiting until the test's timeout.
"""

from __future__ import annotations

import os
import re
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from commands import lwp
from conftest import Child, together

import runtime
from runtime import scheduler

pytestmark = pytest.mark.timeout(60)


def blocks(late: bool, body: str) -> None:
    """Runs the body, in which `c` is libc by ctypes, of which it is known that it blocks; `say` prints in the end."""
    if not late:
        import ctypes
    runtime.install(green=True, time_slice=1000)
    import ctypes
    import select
    import socket
    import time

    c: Any = ctypes.CDLL(None)
    said: list[object] = []
    held, reads, writes = threading.Lock(), *os.pipe()
    byte = ctypes.create_string_buffer(1)
    mine, others = socket.socketpair()
    names = {"c": c, "held": held, "reads": reads, "writes": writes, "byte": byte, "say": said.append}
    names |= {"threading": threading, "time": time, "os": os, "mine": mine, "others": others, "select": select}
    names |= {"scheduler": scheduler}

    def learn() -> None:
        c.usleep(1000)

    def start(function: Any, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args)
        thread.start()
        return thread

    start(learn).join()
    exec(body, names | {"start": start})
    print(*said)


BODIES = {
    # The thread in C waits for a byte, which a thread that waits for its turn writes.
    "a thread of the queue": """
def write():
    os.write(writes, b'.')
def read():
    start(write)
    say(c.read(reads, byte, 1))
start(read).join()
""",
    # Nothing can go on when it begins to wait.
    "a thread that the main thread wakes": """
def write():
    with held:
        os.write(writes, b'.')
def read():
    entered.set()
    say(c.read(reads, byte, 1))
entered = threading.Event()
held.acquire()
writer, reader = start(write), start(read)
entered.wait()
while ') S ' not in open(f'/proc/self/task/{reader.native_id}/stat').read():
    pass
held.release()
writer.join()
reader.join()
""",
    "a thread that sleeps": """
def write():
    time.sleep(0.01)
    os.write(writes, b'.')
def read():
    say(c.read(reads, byte, 1))
threads = start(write), start(read)
for thread in threads:
    thread.join()
""",
    "a thread that waits for a socket": """
def write():
    mine.recv(1)
    os.write(writes, b'.')
def read():
    say(c.read(reads, byte, 1))
threads = start(write), start(read)
others.send(b'.')
for thread in threads:
    thread.join()
""",
    # The second one in C is woken by a thread that has lost its place.
    "several in C at once": """
pipes = [os.pipe() for _ in range(8)]
def pass_on(i):
    time.sleep(0)
    c.read(pipes[i][0], byte, 1)
    with held:
        os.write(pipes[i + 1][1], b'.')
threads = [start(pass_on, i) for i in range(7)]
os.write(pipes[0][1], b'.')
say(len(os.read(pipes[7][0], 1)))
for thread in threads:
    thread.join()
""",
}


@pytest.mark.parametrize("late", [False, True], ids=["loaded before", "loaded after"])
@pytest.mark.parametrize("name", BODIES)
def test_the_others_go_on_while_a_thread_blocks_in_c(name: str, late: bool, child: Child) -> None:
    assert child(blocks, late, BODIES[name]).stdout == "1\n"


def turns_in_c() -> None:
    runtime.install(green=True, time_slice=1000)
    import ctypes
    import time

    c: Any = ctypes.CDLL(None)
    count, rounds, lock, condition = 6, 40, threading.Lock(), threading.Condition()
    pipes = [os.pipe() for _ in range(count)]
    done, turn = [0] * count, [0]

    def round_trips(i: int) -> None:
        byte = ctypes.create_string_buffer(1)
        for number in range(rounds):
            c.read(pipes[i][0], byte, 1)
            with lock:
                done[i] += 1
            if number % 3 == 0:
                time.sleep(0)
            elif number % 3 == 1:
                time.sleep(1e-5)
            with condition:
                turn[0] += 1
                condition.notify_all()
            os.write(pipes[(i + 1) % count][1], b".")

    def look_on() -> None:
        with condition:
            condition.wait_for(lambda: turn[0] == count * rounds)

    def begin() -> None:
        os.write(pipes[0][1], b".")
        os.write(pipes[3][1], b".")

    together(partial(c.usleep, 1000))
    together(look_on, begin, *(partial(round_trips, i) for i in range(count)))
    print(*done)


def test_no_wake_up_is_lost_on_the_ways_into_c_and_back(child: Child) -> None:
    assert child(turns_in_c).stdout.split() == ["40"] * 6


def count_lwps() -> None:
    runtime.install(green=True, time_slice=1000)
    import ctypes

    c: Any = ctypes.CDLL(None)
    many = 5
    pipes = [os.pipe() for _ in range(many)]

    def read(fd: int) -> None:
        for _ in range(20):
            c.read(fd, ctypes.create_string_buffer(1), 1)
            lock.acquire()
            lock.release()

    lock = threading.Lock()
    together(partial(c.usleep, 1000))
    threads = [threading.Thread(target=read, args=(reads,)) for reads, _ in pipes]
    for thread in threads:
        thread.start()
    most = 0
    for _ in range(20):
        for _, writes in pipes:
            os.write(writes, b".")
        most = max(most, len(os.listdir("/proc/self/task")))
    for thread in threads:
        thread.join()
    print(most - 1 - many)


def test_as_many_lwps_as_threads_in_c_and_two(child: Child) -> None:
    assert int(child(count_lwps).stdout) <= 2


def without_c() -> None:
    runtime.install(green=True, time_slice=1000)
    import socket

    mine, others = socket.socketpair()
    lock = threading.Lock()

    def echo() -> None:
        while data := others.recv(64):
            with lock:
                others.sendall(data)

    def ask() -> None:
        for _ in range(1000):
            mine.sendall(b"x")
            mine.recv(64)
        mine.close()

    together(echo, ask)
    print(scheduler.green_statistics().hand_overs)


def test_nothing_is_handed_over_without_c(child: Child) -> None:
    assert child(without_c).stdout == "0\n"


def short_calls() -> None:
    runtime.install(green=True, time_slice=0.001)
    import ctypes
    import time

    c: Any = ctypes.CDLL(None)

    def call() -> None:
        for _ in range(1000):
            c.getppid()
            time.sleep(0)

    def both() -> int:
        before = scheduler.green_statistics().hand_overs
        together(call, call)
        return scheduler.green_statistics().hand_overs - before

    first = both()
    together(partial(c.usleep, 1000))
    print(first, both())


def test_calls_that_return_at_once_are_soon_trusted_again(child: Child) -> None:
    """Each call that is kept for long by others of the machine counts as one that blocks, hence the room."""
    first, later = map(int, child(short_calls).stdout.split())
    assert first < 1000
    assert later < 1000


BLOCKING = """import ctypes, threading
libc = ctypes.CDLL(None)
threads = [threading.Thread(target=libc.usleep, args=(2000,)) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_the_report_says_where_c_code_has_blocked(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(BLOCKING)
    report = lwp("run", "--green", "--report", str(program)).stderr
    assert re.search(r"blocked in _ctypes +│ +[1-3] times?, +[\d.]+ ms", report)


def scheduling() -> None:
    runtime.install(green=True)
    import ctypes

    c: Any = ctypes.CDLL(None)
    c.pthread_self.restype = ctypes.c_void_p

    def ask() -> None:
        policy, priority = ctypes.c_int(-1), ctypes.c_int(-1)
        found = c.pthread_getschedparam(ctypes.c_void_p(c.pthread_self()), ctypes.byref(policy), ctypes.byref(priority))
        print(found, policy.value == os.sched_getscheduler(0), priority.value)

    ask()
    together(ask)


def test_the_scheduling_of_a_green_thread(child: Child) -> None:
    assert child(scheduling).stdout == "0 True 0\n" * 2
