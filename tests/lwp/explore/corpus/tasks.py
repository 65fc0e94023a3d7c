"""Tasks of asyncio: an await is where other tasks go on, and each of these programs forgets that at one of its awaits.

Each is a coroutine function name(fixed), which runs in a loop of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from asyncio import Barrier, Condition, Event, Future, Lock, Queue, Semaphore, create_task, gather, sleep
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from queue import SimpleQueue

from . import ASSERTION, DEADLOCK, EXCEPTION, SYNC, Atomic, Find, Run, program, started


def tasks(
    find: Find, depth: int = 1, early: bool = False
) -> Callable[[Callable[[bool], Coroutine[None, None, None]]], Run]:
    """Registers a coroutine function as a program."""

    def register(body: Callable[[bool], Coroutine[None, None, None]]) -> Run:
        @wraps(body)
        def run(fixed: bool) -> None:
            asyncio.run(body(fixed))

        run.__doc__ = inspect.getdoc(body)
        return program(find, SYNC, depth, early)(run)

    return register


class Free:
    """In place of a lock that is forgotten."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


def lock_if(fixed: bool) -> Lock | Free:
    return Lock() if fixed else Free()


async def twice(body: Callable[[], Awaitable[object]]) -> None:
    await gather(body(), body())


# ---- what was true before an await -----------------------------------------------------------------------------------


async def _count_twice(lock: Callable[[], Lock | Free]) -> None:
    count = 0

    async def add() -> None:
        nonlocal count
        async with lock():
            before = count
            await sleep(0)
            count = before + 1

    await twice(add)
    assert count == 2


@tasks(ASSERTION)
async def count_over_an_await(fixed: bool) -> None:
    """JCIP listing 2.1, UnsafeSequence, with an await between the read and the write"""
    lock = lock_if(fixed)
    await _count_twice(lambda: lock)


@tasks(ASSERTION)
async def pay_over_an_await(fixed: bool) -> None:
    """JCIP listing 10.2, TransferMoney without its locks: the balance is looked at, and audited, before it is paid"""
    lock, balance = lock_if(fixed), 100

    async def pay() -> None:
        nonlocal balance
        async with lock:
            if balance >= 70:
                await sleep(0)
                balance -= 70

    await twice(pay)
    assert balance >= 0


@tasks(ASSERTION)
async def connect_twice(fixed: bool) -> None:
    """JCIP listing 2.3, LazyInitRace: both find no connection, and both open one"""
    lock, opened = lock_if(fixed), 0
    connection: int | None = None

    async def get() -> int:
        nonlocal connection, opened
        async with lock:
            if connection is None:
                await sleep(0)
                opened += 1
                connection = opened
            return connection

    await twice(get)
    assert opened == 1


@tasks(ASSERTION)
async def fill_a_cache_twice(fixed: bool) -> None:
    """JCIP listing 5.18, Memoizer3, where each task that misses the value makes it; its repair keeps the task"""
    cache: dict[str, Future[str]] = {}
    made: list[str] = []

    async def make(key: str) -> str:
        await sleep(0)
        made.append(key)
        return key.upper()

    async def get(key: str) -> str:
        if fixed:
            if key not in cache:
                cache[key] = create_task(make(key))
            return await cache[key]
        if key not in cache:
            value = await make(key)
            cache[key] = asyncio.get_running_loop().create_future()
            cache[key].set_result(value)
        return await cache[key]

    assert await gather(get("a"), get("a")) == ["A", "A"]
    assert made == ["a"]


@tasks(EXCEPTION)
async def delete_over_an_await(fixed: bool) -> None:
    """CPython documentation, dict: del raises KeyError if the key is not there any more"""
    sessions = {"ann": 1}

    async def log_out() -> None:
        if "ann" in sessions:
            await sleep(0)
            if fixed:
                sessions.pop("ann", None)
            else:
                del sessions["ann"]

    await twice(log_out)


@tasks(EXCEPTION)
async def take_over_an_await(fixed: bool) -> None:
    """JCIP listing 4.14, PutIfAbsent turned round: a list is looked at, and popped from after an await"""
    lock, items = lock_if(fixed), [1]

    async def take() -> None:
        async with lock:
            if items:
                await sleep(0)
                items.pop()

    await twice(take)


