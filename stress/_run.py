"""What a mix works with: workers, random numbers from the seed, weather, and checks that end the process."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from holdings import Holdings

from runtime import Thread, scheduler

from ._journal import Journal

FAILED, LEFT_OUT = 70, 77  # exit statuses of the process that a mix runs in

_NOISE = 64 << 20  # bytes that Python and malloc's arenas may keep


class Broken(AssertionError):
    """An invariant does not hold."""


class LeftOut(Exception):
    """The mix can't run here; the text says why."""


def check(holds: object, *what: object) -> None:
    """Ends the run as failed unless something holds; the rest says what doesn't."""
    if not holds:
        raise Broken(" ".join(map(str, what)))


# ---- mixes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mix:
    name: str
    theme: str  #: the module that it is in
    line: str  #: what it does
    run: Callable[[Run], None]


MIXES: dict[str, Mix] = {}


def mix(function: Callable[[Run], None]) -> Callable[[Run], None]:
    """Decorator: makes the function a mix of the same name, described by the first line of its docstring."""
    name = function.__name__.strip("_").replace("_", "-")
    line = (function.__doc__ or "").strip().splitlines()[0]
    MIXES[name] = Mix(name, function.__module__.rpartition(".")[2], line, function)
    return function


# ---- workers ---------------------------------------------------------------------------------------------------------


class Worker:
    """One of the threads that keep a mix going.  `for _ in worker:` goes round until the time is up, and at least
    once."""

    def __init__(self, run: Run, number: int) -> None:
        self.run = run
        self.number = number
        self.random = random.Random(f"{run.seed}/{number}")
        self.thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[None]:
        self.step()
        yield
        while not self.run.over():
            self.step()
            yield

    def step(self) -> None:
        """The next operation begins: the watchdog's clock starts anew."""
        self.run.journal.begin(self.number)

    def note(self, text: str) -> None:
        """Says what comes next: a report of a failure shows the last notes."""
        self.run.journal.note(self.number, text)

    def chance(self, of: int) -> bool:
        """True once in so many times."""
        return self.random.randrange(of) == 0

    def jitter(self) -> None:
        """Lets others run, or not."""
        kind = self.random.randrange(16)
        if kind == 0:
            time.sleep(self.random.random() * 1e-3)
        elif kind < 4:
            time.sleep(0)

    def may_fork(self) -> bool:
        """Now and then, at most every thirty milliseconds, because forking is expensive."""
        now = time.monotonic()
        if self.random.randrange(8) or now - self.run.last_fork < 0.03:
            return False
        self.run.last_fork = now
        return True

    def fork(self, child: Callable[[], object]) -> None:
        """Calls child() in a forked process, which must end well."""
        self.note("fork")
        pid = os.fork()
        if pid == 0:
            self.run.be_child(self.number, child)
        self.note(f"wait for child {pid}")
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        check(status == 0, f"forked child {pid} ended with {status}")


Body = Callable[[Worker], object]


def turns(turn: Body) -> Body:
    """Decorator: the body of a worker that takes this turn again and again until the time is up, once at least."""

    def body(worker: Worker) -> None:
        for _ in worker:
            turn(worker)

    return body


@contextmanager
def beside(target: Callable[..., object], *args: object) -> Iterator[None]:
    """A thread runs target(*args) beside the block, and is joined after it."""
    thread = Thread(target=target, args=args)
    thread.start()
    yield
    thread.join()


def join_all(threads: Iterable[threading.Thread | scheduler.LWP]) -> None:
    for thread in threads:
        thread.join()


