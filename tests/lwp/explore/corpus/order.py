"""One step must come before another, and nothing makes it: used before it is made or after it is gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from queue import Queue
from threading import Event, Lock, Thread

from . import ASSERTION, EXCEPTION, GIL, OPCODE, SYNC, Atomic, program, started, together


@program(ASSERTION, OPCODE, depth=2)
def reorder(fixed: bool) -> None:
    """SCTBench, after CS/reorder: a check between two writes that belong together"""
    lock = Lock()
    a = b = 0
    seen: list[tuple[int, int]] = []

    def write() -> None:
        nonlocal a, b
        with lock if fixed else nullcontext():
            a = 1
            b = -1  # window: between both

    def check() -> None:
        with lock:
            seen.append((a, b))

    together(write, check)
    assert seen[0] in ((0, 0), (1, -1))


@program(EXCEPTION, SYNC, depth=1)
def thread_before_its_handle(fixed: bool) -> None:
    """Mozilla's nsthread.cpp, after Lu et al., ASPLOS 2008: a new thread uses the handle that its creator has yet to
    store"""
    lock = Lock()
    started: list[Thread] = []
    names: list[str] = []

    class Worker:
        thread: Thread

        def start(self) -> None:
            thread = Thread(target=self.main, name="worker")
            if fixed:
                self.thread = thread
            thread.start()
            with lock:  # window: the thread runs before the next line
                started.append(thread)
            self.thread = thread

        def main(self) -> None:
            names.append(self.thread.name)

    Worker().start()
    started[0].join()
    assert names == ["worker"]


@program(EXCEPTION, SYNC, depth=2)
def this_escape(fixed: bool) -> None:
    """JCIP, after listing 3.7, ThisEscape: a constructor registers its object before it is whole"""
    lock = Lock()
    listeners: list[Callable[[], None]] = []

    def subscribe(listener: Callable[[], None]) -> None:
        with lock:
            listeners.append(listener)

    class Window:
        def __init__(self) -> None:
            if fixed:
                self.events = 0
            subscribe(self.on_event)
            subscribe(lambda: None)  # window: an event comes before the next line
            if not fixed:
                self.events = 0

        def on_event(self) -> None:
            self.events += 1

    def event() -> None:
        with lock:
            for listener in listeners:
                listener()

    together(Window, event)


@program(EXCEPTION, SYNC, depth=1)
def freed_before_the_last_use(fixed: bool) -> None:
    """SCTBench, after CB/pbzip2-0.9.4: main() frees the queue that consumers still use"""

    class Fifo:
        def __init__(self) -> None:
            self.blocks = ["block"]
            self.mutex = Lock()

        def free(self) -> None:
            del self.mutex

    fifo = Fifo()
    all_taken = Event()
    output: Queue[str] = Queue()

    def consumer() -> None:
        with fifo.mutex:
            block = fifo.blocks.pop()
        all_taken.set()
        output.put(block)  # window: the queue is freed, and used in the next line
        with fifo.mutex:
            assert not fifo.blocks

    thread = started(consumer)
    all_taken.wait()
    if fixed:
        thread.join()
    fifo.free()
    thread.join()
    assert output.get() == "block"


@program(ASSERTION, SYNC, depth=1)
def result_before_the_end(fixed: bool) -> None:
    """SCTBench, after its SPLASH-2 programs, whose macros do not wait for the threads' end"""
    total = Atomic(0)
    threads = [started(partial(total.add, number)) for number in (1, 2)]
    total.add(3)
    if fixed:
        for thread in threads:
            thread.join()
    result = total.value  # window: a thread is still to add its part
    for thread in threads:
        thread.join()
    assert result == 6


@program(ASSERTION, SYNC, depth=2)
def bluetooth_driver(fixed: bool) -> None:
    """SCTBench, after CS/bluetooth_driver (Qadeer and Wu, KISS, PLDI 2004): a request looks whether the driver stops,
    then counts itself"""
    lock = Lock()
    pending = 1
    no_pending = Event()
    stopping = stopped = False

    def count(change: int) -> None:
        nonlocal pending
        with lock:
            pending += change
            if pending == 0:
                no_pending.set()

    def add() -> None:
        if fixed:
            count(1)
        if not stopping:
            if not fixed:
                count(1)  # window: the driver stops between the look and this
            assert not stopped
        elif not fixed:
            return
        count(-1)

    def stop() -> None:
        nonlocal stopping, stopped
        stopping = True
        count(-1)
        no_pending.wait()
        stopped = True

    together(add, stop)


