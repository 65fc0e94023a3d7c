"""Tasks of asyncio: what each awaits, which task holds that, and circles of tasks."""

from __future__ import annotations

import asyncio
import functools
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from commands import lwp, watched
from conftest import in_child
from test_from_outside import TASKS
from this_machine import needs_gil

from lwp.observe.tasks import Tasks
from lwp.observe.telling import task_lines
from lwp.observe.waits import describe_cycle, is_deadlock

pytestmark = needs_gil("tasks are not shown without a GIL")


def in_a_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """The test is the first task of a loop."""
    return functools.wraps(test)(lambda **values: asyncio.run(test(**values)))


async def settle() -> None:
    """All other tasks have come to where they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


def lines() -> list[str]:
    """What is told of the tasks, except the one that asks."""
    tasks = Tasks()
    told = task_lines(tasks.crowds(), tasks.why_not, time.monotonic())
    return [line.strip() for line in told if not line.endswith("': runs")][1:]


def circles() -> list[tuple[bool, str]]:
    return [(is_deadlock(cycle), describe_cycle(cycle)) for cycle in Tasks().cycles()]


class Two:
    """Tasks that take two locks in both orders."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Lock(), asyncio.Lock()
        self.both = asyncio.Barrier(2)

    async def take(self, one: asyncio.Lock, other: asyncio.Lock) -> None:
        async with one:
            await self.both.wait()
            async with other:
                raise AssertionError

    async def in_library(self, one: asyncio.Lock, other: asyncio.Lock) -> None:
        async with self._transaction(one):
            await self.both.wait()
            await other.acquire()

    @asynccontextmanager
    async def _transaction(self, lock: asyncio.Lock) -> AsyncIterator[None]:
        async with lock:
            yield

    async def on_stack(self, one: asyncio.Lock, other: asyncio.Lock) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(one)
            await self.both.wait()
            await stack.enter_async_context(other)

    async def conditions(self, one: asyncio.Lock, other: asyncio.Lock) -> None:
        async with asyncio.Condition(one):
            await self.both.wait()
            async with asyncio.Condition(other):
                raise AssertionError

    async def in_generator(self, one: asyncio.Lock, other: asyncio.Lock) -> None:
        async def locked() -> AsyncIterator[None]:
            async with one:
                await self.both.wait()
                async with other:
                    yield

        async for _ in locked():
            raise AssertionError


def first_line_of(function: Any) -> int:
    return int(function.__code__.co_firstlineno)


@pytest.mark.parametrize("how", ["take", "in_library", "on_stack", "conditions", "in_generator"])
@in_a_loop
async def test_a_circle_of_two_locks(how: str) -> None:
    two, kept = Two(), list[Any]()
    for name, locks in (("one", (two.first, two.second)), ("two", (two.second, two.first))):
        kept.append(asyncio.create_task(getattr(two, how)(*locks), name=name))
    await settle()
    ((deadlock, text),) = circles()
    assert deadlock
    assert text.count("waits for lock") == 2
    for name, other in (("one", "two"), ("two", "one")):
        place = {"take": first_line_of(Two.take) + 1}.get(how)
        taken = f" (taken at test_loops.py:{place} in Two.take)" if place else ""
        assert f" held by {other!r}{taken}" in text
        assert f"{name!r} waits for lock" in text


Coro = Coroutine[Any, Any, None]


async def in_timeout(one: Coro, two: Coro) -> None:
    async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
        group.create_task(one)
        group.create_task(two)


async def in_wait_for(one: Coro, two: Coro) -> None:
    await asyncio.wait_for(asyncio.gather(one, two), 3600)


async def in_one(one: Coro, two: Coro) -> None:
    await asyncio.gather(asyncio.wait_for(one, 3600), two)


async def only_looks(one: Coro, two: Coro) -> None:
    await asyncio.wait([asyncio.create_task(one), asyncio.create_task(two)], timeout=3600)


@pytest.mark.parametrize(
    ("wait", "lasts"), [(in_timeout, False), (in_wait_for, False), (in_one, False), (only_looks, True)]
)
@in_a_loop
async def test_a_timeout_ends_a_circle_if_it_cancels_a_task_of_it(
    wait: Callable[[Coro, Coro], Coro], lasts: bool
) -> None:
    two = Two()
    task = asyncio.create_task(wait(two.take(two.first, two.second), two.take(two.second, two.first)))
    await settle()
    ((deadlock, _),) = circles()
    task.cancel()
    assert deadlock == lasts


