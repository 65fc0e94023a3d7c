"""Where Cancelled is raised, and what state that leaves."""
# ruff: noqa: PT012  # programs import for themselves; what is raised comes out of a block

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TREE, in_child, refuse, under_strace
from kinds import FOREVER, both, is_free, my_scheduler, started, until, until_asleep

import runtime
from runtime import Cancelled, Group, checkpoint, fail_after, move_on_after, native, scheduler, shield
from runtime.native import cancel_mine
from runtime.scheduler import Scheduler, blocking, sleep, spawn, wait_fd, yield_
from runtime.sync import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore


class Derived(Condition):
    """Is kept as threading keeps it."""


class DerivedEvent(Event):
    pass


# ---- every primitive -------------------------------------------------------------------------------------------------


def cancelled_in(wait: Callable[[], object]) -> None:
    """The wait, in a task that is cancelled there."""
    seen: list[str] = []

    def body() -> None:
        try:
            wait()
        except Cancelled:
            seen.append("cancelled")
            raise
        seen.append("went on")

    with Group() as group:
        task = group.spawn(body)
        until_asleep(task)
        task.cancel()
    assert task.cancelled()
    assert seen == ["cancelled"]


@both
@pytest.mark.parametrize("kind", [Lock, RLock, Semaphore, BoundedSemaphore])
def test_lock_or_semaphore(kind: Callable[[], Any]) -> None:
    """A thread that is cancelled there doesn't get it, and it can be taken once when it is released."""
    lock = kind()

    def enter() -> None:
        with lock:
            pytest.fail("it is inside")

    with lock:
        for wait in (lock.acquire, lambda: lock.acquire(timeout=FOREVER), enter):
            cancelled_in(wait)
        assert not is_free(lock)
    assert is_free(lock)
    assert lock.acquire(False)
    assert not is_free(lock)


@both
@pytest.mark.parametrize("kind", [Event, DerivedEvent])
def test_event(kind: type[Event]) -> None:
    event = kind()
    cancelled_in(event.wait)
    cancelled_in(lambda: event.wait(FOREVER))
    event.set()
    assert event.wait()


@both
@pytest.mark.parametrize("kind", [Condition, Derived])
@pytest.mark.parametrize("lock", [Lock, RLock])
def test_condition(kind: type[Condition], lock: Callable[[], Any]) -> None:
    condition = kind(lock())
    held: list[bool] = []

    def wait() -> None:
        with condition:
            try:
                condition.wait()
            finally:
                held.append(condition._is_owned())

    cancelled_in(wait)
    assert held == [True]
    with condition:
        assert not condition._waiters
    with Group() as group:  # the next one gets what it is notified of
        task = group.spawn(wait)
        until_asleep(task)
        with condition:
            condition.notify()
    assert not task.cancelled()
    with Group() as group:  # the lock is held when it is cancelled
        task = group.spawn(wait)
        until_asleep(task)
        with condition:
            task.cancel()
            sleep(0.01)
            assert held == [True, True]
            task.cancel()  # while it takes the lock back: raised at the next point, of which there is none
    assert task.cancelled()
    with Group() as group:  # it has been notified: no other is, so that it must not be told that it was cancelled
        task = group.spawn(wait)
        until_asleep(task)
        with condition:
            condition.notify()
            sleep(0.01)
            task.cancel()
    assert not task.cancelled()
    assert held == [True, True, True, True]
    assert is_free(condition)


@both
def test_barrier() -> None:
    barrier = Barrier(3)
    with Group() as group:
        first, second = group.spawn(barrier.wait), group.spawn(barrier.wait)
        until_asleep(first, second)
        first.cancel()
        until(first.done)
        assert barrier.n_waiting == 1
        assert not barrier.broken
        third = group.spawn(barrier.wait)
        barrier.wait()
    assert sorted([second.result(), third.result()]) != [0, 0]
    assert first.cancelled()


@both
def test_join() -> None:
    end = Event()
    thread = started(end.wait)
    cancelled_in(thread.join)
    assert thread.is_alive()
    if my_scheduler() is None:
        lwp = spawn(end.wait)
        cancelled_in(lwp.join)
        assert lwp.is_alive()
        end.set()
        assert lwp.join()
    end.set()
    thread.join()


