"""Every step is atomic, the whole is not: what belongs together is done in two critical sections."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from threading import RLock

from . import ASSERTION, EXCEPTION, SYNC, Atomic, lock_if, program, together


@program(ASSERTION, SYNC, depth=2)
def account(fixed: bool) -> None:
    """account of the IBM contest benchmark (Eytani and Ur, PADTAD 2004), also SCTBench's CS/account, after both: a
    balance is read in one critical section and written in another"""
    balance = Atomic(100)

    def deposit(amount: int) -> None:
        if fixed:
            balance.add(amount)
        else:
            balance.set(balance.get() + amount)  # window: another deposit is lost

    together(partial(deposit, 10), partial(deposit, 20))
    assert balance.get() == 130


@program(ASSERTION, SYNC, depth=2)
def allocation_vector(fixed: bool) -> None:
    """allocation vector of the IBM contest benchmark, after it: a block is found free, then marked, in two synchronized
    methods"""
    lock = RLock()
    free = [True, True]
    allocated: list[int] = []

    def find() -> int:
        with lock:
            return free.index(True)

    def mark(block: int) -> None:
        with lock:
            free[block] = False
            allocated.append(block)

    def allocate() -> None:
        with lock if fixed else nullcontext():
            mark(find())  # window: another finds the same block

    together(allocate, allocate)
    assert sorted(allocated) == [0, 1]


@program(EXCEPTION, SYNC, depth=2)
def string_buffer(fixed: bool) -> None:
    """SCTBench, after CB/stringbuffer-jdk1.4 (StringBuffer.append): the other buffer shrinks between its length and its
    characters"""

    class Buffer:
        def __init__(self, text: str) -> None:
            self.lock = RLock()
            self.text = text

        def length(self) -> int:
            with self.lock:
                return len(self.text)

        def characters(self, length: int) -> str:
            with self.lock:
                if length > len(self.text):
                    raise IndexError(length)
                return self.text[:length]

        def clear(self) -> None:
            with self.lock:
                self.text = ""

        def append(self, other: Buffer) -> None:
            with self.lock, other.lock if fixed else nullcontext():
                self.text += other.characters(other.length())  # window: cleared between the two calls

    target, source = Buffer("a"), Buffer("bc")
    together(partial(target.append, source), source.clear)
    assert target.text in ("a", "abc")


@program(ASSERTION, SYNC, depth=2)
def number_range(fixed: bool) -> None:
    """JCIP, after listing 4.10, NumberRange: two variables, each atomic, and an invariant over both"""
    lower, upper = Atomic(0), Atomic(10)
    both = lock_if(fixed)

    def raise_lower() -> None:
        with both:
            if upper.get() >= 5:
                lower.set(5)  # window: between the look at the one and the change of the other

    def reduce_upper() -> None:
        with both:
            if lower.get() <= 4:
                upper.set(4)

    together(raise_lower, reduce_upper)
    assert lower.get() <= upper.get()


@program(ASSERTION, SYNC, depth=2)
def log_rotation(fixed: bool) -> None:
    """MySQL #791, after it as told in the literature on atomicity violations: a statement that runs while the binary
    log is closed and opened again is not logged"""
    lock = RLock()
    is_open = True
    logged: list[str] = []

    def set_open(value: bool) -> None:
        nonlocal is_open
        with lock:
            is_open = value

    def rotate() -> None:
        with lock if fixed else nullcontext():
            set_open(False)
            set_open(True)  # window: a write comes between

    def write() -> None:
        with lock:
            if is_open:
                logged.append("insert")

    together(rotate, write)
    assert logged == ["insert"]


@program(EXCEPTION, SYNC, depth=2)
def pool_replaced_in_use(fixed: bool) -> None:
    """urllib3 #204: two threads look for a host's pool, both make one, and the second to store its own closes the
    other's"""

    class Pool:
        closed = False

        def open_url(self) -> str:
            with lock:
                if self.closed:
                    raise ConnectionError("closed pool")
                return "page"

    lock = RLock()
    pools: dict[str, Pool] = {}

    def look_up(host: str) -> Pool | None:
        with lock:
            return pools.get(host)

    def store(host: str, pool: Pool) -> None:
        with lock:
            if replaced := pools.get(host):
                replaced.closed = True
            pools[host] = pool

    def get_or_make(host: str) -> Pool:
        if not (pool := look_up(host)):
            pool = Pool()
            store(host, pool)  # window: another looks before we store, and stores after it
        return pool

    def request() -> None:
        with lock if fixed else nullcontext():
            pool = get_or_make("example.org")
        assert pool.open_url() == "page"

    together(request, request)


@program(EXCEPTION, SYNC, depth=2)
def last_of_a_vector(fixed: bool) -> None:
    """JCIP, after listing 5.1: getLast() and deleteLast() of a synchronized vector"""

    class Vector:
        def __init__(self) -> None:
            self.lock = RLock()
            self.items = ["a", "b"]

        def size(self) -> int:
            with self.lock:
                return len(self.items)

        def get(self, index: int) -> str:
            with self.lock:
                return self.items[index]

        def delete(self, index: int) -> None:
            with self.lock:
                del self.items[index]

    vector = Vector()
    last: list[str] = []

    def get_last() -> None:
        with vector.lock if fixed else nullcontext():
            last.append(vector.get(vector.size() - 1))  # window: the last one is deleted between the two calls

    def delete_last() -> None:
        with vector.lock if fixed else nullcontext():
            vector.delete(vector.size() - 1)

    together(get_last, delete_last)
    assert last[0] in ("a", "b")


@program(ASSERTION, SYNC, depth=2)
def freed_twice(fixed: bool) -> None:
    """Apache #21287, after it as told in the literature on atomicity violations: a reference count falls to zero in one
    step and is looked at in the next, so that two threads free the object"""
    references = Atomic(2)
    freed: list[str] = []

    def release() -> None:
        left = references.add(-1)
        if (left if fixed else references.get()) == 0:  # window: the other has taken off its own by now
            freed.append("cache entry")

    together(release, release)
    assert freed == ["cache entry"]
