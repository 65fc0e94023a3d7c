"""Time taken for order: sleeps that are long enough, timeouts that are not, and what happens when they are."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import Empty, Queue
from threading import Barrier, BoundedSemaphore, Condition, Event, Lock, Thread, Timer

from . import ASSERTION, EXCEPTION, SYNC, program, together


@program(ASSERTION, SYNC, depth=1, early=True)
def sleep_long_enough(fixed: bool) -> None:
    """Lu et al., ASPLOS 2008, after what they say of sleeps as repairs: they only make the bug rarer"""
    results: list[int] = []

    def work() -> None:
        time.sleep(0.01)
        results.append(1)

    thread = Thread(target=work)
    thread.start()
    if fixed:
        thread.join()
    else:
        time.sleep(0.05)
    seen = list(results)  # window: the thread needs longer
    thread.join()
    assert seen == [1]


@program(ASSERTION, SYNC, depth=1, early=True)
def join_with_a_timeout(fixed: bool) -> None:
    """Python documentation, after Thread.join(): with a timeout it returns None, be the thread at its end or not"""
    results: list[int] = []

    def work() -> None:
        time.sleep(0.01)
        results.append(1)

    thread = Thread(target=work)
    thread.start()
    thread.join(None if fixed else 0.05)
    seen = list(results)  # window: still alive
    thread.join()
    assert seen == [1]


@program(EXCEPTION, SYNC, depth=1, early=True)
def wait_that_gives_up(fixed: bool) -> None:
    """folklore of start-up code: Event.wait() has a timeout and nobody looks at what it returns"""
    ready = Event()
    settings: dict[str, int] = {}
    ports: list[int] = []

    def load() -> None:
        time.sleep(0.01)
        settings["port"] = 80
        ready.set()

    def serve() -> None:
        ready.wait(None if fixed else 0.05)
        ports.append(settings["port"])  # window: not loaded yet

    together(load, serve)
    assert ports == [80]


@program(EXCEPTION, SYNC, depth=1, early=True)
def release_of_anothers_lock(fixed: bool) -> None:
    """folklore of lock timeouts: what acquire() returns is not looked at, and release() gives up another's lock"""
    lock = Lock()
    held: list[str] = []

    def work(name: str) -> None:
        acquired = lock.acquire(timeout=0.05)
        if fixed and not acquired:
            return
        held.append(name)
        time.sleep(0.01)
        lock.release()  # window: not ours

    together(partial(work, "ann"), partial(work, "bob"))
    assert held


@program(EXCEPTION, SYNC, depth=1, early=True)
def slot_that_was_never_had(fixed: bool) -> None:
    """folklore of lock timeouts, with a bounded semaphore: `finally` gives back what was never had"""
    slots = BoundedSemaphore(1)
    served: list[str] = []

    def serve(name: str) -> None:
        acquired = slots.acquire(timeout=0.05)
        try:
            if acquired:
                time.sleep(0.01)
                served.append(name)
        finally:
            if acquired or not fixed:
                slots.release()  # window: timed out, and all slots are back

    together(partial(serve, "ann"), partial(serve, "bob"))
    assert served


@program(ASSERTION, SYNC, depth=1, early=True)
def silence_taken_for_the_end(fixed: bool) -> None:
    """folklore of consumers: queue.Empty after a while is taken for the end"""
    items: Queue[str] = Queue()
    eaten: list[str] = []

    def produce() -> None:
        for item in "ab":
            time.sleep(0.01)
            items.put(item)
        items.put("")

    def consume() -> None:
        while True:
            try:
                item = items.get(timeout=0.05)
            except Empty:
                if fixed:
                    continue
                return  # window: the producer is only slow
            if not item:
                return
            eaten.append(item)

    together(produce, consume)
    assert eaten == ["a", "b"]


@program(EXCEPTION, SYNC, depth=1, early=True)
def barrier_that_breaks(fixed: bool) -> None:
    """Python documentation, after Barrier.wait(): a timeout breaks the barrier, for all"""
    barrier = Barrier(2)
    passed: list[int] = []

    def work(seconds: float) -> None:
        time.sleep(seconds)
        passed.append(barrier.wait(None if fixed else 0.05))  # window: the other is late, and both get an exception

    together(partial(work, 0.0), partial(work, 0.01))
    assert sorted(passed) == [0, 1]


@program(ASSERTION, SYNC, depth=1, early=True)
def done_once_more(fixed: bool) -> None:
    """folklore of retries: what has timed out is done once more, though it is only slow"""
    charged: list[str] = []

    def charge() -> None:
        time.sleep(0.01)
        charged.append("card")

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(charge)
        try:
            future.result(timeout=0.05)
        except TimeoutError:
            if not fixed:
                charge()  # window: the first is on its way
            elif future.cancel():
                charge()
            else:
                future.result()
    assert charged == ["card"]


@program(ASSERTION, SYNC, depth=1, early=True)
def cancelled_too_late(fixed: bool) -> None:
    """SCTBench, after the timers of its CHESS programs: Timer.cancel() comes when the timer has fired"""
    lock = Lock()
    outcome: list[str] = []

    def finish(how: str) -> None:
        with lock:
            if not (fixed and outcome):
                outcome.append(how)

    timer = Timer(0.05, finish, ("timed out",))
    timer.start()
    time.sleep(0.01)
    timer.cancel()  # window: it has fired
    finish("done")
    timer.join()
    assert len(outcome) == 1


@program(ASSERTION, SYNC, depth=2, early=True)
def lease_that_ends(fixed: bool) -> None:
    """Kleppmann, How to do distributed locking (2016): a lease ends while its holder is still at work; the repair is a
    fencing token"""
    changed = Condition()
    holder = token = 0
    written: list[int] = []

    def give_back(lease: int) -> None:
        nonlocal holder
        with changed:
            if holder == lease:
                holder = 0
                changed.notify()

    def store(lease: int) -> None:
        with changed:
            if not fixed or not written or lease > written[-1]:
                written.append(lease)

    def client() -> None:
        nonlocal holder, token
        with changed:
            changed.wait_for(lambda: holder == 0)
            token += 1
            lease = holder = token
        timer = Timer(0.05, give_back, (lease,))
        timer.start()
        time.sleep(0.01)
        store(lease)  # window: the lease has ended, and a later one has written
        give_back(lease)
        timer.cancel()
        timer.join()

    together(client, client)
    assert written == sorted(written)


@program(ASSERTION, SYNC, depth=2, early=True)
def item_at_the_last_moment(fixed: bool) -> None:
    """Java's SynchronousQueue.poll(timeout), after what it must get right: an item comes when the wait has timed out,
    but before the lock is back"""
    changed = Condition()
    waiting = False
    slot: list[str] = []
    offered: list[str] = []
    polled: list[str] = []

    def poll() -> None:
        nonlocal waiting
        with changed:
            waiting = True
            in_time = bool(changed.wait_for(lambda: slot, 0.02)) if fixed else changed.wait(0.02)
            waiting = False
            if in_time:  # window: timed out, then the other took the lock and filled the slot
                polled.append(slot.pop())

    def offer() -> None:
        time.sleep(0.02)
        with changed:
            if waiting:
                slot.append("item")
                offered.append("item")
                changed.notify()

    together(poll, offer)
    assert polled == offered