@both
def test_result_of_another_task() -> None:
    end = Event()
    with Group() as group:
        other = group.spawn(end.wait)
        cancelled_in(other.result)
        end.set()


@both
def test_sleep() -> None:
    begun = time.monotonic()
    cancelled_in(lambda: sleep(FOREVER))
    assert time.monotonic() - begun < FOREVER / 2


@both
def test_file() -> None:
    reader, writer = os.pipe()
    try:
        cancelled_in(lambda: wait_fd(reader, select.POLLIN))
        cancelled_in(lambda: wait_fd(reader, select.POLLIN, FOREVER))
        os.write(writer, b"x")
        with Group() as group:
            task = group.spawn(wait_fd, reader, select.POLLIN)
        assert task.result() == select.POLLIN
    finally:
        os.close(reader)
        os.close(writer)


def test_a_call_by_a_helper() -> None:
    let_go = threading.Event()

    def test() -> None:
        cancelled_in(lambda: blocking(let_go.wait))
        let_go.set()

    scheduler = Scheduler()
    scheduler.spawn(test)
    scheduler.run()


@both
def test_a_group_in_a_task() -> None:
    inner: list[Any] = []

    def wait() -> None:
        with Group() as group:
            inner.append(group.spawn(Event().wait, FOREVER))

    cancelled_in(wait)
    assert inner[0].cancelled()


@in_child
def test_sockets_of_green_threads() -> None:
    runtime.install(green=True)
    one, other = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    with Group() as group:
        tasks = [
            group.spawn(one.recv, 1),
            group.spawn(listener.accept),
            group.spawn(__import__("time").sleep, 1000),
        ]
        tasks.append(group.spawn(one.sendall, bytes(1 << 24)))
        sleep(0.02)
        assert not any(task.done() for task in tasks), tasks
        for task in tasks:
            task.cancel()
    assert all(task.cancelled() for task in tasks), tasks
    other.setblocking(False)
    while True:
        try:
            other.recv(1 << 20)
        except BlockingIOError:
            break
    other.send(b"x")
    assert one.recv(1) == b"x"


# ---- once ------------------------------------------------------------------------------------------------------------


@both
def test_it_is_raised_once_so_that_cleaning_up_may_wait() -> None:
    cleaned: list[str] = []

    def work() -> None:
        try:
            sleep(FOREVER)
        finally:
            sleep(0.001)
            Event().wait(0.001)
            checkpoint()
            cleaned.append("up")

    with Group() as group:
        task = group.spawn(work)
        until_asleep(task)
        group.cancel()
    assert cleaned == ["up"]
    assert task.cancelled()


@both
def test_each_request_raises_once() -> None:
    caught: list[int] = []
    ready = Semaphore(0)

    def stubborn() -> str:
        for number in range(3):
            try:
                ready.release()
                sleep(FOREVER)
            except Cancelled:
                caught.append(number)
        return "went on"

    with Group() as group:
        task = group.spawn(stubborn)
        for _ in range(3):
            ready.acquire()
            assert task.cancel()
    assert caught == [0, 1, 2]
    assert task.result() == "went on"
    assert not task.cancelled()


@both
def test_a_failure_in_an_inner_group_is_no_second_request() -> None:
    """A group around has asked the inner block: what its tasks raise as they tidy up doesn't ask it again."""
    cleaned: list[str] = []

    def fail() -> None:
        try:
            sleep(FOREVER)
        finally:
            middle_tidies_up.wait()
            raise ValueError

    def middle() -> None:
        with Group() as inner:
            task = inner.spawn(fail)
            until_asleep(task)
            try:
                there.set()
                sleep(FOREVER)
            finally:
                middle_tidies_up.set()
                until(task.done)
                sleep(0.001)
                cleaned.append("up")

    there, middle_tidies_up = Event(), Event()
    with pytest.raises(ExceptionGroup), Group() as outer:
        outer.spawn(middle)
        there.wait()
        outer.cancel()
    assert cleaned == ["up"]


