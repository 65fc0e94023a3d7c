"""Threads that wait for each other's locks, slots and ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from queue import Queue
from threading import Condition, Event, Lock, RLock, Thread

from . import DEADLOCK, SYNC, program, together


@program(DEADLOCK, SYNC, depth=2)
def two_locks(fixed: bool) -> None:
    """SCTBench (Thomson, Donaldson and Betts, PPoPP 2014), after CS/deadlock01: two locks, two orders"""
    left, right = Lock(), Lock()

    def forward() -> None:
        with left, right:
            pass

    def backward() -> None:
        first, second = (left, right) if fixed else (right, left)
        with first, second:  # window: we have `right`, the other has `left`
            pass

    together(forward, backward)


@program(DEADLOCK, SYNC, depth=2)
def transfers_that_cross(fixed: bool) -> None:
    """JCIP (Goetz et al., 2006), after section 10.1.2: the arguments of a transfer decide the order of the locks"""

    class Account:
        def __init__(self, number: int) -> None:
            self.number = number
            self.balance = 100
            self.lock = Lock()

    def transfer(source: Account, target: Account, amount: int) -> None:
        first, second = sorted((source, target), key=lambda account: account.number) if fixed else (source, target)
        with first.lock, second.lock:  # window: between both
            source.balance -= amount
            target.balance += amount

    one, two = Account(1), Account(2)
    together(lambda: transfer(one, two, 10), lambda: transfer(two, one, 30))
    assert (one.balance, two.balance) == (120, 80)


@program(DEADLOCK, SYNC, depth=3)
def dining_philosophers(fixed: bool) -> None:
    """SCTBench, after CS/din_phil3: dining philosophers (Dijkstra, 1971), each takes the left fork first"""
    forks = [Lock() for _ in range(3)]
    meals: list[int] = []

    def philosopher(seat: int) -> None:
        left, right = forks[seat], forks[(seat + 1) % 3]
        if fixed and seat == 2:  # one who takes the right one first breaks the circle
            left, right = right, left
        with left, right:  # window: each has the left one
            meals.append(seat)

    together(*(partial(philosopher, seat) for seat in range(3)))
    assert sorted(meals) == [0, 1, 2]


@program(DEADLOCK, SYNC, depth=2)
def callback_under_lock(fixed: bool) -> None:
    """JCIP, after section 10.1.3: a taxi and its dispatcher call each other's methods, each under its own lock"""
    taxi_lock, dispatcher_lock = Lock(), Lock()
    available: list[str] = []
    image: list[tuple[int, int]] = []
    location = (0, 0)

    def taxi_arrives() -> None:
        nonlocal location
        with taxi_lock:
            location = (3, 4)
            if not fixed:
                notify_available()
        if fixed:  # an open call
            notify_available()

    def notify_available() -> None:
        with dispatcher_lock:
            available.append("taxi")

    def dispatcher_draws() -> None:
        with dispatcher_lock, taxi_lock:  # window: between both
            image.append(location)

    together(taxi_arrives, dispatcher_draws)
    assert available == ["taxi"]
    assert image[0] in ((0, 0), (3, 4))


@program(DEADLOCK, SYNC, depth=2)
def reader_upgrade(fixed: bool) -> None:
    """JCIP, after section 13.5: two readers of a read-write lock become its writer, and wait for each other"""
    changed = Condition()
    readers = 0
    value: int | None = None
    loads: list[int] = []

    def load_if_absent(mine: int) -> None:
        nonlocal readers, value
        with changed:
            readers += 1
        absent = value is None  # read as a reader
        with changed:
            if fixed:  # gives up reading before it writes, and looks again
                readers -= 1
                changed.notify_all()
                changed.wait_for(lambda: readers == 0)
                absent = value is None
            else:
                changed.wait_for(lambda: readers == 1)  # window: both are readers, neither stops to be one
            if absent:
                value = mine
                loads.append(mine)
            if not fixed:
                readers -= 1
                changed.notify_all()

    together(lambda: load_if_absent(1), lambda: load_if_absent(2))
    assert loads == [value]


@program(DEADLOCK, SYNC, depth=1)
def join_under_lock(fixed: bool) -> None:
    """Textualize/rich #927: Live.stop() joins its refresh thread under the lock that the thread needs"""

    class Live:
        def __init__(self) -> None:
            self.lock = RLock()
            self.done = Event()
            self.drawn = 0
            self.thread = Thread(target=self.refresh)
            self.thread.start()

        def refresh(self) -> None:
            while self.drawn < 3 and not self.done.wait(0.01):
                with self.lock:  # window: stop() has it, and waits for us
                    self.drawn += 1

        def stop(self) -> None:
            with self.lock:
                self.done.set()
                if not fixed:
                    self.thread.join()
            self.thread.join()

    live = Live()
    time.sleep(0.02)
    live.stop()
    assert live.drawn <= 3


