"""Signals over everything that blocks: handlers run, exceptions come out, timeouts are neither cut nor stretched."""

from __future__ import annotations

import os
import queue
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from runtime import Clone, Thread, installed, sync
from runtime.scheduler import spawn

from ._run import Run, Worker, check, mix, turns


class _Interrupted(Exception):
    """Raised by the handler."""


class Blocking:
    """Calls that block for ever, or until a timeout; what they block on is as new afterwards."""

    def __init__(self) -> None:
        self.lock, self.rlock, self.event = sync.Lock(), sync.RLock(), sync.Event()
        self.semaphore, self.barrier = sync.Semaphore(0), sync.Barrier(2)
        self.condition, self.plain = sync.Condition(), sync.Condition(sync.Lock())
        with installed():
            self.queue: queue.Queue[int] = queue.Queue()
        self.simple: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.reader, self.writer = os.pipe()
        self.sockets = socket.socketpair()
        self.end = sync.Event()
        self.thread = Thread(target=self._holder, daemon=True)
        self.held = sync.Event()
        self.thread.start()
        self.held.wait()
        self.lwp = spawn(self.end.wait)
        self.process = spawn(os.read, (self.reader, 1), flags=Clone.VM | Clone.FILES)

    def _holder(self) -> None:
        with self.lock, self.rlock:
            self.held.set()
            self.end.wait()

    def close(self) -> None:
        self.end.set()
        os.write(self.writer, b".")
        for waited in (self.thread, self.lwp, self.process):
            waited.join()
        for end in (self.reader, self.writer):
            os.close(end)
        for half in self.sockets:
            half.close()

    def _condition(self, condition: sync.Condition, timeout: float | None) -> bool:
        with condition, condition if condition is self.condition else open(os.devnull):
            try:
                return condition.wait(timeout)
            finally:
                check(condition._is_owned(), "back from wait() without the lock")

    def _queue(self, queue_: Any, timeout: float | None) -> bool:
        try:
            queue_.get(timeout=timeout)
        except queue.Empty:
            return False
        return True

    def _barrier(self, timeout: float | None) -> bool:
        try:
            self.barrier.wait(timeout)
        except threading.BrokenBarrierError:
            check(timeout is not None, "a barrier without a timeout is broken")
            self.barrier.reset()
            return False
        return True

    def _receive(self, timeout: float | None) -> bool:
        self.sockets[0].settimeout(timeout)
        try:
            self.sockets[0].recv(1)
        except (TimeoutError, BlockingIOError):  # the latter with a timeout of 0
            return False
        return True

    def _join(self, timeout: float | None) -> bool:
        self.thread.join(timeout)
        return not self.thread.is_alive()

    def calls(self) -> dict[str, Callable[[float | None], object]]:
        """By name, what takes a timeout, None for none, and is false when it is over."""
        return {
            "Lock.acquire": lambda t: self.lock.acquire(timeout=-1 if t is None else t),
            "RLock.acquire": lambda t: self.rlock.acquire(timeout=-1 if t is None else t),
            "Event.wait": self.event.wait,
            "Semaphore.acquire": lambda t: self.semaphore.acquire(timeout=t),
            "Condition.wait": lambda t: self._condition(self.condition, t),
            "Condition.wait, Lock": lambda t: self._condition(self.plain, t),
            "Barrier.wait": self._barrier,
            "Thread.join": self._join,
            "LWP.join": self.lwp.join,
            "process.join": self.process.join,
            "Queue.get": lambda t: self._queue(self.queue, t),
            "SimpleQueue.get": lambda t: self._queue(self.simple, t),
            "sleep": lambda t: time.sleep(1e6 if t is None else t),
            "select": lambda t: select.select([self.sockets[0]], [], [], t)[0],
            "recv": self._receive,
        }


@contextmanager
def _blocking() -> Iterator[Blocking]:
    blocking = Blocking()
    try:
        yield blocking
    finally:
        blocking.close()