@in_a_loop
async def test_a_block_that_holds_what_its_task_wants() -> None:
    async def wants(lock: asyncio.Lock) -> None:
        async with lock:
            raise AssertionError

    async def opens(lock: asyncio.Lock) -> None:
        async with lock, asyncio.TaskGroup() as group:
            group.create_task(wants(lock), name="wants")
            group.create_task(asyncio.sleep(3600), name="sleeps")

    task = asyncio.create_task(opens(asyncio.Lock()), name="opens")
    await settle()
    ((deadlock, text),) = circles()
    task.cancel()
    assert deadlock
    assert "'wants' waits for lock" in text
    assert "'opens' waits for the end of 2 tasks: " in text


@in_a_loop
async def test_what_waits_for_the_first_of_several_goes_on_if_one_can() -> None:
    async def wants(lock: asyncio.Lock) -> None:
        async with lock:
            raise AssertionError

    async def opens(lock: asyncio.Lock, *others: Any) -> None:
        async with lock:
            tasks = [asyncio.create_task(wants(lock)), *others]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    found = []
    for others in ([asyncio.create_task(asyncio.sleep(3600))], [asyncio.get_running_loop().create_future()], []):
        task = asyncio.create_task(opens(asyncio.Lock(), *others))
        await settle()
        found.append(len(circles()))
        task.cancel()
    assert found == [0, 0, 1]


class Desk:
    """What a task can wait for."""

    def __init__(self) -> None:
        self.lock, self.condition, self.event = asyncio.Lock(), asyncio.Condition(), asyncio.Event()
        self.queue: asyncio.Queue[int] = asyncio.Queue()
        self.semaphore = asyncio.Semaphore(0)
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def hold(self) -> None:
        async with self.lock:
            await self.future

    async def want(self) -> None:
        async with self.lock:
            raise AssertionError

    async def acquire(self) -> None:
        await self.lock.acquire()

    async def notified(self) -> None:
        async with self.condition:
            await self.condition.wait()

    async def occur(self) -> None:
        await self.event.wait()

    async def get(self) -> None:
        await self.queue.get()

    async def enter(self) -> None:
        async with self.semaphore:
            raise AssertionError

    async def sleep(self) -> None:
        await asyncio.sleep(3600)

    async def shield(self, task: asyncio.Future[Any]) -> None:
        await asyncio.shield(task)

    async def call(self, pool: ThreadPoolExecutor, wait: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, wait)


@in_a_loop
async def test_what_tasks_wait_for() -> None:
    desk = Desk()
    hold = asyncio.create_task(desk.hold(), name="holds")
    await settle()
    others = (desk.want, desk.notified, desk.occur, desk.get, desk.enter, desk.sleep)
    kept = [asyncio.create_task(one(), name=one.__name__) for one in others]
    kept.append(asyncio.create_task(desk.shield(hold), name="shield"))
    await settle()
    told = lines()
    taken = f"(taken at test_loops.py:{first_line_of(Desk.hold) + 1} in Desk.hold)"
    for name, waits, offset in (
        ("want", f"lock desk.lock held by 'holds' {taken}", 1),
        ("notified", "condition desk.condition", 2),
        ("occur", "event desk.event", 1),
        ("get", "queue desk.queue", 1),
        ("enter", "semaphore desk.semaphore", 1),
        ("holds", "future desk.future", 2),
        ("shield", "the end of 'holds'", 1),
    ):
        function = Desk.hold if name == "holds" else getattr(Desk, name)
        place = f"test_loops.py:{first_line_of(function) + offset} in Desk.{function.__name__}"
        assert f"{name!r}: waits for {waits}, at {place}" in told
    (sleeps,) = [line for line in told if line.startswith("'sleep'")]
    assert sleeps.startswith("'sleep': waits for sleep of 3600 s, 3")
    assert sleeps.endswith(f" s to its end, at test_loops.py:{first_line_of(Desk.sleep) + 1} in Desk.sleep")


@in_a_loop
async def test_a_call_of_a_pool_is_made_by_a_thread() -> None:
    wait, begun = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        wait.wait()

    with ThreadPoolExecutor(1, "pool") as pool:
        task = asyncio.create_task(Desk().call(pool, call), name="calls")
        await settle()
        begun.wait()
        told = lines()
        wait.set()
        await task
    (line,) = told
    assert line.startswith("'calls': waits for call made by 'pool_0', at test_loops.py:")


@in_a_loop
async def test_tasks_of_one_name_are_told_apart() -> None:
    two = Two()
    both = ((two.first, two.second), (two.second, two.first))
    kept = [asyncio.create_task(two.take(*locks), name="mover") for locks in both]
    await settle()
    assert len(kept) == 2
    told, ((_, text),) = lines(), circles()
    names = {line.partition(": waits")[0] for line in told}
    assert all(re.fullmatch(r"'mover at 0x[0-9a-f]+'", name) for name in names)
    assert all(text.count(name) == 2 for name in names)
    assert len(names) == 2