@tasks(EXCEPTION)
async def iterate_over_an_await(fixed: bool) -> None:
    """CPython documentation, dict views: iterating while entries are added may raise a RuntimeError"""
    clients = {"ann": 0}

    async def tell() -> None:
        for _ in [*clients] if fixed else clients:
            await sleep(0)

    async def come() -> None:
        clients["bob"] = 0

    await gather(tell(), come())


@tasks(ASSERTION)
async def limit_over_an_await(fixed: bool) -> None:
    """asyncio documentation, Semaphore: a counter of one's own that is looked at before an await lets too many in"""
    inside = most = 0
    few = Semaphore(1)

    async def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await sleep(0)
        inside -= 1

    async def come() -> None:
        if fixed:
            async with few:
                await work()
        elif inside < 1:
            await sleep(0)
            await work()

    await twice(come)
    assert most == 1


@tasks(ASSERTION)
async def lock_of_each_call(fixed: bool) -> None:
    """JCIP listing 4.14, ListHelper, which takes the wrong lock: here each call makes one"""
    shared = Lock()
    await _count_twice(lambda: shared if fixed else Lock())


@tasks(ASSERTION)
async def half_of_a_pair(fixed: bool) -> None:
    """JCIP listing 4.10, NumberRange: two numbers that belong together are read between the writes"""
    lock, low, high = lock_if(fixed), 0, 10

    async def move() -> None:
        nonlocal low, high
        async with lock:
            low = 20
            await sleep(0)
            high = 30

    async def look() -> None:
        async with lock:
            assert low <= high

    await gather(move(), look())


@tasks(ASSERTION)
async def copy_over_an_await(fixed: bool) -> None:
    """JCIP section 2.2.2: a list is read, and written back with one more, as a store by get and set is"""
    lock = lock_if(fixed)
    names: list[str] = []

    async def add(name: str) -> None:
        nonlocal names
        async with lock:
            before = names
            await sleep(0)
            names = [*before, name]

    await gather(add("ann"), add("bob"))
    assert len(names) == 2


@tasks(ASSERTION)
async def older_answer_last(fixed: bool) -> None:
    """A search as one types: the answer to the first text comes after that to the second, and is shown"""
    shown, newest = "", 0

    async def search(number: int, text: str) -> None:
        nonlocal shown, newest
        newest = max(newest, number)
        await sleep(0.01)
        if not fixed or number == newest:
            shown = text

    first = create_task(search(1, "a"))
    await sleep(0)
    await gather(first, search(2, "ab"))
    if newest == 2:
        assert shown == "ab"


# ---- tasks that wait for each other ----------------------------------------------------------------------------------


@tasks(DEADLOCK)
async def locks_in_both_orders_by_tasks(fixed: bool) -> None:
    """JCIP listing 10.1, LeftRightDeadlock"""
    left, right = Lock(), Lock()

    async def take(one: Lock, other: Lock) -> None:
        async with one:
            await sleep(0)
            async with other:
                pass

    await gather(take(left, right), take(*((left, right) if fixed else (right, left))))


@tasks(DEADLOCK)
async def lock_taken_twice(fixed: bool) -> None:
    """asyncio documentation, Lock: it is no reentrant lock"""
    lock = Lock()

    async def inner() -> None:
        async with Lock() if fixed else lock:
            pass

    async with lock:
        await inner()


@tasks(DEADLOCK)
async def queue_that_its_reader_fills(fixed: bool) -> None:
    """asyncio documentation, Queue.put(): it waits for a free slot, which only the caller could make"""
    queue: Queue[int] = Queue(maxsize=0 if fixed else 1)

    async def walk() -> int:
        seen = 0
        while not queue.empty():
            number = await queue.get()
            seen += 1
            if number < 2:
                for child in (2, 3):
                    await queue.put(child)
        return seen

    await queue.put(1)
    assert await walk() == 3


@tasks(DEADLOCK)
async def event_that_is_cleared(fixed: bool) -> None:
    """asyncio documentation, Event.clear(): a task that waits later is not woken"""
    event = Event()

    async def wake() -> None:
        event.set()
        if not fixed:
            event.clear()

    async def wait() -> None:
        await sleep(0)
        await event.wait()

    await gather(wait(), wake())


