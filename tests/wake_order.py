"""Whether a woken thread runs before its waker's next line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from commands import environment

ORDER = '''
import concurrent.futures, queue, sys, threading
import runtime, runtime.sync

if sys.argv[1] == "install":
    runtime.install()
kind = runtime.sync if sys.argv[1] == "sync" else threading


def condition(notify):
    condition = kind.Condition()

    def wait():  # without a predicate: who sees a thread wait finds the condition's lock free
        with condition:
            condition.wait()

    def wake():
        with condition:
            notify(condition)

    return wait, wake


def lock(make):
    lock = make()
    lock.acquire()

    def wait():
        with lock:
            pass

    return wait, lock.release


def event():
    event = kind.Event()
    return event.wait, event.set


def semaphore():
    semaphore = kind.Semaphore(0)
    return semaphore.acquire, lambda: semaphore.release(2)


def barrier():
    barrier = kind.Barrier(3)
    return barrier.wait, barrier.wait


def future():
    future = concurrent.futures.Future()
    if kind is runtime.sync:
        future._condition = kind.Condition()
    return future.result, lambda: future.set_result(1)


def put():
    channel = queue.Queue()
    if kind is runtime.sync:
        channel.mutex = kind.Lock()
        channel.not_empty, channel.not_full = kind.Condition(channel.mutex), kind.Condition(channel.mutex)
    return channel.get, lambda: channel.put(1)


PRIMITIVES = {  # by name: how many sleep, and what makes (wait, wake)
    "event": (2, event),
    "notify": (1, lambda: condition(lambda c: c.notify())),
    "notify_all": (2, lambda: condition(lambda c: c.notify_all())),
    "semaphore": (2, semaphore),
    "lock": (1, lambda: lock(kind.Lock)),
    "rlock": (1, lambda: lock(kind.RLock)),
    "barrier": (2, barrier),
    "future": (2, future),
    "put": (1, put),
}


def early(sleepers, make, rounds=100):
    """How many sleepers ran before the waker's next line."""
    go, asleep, done, waits, box, seen = kind.Semaphore(0), kind.Semaphore(0), kind.Semaphore(0), [None], [None], []

    def sleeper():
        for _ in range(rounds):
            go.acquire()
            asleep.release()
            waits[0]()
            seen.append(box[0])
            done.release()

    threads = [threading.Thread(target=sleeper, daemon=True) for _ in range(sleepers)]
    for thread in threads:
        thread.start()
    for turn in range(rounds):
        waits[0], wake = make()
        for _ in threads:
            go.release()
            asleep.acquire()  # and the sleeper has given up the GIL: it sleeps
        wake()
        box[0] = turn
        for _ in threads:
            done.acquire()
    for thread in threads:
        thread.join()
    assert len(seen) == rounds * sleepers
    return sum(value != at // sleepers for at, value in enumerate(seen))


sys.setswitchinterval(1000)
print({name: early(*primitive) for name, primitive in PRIMITIVES.items()})
'''


def check_order(folder: Path, way: str, *launcher: str) -> None:
    """way: "install", "sync", or another one, in which nothing is installed.  launcher: options of Python."""
    script = folder / "order.py"
    script.write_text(ORDER)
    command = [sys.executable, *launcher, str(script), way]
    out = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=folder, env=environment())
    names = ("event", "notify", "notify_all", "semaphore", "lock", "rlock", "barrier", "future", "put")
    assert (out.stdout.strip(), out.returncode) == (str(dict.fromkeys(names, 0)), 0), out.stderr
