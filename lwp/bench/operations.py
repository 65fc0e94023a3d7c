"""What is measured: each operation is a function of a module with threading's names, and checks what it has done.

A sample is the function called once; it gives a figure for each row of the table.  Threads are the module's own too,
because one library is compared with another, and not single classes.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from queue import Queue
from typing import Any

from ..core import Scheduler
from ..core import threading as ours

__all__ = ["Operation", "Row", "Unavailable", "WrongResult", "operations"]

Kind = Any  # a module with threading's names
Figures = tuple[float, ...]

now = time.perf_counter_ns


class WrongResult(Exception):
    """An operation did not do what it should."""


class Unavailable(Exception):
    """It can't be measured here."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str  #: as the user types it
    text: str
    unit: str = "ns"  #: of a figure: ns, bytes, calls


@dataclass(frozen=True)
class Operation:
    rows: tuple[Row, ...]
    sample: Callable[[Kind], Figures]
    #: Each sample has a process of its own.  For operations that would leave something to the next sample: recycled
    #: stacks, a heap that has grown, the process's futex table.
    alone: bool = False


def expect(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise WrongResult(f"{what}: {got} instead of {wanted}")


def nothing() -> None:
    pass


@contextmanager
def partners(kind: Kind, number: int, target: Callable[[], None]) -> Iterator[None]:
    """Runs target in so many threads beside the block, and joins them at its end."""
    threads = [kind.Thread(target=target) for _ in range(number)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def elsewhere(kind: Kind, function: Callable[[], object]) -> object:
    """What the function gives in another thread."""
    results: list[object] = []
    with partners(kind, 1, lambda: results.append(function())):
        pass
    return results[0]


# ---- threads ---------------------------------------------------------------------------------------------------------


def thread_object(kind: Kind, number: int = 2_000) -> Figures:
    ns = timeit.timeit("Thread(target=nothing)", globals={"Thread": kind.Thread, "nothing": nothing}, number=number)
    expect("a thread that was not started is alive", kind.Thread(target=nothing).is_alive(), False)
    return (ns * 1e9 / number,)


def start_join(kind: Kind, number: int = 200) -> Figures:
    Thread, runs = kind.Thread, count()
    begin = now()
    for _ in range(number):
        thread = Thread(target=runs.__next__)
        thread.start()
        thread.join()
    ns = now() - begin
    expect("threads that ran", next(runs), number)
    return (ns / number,)


def first_line(kind: Kind, number: int = 200) -> Figures:
    arrived = total = ran = 0

    def target() -> None:
        nonlocal arrived
        arrived = now()

    for _ in range(number):
        thread = kind.Thread(target=target)
        begin = now()
        thread.start()
        thread.join()
        ran += arrived > begin
        total += arrived - begin
    expect("threads that ran before join() returned", ran, number)
    return (total / number,)


def burst(kind: Kind, number: int = 1_000) -> Figures:
    runs = count()
    threads = [kind.Thread(target=runs.__next__) for _ in range(number)]
    begin = now()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ns = now() - begin
    expect("threads that ran", next(runs), number)
    return (ns / number,)


def switch(kind: Kind, number: int = 20_000) -> Figures:
    if (take_turns := getattr(kind, "take_turns", None)) is None:
        raise Unavailable(f"{kind.__name__}: only threads that share an LWP go to each other")
    begin = now()
    take_turns(number)
    return ((now() - begin) / number,)


def memory() -> list[int]:
    """Bytes: resident, address space, page tables."""
    status = Path("/proc/self/status").read_text()
    return [int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) * 1024 for name in ("VmRSS", "VmSize", "VmPTE")]


def alive(kind: Kind, number: int, stack_size: int = 0) -> Figures:
    """Of each thread: start until the last has begun, release and join, memory() while all live."""
    arrivals, passed, everybody = count(1), count(), kind.Event()
    gates = [kind.Lock() for _ in range(number)]

    def target(gate: Any) -> None:
        if next(arrivals) == number:
            everybody.set()
        gate.acquire()
        next(passed)

    for gate in gates:
        gate.acquire()
    if stack_size:
        kind.stack_size(stack_size)
    before = memory()
    threads = [kind.Thread(target=target, args=(gate,)) for gate in gates]
    begin = now()
    for thread in threads:
        thread.start()
    everybody.wait()
    started = now()
    after = memory()
    expect("threads alive", sum(thread.is_alive() for thread in threads), number)
    released = now()
    for gate, thread in zip(gates, threads, strict=True):
        gate.release()
        thread.join()
    ended = now()
    expect("threads that were released", next(passed), number)
    expect("threads alive after join()", sum(thread.is_alive() for thread in threads), 0)
    return tuple(
        figure / number
        for figure in (started - begin, ended - released, *(b - a for a, b in zip(before, after, strict=True)))
    )


def system_calls(kind: Kind) -> Figures:
    if not (strace := shutil.which("strace")):
        raise Unavailable("strace is not there")

    def calls(number: int) -> int:
        program = (
            f"from {kind.__name__} import Thread\n"
            f"for _ in range({number}):\n thread = Thread(target=int); thread.start(); thread.join()\nprint('done')"
        )
        with tempfile.NamedTemporaryFile("r") as summary:
            command = [strace, "-f", "-c", "-o", summary.name, sys.executable, "-P", "-c", program]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if "strace: " in done.stderr:  # may not trace, or doesn't know an option
                raise Unavailable(done.stderr.strip().splitlines()[0])
            expect("the program under strace", (done.stdout or done.stderr).strip().rpartition("\n")[2], "done")
            return next(int(line.split()[3]) for line in summary if line.endswith(" total\n"))

    return ((calls(110) - calls(10)) / 100,)  # the first calls of a process cost more, and are in both counts


# ---- primitives: a statement over and over ---------------------------------------------------------------------------


def statement(
    text: str, make: Callable[[Kind], Any], works: Callable[[Kind, Any], bool], number: int = 20_000
) -> Callable[[Kind], Figures]:
    """A statement about x, made by make(); works() must hold before and after, and leave x as it found it."""

    def sample(kind: Kind) -> Figures:
        x = make(kind)
        expect(f"it works before {text!r}", works(kind, x), True)
        seconds = timeit.timeit(text, globals={"x": x}, number=number)
        expect(f"it works after {text!r}", works(kind, x), True)
        return (seconds * 1e9 / number,)

    return sample


def excludes(kind: Kind, x: Any) -> bool:
    """Whether of two threads at a free lock, or semaphore of one, only one gets it."""
    mine = x.acquire(False)
    other = elsewhere(kind, lambda: x.acquire(False))
    x.release()
    return bool(mine) and not other


def held_lock(kind: Kind) -> Any:
    lock = kind.Lock()
    lock.acquire()
    return lock


def event_works(kind: Kind, x: Any) -> bool:
    before = x.wait(0)
    x.set()
    after = x.wait(0)
    x.clear()
    return not before and bool(after) and not x.is_set()


def set_event(kind: Kind) -> Any:
    event = kind.Event()
    event.set()
    return event


def lock_beside_computing(kind: Kind, number: int = 50_000) -> Figures:
    """The thread's own CPU time, because the turns of the other thread would outweigh everything."""
    if hasattr(kind, "take_turns"):
        raise Unavailable(f"{kind.__name__}: while one of its threads computes no other has its turn")
    lock, go_on, turns = kind.Lock(), True, 0

    def other() -> None:
        nonlocal turns
        while go_on:
            turns += 1

    with partners(kind, 1, other):
        begin = time.thread_time_ns()
        for _ in range(number):
            lock.acquire()
            lock.release()
        ns = time.thread_time_ns() - begin
        go_on = False
    expect("the lock works", excludes(kind, lock), True)
    return (ns / number,)


def current_thread(kind: Kind, number: int = 20_000) -> Figures:
    """In a thread of the module."""
    ask, seconds, found = kind.current_thread, 0.0, None

    def target() -> None:
        nonlocal seconds, found
        found = ask()
        seconds = timeit.timeit("ask()", globals={"ask": ask}, number=number)

    thread = kind.Thread(target=target)
    thread.start()
    thread.join()
    expect("current_thread() is the thread", found is thread, True)
    return (seconds * 1e9 / number,)


# ---- primitives: threads that wait for each other --------------------------------------------------------------------


def event_ping_pong(kind: Kind, turns: int = 1_000) -> Figures:
    there, back, ball, right = kind.Event(), kind.Event(), 0, 0

    def other() -> None:
        nonlocal ball, right
        for turn in range(turns):
            there.wait()
            there.clear()
            right += ball == 2 * turn + 1
            ball += 1
            back.set()

    with partners(kind, 1, other):
        begin = now()
        for turn in range(turns):
            ball += 1
            there.set()
            back.wait()
            back.clear()
            right += ball == 2 * turn + 2
        ns = now() - begin
    expect("turns", right, 2 * turns)
    return (ns / turns,)


def ping_pong(kind: Kind, there: Any, back: Any, turns: int = 1_000) -> Figures:
    """Two semaphores without a permit, or two locks that are held."""
    ball, right = 0, 0

    def other() -> None:
        nonlocal ball, right
        for turn in range(turns):
            there.acquire()
            right += ball == 2 * turn + 1
            ball += 1
            back.release()

    with partners(kind, 1, other):
        begin = now()
        for turn in range(turns):
            ball += 1
            there.release()
            back.acquire()
            right += ball == 2 * turn + 2
        ns = now() - begin
    expect("turns", right, 2 * turns)
    return (ns / turns,)


def contended(kind: Kind, threads: int, turns: int = 20_000) -> Figures:
    """Threads that all want one lock, again and again."""
    lock, total = kind.Lock(), 0

    def other() -> None:
        nonlocal total
        for _ in range(turns // threads):
            with lock:
                total += 1

    begin = now()
    with partners(kind, threads, other):
        pass
    ns = now() - begin
    expect("turns with the lock", total, turns)
    expect("the lock works", excludes(kind, lock), True)
    return (ns / turns,)


def condition_ping_pong(kind: Kind, turns: int = 1_000) -> Figures:
    condition, mine, waits = kind.Condition(), True, 0

    def other() -> None:
        nonlocal mine
        with condition:
            for _ in range(turns):
                while mine:
                    condition.wait()
                mine = True
                condition.notify()

    with partners(kind, 1, other), condition:
        begin = now()
        for _ in range(turns):
            mine = False
            condition.notify()
            while not mine:
                condition.wait()
                waits += 1
        ns = now() - begin
    expect("wake-ups", waits, turns)
    return (ns / turns,)


def notify_all(kind: Kind, turns: int = 100, sleepers: int = 16) -> Figures:
    lock, turn, awake = kind.RLock(), 0, 0
    condition, done = kind.Condition(lock), kind.Condition(lock)

    def other() -> None:
        nonlocal awake
        with condition:
            for wanted in range(1, turns + 2):
                while turn < wanted:
                    condition.wait()
                awake += 1
                if awake == sleepers * wanted:
                    done.notify()

    def wake_all() -> None:
        nonlocal turn
        turn += 1
        condition.notify_all()
        while awake < sleepers * turn:
            done.wait()

    with partners(kind, sleepers, other), condition:
        wake_all()  # not timed: until all are there
        begin = now()
        for _ in range(turns):
            wake_all()
        ns = now() - begin
    expect("threads awake", awake, sleepers * (turns + 1))
    return (ns / turns,)


def barrier(kind: Kind, turns: int = 300, parties: int = 4) -> Figures:
    meeting, arrived, early = kind.Barrier(parties), [0] * parties, [0] * parties
    numbers = count(1)

    def take_part(me: int) -> None:
        for turn in range(1, turns + 1):
            arrived[me] = turn
            meeting.wait()
            early[me] += min(arrived) < turn

    with partners(kind, parties - 1, lambda: take_part(next(numbers))):
        begin = now()
        take_part(0)
        ns = now() - begin
    expect("threads that passed the barrier before all had come", sum(early), 0)
    return (ns / turns,)


def queue_hand_over(kind: Kind, turns: int = 1_000) -> Figures:
    channel: Queue[int] = Queue(1)
    # What Queue.__init__ makes when install() is in force, or when the module is patched in another way.
    channel.mutex = kind.Lock()
    for name in ("not_empty", "not_full", "all_tasks_done"):
        setattr(channel, name, kind.Condition(channel.mutex))
    got: list[int] = []

    def other() -> None:
        for _ in range(turns):
            got.append(channel.get())

    begin = now()
    with partners(kind, 1, other):
        for item in range(turns):
            channel.put(item)
    ns = now() - begin
    expect("all items in their order", got == list(range(turns)), True)
    return (ns / turns,)


def lateness(kind: Kind, waits: int = 20, timeout_ns: int = 1_000_000) -> Figures:
    event, set_ = kind.Event(), 0
    begin = now()
    for _ in range(waits):
        set_ += bool(event.wait(timeout_ns / 1e9))
    ns = (now() - begin) / waits
    expect("waits that found the event set", set_, 0)
    expect("the timeout passed", ns >= timeout_ns, True)
    return (ns - timeout_ns,)


# ---- threads at work -------------------------------------------------------------------------------------------------


def compute(steps: int) -> int:
    x = 1
    for _ in range(steps):
        x = (x * 1_103_515_245 + 12_345) & 0x7FFFFFFF
    return x


computed = cache(compute)


def two_computing(kind: Kind, steps: int = 100_000) -> Figures:
    wanted, results = computed(steps), []
    begin = now()
    with partners(kind, 2, lambda: results.append(compute(steps))):
        pass
    ns = now() - begin
    expect("results", results, [wanted, wanted])
    return (ns,)


@cache
def data() -> tuple[bytes, bytes]:
    text = bytes(100_000)
    return text, hashlib.sha256(text).digest()


def mixed_work(kind: Kind, turns: int = 20) -> Figures:
    """Python, C code that gives the GIL up, and a lock that all want."""
    (text, digest), wanted = data(), computed(1_000)
    lock, right = kind.Lock(), 0

    def work() -> None:
        nonlocal right
        for _ in range(turns):
            result = compute(1_000) == wanted and hashlib.sha256(text).digest() == digest
            with lock:
                right += result

    begin = now()
    with partners(kind, 4, work):
        pass
    ns = now() - begin
    expect("right results", right, 4 * turns)
    return (ns,)


# ---- pools -----------------------------------------------------------------------------------------------------------


def executor(kind: Kind, workers: int) -> futures.Executor:
    """The pool on the module's threads."""
    if kind is ours or isinstance(getattr(kind, "scheduler", None), Scheduler):  # or .green
        from ..core import pool

        return pool.Executor(workers, scheduler=getattr(kind, "scheduler", None))
    if kind is threading:
        return futures.ThreadPoolExecutor(workers)
    raise Unavailable(f"{kind.__name__} has no concurrent.futures' pool")


def pool_call(kind: Kind, number: int = 500) -> Figures:
    runs = count()
    with executor(kind, 1) as calls:
        calls.submit(int).result()  # not timed: a thread is started
        begin = now()
        for _ in range(number):
            calls.submit(runs.__next__).result()
        ns = now() - begin
    expect("calls", next(runs), number)
    return (ns / number,)


def pool_burst(kind: Kind, number: int = 1_000, workers: int = 4) -> Figures:
    runs, go = count(), kind.Barrier(workers)
    with executor(kind, workers) as calls:
        for waiting in [calls.submit(go.wait) for _ in range(workers)]:
            waiting.result()  # not timed: threads are started
        begin = now()
        for call in [calls.submit(runs.__next__) for _ in range(number)]:
            call.result()
        ns = now() - begin
    expect("calls", next(runs), number)
    return (ns / number,)


# ---- the table -------------------------------------------------------------------------------------------------------


def operations(quick: bool) -> list[Operation]:
    """All, in the table's order."""
    many = 1_000 if quick else 10_000

    def one(
        name: str, text: str, sample: Callable[[Kind], Figures], unit: str = "ns", alone: bool = False
    ) -> Operation:
        return Operation((Row(name, text, unit),), sample, alone)

    return [
        one("thread-object", "Thread object", thread_object),
        one("start-join", "start + join", start_join),
        one("first-line", "start() to its first line", first_line),
        one("burst", "1,000 starts, then joins", lambda kind: (burst(kind), burst(kind))[1], alone=True),
        Operation(
            (
                Row("alive-start", f"{many:,} alive: start each"),
                Row("alive-join", f"{many:,} alive: join each"),
                Row("alive-resident", f"{many:,} alive: memory", "bytes"),
                Row("alive-space", f"{many:,} alive: address space", "bytes"),
                Row("alive-tables", f"{many:,} alive: page tables", "bytes"),
            ),
            lambda kind: alive(kind, many),
            alone=True,
        ),
        Operation(
            (
                Row("small-resident", "256K stack: memory", "bytes"),
                Row("small-space", "256K stack: address space", "bytes"),
                Row("small-tables", "256K stack: page tables", "bytes"),
            ),
            lambda kind: alive(kind, 1_000, stack_size=256 << 10)[2:],
            alone=True,
        ),
        one("switch", "from one to another", switch),
        one("syscalls", "start + join: system calls", system_calls, "calls", alone=True),
        one("lock-pair", "Lock acquire + release", statement("x.acquire(); x.release()", lambda k: k.Lock(), excludes)),
        one("lock-with", "with Lock", statement("with x: pass", lambda k: k.Lock(), excludes)),
        one(
            "lock-try",
            "Lock, failed try",
            statement("x.acquire(False)", held_lock, lambda _, x: x.locked() and not x.acquire(False)),
        ),
        one("lock-busy", "Lock pair beside computing", lock_beside_computing),
        one("lock-pingpong", "Lock ping-pong", lambda kind: ping_pong(kind, held_lock(kind), held_lock(kind))),
        one("lock-of-4", "Lock of 4 threads", lambda kind: contended(kind, 4)),
        one("lock-of-8", "Lock of 8 threads", lambda kind: contended(kind, 8)),
        one(
            "rlock-pair",
            "RLock acquire + release",
            statement("x.acquire(); x.release()", lambda k: k.RLock(), excludes),
        ),
        one("event-set", "Event set + clear", statement("x.set(); x.clear()", lambda k: k.Event(), event_works)),
        one(
            "event-wait", "Event wait when set", statement("x.wait()", set_event, lambda _, x: x.wait() and x.is_set())
        ),
        one("event-pingpong", "Event ping-pong", event_ping_pong),
        one(
            "semaphore-pair",
            "Semaphore acquire + release",
            statement("x.acquire(); x.release()", lambda k: k.Semaphore(), excludes),
        ),
        one(
            "semaphore-pingpong",
            "Semaphore ping-pong",
            lambda kind: ping_pong(kind, kind.Semaphore(0), kind.Semaphore(0)),
        ),
        one("condition-pingpong", "Condition ping-pong", condition_ping_pong),
        one("condition-all", "Condition notify_all to 16", notify_all),
        one("barrier", "Barrier of 4", barrier),
        one("queue", "queue.Queue(1) hand-over", queue_hand_over),
        one("current-thread", "current_thread()", current_thread),
        one("pool-call", "pool: submit + result", pool_call),
        one("pool-burst", "pool: 1,000 submits", pool_burst),
        one("timeout", "lateness of a 1 ms timeout", lateness),
        one("compute", "computing in 2 threads", two_computing),
        one("mixed", "mixed work in 4 threads", mixed_work),
    ]
