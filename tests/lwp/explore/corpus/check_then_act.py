"""What was true at the look is not true any more at the deed: caches, lists and dicts that others change."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from queue import Empty, Queue
from threading import Lock, RLock

from . import ASSERTION, DEADLOCK, EXCEPTION, GIL, OPCODE, SYNC, lock_if, program, together


@program(ASSERTION, GIL, depth=2)
def airline(fixed: bool) -> None:
    """airlines of the IBM contest benchmark, after it: more tickets are sold than there are seats"""
    lock = lock_if(fixed)
    sold: list[str] = []

    def book(agent: str) -> None:
        sold.append(agent)

    def sell(agent: str) -> None:
        with lock:
            if len(sold) < 1:
                book(agent)  # window: between the look and the sale

    together(partial(sell, "north"), partial(sell, "south"))
    assert len(sold) == 1


@program(ASSERTION, GIL, depth=2)
def lazy_initialization(fixed: bool) -> None:
    """JCIP, after listing 2.3, LazyInitRace"""

    class Connection:
        def __init__(self) -> None:
            self.number = len(made)
            made.append(self)

    made: list[Connection] = []
    lock = lock_if(fixed)
    instance: Connection | None = None

    def use() -> None:
        nonlocal instance
        with lock:
            if instance is None:
                instance = Connection()  # window: another makes one too

    together(use, use)
    assert len(made) == 1


@program(ASSERTION, GIL, depth=2)
def memoizer(fixed: bool) -> None:
    """JCIP, after section 5.6, Memoizer3: the same value is computed twice, by FutureTask put where none was"""
    cache: dict[str, Future[int]] = {}
    computed: list[str] = []

    def compute(argument: str) -> int:
        computed.append(argument)
        return len(argument)

    def value_of(argument: str) -> int:
        mine: Future[int] = Future()
        if fixed:
            found = cache.setdefault(argument, mine)
        elif (found := cache.get(argument, mine)) is mine:
            put(argument, mine)  # window: another puts its own
        if found is mine:
            mine.set_result(compute(argument))
        return found.result()

    def put(argument: str, future: Future[int]) -> None:
        cache[argument] = future

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(value_of, ["abc", "abc"])) == [3, 3]
    assert computed == ["abc"]


@program(EXCEPTION, GIL, depth=2)
def lru_eviction(fixed: bool) -> None:
    """girder/large_image #189: two threads evict from one LRU cache without a lock, and both choose the same key"""
    cache = {"a": 1, "b": 2}
    lock = lock_if(fixed)

    def oldest() -> str:
        return next(iter(cache))

    def evict() -> None:
        with lock:
            del cache[oldest()]  # window: chosen, not yet deleted

    together(evict, evict)
    assert cache == {}


@program(EXCEPTION, GIL, depth=2)
def linecache_check(fixed: bool) -> None:
    """CPython bpo-25872: two tracebacks check linecache at a time, and both delete the same stale entry"""
    cache = {"old.py": 1, "new.py": 2}

    def is_stale(name: str) -> bool:
        return name == "old.py"

    def check() -> None:
        for name in list(cache):
            if is_stale(name):
                if fixed:
                    cache.pop(name, None)
                else:
                    del cache[name]  # window: between the look at the file and this

    together(check, check)
    assert list(cache) == ["new.py"]


@program(ASSERTION, GIL, depth=2)
def handler_removed_while_called(fixed: bool) -> None:
    """CPython gh-79366: a logging handler is removed from the list that a record goes through, and the one after it
    does not get the record"""
    records: list[str] = []
    handlers: list[Callable[[str], None]] = [lambda record: None, records.append]

    def emit() -> None:
        for handler in handlers:
            handler("started")  # window: after the first call the second handler is the first

    def remove(handler: Callable[[str], None]) -> None:
        nonlocal handlers
        if fixed:
            handlers = [other for other in handlers if other is not handler]
        else:
            handlers.remove(handler)

    together(emit, partial(remove, handlers[0]))
    assert records == ["started"]


