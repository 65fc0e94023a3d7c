"""A wake-up that comes too early, goes to the wrong one, or is taken for more than it says."""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from functools import partial
from threading import Condition, Event, Lock, Semaphore

from . import ASSERTION, DEADLOCK, EXCEPTION, SYNC, program, started, together


class _Flag:
    def __init__(self) -> None:
        self.changed = Condition()
        self.is_set = False

    def set(self) -> None:
        with self.changed:
            self.is_set = True
            self.changed.notify()


@program(DEADLOCK, SYNC, depth=1)
def wait_without_a_look(fixed: bool) -> None:
    """JCIP, after section 14.2.3, missed signals: wait() without a look at what it waits for"""
    ready = _Flag()

    def waiter() -> None:
        with ready.changed:
            if fixed:
                ready.changed.wait_for(lambda: ready.is_set)
            else:
                ready.changed.wait()  # window: notify() has been by now

    together(waiter, ready.set)


@program(DEADLOCK, SYNC, depth=2)
def look_outside_the_lock(fixed: bool) -> None:
    """Birrell, An Introduction to Programming with Threads (DEC SRC 35, 1989), after its wake-up waiting race: the look
    and the wait in two critical sections"""
    ready = _Flag()

    def waiter() -> None:
        if fixed:
            with ready.changed:
                ready.changed.wait_for(lambda: ready.is_set)
        elif not ready.is_set:
            with ready.changed:  # window: between the look and this
                ready.changed.wait()

    together(waiter, ready.set)


@program(DEADLOCK, SYNC, depth=3)
def notify_wakes_the_wrong_one(fixed: bool) -> None:
    """JCIP, after section 14.2.4: notify() where threads wait for different things on one condition"""
    changed = Condition()
    buffer: deque[int] = deque()
    taken: list[int] = []

    def tell() -> None:
        if fixed:
            changed.notify_all()
        else:
            changed.notify()  # window: a consumer's goes to the other consumer, the producer sleeps on

    def producer() -> None:
        for item in range(2):
            with changed:
                changed.wait_for(lambda: not buffer)  # room for one
                buffer.append(item)
                tell()

    def consumer() -> None:
        with changed:
            changed.wait_for(lambda: buffer)
            taken.append(buffer.popleft())
            tell()

    together(producer, consumer, consumer)
    assert taken == [0, 1]


@program(EXCEPTION, SYNC, depth=2)
def wait_in_an_if(fixed: bool) -> None:
    """Lampson and Redell, Experience with Processes and Monitors in Mesa (CACM 1980), after their rule that a wake-up
    is a hint: `if` around wait() where `while` belongs"""
    filled = Condition()
    items: list[int] = []
    taken: list[int] = []

    def consumer() -> None:
        with filled:
            if not items:
                filled.wait()
            while fixed and not items:
                filled.wait()
            taken.append(items.pop())  # window: the item was there at notify(), another took it before us

    def producer() -> None:
        for item in range(2):
            with filled:
                items.append(item)
                filled.notify()

    together(consumer, consumer, producer)
    assert sorted(taken) == [0, 1]


@program(DEADLOCK, SYNC, depth=2)
def notify_before_the_state(fixed: bool) -> None:
    """Lu et al., ASPLOS 2008, after their order violations: the waiter is told before the state is written"""
    changed = Condition()
    finished = False

    def worker() -> None:
        nonlocal finished
        if not fixed:
            with changed:
                changed.notify_all()
        with changed:  # window: the waiter has looked again, and sleeps
            finished = True
            if fixed:
                changed.notify_all()

    def waiter() -> None:
        with changed:
            changed.wait_for(lambda: finished)

    together(waiter, worker)


@program(DEADLOCK, SYNC, depth=2)
def event_cleared_too_late(fixed: bool) -> None:
    """scionproto/scion #463, after it: a reply comes between the look at the work and Event.clear()"""
    work: deque[int] = deque()
    arrived = Event()
    done: list[int] = []

    def worker() -> None:
        while len(done) < 2:
            arrived.wait()
            if fixed:
                arrived.clear()
            while work:
                done.append(work.popleft())
            if not fixed:
                arrived.clear()  # window: work that has come since the loop is not seen, and not told again

    def client(item: int) -> None:
        work.append(item)
        arrived.set()

    together(worker, partial(client, 0), partial(client, 1))
    assert sorted(done) == [0, 1]