@both
def test_a_group_that_a_cancelled_thread_enters_is_cancelled() -> None:
    def enters() -> None:
        begun.set()
        until(lambda: asked)
        with Group() as inner:
            until(inner.spawn(called.append, True).done)

    def tidies_up() -> str:
        try:
            sleep(FOREVER)
        except Cancelled:  # that was the request: what is made now has none
            with Group() as inner:
                return str(inner.spawn(str, "called").result())

    begun, asked, called = Event(), list[bool](), list[bool]()
    with Group() as group:
        other = group.spawn(tidies_up)
        until_asleep(other)
        task = group.spawn(enters)
        begun.wait()
        task.cancel()
        other.cancel()
        asked.append(True)
    assert task.cancelled()
    assert not called
    assert other.result() == "called"


@both
def test_a_call_that_need_not_wait_raises_nothing() -> None:
    lock, event, semaphore, begun = Lock(), Event(), Semaphore(1), Event()
    event.set()

    def work() -> str:
        begun.set()
        while not asked:
            yield_()
        with lock, semaphore:
            event.wait()
            assert not lock.acquire(False)
            assert not semaphore.acquire(False)
        with pytest.raises(Cancelled):
            checkpoint()
        checkpoint()
        return "done"

    asked: list[bool] = []
    with Group() as group:
        task = group.spawn(work)
        begun.wait()
        task.cancel()
        asked.append(True)
    assert task.result() == "done"


@both
def test_a_checkpoint_sees_the_deadline() -> None:
    def compute() -> None:
        while True:
            checkpoint()

    with pytest.raises(TimeoutError), Group(timeout=0.01) as group:
        task = group.spawn(compute)
    assert task.cancelled()


def test_outside_of_groups() -> None:
    checkpoint()
    with shield():
        checkpoint()
    assert native.cancel_mine() is None
    with Group():
        assert native.cancel_mine() is not None
    assert native.cancel_mine() is None


# ---- shields ---------------------------------------------------------------------------------------------------------


@both
def test_a_shield_holds_it_back() -> None:
    reached: list[str] = []
    inside = Event()

    def work() -> None:
        with shield():
            with shield():
                inside.set()
                Event().wait(0.01)
                checkpoint()
            sleep(0.001)
            reached.append("the end of the shield")
        reached.append("what follows")
        sleep(FOREVER)
        reached.append("too far")

    with Group() as group:
        task = group.spawn(work)
        inside.wait()
        task.cancel()
    assert task.cancelled()
    assert reached == ["the end of the shield", "what follows"]


@both
def test_a_shield_holds_a_deadline_back() -> None:
    reached: list[str] = []
    with pytest.raises(TimeoutError), Group(timeout=0.005):
        with shield():
            sleep(0.02)
            reached.append("the end of the shield")
        sleep(FOREVER)
    assert reached


@both
def test_a_group_in_a_shield_is_cancelled_by_its_own() -> None:
    def fail() -> None:
        raise ValueError

    def work() -> str:
        with shield(), pytest.raises(ExceptionGroup), Group() as inner:
            inner.spawn(fail)
            sleep(FOREVER)
        with shield(), pytest.raises(TimeoutError), Group(timeout=0.001):
            sleep(FOREVER)
        return "done"

    with Group() as group:
        assert group.spawn(work).result() == "done"


# ---- deadlines of some lines -----------------------------------------------------------------------------------------


@both
def test_lines_with_a_deadline() -> None:
    with move_on_after(0.001) as lines:
        sleep(FOREVER)
        pytest.fail("it goes on")
    assert lines.cancelled_caught
    with pytest.raises(TimeoutError, match="time for these lines is up"), fail_after(0.001):
        Event().wait(FOREVER)
    with fail_after(FOREVER), move_on_after(float("inf")) as lines:
        sleep(0.001)
    assert not lines.cancelled_caught
    assert native.cancel_mine() is None


@both
def test_a_deadline_counts_where_the_thread_waits() -> None:
    with fail_after(0) as lines:
        pass
    assert not lines.cancelled_caught
    with pytest.raises(ValueError, match="mine"), fail_after(0):
        raise ValueError("mine")
    with move_on_after(-1) as lines:
        checkpoint()
    assert lines.cancelled_caught


