"""Executors, futures, generators and contexts: which thread runs it, and when it is too late to ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from queue import Queue
from threading import Event, Lock, Thread, local

from . import ASSERTION, DEADLOCK, EXCEPTION, GIL, SYNC, Atomic, lock_if, program, together


@program(DEADLOCK, SYNC, depth=1)
def thread_starvation(fixed: bool) -> None:
    """JCIP, after listing 8.1, ThreadDeadlock: tasks wait for tasks of their own pool, here of two threads"""

    def load(part: str) -> str:
        return part.upper()

    def render() -> str:
        if fixed:
            return load("header")
        return pool.submit(load, "header").result()  # window: every thread of the pool is here

    with ThreadPoolExecutor(2) as pool:
        pages = [pool.submit(render) for _ in range(2)]
        assert [page.result() for page in pages] == ["HEADER", "HEADER"]


@program(EXCEPTION, SYNC, depth=1)
def submit_from_a_task(fixed: bool) -> None:
    """Python documentation, after Executor.shutdown(): submit() after it raises RuntimeError, in a task too"""

    def first_step() -> Future[int]:
        return pool.submit(int, "2")  # window: the pool is shut down while it still runs its tasks

    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(first_step)
        if fixed:
            step.result()
    assert step.result().result() == 2


@program(ASSERTION, SYNC, depth=1)
def callback_in_another_thread(fixed: bool) -> None:
    """Python documentation, after Future.add_done_callback(): it is called at once, by the caller, if the future is
    done, and else by the thread that completes it"""
    session = local()
    session.user = "ann"
    billed: list[str | None] = []

    def bill(user: str | None, future: Future[int]) -> None:
        billed.append(user or getattr(session, "user", None))

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(int, "1")
        # window: not done yet, so the worker will call it, which has no session
        future.add_done_callback(partial(bill, session.user if fixed else None))
    assert billed == ["ann"]


@program(ASSERTION, SYNC, depth=1)
def context_kept_by_a_worker(fixed: bool) -> None:
    """PEP 567, after what it says of threads: each has one context, and a pool's thread keeps its own
    from task to task"""
    user: ContextVar[str] = ContextVar("user", default="nobody")

    def log_in() -> None:
        user.set("ann")

    with ThreadPoolExecutor(2) as pool:
        tasks = pool.submit(copy_context().run, log_in) if fixed else pool.submit(log_in)
        seen = pool.submit(user.get)  # window: the thread that logged in is idle again, and takes this
        tasks.result()
        assert seen.result() == "nobody"


@program(EXCEPTION, SYNC, depth=2)
def cancelled_before_its_result(fixed: bool) -> None:
    """noxdafox/pebble #75, after it: a future is cancelled between the look at it and its result"""
    future: Future[int] = Future()

    def complete() -> None:
        if fixed:
            if future.set_running_or_notify_cancel():  # from here on it can't be cancelled
                future.set_result(1)
        elif not future.cancelled():
            future.set_result(1)  # window: cancelled by now

    together(complete, future.cancel)
    assert future.cancelled() or future.result() == 1


@program(EXCEPTION, SYNC, depth=2)
def thread_started_twice(fixed: bool) -> None:
    """celery #232: Timer.enter() starts its thread if that does not run, and is called by two at a time"""

    class Timer(Thread):
        def __init__(self) -> None:
            super().__init__()
            self.lock = lock_if(fixed)
            self.stopped = Event()
            self.entries = 0

        def run(self) -> None:
            self.stopped.wait()

        def enter(self) -> None:
            with self.lock:
                if not self.is_alive():
                    self.start()  # window: the other starts it first

    timer = Timer()
    together(timer.enter, timer.enter)
    timer.stopped.set()
    timer.join()


@program(ASSERTION, SYNC, depth=2)
def withdrawals_in_threads(fixed: bool) -> None:
    """JCIP, after section 2.2.3, compound actions, with asyncio.to_thread(): one loop, but two threads"""
    lock = Lock()
    balance = 100

    def withdraw(amount: int) -> None:
        nonlocal balance
        with lock:
            enough = balance >= amount
            if fixed and enough:
                balance -= amount
        if not fixed and enough:
            with lock:  # window: the other has seen enough, too
                balance -= amount

    async def both() -> None:
        await asyncio.gather(asyncio.to_thread(withdraw, 70), asyncio.to_thread(withdraw, 80))

    asyncio.run(both())
    assert balance >= 0


@program(DEADLOCK, SYNC, depth=1)
def task_that_is_never_done(fixed: bool) -> None:
    """Python documentation, after Queue.join(): a task that fails is not told done"""
    tasks: Queue[int | None] = Queue()
    connected = Atomic(True)
    failed: list[int] = []

    def send(task: int) -> None:
        if not connected.get():
            raise ConnectionError(task)

    def work() -> None:
        while (task := tasks.get()) is not None:
            try:
                send(task)
                if not fixed:
                    tasks.task_done()  # window: disconnected, and this is passed over
            except ConnectionError:
                failed.append(task)
            finally:
                if fixed:
                    tasks.task_done()

    def produce() -> None:
        tasks.put(1)
        tasks.join()
        tasks.put(None)

    together(work, produce, partial(connected.set, False))
    assert failed in ([], [1])


@program(EXCEPTION, GIL, depth=2)
def shared_generator(fixed: bool) -> None:
    """Stack Overflow 1131430, 'Are generators threadsafe?': two threads go on with one generator"""
    lock = lock_if(fixed)
    received: list[int] = []

    def square(number: int) -> int:
        return number * number

    def squares() -> Iterator[int]:
        for number in (1, 2):
            yield square(number)  # window: the generator is executing

    numbers = squares()

    def receive() -> None:
        with lock:
            received.append(next(numbers))

    together(receive, receive)
    assert sorted(received) == [1, 4]


@program(ASSERTION, SYNC, depth=1)
def cancel_is_only_a_wish(fixed: bool) -> None:
    """Python documentation, after Future.cancel(): False says that the call runs or has run, and nobody looks"""
    charged: list[str] = []
    opened = Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(opened.wait)
        charge = pool.submit(charged.append, "card")
        opened.set()
        cancelled = charge.cancel()  # window: it runs, or has run
        if not fixed:
            cancelled = True
    assert charged == ([] if cancelled else ["card"])