@program(DEADLOCK, SYNC, depth=3)
def workers_feed_their_own_queue(fixed: bool) -> None:
    """folklore of web crawlers: workers put what they find into the bounded queue that they get from"""
    pages: Queue[str] = Queue(maxsize=0 if fixed else 2)
    links = {"a": "cd", "b": "ef"}
    visited: list[str] = []

    def crawl() -> None:
        while page := pages.get():
            visited.append(page)
            for link in links.get(page, ""):
                pages.put(link)  # window: the queue is full, and every worker is here
            pages.task_done()

    def close() -> None:
        pages.join()
        for _ in range(2):
            pages.put("")

    pages.put("a")
    pages.put("b")
    together(crawl, crawl, close)
    assert sorted(visited) == list("abcdef")


@program(DEADLOCK, SYNC, depth=2)
def read_lock_taken_twice(fixed: bool) -> None:
    """pthread_rwlockattr_setkind_np(3), after what it says of recursive read locks: a reader reads again, with a writer
    waiting that new readers let pass"""
    changed = Condition()
    readers = writers = waiting_writers = 0
    written: list[bool] = []

    def read(inner: Callable[[], None]) -> None:
        nonlocal readers
        with changed:
            changed.wait_for(lambda: not writers and not waiting_writers)  # window: a writer waits for our outer read
            readers += 1
        inner()
        with changed:
            readers -= 1
            changed.notify_all()

    def reader() -> None:
        def again() -> None:
            if not fixed:
                read(lambda: None)

        read(again)

    def writer() -> None:
        nonlocal writers, waiting_writers
        with changed:
            waiting_writers += 1
            changed.wait_for(lambda: not writers and not readers)
            waiting_writers -= 1
            writers += 1
        written.append(True)
        with changed:
            writers -= 1
            changed.notify_all()

    together(reader, writer)
    assert written == [True]


@program(DEADLOCK, SYNC, depth=1)
def nested_monitor_lockout(fixed: bool) -> None:
    """Lea, Concurrent Programming in Java, after its nested monitors: who waits in the inner one keeps the outer"""
    owner = RLock()
    # The repair: the inner condition is one of the outer lock, so that wait() lets that go.
    filled = Condition(owner if fixed else RLock())
    box: list[int] = []
    taken: list[int] = []

    def take() -> None:
        with owner, filled:
            while not box:  # window: take() came first, and keeps `owner`
                filled.wait()
            taken.append(box.pop())

    def put() -> None:
        with owner, filled:
            box.append(1)
            filled.notify()

    together(put, take)
    assert taken == [1]


@program(DEADLOCK, SYNC, depth=2)
def cached_property_lock_per_class(fixed: bool) -> None:
    """CPython bpo-43468, after a consequence of it: functools.cached_property held one lock for all instances, so that
    two that need each other's class wait for each other"""

    class Cached:
        shared: Lock

        def __init__(self) -> None:
            self.lock = Lock() if fixed else self.shared
            self.cache: dict[str, int] = {}

        def total(self, other: Cached | None) -> int:
            with self.lock:
                if "total" not in self.cache:  # window: we have our class's lock, the other thread has the other's
                    self.cache["total"] = 1 + (other.total(None) if other else 0)
                return self.cache["total"]

    class Order(Cached):
        shared = Lock()

    class Customer(Cached):
        shared = Lock()

    totals: list[int] = []
    together(lambda: totals.append(Order().total(Customer())), lambda: totals.append(Customer().total(Order())))
    assert totals == [2, 2]


_modules = Lock()
_handlers = Lock()


@program(DEADLOCK, SYNC, depth=2)
def locks_of_a_module(fixed: bool) -> None:
    """Lu et al., ASPLOS 2008, after their deadlocks of two resources; here two locks made at import, one for the table
    of loggers and one for handlers"""
    lines: list[str] = []

    def emit() -> None:
        early = look_up() if fixed else None
        with _handlers:
            lines.append(early or look_up())  # window: the other has `_modules`, and waits for `_handlers`

    def look_up() -> str:
        with _modules:
            return "root"

    def shut_down() -> None:
        with _modules, _handlers:
            lines.append("closed")

    together(emit, shut_down)
    assert sorted(lines) == ["closed", "root"]
