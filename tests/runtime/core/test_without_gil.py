"""What holds where no GIL keeps two threads apart; and what such races look like where there is one.

Where there is a GIL some of these can't fail: they are for a free-threaded CPython.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest
from conftest import FREE_THREADED, in_child, resident, run_thread, run_threads, wait_until_parked

import runtime
from runtime import sync
from runtime.scheduler import Scheduler, spawn, yield_

needs_no_gil = pytest.mark.skipif(not FREE_THREADED, reason="there is a GIL")


def together(*functions: Any) -> list[BaseException]:
    """Calls them at one time, each in a thread of threading's; what they have raised."""
    barrier, raised = threading.Barrier(len(functions)), []

    def call(function: Any) -> None:
        barrier.wait()
        try:
            function()
        except Exception as error:
            raised.append(error)

    run_threads([threading.Thread(target=call, args=(one,)) for one in functions])
    return raised


def test_a_start_within_a_start_is_refused() -> None:
    ran: list[int] = []
    refused: list[str] = []

    class Eager(runtime.Thread):
        @property
        def daemon(self) -> bool:
            if getattr(self, "ready", False):
                self.ready = False
                with pytest.raises(RuntimeError) as error:
                    self.start()
                refused.append(str(error.value))
            return False

    thread = Eager(target=ran.append, args=(1,))
    thread.ready = True  # type: ignore[attr-defined]
    run_thread(thread)
    assert refused == ["threads can only be started once"]
    assert ran == [1]


def test_a_start_that_fails_may_be_tried_again() -> None:
    class Broken(runtime.Thread):
        @property
        def daemon(self) -> bool:
            return bool(1 // self.divisor)  # type: ignore[attr-defined]

    thread = Broken(target=int, daemon=False)
    thread.divisor = 0  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        thread.start()
    thread.divisor = 2  # type: ignore[attr-defined]
    run_thread(thread)


@pytest.mark.stock_threads
def test_two_threads_start_one() -> None:
    for _ in range(200):
        ran: list[int] = []
        thread = runtime.Thread(target=ran.append, args=(1,))
        raised = together(thread.start, thread.start)
        thread.join()
        assert ran == [1]
        assert [str(error) for error in raised] == ["threads can only be started once"]


@pytest.mark.stock_threads
def test_two_threads_detach_one() -> None:
    for _ in range(50):
        lwp = spawn(int)
        raised = together(lwp.detach, lwp.detach)
        assert [str(error) for error in raised] == ["the LWP is detached already"]


@in_child
def test_primitives_are_made_anew_while_they_are_used() -> None:
    condition, barrier, semaphore = sync.Condition(), sync.Barrier(1), sync.Semaphore(1)
    over, misses = threading.Event(), []

    def use() -> None:
        while not over.is_set():
            try:
                # Not blocking: a thread that takes the former lock can't release it by the condition.
                if condition.acquire(False):
                    condition.notify_all()
                    condition.release()
                barrier.wait(0)
                semaphore.acquire(timeout=0)
                semaphore.release()
            except (RuntimeError, threading.BrokenBarrierError):
                misses.append(1)

    users = [runtime.Thread(target=use) for _ in range(2)]
    for one in users:
        one.start()
    for _ in range(300):
        condition.__init__(sync.Lock())  # type: ignore[misc]
        barrier.__init__(1, object)  # type: ignore[misc]
        semaphore.__init__(1)  # type: ignore[misc]
    over.set()
    for one in users:
        one.join()


def test_a_condition_keeps_the_locks_that_it_had() -> None:
    first = sync.Lock()
    gone = weakref.ref(first)
    condition = sync.Condition(first)
    condition.__init__(sync.Lock())  # type: ignore[misc]
    del first
    assert gone() is not None  # a thread that is in one of its methods may use it still
    del condition
    assert gone() is None


@needs_no_gil
@in_child
def test_the_interpreter_knows_that_a_thread_lives() -> None:
    """Another thread gives up what the thread counts as its own: that must wait for it, which sleeps outside."""

    class Thing:
        pass

    box, places = [], []
    made, dropped = sync.Event(), sync.Event()

    def own() -> None:
        thing = Thing()
        places.append(id(thing))
        box.append(thing)
        made.set()
        dropped.wait()
        alone = Thing()  # from 3.14 on a local variable that is passed on may count no reference
        assert sys.getrefcount(thing) == sys.getrefcount(alone)

    thread = runtime.Thread(target=own)
    thread.start()
    made.wait()
    wait_until_parked(thread.native_id, private=True)
    owner = ctypes.c_size_t.from_address(places[0])
    before = owner.value
    box.clear()
    assert before
    assert owner.value == before, (before, owner.value)
    dropped.set()
    thread.join()


@needs_no_gil
@in_child
def test_without_memory_for_its_state_a_start_fails() -> None:
    import _testcapi

    runtime.Thread(target=int).start()  # what is made once
    refused = 0
    for first in range(200):
        thread = runtime.Thread(target=int)
        _testcapi.set_nomemory(first, first + 1)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            refused += isinstance(error, RuntimeError)  # the thread was made, and found no memory
            del error
        finally:
            _testcapi.remove_mem_hooks()
        if thread.ident is None:
            thread.start()
        thread.join()
    assert refused
    assert threading.active_count() == 1


@needs_no_gil
@in_child
def test_the_collector_finds_what_ended_threads_have_left() -> None:
    """More threads than the number of ends after which the allocator itself looks at it."""

    class Ring(list[object]):
        pass

    left: list[weakref.ref[Ring]] = []

    def leave() -> None:
        for _ in range(20):
            ring = Ring()
            ring.append(ring)
            left.append(weakref.ref(ring))

    gc.disable()
    for _ in range(300):
        run_threads([runtime.Thread(target=leave) for _ in range(2)])
    assert sum(one() is not None for one in left) == 300 * 2 * 20
    gc.collect()
    assert not any(one() for one in left)


@needs_no_gil
@in_child
def test_the_collector_finds_what_a_finalizer_makes_at_a_threads_end() -> None:
    """It takes new segments of the allocator, of 32 MiB, while the thread's memory is given up."""

    class Ring(list[object]):
        pass

    def make() -> None:
        for _ in range(700_000):
            ring: list[Any] = [None]
            ring[0] = ring
            rings.append(ring)
        last = Ring()
        last.append(last)
        left.append(weakref.ref(last))

    class Last:
        def __del__(self) -> None:
            make()

    rings: list[list[Any]] = []
    left: list[weakref.ref[Ring]] = []
    local = threading.local()
    gc.disable()
    for number in range(2):  # of two ends in a row the allocator itself looks at one at most
        run_thread(runtime.Thread(target=lambda: setattr(local, "last", Last())))
        blocks = sys.getallocatedblocks()
        rings.clear()
        gc.collect()
        assert len(left) == number + 1
        assert left[-1]() is None
        assert sys.getallocatedblocks() < blocks - 1_000_000


@needs_no_gil
@in_child
def test_the_next_threads_take_the_memory_of_ended_ones() -> None:
    """Also of one with a block that has a segment of the allocator to itself, from 16 MiB on."""
    local = threading.local()

    def small() -> None:
        local.kept = [{number: str(number)} for number in range(2000)]

    def big() -> None:
        local.kept = bytearray(20 << 20)

    for target in (small, big):
        run_thread(runtime.Thread(target=target))
        before = resident()
        for _ in range(300):
            run_thread(runtime.Thread(target=target))
        assert resident() - before < 60 << 20


@needs_no_gil
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor")
@in_child
def test_threads_that_take_turns_on_two_processors_seldom_sleep() -> None:
    one, other = sync.Semaphore(0), sync.Semaphore(0)
    slept: list[int] = []

    def take_turns(mine: sync.Semaphore, next_one: sync.Semaphore) -> None:
        for _ in range(5000):
            next_one.release()
            mine.acquire()
        slept.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw)

    run_threads([runtime.Thread(target=take_turns, args=args) for args in ((one, other), (other, one))])
    assert len(slept) == 2
    assert sum(slept) < 1000  # 5,000, when each of one thread's waits is a sleep