@program(EXCEPTION, GIL, depth=2)
def double_checked_locking(fixed: bool) -> None:
    """The 'Double-Checked Locking is Broken' Declaration (Bacon et al.), after it: published, then filled"""

    class Settings:
        def load(self) -> None:
            self.path = "/etc"

    lock = Lock()
    instance: Settings | None = None
    paths: list[str] = []

    def get() -> Settings:
        nonlocal instance
        if instance is None:
            with lock:
                if instance is None:
                    if fixed:
                        whole = Settings()
                        whole.load()
                        instance = whole
                    else:
                        instance = Settings()
                        instance.load()  # window: others see it, without what load() sets
        return instance

    def use() -> None:
        paths.append(get().path)

    together(use, use)
    assert paths == ["/etc", "/etc"]


@program(EXCEPTION, OPCODE, depth=2)
def published_too_early(fixed: bool) -> None:
    """sebleier/django-redis-cache #213: a pool is put where all see it, then gets the attribute that they read"""

    class Pool:
        identifier: str

    pools: dict[str, Pool] = {}
    seen: list[str] = []

    def add() -> None:
        pool = Pool()
        if fixed:
            pool.identifier = "db0"
            pools["db0"] = pool
        else:
            pools["db0"] = pool
            pool.identifier = "db0"  # window: seen without it

    def look() -> None:
        if pool := pools.get("db0"):
            seen.append(pool.identifier)

    together(add, look)
    assert seen in ([], ["db0"])


@program(EXCEPTION, OPCODE, depth=2)
def proc_info(fixed: bool) -> None:
    """MySQL's ha_innodb.cc, after Lu et al., ASPLOS 2008: proc_info is set to NULL between a look and its use"""

    class Statement:
        info: str | None = "sorting"

    statement = Statement()
    shown: list[str] = []

    def show_processes() -> None:
        if fixed:
            info = statement.info
            if info:
                shown.append(info.upper())
        elif statement.info:
            shown.append(statement.info.upper())  # window: None by now

    def end() -> None:
        statement.info = None

    together(show_processes, end)
    assert shown in ([], ["SORTING"])


@program(ASSERTION, OPCODE, depth=2)
def work_stealing_queue(fixed: bool) -> None:
    """SCTBench, after CHESS/WSQ, the work-stealing queue of Cilk-5 (Frigo, Leiserson and Randall, PLDI 1998): the owner
    must move the tail before it looks at the head"""

    class Tasks:
        def __init__(self) -> None:
            self.items = ["a", "b"]
            self.head, self.tail = 0, 2
            self.lock = Lock()

        def pop(self) -> None:
            head = self.head
            last = self.tail = self.tail - 1
            if fixed:
                head = self.head
            if head > last:  # window: `head` was read before the tail moved, and a thief has taken the last one
                with self.lock:
                    if self.head > last:
                        self.tail = last + 1
                        return
            taken.append(self.items[last])

        def steal(self) -> None:
            with self.lock:
                first = self.head
                self.head = first + 1
                if first + 1 > self.tail:
                    self.head = first
                    return
                taken.append(self.items[first])

    tasks = Tasks()
    taken: list[str] = []

    def own() -> None:
        tasks.pop()
        tasks.pop()

    together(own, tasks.steal)
    assert sorted(taken) == ["a", "b"]


@program(ASSERTION, SYNC, depth=1)
def token_ring(fixed: bool) -> None:
    """SCTBench, after CS/token_ring: each thread passes on what it has read, and they start in no order"""
    lock = Lock()
    turns = [Event() for _ in range(3)]
    turns[0].set()
    values = [1, 0, 0]

    def pass_on(place: int) -> None:
        if fixed:
            turns[place].wait()
        with lock:  # window: the one before has not run
            values[(place + 1) % 3] = values[place] + 1
        turns[(place + 1) % 3].set()

    together(*(partial(pass_on, place) for place in range(3)))
    assert values == [4, 2, 3]
