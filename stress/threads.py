"""Threads that come and go: every way to start one and to let it go, random stacks and flags."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from runtime import THREAD_FLAGS, Clone, Thread, sync
from runtime.lwp import MIN_STACK
from runtime.placement import Placing
from runtime.scheduler import LWP, spawn, statistics
from runtime.thread import Timer

from ._run import Run, Worker, check, join_all, mix, turns

# What a thread may do without, what it may have more, and what makes a process of it.
_LESS = (Clone.FS, Clone.FILES, Clone.SYSVSEM)
_MORE = (Clone.IO, Clone.UNTRACED, Clone.CHILD_SETTID, Clone.DETACHED)
_PROCESSES = (Clone.VM, Clone.VM | Clone.FS, Clone.VM | Clone.FILES | Clone.SIGHAND, Clone.VM | Clone.VFORK)
_CPUS = sorted(os.sched_getaffinity(0))


def stack_size(chance: random.Random) -> int | None:
    """Any allowed size, small ones more often; None for the default."""
    return None if chance.randrange(3) == 0 else chance.randrange(MIN_STACK, 1 << chance.randrange(16, 23))


def thread_flags(chance: random.Random) -> Clone:
    flags = THREAD_FLAGS
    for less in _LESS:
        if chance.randrange(4) == 0:
            flags &= ~less
    for more in _MORE:
        if chance.randrange(4) == 0:
            flags |= more
    return flags


def placing(chance: random.Random) -> Placing:
    """Mostly nothing; otherwise what needs no rights."""
    some: list[Placing] = [{}] * 4
    some += {"affinity": {chance.choice(_CPUS)}}, {"policy": "batch"}, {"nice": 19}
    return chance.choice(some)


class _Batch:
    """Threads of one worker, all of which must run their target once, and be gone afterwards."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.ran: list[int] = []
        self.started = 0
        self.awaited: list[Callable[[], object]] = []
        self.spans: list[tuple[int, int]] = []

    def target(self, number: int, kind: int) -> int:
        self.ran.append(number)
        if kind == 0:
            time.sleep(0)
        elif kind == 1:
            [bytearray(size) for size in range(0, 20000, 500)]
        elif kind == 2:
            raise SystemExit(7)
        elif kind == 3:
            deep(20)
        return 7

    def start(self) -> None:
        worker, chance, number = self.worker, self.worker.random, self.started
        args = (number, chance.randrange(8))
        size, flags, place = stack_size(chance), thread_flags(chance), placing(chance)
        if size is not None and size < 1 << 16:
            args = (number, 0)  # bytecode in bytecode needs more stack than that
        way = chance.randrange(10)
        worker.note(f"start {number}, way {way}, stack {size}, flags {int(flags):#x}, {place}")
        if way < 4:
            thread = Thread(
                target=self.target, args=args, stack_size=size, flags=flags, daemon=chance.randrange(2) == 0, **place
            )
            thread.start()
            check(thread.ident and thread.native_id, "started, but without an ident")
            self.awaited.append(lambda: self.joined(thread))
        elif way < 6:
            lwp = spawn(self.target, args, stack_size=size, flags=flags, name=f"batch {number}", **place)
            self.living(lwp)
            self.awaited.append(lambda: self.over(lwp))
        elif way == 6:
            spawn(self.target, args, stack_size=size, flags=flags, **place).detach()
        elif way == 7:
            spawn(self.target, args, stack_size=size, flags=flags, **place)  # the handle is dropped
        elif way == 8:
            stock = threading.Thread(target=self.target, args=args, daemon=True)
            stock.start()
            self.awaited.append(lambda: self.joined(stock))
        else:
            process = spawn(self.target, args, stack_size=size, flags=chance.choice(_PROCESSES))
            self.living(process)
            self.awaited.append(lambda: self.over(process, 7))
        self.started += 1

    def living(self, lwp: LWP) -> None:
        """Contexts of handles that are not joined may overlap only if the first has ended."""
        context = lwp.context
        check(context is not None, "an LWP in our memory without a context")
        assert context is not None
        check(context.tls_block[0] <= lwp.ident < context.tls_block[1], "an ident outside of the block")
        check(context.guard[1] <= context.stack[0] < context.stack[1] <= context.tls_block[0] + 1, context)

    def joined(self, thread: threading.Thread) -> None:
        if self.worker.chance(3):
            thread.join(self.worker.random.random() * 1e-3)
        thread.join()
        check(not thread.is_alive(), "joined, but alive")
        thread.join()

    def over(self, lwp: LWP, status: int | None = None) -> None:
        if self.worker.chance(3):
            lwp.join(self.worker.random.random() * 1e-3)
        check(lwp.join() is True, "join() without a timeout gave up")
        check(not lwp.is_alive() and lwp.join(0), "joined, but alive")
        check(lwp.exit_status == status, f"exit status {lwp.exit_status}, not {status}")

    def end(self) -> None:
        self.worker.random.shuffle(self.awaited)
        for wait in self.awaited:
            self.worker.note("join")
            wait()
        while len(self.ran) < self.started:  # those that can't be joined
            time.sleep(1e-4)
        check(sorted(self.ran) == list(range(self.started)), f"{self.started} started, ran: {sorted(self.ran)}")


def deep(levels: int) -> int:
    """Makes this number of frames, each with a call back from C."""
    return levels and max([levels], key=lambda _: deep(levels - 1))


@mix
def storm(run: Run) -> None:
    """Create, join, detach and drop: random stack sizes and flags, threads and processes in our memory."""

    @turns
    def body(worker: Worker) -> None:
        batch = _Batch(worker)
        for _ in range(worker.random.randrange(1, 12)):
            batch.start()
        batch.end()

    run.crowd((2, 8, 20), body, interval=(1e-6, 5e-3))


