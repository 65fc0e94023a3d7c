"""How many instructions an operation of ours takes for one of threading's, counted by valgrind's callgrind.

Where nobody waits, the times in docs/performance.md follow these counts, which are the same on every run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FREE_THREADED, HELPERS, ROOT

#: Of threading's; what each of 3.11, 3.12 and 3.13 takes is a little less.
LIMITS = {
    "Lock pair": 0.53,
    "with Lock": 0.48,
    "Lock, failed try": 0.36,
    "RLock pair": 0.53,
    "Event set and clear": 0.08,
    "Event wait when set": 0.08,
    "Semaphore pair": 0.07,
    "Thread()": 0.4,
    "current_thread": 0.36,
    "start and join": 0.45,
}
if FREE_THREADED:  # there both take more
    LIMITS |= {"Lock pair": 0.68, "with Lock": 0.56, "Lock, failed try": 0.46, "RLock pair": 0.58}
    LIMITS |= {"start and join": 0.12}

SCRIPT = """
import ctypes, sys, threading
from runtime import Thread, native, sync

library = ctypes.CDLL(sys.argv[1])

def pair(first, second):
    for _ in range(1000): first(); second()

def once(call):
    for _ in range(1000): call()

def seldom(call):
    for _ in range(100): call()

def failing(call):
    for _ in range(1000): call(False)

def within(lock):
    for _ in range(1000):
        with lock: pass

def count(name, function, *arguments):
    function(*arguments)  # the interpreter adapts to what it runs
    library.count_from_here()
    function(*arguments)
    library.count_to_here(name.encode())

ours = sync.Lock, sync.RLock, sync.Event, sync.Semaphore
stock = threading.Lock, threading.RLock, threading.Event, threading.Semaphore
count("nothing", int)
for kind, (Lock, RLock, Event, Semaphore) in {"ours": ours, "stock": stock}.items():
    lock, rlock, event, semaphore = Lock(), RLock(), Event(), Semaphore()
    count(f"{kind} Lock pair", pair, lock.acquire, lock.release)
    count(f"{kind} with Lock", within, lock)
    lock.acquire()
    count(f"{kind} Lock, failed try", failing, lock.acquire)
    count(f"{kind} RLock pair", pair, rlock.acquire, rlock.release)
    count(f"{kind} Event set and clear", pair, event.set, event.clear)
    event.set()
    count(f"{kind} Event wait when set", once, event.wait)
    count(f"{kind} Semaphore pair", pair, semaphore.acquire, semaphore.release)
# Threads are counted last, because without a GIL an int takes more instructions once threads have ended.
threads = {"ours": (Thread, native.current_thread), "stock": (threading.Thread, threading.current_thread)}
for kind, (Thread, current_thread) in threads.items():
    count(f"{kind} Thread()", once, lambda: Thread(target=int))
    count(f"{kind} start and join", seldom, lambda: (thread := Thread(target=int), thread.start(), thread.join()))
    thread = Thread(target=count, args=(f"{kind} current_thread", once, current_thread))
    thread.start()
    thread.join()
"""


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Instructions of 1,000 times each, by "ours NAME" and "stock NAME"."""
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    folder = tmp_path_factory.mktemp("callgrind")
    library = folder / "counting.so"
    build = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HELPERS / "counting.c")]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if "valgrind/callgrind.h" in done.stderr:
        pytest.skip("valgrind's headers are not installed")
    assert done.returncode == 0, done.stderr
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
    command = [*valgrind, sys.executable, "-c", SCRIPT, str(library)]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    subprocess.run(command, env=own, check=True, capture_output=True, timeout=100)
    counts = {}
    for path in Path(folder).glob("out.*"):
        text = path.read_text()
        name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
        instructions = re.search(r"^(?:summary|totals): (\d+)$", text, re.MULTILINE)
        if name and instructions:
            counts[name[1]] = int(instructions[1])
    nothing = counts.pop("nothing")  # what the counting itself takes
    return {name: count - nothing for name, count in counts.items()}


@pytest.mark.parametrize("name", LIMITS)
def test_an_operation_takes_a_fraction_of_threadings_instructions(name: str, counted: dict[str, int]) -> None:
    ratio = counted[f"ours {name}"] / counted[f"stock {name}"]
    print(f"{name}: {ratio:.3f}")
    assert ratio < LIMITS[name]
