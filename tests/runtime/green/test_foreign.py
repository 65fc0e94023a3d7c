"""C code of others that releases the GIL and blocks: the other green threads go on at once, on another LWP.

The time slice is 1,000 s here, so a thread whose LWP is not given up keeps the others waiting until the test's timeout.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    Child,
    count_calls,
    environment,
    in_child,
    learn_that_it_blocks,
    lines_between_marks,
    python,
    together,
    under_strace,
)

import runtime
from runtime import scheduler

pytestmark = pytest.mark.timeout(60)
libc: Any = ctypes.CDLL(None)

BODIES = {
    # The thread in C waits for a byte, which a thread that waits for its turn writes.
    "a thread of the queue": "start(lambda: (start(write), read())).join()",
    # Nothing can go on when it begins to wait.
    "a thread that the main thread wakes": """
def write_later():
    with held:
        write()
entered = threading.Event()
held.acquire()
writer, reader = start(write_later), start(lambda: (entered.set(), read()))
entered.wait()
while ') S ' not in open(f'/proc/self/task/{reader.native_id}/stat').read():
    pass
held.release()
writer.join()
reader.join()
""",
    "a thread that sleeps": "together(lambda: (time.sleep(0.01), write()), read)",
    "a thread that waits for a socket": "together(lambda: (mine.recv(1), write()), read, lambda: others.send(b'.'))",
    # The second one in C is woken by a thread that has lost its place.
    "several in C at once": """
pipes = [os.pipe() for _ in range(8)]
def pass_on(i):
    time.sleep(0)
    libc.read(pipes[i][0], byte, 1)
    with held:
        os.write(pipes[i + 1][1], b'.')
threads = [start(pass_on, i) for i in range(7)]
os.write(pipes[0][1], b'.')
say(len(os.read(pipes[7][0], 1)))
for thread in threads:
    thread.join()
""",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@in_child(prints="1\n")
def test_the_others_go_on_while_a_thread_blocks_in_c(body: str) -> None:
    """Runs the body, which calls libc by ctypes, of which it is known that it blocks; `say` prints in the end."""
    runtime.install(green=True, time_slice=1000)
    said: list[object] = []
    held, (reads, writes) = threading.Lock(), os.pipe()
    byte = ctypes.create_string_buffer(1)
    mine, others = socket.socketpair()

    def start(function: Any, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args)
        thread.start()
        return thread

    def read() -> None:
        said.append(libc.read(reads, byte, 1))

    def write() -> None:
        os.write(writes, b".")

    learn_that_it_blocks(partial(libc.usleep, 1000))
    exec(body, globals() | locals() | {"say": said.append})
    print(*said)


LATE = """
import os, runtime, sys, threading
from without_pytest import together
runtime.install(green=True, time_slice=1000)
assert "_ctypes" not in sys.modules
import ctypes
c, begun, (reads, writes) = ctypes.CDLL(None), threading.Event(), os.pipe()
def read():
    threading.Thread(target=os.write, args=(writes, b".")).start()
    print(c.read(reads, ctypes.create_string_buffer(1), 1))
