"""A thread's end as a descriptor, and what asyncio's tasks wait for: runtime.aio."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import select
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Child, in_forked_child, refuse  # refuse: by the program
from kinds import PATIENCE, is_free, started

from runtime import Thread, aio, wait
from runtime.scheduler import Scheduler, spawn, yield_
from runtime.sync import BoundedSemaphore, Event, Lock, RLock, Semaphore


def readable(fd: int, seconds: float = 0) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


# ---- fileno ----------------------------------------------------------------------------------------------------------


def check_fileno() -> None:
    gate = Event()
    thread = started(gate.wait)
    fd = thread.fileno()
    assert thread.fileno() == fd
    assert not readable(fd)
    assert wait([fd, Event()], 0.001) == []
    gate.set()
    assert readable(fd, PATIENCE)
    thread.join()
    assert readable(fd)
    late = started(int)
    late.join()
    assert readable(late.fileno())


def test_fileno() -> None:
    check_fileno()
    gc.collect()


def test_fileno_of_an_lwp() -> None:
    gate = Event()
    lwp = spawn(gate.wait)
    assert not readable(lwp.fileno())
    gate.set()
    assert readable(lwp.fileno(), PATIENCE)
    lwp.join()


def test_fileno_of_a_green_thread() -> None:
    scheduler = Scheduler()
    gate = Event()
    thread = started(gate.wait, scheduler=scheduler)
    runner = started(scheduler.run)
    assert not readable(thread.fileno())
    gate.set()
    assert readable(thread.fileno(), PATIENCE)
    runner.join()
    assert readable(thread.fileno())


def test_before_linux_6_9(child: Child) -> None:
    """pidfd_open() refuses the flag, and an eventfd serves."""
    child(program_before_6_9, errno.EINVAL)


def program_before_6_9(error: int) -> None:
    import select

    def readable(fd: int, seconds: float = 0) -> bool:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    if not refuse(434, error):
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


def test_ended() -> None:
    async def main() -> None:
        gates = [Event() for _ in range(100)]
        threads = [started(gate.wait) for gate in gates]
        tasks = [asyncio.create_task(aio.ended(thread)) for thread in threads]
        await asyncio.sleep(0)
        count = threading.active_count()
        for gate in gates[::-1]:
            gate.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        assert not any(thread.is_alive() for thread in threads)
        assert count == threading.active_count() + 100  # none of an executor
        await aio.ended(threads[0])

    asyncio.run(main())


def test_green_threads_end_too() -> None:
    async def main() -> None:
        scheduler = Scheduler()
        gate = Event()
        threads = [started(gate.wait, scheduler=scheduler) for _ in range(10)]
        runner = started(scheduler.run)
        tasks = [asyncio.create_task(aio.ended(thread)) for thread in [*threads, runner]]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        assert not any(thread.is_alive() for thread in threads)

    asyncio.run(main())


@pytest.mark.parametrize("kind", [Lock, RLock, Semaphore, BoundedSemaphore])
def test_acquire(kind: Callable[[], Any]) -> None:
    lock = kind()
    inside, turns = [0], [0]

    def by_threads() -> None:
        for _ in range(50):
            with lock:
                inside[0] += 1
                assert inside[0] == 1
                yield_()
                inside[0] -= 1
                turns[0] += 1

    async def by_tasks() -> None:
        for _ in range(50):
            await aio.acquire(lock)
            inside[0] += 1
            assert inside[0] == 1
            inside[0] -= 1
            lock.release()
            turns[0] += 1
            await asyncio.sleep(0)

    async def main() -> None:
        threads = [started(by_threads) for _ in range(2)]
        await asyncio.wait_for(asyncio.gather(by_tasks(), by_tasks()), PATIENCE)
        for thread in threads:
            await aio.ended(thread)

    asyncio.run(main())
    assert turns[0] == 200
    assert lock.acquire(False)


@pytest.mark.parametrize("kind", [Lock, RLock, Semaphore])
def test_a_task_that_is_cancelled_does_not_have_it(kind: Callable[[], Any]) -> None:
    async def main() -> None:
        lock = kind()
        for delay in range(20):
            held, let_go = Event(), Event()

            def hold(held: Event = held, let_go: Event = let_go) -> None:
                with lock:
                    held.set()
                    let_go.wait()

            thread = started(hold)
            held.wait()
            task = asyncio.create_task(aio.acquire(lock))
            for _ in range(delay % 3 + 1):
                await asyncio.sleep(0)
            let_go.set()
            if delay % 2:
                thread.join()  # it has been granted, and the loop doesn't know yet
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await aio.ended(thread)
            assert wait([lock], 0) == [lock]
            lock.release()

    asyncio.run(main())


def test_a_timeout() -> None:
    async def main() -> None:
        semaphore = Semaphore(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio.acquire(semaphore), 0.01)
        semaphore.release()
        await aio.acquire(semaphore)
        assert semaphore._value == 0

    asyncio.run(main())


def test_several_loops_at_once() -> None:
    semaphore = Semaphore(0)

    async def main() -> None:
        for _ in range(50):
            await aio.acquire(semaphore)
            semaphore.release()

    threads = [started(asyncio.run, main()) for _ in range(4)]
    semaphore.release()
    assert len(wait(threads, PATIENCE, return_when="ALL_COMPLETED")) == 4
    assert semaphore._value == 1


def test_refused_arguments() -> None:
    async def main() -> None:
        for thing in (Event(), 1, threading.Condition()):
            with pytest.raises(TypeError, match="can acquire"):
                await aio.acquire(thing)
        with pytest.raises(RuntimeError, match="not been started"):
            await aio.ended(Thread(target=int))
        with pytest.raises(TypeError, match="the loop itself waits for files"):
            await aio.ended(0)  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_loop_that_ends_with_tasks_left() -> None:
    semaphore = Semaphore(0)

    async def main() -> None:
        tasks = [asyncio.create_task(aio.acquire(semaphore)) for _ in range(3)]
        await asyncio.sleep(0)
        semaphore.release()
        del tasks

    for _ in range(20):
        asyncio.run(main())
    gc.collect()
    assert wait([semaphore], 0) == [semaphore]


# ---- a loop that is gone ---------------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Once: what has come is told, and tasks that are woken by that go on in the next turn only."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def waiting_task(loop: asyncio.AbstractEventLoop, lock: Any) -> Any:
    task: Any = loop.create_task(aio.acquire(lock))
    task._log_destroy_pending = False
    turn(loop)
    return task


def held(kind: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """A lock that another thread has, and what has it released."""
    lock, came, let_go = kind(), Event(), Event()

    def hold() -> None:
        with lock:
            came.set()
            let_go.wait()

    thread = started(hold)
    came.wait()

    def release() -> None:
        let_go.set()
        thread.join()

    return lock, release


@pytest.mark.parametrize("when", ["waits", "granted", "told"])
@pytest.mark.parametrize("kind", [Lock, RLock, Semaphore])
def test_a_closed_loop_gives_up_its_places(kind: Callable[[], Any], when: str) -> None:
    """What still has the task."""
    before = descriptors()
    lock, release = held(kind)
    loop = asyncio.new_event_loop()
    tasks = [waiting_task(loop, lock) for _ in range(3)]
    if when != "waits":
        release()
    if when == "told":
        turn(loop)
    loop.close()
    if when == "waits":
        release()
    assert is_free(lock)
    assert descriptors() == before
    assert not any(task.done() for task in tasks)
    del tasks, loop
    gc.collect()
    assert is_free(lock)


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
@pytest.mark.parametrize("closed", [True, False])
def test_loops_do_not_pile_up(closed: bool) -> None:
    before = descriptors()
    lock, release = held(Semaphore)
    loops = []
    for _ in range(10):
        loop = asyncio.new_event_loop()
        waiting_task(loop, lock)
        if closed:
            loop.close()
        loops.append(weakref.ref(loop))
        del loop
    gc.collect()
    assert [reference() for reference in loops] == [None] * 10
    assert descriptors() == before
    release()
    assert is_free(lock)


def test_a_loop_is_closed_while_it_is_granted() -> None:
    for _ in range(20):
        lock, release = held(Semaphore)
        loop = asyncio.new_event_loop()
        task = waiting_task(loop, lock)
        closing = started(loop.close)
        release()
        closing.join()
        assert is_free(lock)
        del task


def test_the_grant_of_a_closed_loop_goes_to_the_next_waiter() -> None:
    lock, release = held(Semaphore)
    loop = asyncio.new_event_loop()
    task = waiting_task(loop, lock)
    other = started(lock.acquire)
    release()
    loop.close()
    other.join(PATIENCE)
    assert not other.is_alive()
    del task


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_loop_that_a_forked_child_closes() -> None:
    lock, release = held(Semaphore)
    loop = asyncio.new_event_loop()
    tasks = [waiting_task(loop, lock)]

    def check() -> None:
        for bell in [reference() for reference in aio._bells.values()]:
            assert bell is not None
            bell.__del__()  # as the loop's close(), which would also empty the parent's epoll
        lock.release()
        assert lock.acquire(False)
        assert not lock.acquire(False)

    assert in_forked_child(check) == 0
    release()
    loop.run_until_complete(asyncio.wait_for(tasks[0], PATIENCE))
    lock.release()
    loop.close()


def test_an_interrupt_that_ends_the_loop(child: Child) -> None:
    def interrupt() -> None:
        import asyncio

        from runtime import aio

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
            await asyncio.gather(*(aio.acquire(semaphore) for _ in range(3)))

        def run_and_keep(coroutine: Any) -> None:
            loops.append(asyncio.new_event_loop())
            try:
                loops[-1].run_until_complete(coroutine)
            finally:
                loops[-1].close()

        before = len(os.listdir("/proc/self/fd"))
        semaphore = Semaphore(0)
        loops: list[Any] = []
        for run in (asyncio.run, run_and_keep):
            try:
                run(main())
            except KeyboardInterrupt as error:
                print("interrupted")
                kept = error  # noqa: F841  # with the frames of the tasks
        assert len(os.listdir("/proc/self/fd")) == before
        semaphore.release()
        assert semaphore.acquire(timeout=10)

    found = child(interrupt, env={"PYTHONWARNINGS": "ignore"})
    assert found.stdout == "interrupted\n" * 2


def test_ready_things_are_returned_without_memory(child: Child) -> None:
    pytest.importorskip("_testcapi", reason="nothing here makes allocations fail")
    child(without_memory)


def without_memory() -> None:

    import _testcapi  # type: ignore[import-not-found]

    from runtime import native

    locks = [Lock() for _ in range(3)]
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    bell = native.Bell(fd)
    pending = [native.Awaited(bell, lock) for lock in locks]
    for lock, awaited in zip(locks, pending, strict=True):
        lock.acquire()
        assert awaited.enter()
    for lock in locks:
        lock.release()
    ring = bell.ring
    came: list[Any] = [None] * 4
    _testcapi.set_nomemory(0)
    try:
        came[0] = ring()
        came[1] = ring()
        came[2] = ring()
        came[3] = ring()
    finally:
        _testcapi.remove_mem_hooks()
    assert came == [*pending, None]
    for awaited in pending:
        awaited.cancel()
    assert all(lock.acquire(False) for lock in locks)
    for is_granted in (False, True):  # the last reference goes while it is in the queue, or on the bell's stack
        awaited = native.Awaited(bell, locks[0])
        assert awaited.enter()
        if is_granted:
            locks[0].release()
        del awaited
        assert locks[0].locked() is not is_granted
        assert ring() is None
    os.close(fd)