@mix
def crowd(run: Run) -> None:
    """Hundreds alive at once, let go by one event, joined in any order."""

    @turns
    def body(worker: Worker) -> None:
        count = worker.random.randrange(50, 600)
        gate, came = sync.Event(), sync.Semaphore(0)
        before = statistics().alive

        def target() -> None:
            came.release()
            gate.wait()

        size = 1 << worker.random.randrange(16, 20)
        worker.note(f"{count} threads")
        threads = [spawn(target, stack_size=size) for _ in range(count)]
        for _ in range(count):
            came.acquire()
        check(statistics().alive >= before + count, f"{count} wait, alive are {statistics().alive}")
        idents = {thread.ident for thread in threads}
        check(len(idents) == count, f"{count} threads, {len(idents)} idents")
        check(len({thread.tid for thread in threads}) == count, "two with one tid")
        gate.set()
        worker.random.shuffle(threads)
        join_all(threads)

    run.crowd(1, body, interval=5e-3)


@mix
def joins(run: Run) -> None:
    """Many threads join one, with and without timeouts; each sees it ended, and none before it has."""

    @turns
    def body(worker: Worker) -> None:
        gate, over = sync.Event(), [False]

        def target() -> None:
            gate.wait()
            over[0] = True

        lwp = spawn(target)
        thread = Thread(target=target)
        thread.start()

        def join(seed: int) -> None:
            chance = random.Random(seed)
            for what in (lwp, thread):
                while True:
                    timeout = chance.choice((None, None, 0, chance.random() * 1e-3))
                    result: Any = what.join(timeout)
                    if not what.is_alive():
                        break
                    check(timeout is not None and result is not True, "join() gave up on a living thread")
                check(over[0], "joined before its end")

        seeds = [worker.random.getrandbits(32) for _ in range(worker.random.randrange(1, 8))]
        joiners = [Thread(target=join, args=(seed,)) for seed in seeds]
        for joiner in joiners:
            joiner.start()
        worker.jitter()
        worker.note(f"{len(joiners)} joiners")
        gate.set()
        if worker.chance(2):
            join(0)
        join_all(joiners)

    run.crowd((2, 8), body, interval=(1e-6, 5e-3))


@mix
def locals(run: Run) -> None:
    """threading.local: each thread its own, gone when the thread is."""
    mine = threading.local()
    made, gone = [0], [0]
    counting = threading.Lock()

    class Value:
        def __init__(self, owner: int) -> None:
            self.owner = owner
            with counting:
                made[0] += 1

        def __del__(self) -> None:
            with counting:
                gone[0] += 1

    class Derived(threading.local):
        def __init__(self, start: int) -> None:
            self.owner = threading.get_ident()
            self.start = start

    derived = Derived(5)

    def target(rounds: int) -> None:
        me = threading.get_ident()
        check(not hasattr(mine, "value"), "a new thread finds a value of another one")
        for _ in range(rounds):
            mine.value = Value(me)
            time.sleep(0)
            check(mine.value.owner == me and derived.owner == me and derived.start == 5, "a value of another thread")
            short = threading.local()
            short.value = Value(me)
            if rounds % 3 == 0:
                del mine.value
        mine.value = Value(me)

    @turns
    def body(worker: Worker) -> None:
        worker.note("threads with values")
        threads = [Thread(target=target, args=(worker.random.randrange(4),)) for _ in range(5)]
        for thread in threads:
            thread.start()
        join_all(threads)

    run.crowd(8, body, interval=(1e-6, 5e-3))
    gc.collect()
    check(made == gone, f"{made[0]} values made, {gone[0]} gone")


@mix
def timers(run: Run) -> None:
    """Timer: called once or cancelled."""

    @turns
    def body(worker: Worker) -> None:
        calls: list[int] = []
        timer = Timer(worker.random.random() ** 2 * 3e-3, calls.append, (1,))
        timer.start()
        cancel = worker.chance(2)
        worker.jitter()
        if cancel:
            worker.note("cancel()")
            timer.cancel()
        timer.join()
        check(calls == [1] or (cancel and not calls), f"called {len(calls)} times")

    run.crowd(12, body, interval=(1e-6, 5e-3))


@mix
def killed(run: Run) -> None:
    """Processes in our memory that are killed or call _exit: told by join, and nothing of them is left."""
    libc = ctypes.CDLL(None)

    @turns
    def body(worker: Worker) -> None:
        reader, writer = os.pipe()
        how = worker.random.randrange(3)

        def target() -> int:
            if how == 0:
                libc._exit(3)  # by ctypes, which releases the GIL, or all would wait for a dead process's GIL
            if how == 1:
                time.sleep(0)
                return 4
            os.read(reader, 1)  # here it has neither the GIL nor a lock of malloc when it is killed
            return 5

        process = spawn(target, flags=Clone.VM | Clone.FILES)
        worker.note(f"process {process.tid}, {('_exit', 'return', 'kill')[how]}")
        if how == 2:
            while _call(process.tid) != _READ:
                time.sleep(0)
            os.kill(process.tid, signal.SIGKILL)
        process.join()
        expected = (3, 4, -signal.SIGKILL)[how]
        check(process.exit_status == expected, f"exit status {process.exit_status}, not {expected}")
        os.close(reader)
        os.close(writer)

    run.workers(4, body)


_READ = {"x86_64": "0", "aarch64": "63"}.get(os.uname().machine)


def _call(pid: int) -> str:
    """The system call that a process sleeps in."""
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().split()[0]