@program(DEADLOCK, SYNC, depth=2)
def sleeping_barber(fixed: bool) -> None:
    """Downey, The Little Book of Semaphores, after the barbershop (Dijkstra, 1965): the barber looks and falls asleep
    in two critical sections"""
    mutex = Lock()
    bell = Semaphore(0)
    waiting = 0
    asleep = False

    def barber() -> None:
        nonlocal waiting, asleep
        for _ in range(2):
            with mutex:
                nobody = waiting == 0
                if fixed:
                    asleep = nobody
            if nobody:
                if not fixed:
                    with mutex:  # window: a customer has come in, found us awake and sat down
                        asleep = True
                bell.acquire()
            with mutex:
                waiting -= 1

    def customer() -> None:
        nonlocal waiting, asleep
        with mutex:
            waiting += 1
            if asleep:
                asleep = False
                bell.release()

    together(barber, customer, customer)
    assert waiting == 0


@program(DEADLOCK, SYNC, depth=2)
def stolen_token(fixed: bool) -> None:
    """Birrell, Implementing Condition Variables with Semaphores (2003), after its first attempt: a late waiter takes
    the token of an earlier one"""

    class Waiters:
        def __init__(self) -> None:
            self.lock = Lock()
            self.shared = Semaphore(0)
            self.tokens: deque[Semaphore] = deque()

        def wait(self) -> None:
            token = Semaphore(0) if fixed else self.shared  # the repair: one for each waiter
            self.tokens.append(token)
            self.lock.release()
            token.acquire()  # window: told, but not here yet
            self.lock.acquire()

        def notify(self) -> None:
            if self.tokens:
                self.tokens.popleft().release()

    said = Waiters()
    asked = answered = False

    def answer() -> None:
        nonlocal answered
        with said.lock:
            while not asked:
                said.wait()
            answered = True
            said.notify()

    def ask() -> None:
        nonlocal asked
        with said.lock:
            asked = True
            said.notify()
            while not answered:
                said.wait()

    together(answer, ask)
    assert answered


@program(DEADLOCK, SYNC, depth=2)
def waiter_removed_while_told(fixed: bool) -> None:
    """CPython bpo-20319: concurrent.futures.wait() took its waiter off a future's list without the future's lock, while
    set_result() went through that list"""

    class Waiter:
        def __init__(self) -> None:
            self.lock = Lock()
            self.pending = 1
            self.event = Event()

        def add_result(self) -> None:
            with self.lock:
                self.pending -= 1
                self.event.set()

    lock = Lock()
    waiters = [Waiter(), Waiter()]

    def set_result() -> None:
        with lock:
            for waiter in waiters:
                waiter.add_result()  # window: the one that was told goes, and the next moves up to its place

    def wait(waiter: Waiter) -> None:
        waiter.event.wait()
        with lock if fixed else nullcontext():
            waiters.remove(waiter)

    together(set_result, *(partial(wait, waiter) for waiter in waiters))
    assert not waiters


@program(ASSERTION, SYNC, depth=1)
def woken_for_another_reason(fixed: bool) -> None:
    """Java Object.wait(), after its specification of spurious wake-ups: what wakes us is not what we wait for"""
    changed = Condition()
    state = {"connected": False, "progress": 0}
    seen: list[bool] = []

    def sender() -> None:
        with changed:
            if fixed:
                changed.wait_for(lambda: state["connected"])
            elif not state["connected"]:
                changed.wait()  # window: woken by the progress
            seen.append(bool(state["connected"]))

    def connection() -> None:
        with changed:
            state["progress"] = 50
            changed.notify_all()
        with changed:
            state["connected"] = True
            changed.notify_all()

    thread = started(sender)
    connection()
    thread.join()
    assert seen == [True]
