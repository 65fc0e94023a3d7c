"""What is told of waits for several things, for calls, and in a deadlock."""

from __future__ import annotations

import os
import re
import threading
from typing import Any

from conftest import Child
from kinds import FOREVER, PATIENCE, both, started, until

import runtime
from runtime import scheduler, wait
from runtime.pool import Executor, Future
from runtime.scheduler import waiting
from runtime.sync import Event, Lock, Semaphore


@both
def test_it_is_in_waiting() -> None:
    events = [Event() for _ in range(5)]
    thread = started(wait, events, PATIENCE)
    until(lambda: any(one.kind == "wait" for one in waiting().waits))
    (one,) = [one for one in waiting().waits if one.kind == "wait"]
    assert str(one).endswith(f"waits for wait {events[0]!r}, {events[1]!r}, {events[2]!r}, and 2 more")
    assert one.holder is None
    events[4].set()
    thread.join()


def test_waiters_of_a_future() -> None:
    lock, holds = Lock(), Event()

    def waits(future: Future[Any]) -> None:
        with lock:
            holds.set()
            future.result()

    def wants() -> None:
        holds.wait()
        if lock.acquire(timeout=FOREVER):
            lock.release()

    with Executor(3) as executor:
        second = executor.submit(wants)
        first = executor.submit(waits, second)
        executor.submit(int).result()
        until(lambda: len(waiting().cycles) == 1 and len(waiting().waits) == 3)  # the third worker is told first
        found = waiting()
        assert "waits for future second held by" in str(found)
        assert {wait.kind for wait in found.cycles[0]} == {"future", "lock"}
        assert "for work <WorkQueue of" in str(found)
        first.cancel(running=True)
        second.result()


def test_waiting_names_the_function(child: Child) -> None:
    def names() -> None:
        green = scheduler.Scheduler()
        read, write = os.pipe()

        def call() -> None:
            scheduler.blocking(os.read, read, 1)

        def look() -> None:
            while not (waits := scheduler.waiting().waits):
                scheduler.yield_()  # until a helper has begun
            (wait,) = waits
            assert (wait.kind, wait.name) == ("call", "caller")
            assert "built-in function read" in str(wait)
            os.write(write, b".")

        green.spawn(call).name = "caller"
        green.spawn(look)
        green.run()

    child(names)


def test_a_deadlock_names_the_main_threads_wait(child: Child) -> None:
    def deadlock() -> None:
        runtime.install(green=True, time_slice=None)
        lock, event = threading.Lock(), threading.Event()
        thread = threading.Thread(target=event.wait, name="forever")
        acquires_twice, waits = (lambda: lock.acquire() and lock.acquire()), (lambda: wait([event, Semaphore(0)]))
        for forever in (acquires_twice, event.wait, thread.join, waits):
            try:
                forever()
            except scheduler.Deadlock as found:
                print(*str(found).splitlines()[1:], sep="\n")
            if not thread.is_alive():
                thread.start()
        event.set()

    said = re.sub(" object at 0x[0-9a-f]+| at 0x[0-9a-f]+|, started [0-9]+", "", child(deadlock).stdout)
    said = re.sub(r" \(taken .*\)", "", said)
    lock = "'MainThread' waits for lock lock held by 'MainThread'"
    event = "waits for event event"
    assert sorted(said.splitlines()) == [
        f"  'MainThread' {event}",
        f"  {lock}",
        "  'MainThread' waits for the end of 'forever'",
        "  'MainThread' waits for wait <threading.Event: unset>, <threading.Semaphore: value=0>",
        *3 * [f"  'forever' {event}"],
        f"  cycle: {lock}",
    ]