@in_a_loop
async def test_a_shield_of_several_waits_for_their_end() -> None:
    desk = Desk()
    names = ("occur", "get")
    tasks = [asyncio.create_task(getattr(desk, name)(), name=name) for name in names]
    kept = asyncio.create_task(desk.shield(asyncio.gather(*tasks)), name="shield")
    await settle()
    assert not kept.done()
    assert any("'shield': waits for the end of 2 tasks: 'occur', 'get', at test_loops.py:" in line for line in lines())


@in_a_loop
async def test_a_lock_taken_without_a_with_has_no_known_holder() -> None:
    desk = Desk()
    await desk.lock.acquire()
    task = asyncio.create_task(desk.acquire(), name="acquire")
    await settle()
    assert not task.done()
    (line,) = lines()
    place = f"test_loops.py:{first_line_of(Desk.acquire) + 1} in Desk.acquire"
    assert line == f"'acquire': waits for lock desk.lock, at {place}"


@in_a_loop
async def test_a_condition_that_was_notified_waits_for_the_lock_of_another_task() -> None:
    """It is in the condition's `async with` itself, and has given up the lock."""
    desk = Desk()

    async def notifies() -> None:
        async with desk.condition:
            desk.condition.notify()
            await desk.future

    kept = [asyncio.create_task(desk.notified(), name="notified")]
    await settle()
    kept.append(asyncio.create_task(notifies(), name="notifies"))
    await settle()
    (told,) = (line for line in lines() if line.startswith("'notified'"))
    assert told.startswith("'notified': waits for lock desk.condition held by 'notifies' (taken")
    assert not circles()


@in_a_loop
async def test_tasks_that_do_the_same_are_told_together() -> None:
    desk = Desk()
    many = [(one, f"{one.__name__} {n}") for one in (desk.sleep, desk.occur) for n in range(500)]
    kept = [asyncio.create_task(one(), name=name) for one, name in many]
    await settle()
    assert len(kept) == 1000
    told = lines()
    assert len(told) == 2
    (occur,) = [line for line in told if "event" in line]
    assert occur.startswith("500 tasks: wait for event desk.event, at test_loops.py:")
    assert occur.endswith(": 'occur 0', 'occur 1', 'occur 2' and 497 more")


def test_no_code_of_the_program_runs() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise AssertionError

        def __getattribute__(self, name: str) -> Any:
            if asking:
                raise AssertionError(name)
            return super().__getattribute__(name)

    class Odd(Shy, asyncio.Lock):
        pass

    class OddTask(Shy, asyncio.Task[None]):
        pass

    asking = False

    async def main() -> list[str]:
        nonlocal asking
        desk, loop = Desk(), asyncio.get_running_loop()
        desk.lock = Odd()
        kept = [OddTask(one(), loop=loop, name=one.__name__) for one in (desk.hold, desk.want)]
        await settle()
        asking = True
        try:
            return lines()
        finally:
            asking = False
            kept.clear()

    assert any("'want': waits for lock desk.lock held by 'hold'" in line for line in asyncio.run(main()))


@in_child
def test_looking_while_tasks_come_and_go() -> None:
    import asyncio
    from contextlib import asynccontextmanager

    from lwp.observe.tasks import Tasks
    from lwp.observe.telling import task_lines

    async def once(lock: Any) -> None:
        async def items() -> Any:
            async with lock:
                yield await asyncio.sleep(0)

        @asynccontextmanager
        async def inside() -> Any:
            async with lock:
                yield

        async for _ in items():
            pass
        async with inside():
            await asyncio.sleep(0)

    async def main() -> None:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            locks = [asyncio.Lock() for _ in range(10)]
            await asyncio.gather(*(once(locks[number % 10]) for number in range(100)))

    def look() -> None:
        while not over.is_set():
            tasks = Tasks()
            assert not list(tasks.cycles())
            list(task_lines(tasks.crowds(), "", 0))
            looks.append(1)

    sys.setswitchinterval(1e-5)
    over = threading.Event()
    looks: list[int] = []
    looker = threading.Thread(target=look)
    looker.start()
    asyncio.run(main())
    over.set()
    looker.join()
    assert len(looks) > 3


@pytest.mark.parametrize("options", [(), ("--green",)])
def test_the_watchdog_tells_a_circle_of_tasks(options: tuple[str, ...], tmp_path: Any) -> None:
    (tmp_path / "program.py").write_text(watched(1, 3) + TASKS)
    told = lwp("run", *options, tmp_path / "program.py", status=3).stderr
    assert re.search(r"lwp: no thread has gone on for 1 s; process \d+\ndeadlock: 'Task-", told)
    assert "\ntasks of the loop of 'MainThread': 1,003\n" in told