class Run:
    """A mix in its process."""

    def __init__(self, name: str, seed: int, seconds: float, patience: float, journal: Journal) -> None:
        self.name = name
        self.seed = seed
        self.patience = patience
        self.journal = journal
        self.random = random.Random(f"{seed}/{name}")
        self.signals = 0  # Python handlers that have run
        self.last_fork = 0.0
        self.on_signal: Callable[[], object] | None = None
        self.pid = os.getpid()
        self._end = time.monotonic() + seconds
        self._living: list[Worker] = []
        self._done = False

    def over(self) -> bool:
        """Whether the time is up."""
        return self._done or time.monotonic() >= self._end

    def fail(self, error: BaseException, where: str) -> NoReturn:
        """Says what is wrong and ends the process here and now."""
        with suppress(Exception):
            self.journal.note(0, f"FAILED: {error!r}")
            text = "".join(traceback.format_exception(error))
            os.write(2, f"FAILED in {where}, pid {os.getpid()}: {error!r}\n{text}\nAll threads:\n".encode())
            faulthandler.dump_traceback(2, all_threads=True)
        os._exit(FAILED)

    def be_child(self, number: int, child: Callable[[], object]) -> NoReturn:
        """What a forked process does instead of what its parent did."""
        try:
            self.on_signal = None
            child()
        except BaseException as error:
            self.fail(error, f"a child forked by worker {number}")
        os._exit(0)

    # workers

    def workers(
        self, count: int, *bodies: Body, first: Body | None = None, makers: tuple[type[Any], ...] = (Thread,)
    ) -> None:
        """Runs bodies, in turn, in so many threads, one of them the main thread, and waits until all have ended.

        first: the main thread's body, if that is another one.
        """
        everybody = [Worker(self, number) for number in range(count)]

        def entry(worker: Worker) -> None:
            try:
                (first if first and not worker.number else bodies[worker.number % len(bodies)])(worker)
            except BaseException as error:
                self.fail(error, f"worker {worker.number}")
            finally:
                self.journal.rest(worker.number)

        self._living = everybody[1:]
        for worker in everybody[1:]:
            maker = self.random.choice(makers)
            worker.thread = maker(target=entry, args=(worker,), name=f"worker {worker.number}", daemon=True)
            self.journal.begin(worker.number)
            worker.thread.start()
        entry(everybody[0])
        self._living = []
        for worker in everybody[1:]:
            assert worker.thread is not None
            self.journal.note(0, f"join worker {worker.number}")
            self.journal.begin(0, 0)
            worker.thread.join()
            check(not worker.thread.is_alive(), "joined, but alive")
        self.journal.rest(0)

    def crowd(
        self, count: int | tuple[int, ...], *bodies: Body, interval: float | tuple[float, ...] = 1e-6, **more: Any
    ) -> None:
        """Workers in a storm: so many, with this switch interval, or one of several each."""
        with self.storm(self.random.choice(interval) if isinstance(interval, tuple) else interval):
            self.workers(self.random.choice(count) if isinstance(count, tuple) else count, *bodies, **more)

    # weather

    @contextmanager
    def storm(self, switch_interval: float) -> Iterator[None]:
        """A switch interval of a microsecond, and signals at random times, to any thread and to each.

        The handlers are Python's: they run in the main thread, and call on_signal().  In the others the signal
        interrupts what they sleep in.  Some runs have no storm, because a signal that wakes a sleeper by chance hides
        that the sleeper was forgotten.
        """
        chance = random.Random(f"{self.seed}/storm")
        before = sys.getswitchinterval()
        if chance.randrange(3) == 0:
            sys.setswitchinterval(switch_interval)
            yield
            sys.setswitchinterval(before)
            return

        def handler(number: int, frame: FrameType | None) -> None:
            self.signals += 1
            if number == signal.SIGALRM and os.getpid() == self.pid and not self._done:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + chance.random() * 5e-3)
            if self.on_signal is not None:
                self.on_signal()

        tgkill = ctypes.CDLL(None).tgkill  # unlike pthread_kill it may be given a thread that has just ended

        def shoot() -> None:
            shots = random.Random(f"{self.seed}/shots")
            while not self._done:
                time.sleep(shots.random() * 2e-3)
                # Every second signal goes to any thread, also to one that begins or ends.
                tids = [worker.thread.native_id for worker in self._living if worker.thread is not None]
                if not tids or shots.randrange(2):
                    tids = [int(tid) for tid in os.listdir("/proc/self/task")]
                tgkill(self.pid, shots.choice(tids) or self.pid, signal.SIGUSR1)

        signal.signal(signal.SIGALRM, handler)
        signal.signal(signal.SIGUSR1, handler)
        sys.setswitchinterval(switch_interval)
        shooter = Thread(target=shoot, name="shooter", daemon=True)
        shooter.start()
        signal.setitimer(signal.ITIMER_REAL, 1e-3)
        try:
            yield
        finally:
            self._done = True
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.journal.note(0, "join shooter")
            self.journal.begin(0, 0)
            shooter.join()
            self.journal.rest(0)
            sys.setswitchinterval(before)

    # the whole

    def _hook(self) -> Callable[[sys.UnraisableHookArgs], None]:
        # In 3.13 this finalizer of a dummy thread uses a global of threading's that is None when the interpreter ends:
        # github.com/python/cpython/issues/130522.
        dummys = getattr(getattr(threading, "_DeleteDummyThreadOnDel", None), "__del__", None)

        def hook(unraisable: sys.UnraisableHookArgs) -> None:
            if unraisable.object is None or unraisable.object is not dummys or unraisable.exc_type is not TypeError:
                what = f"{unraisable.err_msg or 'unraisable'}: {unraisable.object!r}"
                self.fail(unraisable.exc_value or Broken("no exception"), what)

        return hook

    def execute(self, function: Callable[[Run], None]) -> None:
        """Runs the mix and checks what it has left."""
        sys.unraisablehook = self._hook()
        threading.excepthook = lambda args: (
            None if args.exc_type is SystemExit else self.fail(args.exc_value or Broken("no value"), repr(args.thread))
        )
        scheduler.spawn(int).join()  # what the first thread brings stays for good
        gc.collect()
        before = Holdings.now()
        try:
            function(self)
            self._done = True
            self.journal.note(0, "look what is left")
            self.journal.begin(0, 0)
            deadline = time.monotonic() + self.patience / 3
            while left := (gc.collect(), before.left(Holdings.now(), _NOISE))[1]:
                check(time.monotonic() < deadline, "left behind:", "; ".join(left))
                time.sleep(0.01)  # the kernel is not done when it has cleared a thread's word
        except LeftOut as reason:
            os.write(2, str(reason).encode())
            os._exit(LEFT_OUT)
        except Exception as error:
            self.fail(error, "the main thread")