@program(EXCEPTION, GIL, depth=2)
def target_changed_in_flush(fixed: bool) -> None:
    """CPython bpo-41503: logging's MemoryHandler.setTarget() does not take the lock under which flush() sends its
    records to the target"""

    class Target:
        def handle(self, record: str) -> None:
            handled.append(record)

    class Memory:
        def __init__(self) -> None:
            self.lock = RLock()
            self.buffer = ["one", "two"]
            self.target: Target | None = Target()

        def flush(self) -> None:
            with self.lock:
                if self.target:
                    for record in self.buffer:
                        self.target.handle(record)  # window: after the first call the target is gone

        def set_target(self, target: Target | None) -> None:
            with self.lock if fixed else nullcontext():
                self.target = target

    handled: list[str] = []
    memory = Memory()
    together(memory.flush, partial(memory.set_target, None))
    assert handled in ([], ["one", "two"])


@program(EXCEPTION, GIL, depth=2)
def signal_to_reaped_process(fixed: bool) -> None:
    """CPython bpo-38630, its first case: subprocess.Popen.send_signal() sees no return code, the process was reaped,
    and its number is free for another one"""
    processes = {42}

    def wait_pid(pid: int) -> int:
        processes.remove(pid)
        return 0

    def kill(pid: int) -> None:
        if pid not in processes:
            raise ProcessLookupError(pid)

    class Popen:
        returncode: int | None = None
        lock = lock_if(fixed)

        def wait(self) -> None:
            with self.lock:
                self.returncode = wait_pid(42)  # window: reaped, and it does not say so yet

        def send_signal(self) -> None:
            with self.lock:
                if self.returncode is None:
                    kill(42)

    popen = Popen()
    together(popen.wait, popen.send_signal)
    assert popen.returncode == 0


@program(EXCEPTION, GIL, depth=2)
def dict_changed_while_iterated(fixed: bool) -> None:
    """Grokzen/redis-py-cluster #353: a node's connection is added while all are counted"""
    connections = {"node1": 1, "node2": 2}
    counts: list[int] = []

    def plus(total: int, number: int) -> int:
        return total + number

    def count() -> None:
        total = 0
        for number in list(connections.values()) if fixed else connections.values():
            total = plus(total, number)  # window: a connection is added, and the dict has another size
        counts.append(total)

    def add() -> None:
        connections["node3"] = 4

    together(count, add)
    assert counts[0] in (3, 7)


@program(EXCEPTION, OPCODE, depth=2)
def look_before_pop(fixed: bool) -> None:
    """redis/redis-py #742, a comment there: `if` in place of `try` before list.pop() in the connection pool"""
    available = ["connection"]
    used: list[str] = []

    def get() -> str:
        if fixed:
            try:
                return available.pop()
            except IndexError:
                return "new"
        if available:
            return available.pop()  # window: between the look and this
        return "new"

    def use() -> None:
        used.append(get())

    together(use, use)
    assert sorted(used) == ["connection", "new"]


@program(DEADLOCK, SYNC, depth=2)
def empty_then_get(fixed: bool) -> None:
    """Python documentation, after queue.Queue.empty(): that it is not empty does not say that get() won't block"""
    tasks: Queue[int] = Queue()
    for number in range(3):
        tasks.put(number)
    done: list[int] = []

    def work() -> None:
        if fixed:
            try:
                while True:
                    done.append(tasks.get_nowait())
            except Empty:
                return
        while not tasks.empty():
            done.append(tasks.get())  # window: the other gets the last one

    together(work, work)
    assert sorted(done) == [0, 1, 2]


@program(ASSERTION, OPCODE, depth=3)
def test_then_set(fixed: bool) -> None:
    """Herlihy and Shavit, The Art of Multiprocessor Programming, after section 7.2, TASLock, without an atomic
    test-and-set"""
    flag = Lock()
    taken = False
    inside: list[str] = []

    def work(name: str) -> None:
        nonlocal taken
        if fixed:
            while not flag.acquire(blocking=False):
                time.sleep(0)
        else:
            while taken:
                time.sleep(0)
            taken = True  # window: between the test and this
        inside.append(name)
        assert inside == [name]
        inside.clear()
        if fixed:
            flag.release()
        taken = False

    together(partial(work, "ann"), partial(work, "bob"))