together(begun.wait, lambda: (begun.set(), c.usleep(1000)))
together(read)
"""


def test_so_they_do_if_the_library_that_calls_it_is_loaded_later() -> None:
    assert python("-c", LATE).stdout == "1\n"


@in_child
def test_no_wake_up_is_lost_on_the_ways_into_c_and_back() -> None:
    runtime.install(green=True, time_slice=1000)
    count, rounds, lock, condition = 6, 40, threading.Lock(), threading.Condition()
    pipes = [os.pipe() for _ in range(count)]
    done, turn = [0] * count, [0]

    def round_trips(i: int) -> None:
        byte = ctypes.create_string_buffer(1)
        for number in range(rounds):
            libc.read(pipes[i][0], byte, 1)
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

    learn_that_it_blocks(partial(libc.usleep, 1000))
    together(look_on, begin, *(partial(round_trips, i) for i in range(count)))
    assert done == [rounds] * count


@in_child
def test_as_many_lwps_as_threads_in_c_and_two() -> None:
    runtime.install(green=True, time_slice=1000)
    pipes = [os.pipe() for _ in range(5)]

    def read(fd: int) -> None:
        for _ in range(20):
            libc.read(fd, ctypes.create_string_buffer(1), 1)
            lock.acquire()
            lock.release()

    lock = threading.Lock()
    learn_that_it_blocks(partial(libc.usleep, 1000))
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
    assert most <= 1 + len(pipes) + 2


@in_child
def test_a_thread_that_comes_back_from_c_keeps_its_lwp_until_it_waits() -> None:
    """If it had a turn in the queue, an LWP that has computed would have to wake up for the next timer: late."""
    runtime.install(green=True, time_slice=0.001)
    import hashlib

    lwp, text, over = ctypes.PyDLL(None).gettid, bytes(1_000_000), False  # for PyDLL's calls the GIL is not released
    lwps: list[set[int]] = []

    def compute() -> None:
        hashlib.sha256(text)  # this may be the runner's, and then the watcher takes over
        mine = set()
        for _ in range(50):
            hashlib.sha256(text)
            mine.add(lwp())
        lwps.append(mine)

    def sleep() -> None:
        while not over:
            time.sleep(0.001)

    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    learn_that_it_blocks(lambda: hashlib.sha256(text * 10))
    together(*[compute] * 4)
    over = True
    sleeper.join()
    assert [len(mine) for mine in lwps] == [1] * 4


@in_child(prints="0\n")
def test_nothing_is_handed_over_without_c() -> None:
    runtime.install(green=True, time_slice=1000)
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


@in_child
def test_calls_that_return_at_once_are_soon_trusted_again() -> None:
    """Each call that is kept for long by others of the machine counts as one that blocks, hence the room."""
    runtime.install(green=True, time_slice=0.001)

    def call() -> None:
        for _ in range(1000):
            libc.getppid()
            time.sleep(0)

    def both() -> int:
        before = scheduler.green_statistics().hand_overs
        together(call, call)
        return scheduler.green_statistics().hand_overs - before

    assert both() < 1000
    learn_that_it_blocks(partial(libc.usleep, 1000))
    assert both() < 1000


@in_child(prints="0\n")
def test_nothing_is_handed_over_by_calls_that_keep_nobody_waiting() -> None:
    runtime.install(green=True, time_slice=1000)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=listener.accept, daemon=True).start()
    together(lambda: [libc.usleep(1000) for _ in range(20)])
    print(scheduler.green_statistics().hand_overs)


BESIDE_FILES = """
import ctypes, os, socket, threading
import runtime
from without_pytest import together
runtime.install(green=True, time_slice=1000)
c, known, turns = ctypes.CDLL(None), threading.Event(), 100
together(known.wait, lambda: (known.set(), c.usleep(1000)))
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=listener.accept, daemon=True).start()
mine, others = socket.socketpair()
reads, writes = os.pipe()

def answer():
    byte = ctypes.create_string_buffer(1)
    for _ in range(turns):
        others.recv(1)
        c.read(reads, byte, 1)
        others.send(byte)

def others_sleep():
    tasks = set(os.listdir("/proc/self/task")) - {str(threading.get_native_id())}
    return all(") S " in open(f"/proc/self/task/{task}/stat").read() for task in tasks)

answers = threading.Thread(target=answer)
answers.start()
os.access("/begin", 0)
for _ in range(turns):
    mine.send(b".")
    while not others_sleep():
        os.sched_yield()
    os.write(writes, b".")
    mine.recv(1)
os.access("/end", 0)
answers.join()
"""


def calls_of(program: str, name: str, trace: Path) -> str:
    """Those between the program's marks."""
    command = [*under_strace(trace, "-e", f"trace=access,{name}"), sys.executable, "-c", program]
    subprocess.run(command, check=True, timeout=50, env=environment())
    return lines_between_marks(trace)


def test_an_lwp_that_sleeps_for_files_is_not_woken_when_another_comes_back_from_c(tmp_path: Path) -> None:
    """The runner, which the program's write to an eventfd would wake; the other writes are the program's own."""
    assert count_calls(calls_of(BESIDE_FILES, "write", tmp_path / "trace"))["write"] < 1.5 * 100