@tasks(DEADLOCK)
async def notify_before_the_wait(fixed: bool) -> None:
    """JCIP listing 14.7 and section 14.2.3, missed signals: the task waits without a look at what it waits for"""
    changed, ready = Condition(), False

    async def make() -> None:
        nonlocal ready
        await sleep(0.01)
        async with changed:
            ready = True
            changed.notify()

    async def take() -> None:
        await sleep(0.01)
        async with changed:
            if not (fixed and ready):
                await changed.wait()

    await gather(take(), make())


@tasks(DEADLOCK)
async def notify_the_wrong_one(fixed: bool) -> None:
    """JCIP section 14.2.4: one notify() for waiters of two kinds may wake one that goes back to sleep"""
    changed = Condition()
    ready: set[str] = set()

    async def wait(what: str) -> None:
        async with changed:
            while what not in ready:
                await changed.wait()

    async def tell() -> None:
        await sleep(0)
        async with changed:
            ready.add("second")
            if fixed:
                changed.notify_all()
            else:
                changed.notify()

    waits = create_task(wait("first"))
    await gather(wait("second"), tell())
    async with changed:
        ready.add("first")
        changed.notify_all()
    await waits


@tasks(DEADLOCK)
async def join_without_done(fixed: bool) -> None:
    """asyncio documentation, Queue.join(): it waits for a task_done() for each item, also where work has failed"""
    queue: Queue[int] = Queue()

    async def work() -> None:
        for _ in range(2):
            number = await queue.get()
            try:
                if number == 1:
                    continue
            finally:
                if fixed or number != 1:
                    queue.task_done()

    for number in (1, 2):
        queue.put_nowait(number)
    await gather(work(), queue.join())


@tasks(DEADLOCK)
async def permits_of_each_other(fixed: bool) -> None:
    """The dining philosophers with a semaphore: each takes one of two permits, and waits for another one"""
    permits, outer = Semaphore(2), lock_if(fixed)

    async def take_both() -> None:
        async with outer:
            await permits.acquire()
            await sleep(0)
            await permits.acquire()
        permits.release()
        permits.release()

    await twice(take_both)


@tasks(DEADLOCK)
async def tasks_that_await_each_other(fixed: bool) -> None:
    """asyncio documentation, awaiting a task: two that await each other's end never end"""
    others: list[asyncio.Task[None]] = []

    async def end(other: int) -> None:
        await sleep(0)
        if not (fixed and other == 0):
            await others[other]

    others += [create_task(end(1)), create_task(end(0))]
    await asyncio.wait(others)
    assert all(other.exception() is None for other in others)


@tasks(DEADLOCK)
async def barrier_with_one_too_few(fixed: bool) -> None:
    """asyncio documentation, Barrier: it opens when as many tasks wait as it was made for"""
    barrier, told = Barrier(2), Event()

    async def first() -> None:
        await barrier.wait()
        told.set()

    async def second() -> None:
        if fixed:
            await barrier.wait()
        await told.wait()

    await gather(first(), second())


# ---- the loop is blocked ---------------------------------------------------------------------------------------------


@tasks(DEADLOCK)
async def threads_lock_over_an_await(fixed: bool) -> None:
    """asyncio documentation, synchronisation primitives: those of threading block the loop, and with it the holder"""
    lock, own = threading.Lock(), Lock()

    async def work() -> None:
        if fixed:
            async with own:
                await sleep(0)
        else:
            with lock:
                await sleep(0)

    await twice(work)


@tasks(DEADLOCK)
async def threads_queue_in_a_task(fixed: bool) -> None:
    """asyncio documentation, running blocking code: a get() that blocks keeps the task from running that would put"""
    items: SimpleQueue[int] = SimpleQueue()

    async def get() -> int:
        return await asyncio.to_thread(items.get) if fixed else items.get()

    async def put() -> None:
        items.put(1)

    await gather(get(), put())


# ---- what nobody notices ---------------------------------------------------------------------------------------------


