"""A thread's end as a descriptor, and what asyncio's tasks wait for: runtime.aio."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from conftest import in_child, in_forked_child, refuse  # refuse: by the program
from kinds import PATIENCE, started

from runtime import Thread, aio, wait
from runtime.scheduler import Scheduler, spawn
from runtime.sync import Event, Semaphore
from runtime.thread import current_thread


def readable(fd: int, seconds: float = 0) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


# ---- fileno ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["thread", "lwp", "green"])
def test_fileno(kind: str) -> None:
    scheduler = Scheduler() if kind == "green" else None

    def begin(target: Callable[[], object]) -> Any:
        return spawn(target) if kind == "lwp" else started(target, scheduler=scheduler)

    gate, other_gate = Event(), Event()
    thread, other = begin(gate.wait), begin(other_gate.wait)
    runner = started(scheduler.run) if scheduler else started(int)
    fd = thread.fileno()
    assert thread.fileno() == fd
    assert not readable(fd)
    gate.set()
    assert readable(fd, PATIENCE)
    thread.join()
    assert readable(fd)
    other_gate.set()
    other.join()
    assert readable(other.fileno())  # asked for when it has ended
    runner.join()


@in_child
def test_before_linux_6_9() -> None:
    """pidfd_open() refuses the flag, and an eventfd serves."""

    def readable(fd: int, seconds: float = 0) -> bool:
        return bool(select.select([fd], [], [], seconds)[0])

    if not refuse(434, 22):  # EINVAL
        return
    gates = [Event() for _ in range(20)]
    threads = [Thread(target=gate.wait) for gate in gates]
    for thread in threads:
        thread.start()
    fds = [thread.fileno() for thread in threads]
    assert "eventfd" in os.readlink(f"/proc/self/fd/{fds[0]}")
    for gate, thread, fd in zip(gates, threads, fds, strict=True):
        assert not readable(fd)
        gate.set()
        assert readable(fd, 30)
        thread.join()
        assert readable(fd)
    late = Thread(target=int)
    late.start()
    late.join()
    assert readable(late.fileno())
    for _ in range(200):
        gate = Event()
        thread = Thread(target=gate.wait)
        thread.start()
        thread.fileno()
        gate.set()
        del thread  # it may be about to write while its descriptor is closed
    gates.clear()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_fileno_in_a_forked_child() -> None:
    """The thread lives on in the parent only."""
    gate = Event()
    thread, scheduler = started(gate.wait), Scheduler()
    green = started(gate.wait, scheduler=scheduler)
    assert not readable(thread.fileno())
    assert not readable(green.fileno())

    def check() -> None:
        assert readable(thread.fileno())
        assert not thread.is_alive()

    assert in_forked_child(check) == 0
    assert not readable(thread.fileno())
    assert not readable(green.fileno())
    gate.set()
    assert readable(thread.fileno(), PATIENCE)
    scheduler.run()
    assert readable(green.fileno())


def test_no_fileno() -> None:
    with pytest.raises(RuntimeError, match="has not started it"):
        Thread(target=int).fileno()


# ---- aio -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("green", [False, True], ids=["lwps", "green"])
def test_ended(green: bool) -> None:
    async def main() -> None:
        gates = [Event() for _ in range(100)]
        scheduler = Scheduler() if green else None
        threads = [started(gate.wait, scheduler=scheduler) for gate in gates]
        if scheduler:
            threads.append(started(scheduler.run))
        tasks = [asyncio.create_task(aio.ended(thread)) for thread in threads]
        await asyncio.sleep(0)
        count = threading.active_count()
        for gate in gates[::-1]:
            gate.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        assert not any(thread.is_alive() for thread in threads)
        assert count == threading.active_count() + len(threads)  # none of an executor
        await aio.ended(threads[0])

    asyncio.run(main())


def test_two_tasks_and_two_loops_await_one_thread() -> None:
    gate = Event()
    thread = started(gate.wait)

    async def main() -> None:
        tasks = [asyncio.create_task(aio.ended(thread)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting.release()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        assert not thread.is_alive()

    waiting = Semaphore(0)
    loops = [started(asyncio.run, main()) for _ in range(2)]
    for _ in loops:
        waiting.acquire()
    gate.set()
    assert len(wait(loops, PATIENCE, return_when="ALL_COMPLETED")) == 2


def test_a_task_that_is_cancelled_keeps_no_descriptor() -> None:
    async def main() -> None:
        thread.fileno()
        before = descriptors()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio.ended(thread), 0.01)
        assert descriptors() == before
        gate.set()
        await asyncio.wait_for(aio.ended(thread), PATIENCE)
        assert descriptors() == before

    gate = Event()
    thread = started(gate.wait)
    asyncio.run(main())


def test_refused_arguments() -> None:
    errors: list[BaseException] = []

    async def of_itself() -> None:
        try:
            await aio.ended(current_thread())
        except BaseException as error:
            errors.append(error)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="has not started it"):
            await aio.ended(Thread(target=int))

    asyncio.run(main())
    started(asyncio.run, of_itself()).join()
    assert isinstance(errors[0], RuntimeError)
    assert "runs this loop" in str(errors[0])


# ---- a loop that is gone ---------------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
@pytest.mark.parametrize("closed", [True, False])
def test_loops_do_not_pile_up(closed: bool) -> None:
    gate = Event()
    thread = started(gate.wait)
    thread.fileno()
    before = descriptors()
    loops = []
    for _ in range(10):
        loop = asyncio.new_event_loop()
        task: Any = loop.create_task(aio.ended(thread))
        task._log_destroy_pending = False
        loop.call_soon(loop.stop)
        loop.run_forever()
        if closed:
            loop.close()
        loops.append(weakref.ref(loop))
        del loop, task
    gc.collect()
    assert [reference() for reference in loops] == [None] * 10
    assert descriptors() == before
    gate.set()
    thread.join()


@in_child(prints="interrupted\n")
def test_an_interrupt_that_ends_the_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
        await asyncio.gather(*(aio.ended(thread) for _ in range(3)))

    gate = Event()
    thread = Thread(target=gate.wait)
    thread.start()
    thread.fileno()
    before = len(os.listdir("/proc/self/fd"))
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
    assert len(os.listdir("/proc/self/fd")) == before
    gate.set()