@needs_no_gil
@in_child
def test_threads_that_take_turns_beside_a_busy_process_sleep() -> None:
    """A yield there is a time slice of the other process."""
    one, other = sync.Semaphore(0), sync.Semaphore(0)
    slept: list[int] = []

    def take_turns(mine: sync.Semaphore, next_one: sync.Semaphore) -> None:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        for _ in range(500):
            next_one.release()
            mine.acquire()
        slept.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before)

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    compute = "import os\nparent = os.getppid()\nprint(flush=True)\nwhile os.getppid() == parent: pass"
    with subprocess.Popen([sys.executable, "-c", compute], stdout=subprocess.PIPE) as busy:
        try:
            assert busy.stdout
            busy.stdout.readline()
            run_threads([runtime.Thread(target=take_turns, args=args) for args in ((one, other), (other, one))])
        finally:
            busy.kill()
    assert len(slept) == 2
    assert sum(slept) > 250  # one in nearly each turn; none, when each wait begins with a spin


@needs_no_gil
def test_references_to_what_is_never_freed_are_not_counted() -> None:
    for one in (sync.Lock, *(vars(sync.Lock)[name] for name in ("acquire", "release", "__enter__", "__exit__"))):
        counted = sys.getrefcount(one)
        held = [one] * 100
        assert sys.getrefcount(one) == counted, held


@in_child
def test_each_task_of_a_group_with_a_limit_runs_once() -> None:
    """Tasks that are spawned, and tasks that end, give turns at one time."""
    for _ in range(10):
        ran: list[int] = []
        with runtime.Group(limit=3) as group:

            def spawn_some(first: int, group: runtime.Group = group, ran: list[int] = ran) -> None:
                for number in range(first, first + 100):
                    group.spawn(ran.append, number)

            run_threads([runtime.Thread(target=spawn_some, args=(first,)) for first in range(0, 400, 100)])
        assert sorted(ran) == list(range(400))


@in_child
def test_cancelled_is_raised_once_for_several_requests() -> None:
    for _ in range(300):
        start, raised = sync.Barrier(3), []
        try:
            with runtime.Group() as group:

                def fail(start: sync.Barrier = start) -> None:
                    start.wait()
                    raise ValueError

                def tidy_up(start: sync.Barrier = start, raised: list[int] = raised) -> None:
                    start.wait()
                    for _ in range(2):
                        try:
                            for _ in range(500):
                                runtime.checkpoint()
                        except runtime.Cancelled:
                            raised.append(1)

                for function in (tidy_up, fail, fail):
                    group.spawn(function)
        except ExceptionGroup:
            pass
        assert len(raised) < 2


@needs_no_gil
@in_child
def test_green_threads_that_give_way_run_in_parallel() -> None:
    inside, over = [False, False], []
    met: list[list[bool]] = [[], []]  # of each turn, whether the other was in one

    def turns(me: int) -> None:
        while not over:
            inside[me], seen = True, False
            for _ in range(500):
                seen = seen or inside[1 - me]
            inside[me] = False
            met[me].append(seen)
            if len(met[me]) > 2000:
                over.append(me)
            yield_()

    green = Scheduler(lwps=2)
    for number in range(2):
        green.spawn(turns, number)
    green.run()
    share = sum(map(sum, met)) / sum(map(len, met))
    assert share > 0.5, share