@tasks(EXCEPTION)
async def failure_that_nobody_retrieves(fixed: bool) -> None:
    """asyncio documentation, detect never retrieved exceptions"""

    async def fail() -> None:
        await sleep(0.1)
        raise ValueError

    async def look(task: asyncio.Task[None]) -> None:
        await (asyncio.wait([task]) if fixed else sleep(0.1))
        if task.done():
            assert isinstance(task.exception(), ValueError)

    task = create_task(fail())
    await gather(look(task), sleep(0.2))


@tasks(EXCEPTION)
async def callback_of_a_failed_task(fixed: bool) -> None:
    """asyncio documentation, Future.result(): in a callback it raises what the task has raised, which is only logged"""

    ready: list[int] = []

    async def prepare() -> None:
        await sleep(0.1)
        ready.append(1)

    async def fail() -> int:
        await sleep(0.1)
        return ready[0]

    def tell(done: asyncio.Task[int]) -> None:
        if fixed and done.exception() is not None:
            return
        done.result()

    first, task = create_task(prepare()), create_task(fail())
    task.add_done_callback(tell)
    await asyncio.wait([first, task])


# ---- the order of tasks ----------------------------------------------------------------------------------------------


@tasks(EXCEPTION)
async def use_before_the_task_has_begun(fixed: bool) -> None:
    """asyncio documentation, create_task(): the task has not run when it returns"""
    settings: dict[str, int] = {}

    async def load() -> None:
        settings["limit"] = 1

    loads = create_task(load())
    if fixed:
        await loads
    assert settings["limit"] == 1
    await loads


@tasks(ASSERTION)
async def end_sign_of_the_first_producer(fixed: bool) -> None:
    """asyncio documentation, Queue: of two producers that put an end sign each the first one's ends the consumer"""
    queue: Queue[int | None] = Queue()
    got: list[int] = []

    async def produce(number: int) -> None:
        await sleep(0)
        queue.put_nowait(number)
        queue.put_nowait(None)

    async def consume() -> None:
        for _ in range(2 if fixed else 1):
            while (number := await queue.get()) is not None:
                got.append(number)

    await gather(produce(1), produce(2), consume())
    assert sorted(got) == [1, 2]


@tasks(EXCEPTION)
async def close_while_it_works(fixed: bool) -> None:
    """JCIP section 7.1: what is shut down is still in use by a task that was not awaited"""
    is_open = True

    async def work() -> None:
        await sleep(0)
        if not is_open:
            raise RuntimeError("closed")

    works = create_task(work())
    await sleep(0)
    if fixed:
        await works
    is_open = False
    await works


@tasks(ASSERTION)
async def first_come_is_not_first(fixed: bool) -> None:
    """asyncio documentation, gather(): the results are in the order of the awaitables, what they do is not"""
    lines: list[str] = []

    async def fetch(line: str) -> str:
        await sleep(0.01)
        lines.append(line)
        return line

    results = await gather(fetch("a"), fetch("b"))
    assert (results if fixed else lines) == ["a", "b"]


# ---- threads and tasks -----------------------------------------------------------------------------------------------


@tasks(DEADLOCK)
async def event_set_by_a_thread(fixed: bool) -> None:
    """asyncio documentation, concurrency and multithreading: almost all objects of asyncio are not thread safe"""
    event, loop = Event(), asyncio.get_running_loop()
    thread = started(lambda: loop.call_soon_threadsafe(event.set) if fixed else event.set())
    await event.wait()
    thread.join()


@tasks(DEADLOCK)
async def call_soon_by_a_thread(fixed: bool) -> None:
    """asyncio documentation, loop.call_soon(): it is not thread safe, because it does not wake the loop"""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    call = loop.call_soon_threadsafe if fixed else loop.call_soon
    thread = started(lambda: call(done.set_result, None))
    await done
    thread.join()


@tasks(ASSERTION)
async def thread_and_task_count(fixed: bool) -> None:
    """asyncio documentation, to_thread(): what runs there shares its data with the tasks, awaited or not"""
    count = Atomic(0)

    def add() -> None:
        if fixed:
            count.add(1)
        else:
            count.set(count.get() + 1)

    counts = create_task(asyncio.to_thread(add))
    await sleep(0)
    add()
    await counts
    assert count.get() == 2