@mix
def interrupts(run: Run) -> None:
    """A handler raises out of every call that blocks for ever; what it blocked on still works."""

    def handler(number: int, frame: FrameType | None) -> None:
        # The exception may leave only the call that it interrupts, because between two calls it would hit anything.
        if armed[0]:
            armed[0] = False
            raise _Interrupted

    armed = [False]
    signal.signal(signal.SIGALRM, handler)

    def lead(worker: Worker) -> None:
        with _blocking() as blocking:
            calls = blocking.calls()
            calls["read"] = lambda _: os.read(idle[0], 1)
            for _ in worker:
                name = worker.random.choice(list(calls))
                worker.note(name)
                try:
                    # Again and again, because a signal that comes after the interpreter's last look and before the
                    # system call, or before we are armed, is noticed only at the next one.
                    signal.setitimer(signal.ITIMER_REAL, 1e-4 + worker.random.random() * 2e-3, 5e-3)
                    armed[0] = True
                    calls[name](None)
                    check(False, f"{name} came back")
                except _Interrupted:
                    pass
                finally:
                    armed[0] = False
                    signal.setitimer(signal.ITIMER_REAL, 0)
                intact(blocking)

    def intact(blocking: Blocking) -> None:
        check(not blocking.lock.acquire(False) and not blocking.rlock.acquire(False), "a lock was taken")
        check(blocking.semaphore._value == 0, "a permit has appeared")
        blocking.semaphore.release()
        check(blocking.semaphore.acquire(False), "a permit is lost")
        check(len(blocking.condition._waiters) == len(blocking.plain._waiters) == 0, "somebody waits in a condition")
        check(not blocking.plain._lock.locked() and not blocking.condition._lock._is_owned(), "a lock was not released")
        check(blocking.barrier.n_waiting == 0, "somebody waits in a barrier")
        check(blocking.thread.is_alive() and blocking.lwp.is_alive() and blocking.process.is_alive(), "ended")

    def compete(worker: Worker) -> None:
        # A thread that takes the GIL from the main thread, just when that wakes up.
        for _ in worker:
            worker.jitter()

    idle = os.pipe()
    before = sys.getswitchinterval()
    sys.setswitchinterval(run.random.choice((1e-6, 5e-3)))
    run.workers(run.random.choice((1, 2, 6)), compete, first=lead)
    sys.setswitchinterval(before)
    for end in idle:
        os.close(end)


@mix
def timeouts(run: Run) -> None:
    """Every blocking call with a timeout, under a storm: not back before its time, and nothing is left taken."""
    crowd = run.random.choice((2, 8, 20))

    def body(worker: Worker) -> None:
        with _blocking() as blocking:
            calls = blocking.calls()
            if sys.version_info < (3, 13):
                # A signal that comes when the time is just up makes SimpleQueue wait for ever (Modules/_queuemodule.c).
                del calls["SimpleQueue.get"]
            for _ in worker:
                name = worker.random.choice(list(calls))
                timeout = worker.random.choice((0.0, worker.random.random() * 1e-3, worker.random.random() * 2e-2))
                worker.note(f"{name}, {timeout}")
                begin = time.monotonic()
                result = calls[name](timeout)
                spent = time.monotonic() - begin
                check(not result, f"{name} says {result!r}")
                # select and poll count in whole milliseconds.
                check(spent >= timeout - 1.5e-3, f"{name} took {spent} s with a timeout of {timeout}")

    def handler() -> None:
        time.sleep(random.random() * 1e-4)

    run.on_signal = handler
    run.crowd(crowd, body, interval=(1e-6, 5e-3))


@mix
def subprocesses(run: Run) -> None:
    """subprocess from many threads: output, status and descriptors, while signals come."""

    @turns
    def body(worker: Worker) -> None:
        way = worker.random.randrange(5)
        number = worker.random.randrange(1000)
        worker.note(f"way {way}")
        if way == 0:
            shown = subprocess.run(["echo", str(number)], capture_output=True, text=True, check=True).stdout
            check(shown == f"{number}\n", f"echo {number} said {shown!r}")
        elif way == 1:
            status = subprocess.call(["sh", "-c", f"exit {number % 256}"])
            check(status == number % 256, f"exit {number % 256} gave {status}")
        elif way == 2:
            data = bytes([number % 256]) * (number * 200)  # up to more than a pipe holds
            with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                out, _ = process.communicate(data)
            check(out == data, f"cat gave {len(out)} bytes of {len(data)}")
        elif way == 3:
            with subprocess.Popen(["sleep", "100"]) as process:
                try:
                    process.wait(number * 1e-5)
                    check(False, "sleep 100 has ended")
                except subprocess.TimeoutExpired:
                    process.kill()
                check(process.wait() == -signal.SIGKILL, f"killed, but status {process.returncode}")
        else:
            pid = os.posix_spawn("/bin/true", ["true"], os.environ)
            check(os.waitpid(pid, 0)[1] == 0, "true is false")

    @turns
    def come_and_go(worker: Worker) -> None:
        spawn(time.sleep, (0,)).join()

    # Not a microsecond: communicate() and exec take many system calls, each of them a wait for the GIL.
    run.crowd(8, body, body, body, come_and_go, interval=5e-4)