@both
def test_deadlines_in_deadlines() -> None:
    with move_on_after(0.01) as outer:
        with move_on_after(FOREVER) as inner:
            sleep(FOREVER)
        pytest.fail("it goes on")
    assert outer.cancelled_caught
    assert not inner.cancelled_caught
    with move_on_after(FOREVER) as outer:
        with move_on_after(0.001) as inner:
            sleep(FOREVER)
        sleep(0.001)
    assert inner.cancelled_caught
    assert not outer.cancelled_caught


@both
def test_a_group_around_ends_lines_with_a_deadline() -> None:
    reached: list[str] = []

    def work() -> None:
        with move_on_after(FOREVER):
            sleep(FOREVER)
        reached.append("what follows")

    cancelled_in(work)
    assert reached == []


def test_deadlines_that_are_none() -> None:
    wrong: Any
    for wrong, error in (("3", TypeError), (None, TypeError), (float("nan"), ValueError)):
        for lines in (fail_after, move_on_after):
            with pytest.raises(error, match="seconds must be a number of seconds"):
                lines(wrong)
    with fail_after(1) as once:
        pass
    with pytest.raises(RuntimeError, match="entered once"), once:
        pass


# ---- kernels without futex_waitv -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [38, 1], ids=["ENOSYS", "EPERM"])
@in_child
def test_without_futex_waitv(error: int) -> None:
    if not refuse(449, error):
        return
    lock, condition = Lock(), Condition()
    lock.acquire()

    def wait() -> None:
        with condition:
            condition.wait()

    for _ in range(20):
        with Group() as group:
            waits = [lock.acquire, wait, Event().wait, Semaphore(0).acquire, lambda: scheduler.sleep(1000)]
            tasks = [group.spawn(each) for each in waits]
            ended = group.spawn(Event().wait, 0.0001)
            ended.result()
            group.cancel()
        assert all(task.cancelled() for task in tasks), tasks
        assert not condition._waiters
    try:
        with Group(timeout=0.015) as group:
            task = group.spawn(lock.acquire)
    except TimeoutError:
        assert task.cancelled()
    else:
        raise AssertionError("no deadline")


SLEEPER = """
import os, sys, time
sys.path.insert(0, %r)
from conftest import refuse
from runtime import Group
from runtime.sync import Event
assert refuse(449, 38)
with Group() as group:
    tid = group.spawn(Event().wait).thread.native_id
    time.sleep(0.5)  # at least, for six sleeps
    os.access(f"/cancel {tid}", 0)
    group.cancel()
"""


def test_without_futex_waitv_a_sleeper_seldom_looks(tmp_path: Path) -> None:
    """Its sleeps grow, and it is woken from one: no timeout ends it after the cancellation."""
    trace = tmp_path / "trace"
    subprocess.run(
        [*under_strace(trace, "-e", "futex,access"), sys.executable, "-c", SLEEPER % str(TREE / "tests")],
        check=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": ""},
    )
    before, tid, after = re.split(r'.*"/cancel (\d+)".*', trace.read_text())
    sleep = rf"^{tid} .*futex\((\w+), FUTEX_WAIT_BITSET.*tv_sec=(\d+), tv_nsec=(\d+)"
    sleeps = re.findall(sleep, before, re.MULTILINE)
    ends = [int(seconds) + int(nanoseconds) / 1e9 for _, seconds, nanoseconds in sleeps]
    assert ends[-1] - ends[-2] >= 0.1
    assert sleeps[-1][0] not in [word for word, *_ in re.findall(sleep, after, re.MULTILINE)]
    # The sleep that was on ends; what times out later is a wait for the GIL.
    ended = re.search(rf"^{tid} .* = .*", after, re.MULTILINE)
    assert ended
    assert ended[0].endswith(" = 0")


# ---- forks -----------------------------------------------------------------------------------------------------------


@in_child
def test_the_child_of_a_fork_is_not_cancelled() -> None:
    begun = Event()

    def fork() -> int:
        try:
            begun.set()
            scheduler.sleep(1000)
        except Cancelled:
            if (pid := os.fork()) == 0:
                checkpoint()
                os._exit(cancel_mine() is not None)
            return os.waitpid(pid, 0)[1]
        return 1

    with Group() as group:
        task = group.spawn(fork)
        begun.wait()
        task.cancel()
    assert task.result() == 0
