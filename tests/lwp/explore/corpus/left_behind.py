"""Ends that are missed: threads that nobody stops, pills that the wrong one takes, work that comes after the last."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from queue import Empty, Queue
from threading import Event, Lock, Thread, Timer

from . import ASSERTION, DEADLOCK, LEFT_BEHIND, SYNC, lock_if, program, started, together


@program(LEFT_BEHIND, SYNC, depth=1)
def prime_producer(fixed: bool) -> None:
    """JCIP, after listing 7.3, BrokenPrimeProducer: who is blocked in put() does not look at the flag"""
    primes: Queue[int] = Queue(maxsize=1)
    cancelled = Event()

    def produce() -> None:
        for prime in (2, 3, 5, 7, 11):
            if cancelled.is_set():
                return
            primes.put(prime)  # window: the queue is full, and its consumer has gone

    producer = started(produce)
    assert primes.get() == 2
    cancelled.set()
    if fixed:
        with suppress(Empty):
            primes.get_nowait()  # room for the one put() that may still come
        producer.join()


@program(LEFT_BEHIND, SYNC, depth=2)
def background_thread_started_twice(fixed: bool) -> None:
    """ray-project/ray #59504, a review's remark there: two threads start a background thread, and close() knows the
    second only"""
    lock = lock_if(fixed)
    thread: Thread | None = None
    stop: Queue[None] = Queue()

    def emit() -> None:
        nonlocal thread, stop
        with lock:
            if thread is None:
                mine: Queue[None] = Queue()
                new = Thread(target=mine.get)
                new.start()  # window: another sees none yet
                thread, stop = new, mine

    together(emit, emit)
    stop.put(None)
    assert thread
    thread.join()


@program(LEFT_BEHIND, SYNC, depth=2)
def worker_not_counted_yet(fixed: bool) -> None:
    """folklore of worker pools: a worker is started, then counted, and close() sends a pill to each that counts"""
    lock = Lock()
    closed = False
    tasks: Queue[None] = Queue()
    workers: list[Thread] = []

    def spawn() -> None:
        worker = Thread(target=tasks.get)
        if fixed:
            with lock:
                if not closed:
                    worker.start()
                    workers.append(worker)
        else:
            worker.start()
            with lock:  # window: close() counts none
                workers.append(worker)

    def close() -> None:
        nonlocal closed
        with lock:
            closed = True
            counted = list(workers)
        for _ in counted:
            tasks.put(None)
        for worker in counted:
            worker.join()

    together(spawn, close)


@program(ASSERTION, SYNC, depth=2, early=True)
def timer_armed_after_stop(fixed: bool) -> None:
    """folklore of repeating timers: stop() cancels the timer that it sees, while tick() arms the next"""
    lock = Lock()
    stopped = closed = False
    beats: list[bool] = []
    timers: list[Timer] = []

    def arm() -> None:
        timer = Timer(0.01, tick)
        timer.start()  # window: stop() has been, and does not see this one
        timers.append(timer)

    def tick() -> None:
        with lock if fixed else nullcontext():
            beats.append(closed)
            if not stopped and len(timers) < 3:
                arm()

    def stop() -> None:
        nonlocal stopped
        with lock:
            stopped = True
            armed = list(timers)
        for timer in armed:
            timer.cancel()
            timer.join()

    with lock:
        arm()
    time.sleep(0.015)
    stop()
    closed = True
    time.sleep(0.05)
    assert not any(beats)


@program(ASSERTION, SYNC, depth=1)
def pill_before_the_last_item(fixed: bool) -> None:
    """JCIP, after section 7.2.3, poison pills with more than one producer: the last one's is taken for the end"""
    items: Queue[str] = Queue()
    eaten: list[str] = []

    def produce(item: str, is_last: bool) -> None:
        items.put(item)
        if fixed or is_last:
            items.put("")

    def consume() -> None:
        pills = 2 if fixed else 1
        while pills:
            if item := items.get():
                eaten.append(item)  # window: the last producer's pill comes before the first one's item
            else:
                pills -= 1

    together(partial(produce, "a", False), partial(produce, "b", True), consume)
    assert sorted(eaten) == ["a", "b"]


@program(DEADLOCK, SYNC, depth=2)
def message_after_the_last(fixed: bool) -> None:
    """JCIP, after listing 7.14, an unreliable way to shut a log writer down: a message is queued after the last"""
    lock = Lock()
    closed = False
    requests: Queue[Event | None] = Queue()

    def serve() -> None:
        while written := requests.get():
            written.set()

    def log() -> None:
        written = Event()
        with lock:
            if closed:
                return
            if fixed:
                requests.put(written)
        if not fixed:
            requests.put(written)  # window: closed by now, and nobody reads it
        written.wait()

    def close() -> None:
        nonlocal closed
        with lock:
            closed = True
            requests.put(None)

    together(serve, log, close)


@program(DEADLOCK, SYNC, depth=2)
def two_pills_in_a_batch(fixed: bool) -> None:
    """folklore of batching workers: one takes all that is there, with the other's pill"""
    tasks: Queue[int] = Queue()
    done: list[int] = []

    def work() -> None:
        ended = False
        while not ended:
            batch = [tasks.get()]
            with suppress(Empty):
                while True:
                    batch.append(tasks.get_nowait())  # window: both pills are there, and both are taken
            pills = batch.count(0)
            ended = pills > 0
            if fixed:
                for _ in range(pills - 1):
                    tasks.put(0)
            done.extend([task for task in batch if task])

    def produce() -> None:
        for task in (1, 2, 0, 0):
            tasks.put(task)

    together(work, work, produce)
    assert sorted(done) == [1, 2]


@program(ASSERTION, SYNC, depth=1)
def daemon_writes_too_late(fixed: bool) -> None:
    """Python documentation, after its example for queue.Queue.join() with a daemon thread, here without join()"""
    lines: Queue[str] = Queue()
    written: list[str] = []

    def write() -> None:
        while True:
            written.append(lines.get())
            lines.task_done()

    Thread(target=write, daemon=True).start()
    lines.put("last words")
    if fixed:
        lines.join()
    lines.put("end")  # window: the daemon has not written yet
    assert written[:1] == ["last words"]


@program(ASSERTION, SYNC, depth=2)
def called_after_unsubscribe(fixed: bool) -> None:
    """folklore of observers: unsubscribe() returns while a callback runs, and what that uses is closed"""
    lock = Lock()
    listeners: list[Callable[[], None]] = []
    is_open = True
    writes: list[bool] = []

    def publish() -> None:
        if fixed:
            with lock:
                for listener in listeners:
                    listener()
        else:
            with lock:
                current = list(listeners)
            for listener in current:
                time.sleep(0)  # window: unsubscribed and closed by now
                listener()

    def on_event() -> None:
        writes.append(is_open)

    def unsubscribe_and_close() -> None:
        nonlocal is_open
        with lock:
            listeners.remove(on_event)
        is_open = False

    listeners.append(on_event)
    together(publish, unsubscribe_and_close)
    assert all(writes)
