"""Threads that run without end and get nowhere: each of these states, once reached, can't be left."""

from __future__ import annotations

import time
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread

from . import LIVELOCK, OPCODE, SYNC, Atomic, lock_if, program, together


@program(LIVELOCK, SYNC, depth=1)
def io_pending(fixed: bool) -> None:
    """Mozilla's macio.c and macthr.c, after Lu et al., ASPLOS 2008: a write-write order violation on io_pending"""
    pending = Atomic(False)
    requests: SimpleQueue[str] = SimpleQueue()

    def device() -> None:
        requests.get()
        pending.set(False)

    def read() -> None:
        if fixed:
            pending.set(True)
        requests.put("read")
        if not fixed:
            pending.set(True)  # window: the device has finished, and this makes it unfinished
        while pending.value:
            time.sleep(0.001)

    together(device, read)


@program(LIVELOCK, SYNC, depth=2)
def one_spoon(fixed: bool) -> None:
    """JCIP, after section 10.3.3: two overly polite threads"""
    lock = Lock()
    owner = "husband"
    hungry = {"husband": False, "wife": False}

    def dine(me: str, spouse: str) -> None:
        nonlocal owner
        offered = False
        with lock:
            hungry[me] = True
        while hungry[me]:
            with lock:  # window: both are hungry, and hand the spoon to each other
                if owner == me:
                    owner = spouse
                    if not hungry[spouse] or (fixed and offered):
                        hungry[me] = False
                    offered = True
            time.sleep(0.001)

    together(partial(dine, "husband", "wife"), partial(dine, "wife", "husband"))


@program(LIVELOCK, OPCODE, depth=2)
def lock_one(fixed: bool) -> None:
    """Herlihy and Shavit, The Art of Multiprocessor Programming, after section 2.3.1, LockOne; the repair is Peterson's
    lock (1981)"""
    flag = [False, False]
    victim = 0
    inside: list[int] = []

    def work(me: int) -> None:
        nonlocal victim
        other = 1 - me
        flag[me] = True
        if fixed:
            victim = me
        while flag[other] and (not fixed or victim == me):  # window: both have set their flags
            time.sleep(0)
        inside.append(me)
        assert inside == [me]
        inside.clear()
        flag[me] = False

    together(partial(work, 0), partial(work, 1))


@program(LIVELOCK, SYNC, depth=1)
def stopped_before_it_runs(fixed: bool) -> None:
    """folklore of stop flags: run() itself sets the flag that stop() clears"""

    class Server(Thread):
        running = fixed

        def run(self) -> None:
            if not fixed:
                self.running = True
            while self.running:
                time.sleep(0.001)

        def stop(self) -> None:
            self.running = False

    server = Server()
    server.start()
    time.sleep(0)  # window: stop() comes before run()
    server.stop()
    server.join()


@program(LIVELOCK, SYNC, depth=2)
def stale_expectation(fixed: bool) -> None:
    """Herlihy and Shavit, The Art of Multiprocessor Programming, after its loops around compareAndSet(): the expected
    value is read only once"""
    count = Atomic(0)

    def increment() -> None:
        expected = count.get()
        while not count.replace(expected, expected + 1):  # window: another has incremented it
            time.sleep(0)
            if fixed:
                expected = count.get()

    together(increment, increment)
    assert count.get() == 2


@program(LIVELOCK, OPCODE, depth=2)
def lost_arrival(fixed: bool) -> None:
    """Herlihy and Shavit, The Art of Multiprocessor Programming, after the simple barrier of chapter 17, with a count
    that is not atomic"""
    lock = lock_if(fixed)
    arrived = 0

    def work() -> None:
        nonlocal arrived
        with lock:
            arrived += 1  # window: between the load and the store
        while arrived < 2:
            time.sleep(0)

    together(work, work)


@program(LIVELOCK, SYNC, depth=1)
def flag_read_once(fixed: bool) -> None:
    """JCIP, after section 3.1.4: a loop that does not look at the flag again, here because it is copied"""
    asleep = Atomic(True)

    def count_sheep() -> None:
        still = asleep.value
        while still:  # window: read before it changes
            time.sleep(0.001)
            if fixed:
                still = asleep.value

    together(partial(asleep.set, False), count_sheep)