SLEEPS = """
import os, threading, time
import runtime
runtime.install(green=True, time_slice=0.002)
def sleep():
    os.access("/begin", 0)
    for _ in range(200):
        time.sleep(0.001)
    os.access("/end", 0)
thread = threading.Thread(target=sleep)
thread.start()
thread.join()
"""


def test_a_runner_that_sleeps_in_turn_does_not_wake_its_watcher(tmp_path: Path) -> None:
    """The watcher would take the runner's processor, which the runner gets back late beside threads that compute."""
    assert calls_of(SLEEPS, "futex", tmp_path / "trace").count("FUTEX_WAKE") < 20


# ---- poll(2) and nanosleep(2) in such code ---------------------------------------------------------------------------

CALLS = """
class File(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]
class Time(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]
def poll(timeout, *fds):
    files = (File * len(fds))(*(File(fd, select.POLLIN) for fd in fds))
    return libc.poll(files, len(fds), timeout), *(file.revents for file in files)
def nanosleep(ns):
    return libc.nanosleep(ctypes.byref(Time(0, ns)), None)
def in_callback(call):
    said = []
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: said.append(call()) or 0)
    libc.qsort((ctypes.c_int * 2)(), 2, 4, function)
    return said[0]
def subinterpreter():
    try: import _interpreters as api
    except ImportError: import _xxsubinterpreters as api
    api.destroy(api.create())
reads, writes = os.pipe()
empty, _ = os.pipe()
"""
POLLED = {
    # What waits leaves its LWP to others.
    "poll(-1, reads)": "meanwhile (1, 1)",
    "poll(-1, empty, reads)": "meanwhile (1, 0, 1)",
    "poll(60_000, -1, reads)": "meanwhile (1, 0, 1)",
    "poll(1, empty)": "meanwhile (0, 0)",
    "poll(1)": "meanwhile (0,)",
    "nanosleep(1_000_000)": "meanwhile 0",
    # From a subinterpreter on, CPython's PyGILState_Check() says in each thread that it has the GIL.
    "subinterpreter(); poll(-1, reads)": "meanwhile (1, 1)",
    "subinterpreter(); nanosleep(1_000_000)": "meanwhile 0",
    # What would not wait, or keeps the GIL, leaves it to nobody.
    "poll(0, empty)": "(0, 0) meanwhile",
    "poll(-1, 12345)": "(1, 32) meanwhile",
    "nanosleep(-1)": "-1 meanwhile",
    "in_callback(lambda: ctypes.PyDLL(None).poll(None, 0, 1))": "0 meanwhile",
}


@pytest.mark.parametrize("text", POLLED)
def test_what_polls_or_sleeps_in_c_leaves_its_lwp_to_others(text: str, child: Child) -> None:
    def waits(calls: str, text: str) -> None:
        """Makes the last call in a thread, of whose place in C nothing is known yet.  Another could go on then."""
        runtime.install(green=True, time_slice=1000)
        *before, call = text.split("; ")
        names: dict[str, Any] = {"os": os, "libc": libc, "ctypes": ctypes, "select": select}
        exec("\n".join([calls, *before]), names)
        go_on = threading.Event()

        def meanwhile() -> None:
            go_on.wait()
            print("meanwhile", end=" ")
            os.write(names["writes"], b".")

        together(meanwhile, lambda: (go_on.set(), print(eval(call, names), end=" ")))
        print(scheduler.green_statistics().hand_overs)

    assert child(waits, CALLS, text).stdout == f"{POLLED[text]} 0\n"


@in_child(prints="0 True 0\n" * 2)
def test_the_scheduling_of_a_green_thread() -> None:
    runtime.install(green=True)
    libc.pthread_self.restype = ctypes.c_void_p

    def ask() -> None:
        me, policy, priority = ctypes.c_void_p(libc.pthread_self()), ctypes.c_int(-1), ctypes.c_int(-1)
        found = libc.pthread_getschedparam(me, ctypes.byref(policy), ctypes.byref(priority))
        print(found, policy.value == os.sched_getscheduler(0), priority.value)

    ask()
    together(ask)
