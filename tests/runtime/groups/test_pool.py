"""runtime.pool: concurrent.futures' interface, its workers, and calls that are cancelled as they run."""
# ruff: noqa: F821, PT012, PT017  # programs of child() see what its PRELUDE imports

from __future__ import annotations

import asyncio
import atexit
import contextvars
import gc
import importlib.util
import inspect
import logging
import os
import random
import signal
import sys
import threading
import time
import weakref
from concurrent import futures
from concurrent.futures.thread import BrokenThreadPool
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TREE, Child, in_child, needs_gil, python
from kinds import FOREVER, PATIENCE, Failed, both, fail, sleeps, until

from runtime import Cancelled, Group, Thread, checkpoint, members, native, shield, thread
from runtime.pool import Executor, Future
from runtime.scheduler import Scheduler, sleep
from runtime.sync import Condition, Event, Semaphore

sys.path.insert(0, str(TREE / "tools"))
import cpython_suite

RUNNERS: dict[Any, Any] = {}  # workers, by their records


def until_waits(future: Future[Any]) -> None:
    """Returns when the call waits for one of the runtime's primitives."""
    until(lambda: future.running() and (worker := RUNNERS.get(future._scope.record)) is not None and sleeps(worker))


def here() -> None:
    RUNNERS[native.cancel_mine()] = native.current_thread()


def wait_forever() -> bool:
    here()
    return Event().wait(FOREVER)


# ---- concurrent.futures' interface -----------------------------------------------------------------------------------


@both
def test_results() -> None:
    with Executor(3) as executor:
        calls = [executor.submit(pow, 2, number) for number in range(50)]
        named = executor.submit(int, "ff", base=16)
        assert [call.result() for call in calls] == [2**number for number in range(50)]
        assert named.result(timeout=FOREVER) == 255
        assert named.exception() is None
        assert list(executor.map(pow, range(9), range(9))) == [number**number for number in range(9)]
    assert all(call.done() and not call.running() and not call.cancelled() for call in calls)


@both
def test_exceptions() -> None:
    with Executor(1) as executor:
        call = executor.submit(fail, "so")
        with pytest.raises(Failed, match="so"):
            call.result()
        assert type(call.exception()) is Failed
        out = executor.submit(exit, 3)
        with pytest.raises(SystemExit):
            out.result()


@both
def test_timeouts() -> None:
    go = Event()
    with Executor(1) as executor:
        call = executor.submit(go.wait, FOREVER)
        for timeout in (0, -1, 0.001):
            with pytest.raises(TimeoutError):
                call.result(timeout)
            with pytest.raises(TimeoutError):
                call.exception(timeout)
        with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not str"):
            call.result("a")
        go.set()
        assert call.result() is True


def test_concurrent_futures_takes_it_for_its_own() -> None:
    go = Event()
    with Executor(2) as executor, futures.ThreadPoolExecutor(1) as stock:
        assert isinstance(executor, futures.ThreadPoolExecutor)
        first = executor.submit(int, 1)
        later = executor.submit(go.wait, FOREVER)
        other = stock.submit(int, 3)
        assert isinstance(first, futures.Future)
        done, left = futures.wait([first, later, other], return_when=futures.FIRST_COMPLETED)
        assert first in done | left
        assert later in left
        assert first.result() == 1
        assert futures.wait([first, later], timeout=0.001).not_done == {later}
        go.set()
        assert set(futures.as_completed([first, later, other], timeout=FOREVER)) == {first, later, other}
        assert futures.wait([first, later, other]).not_done == set()


@pytest.mark.parametrize("outcome", [int, fail, None], ids=["returns", "raises", "is cancelled"])
def test_waiters_are_woken_at_the_end(outcome: Any) -> None:
    """Those that ask for the condition while the call runs."""
    go = Event()

    def call() -> Any:
        here()
        go.wait(FOREVER)
        return outcome()

    with Executor(2) as executor:
        future = executor.submit(call)
        waiter = executor.submit(futures.wait, [future], FOREVER)
        until(lambda: future._waiters)
        until_waits(future)
        if outcome:
            go.set()
        else:
            future.cancel(running=True)
        assert waiter.result().done == {future}
        assert list(futures.as_completed([future])) == [future]


@both
def test_callbacks() -> None:
    go, called = Event(), list[Any]()
    with Executor(1) as executor:
        future = executor.submit(go.wait, FOREVER)
        future.add_done_callback(called.append)
        future.add_done_callback(called.append)
        assert not called
        go.set()
        future.result()
        until(lambda: len(called) == 2)
        future.add_done_callback(called.append)  # at once
        assert called == [future] * 3
        with future._condition:  # the same by concurrent.futures' own way
            pass
        future.add_done_callback(called.append)
        assert called == [future] * 4


def test_pending_calls_are_cancelled_as_by_concurrent_futures() -> None:
    go = Event()
    called: list[Any] = []
    with Executor(1) as executor:
        first, second = executor.submit(go.wait, FOREVER), executor.submit(int)
        until(first.running)
        second.add_done_callback(called.append)
        assert first.cancel() is False
        assert second.cancel() is True
        assert second.cancel() is True
        assert called == [second]
        assert second.cancelled()
        with pytest.raises(futures.CancelledError):
            second.result()
        with pytest.raises(futures.CancelledError):
            second.exception()
        go.set()
        assert first.result() is True
        assert first.cancel() is False
        assert first.cancel(running=True) is False


def test_states_that_it_refuses() -> None:
    future: Future[int] = Future()
    assert future.set_running_or_notify_cancel()
    future.set_result(1)
    with pytest.raises(futures.InvalidStateError):
        future.set_result(2)
    with pytest.raises(futures.InvalidStateError):
        future.set_exception(Failed())
    with pytest.raises(RuntimeError):
        future.set_running_or_notify_cancel()
    assert future.result() == 1
    with pytest.raises(ValueError, match="no state"):
        future._state = "DANCING"
    with pytest.raises(TypeError):
        Future(loop=None)


def test_asyncio() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(Executor(2))
        assert await loop.run_in_executor(None, pow, 2, 5) == 32
        assert await asyncio.to_thread(pow, 2, 6) == 64
        with Executor(1) as executor:
            assert await loop.run_in_executor(executor, pow, 2, 7) == 128
            assert await asyncio.wrap_future(executor.submit(pow, 2, 8)) == 256
            with pytest.raises(Failed):
                await loop.run_in_executor(executor, fail)

    asyncio.run(main())


def test_asyncio_cancels_what_it_no_longer_awaits() -> None:
    ended: list[str] = []

    def work() -> None:
        try:
            Event().wait(FOREVER)
        except Cancelled:
            ended.append("cancelled")
            raise

    async def main() -> None:
        with Executor(1, cancel_running=True) as executor:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(executor, work), 0.05)
            await asyncio.get_running_loop().run_in_executor(executor, int)

    asyncio.run(main())
    assert ended == ["cancelled"]


def test_arguments() -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        Executor(0)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Executor(initializer="no")
    with pytest.raises(TypeError, match="scheduler must be"):
        Executor(scheduler="no")
    assert Executor()._max_workers == futures.ThreadPoolExecutor()._max_workers


def test_names() -> None:
    with Executor(1, thread_name_prefix="mill") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result() == "mill_0"
        assert type(executor.submit(threading.current_thread).result()) is thread.Thread
        assert "mill" in repr(executor._work_queue)


# ---- workers ---------------------------------------------------------------------------------------------------------


@both
def test_a_worker_for_each_call_that_finds_none_free() -> None:
    go = Event()
    with Executor(4) as executor:
        for number in range(1, 8):
            executor.submit(go.wait, FOREVER)
            assert len(executor._threads) == min(number, 4)
        assert executor._work_queue.qsize() >= 3
        go.set()


def test_one_worker_does_when_it_is_free() -> None:
    with Executor(8) as executor:
        for _ in range(100):
            executor.submit(int).result()
            until(lambda: all(map(sleeps, executor._threads)))
        assert len(executor._threads) == 1


def test_green_workers() -> None:
    """The block lends its LWP to them."""
    scheduler = Scheduler()
    with Executor(3, scheduler=scheduler) as executor:
        assert executor.submit(native.current_thread).result()._lwp_scheduler is scheduler
        future = executor.submit(wait_forever)
        with pytest.raises(TimeoutError):
            future.result(0.01)
        future.cancel(running=True)
        with pytest.raises(futures.CancelledError):
            future.result()
        assert len(list(executor.map(pow, range(50), range(50)))) == 50
    with Executor(1, scheduler=scheduler) as executor:  # and takes it back
        assert executor.submit(int).result() == 0


@both
def test_the_initializer() -> None:
    made: list[Any] = []
    go = Event()
    with Executor(3, initializer=made.append, initargs=("worker",)) as executor:
        for _ in range(3):
            executor.submit(go.wait, FOREVER)
        until(lambda: len(made) == 3)
        go.set()
    assert made == ["worker"] * 3


@both
def test_an_initializer_that_fails() -> None:
    go = Event()

    def initialize() -> None:
        go.wait(FOREVER)
        fail("the initializer")

    logger = logging.getLogger("concurrent.futures")
    logger.disabled = True
    try:
        with Executor(2, initializer=initialize) as executor:
            calls = [executor.submit(int) for _ in range(10)]
            assert calls[5].cancel()
            assert executor._broken is False
            go.set()
            for call in calls:
                with pytest.raises(futures.CancelledError if call is calls[5] else BrokenThreadPool):
                    call.result()
            assert executor._broken
            with pytest.raises(BrokenThreadPool, match="initializer failed"):
                executor.submit(int)
    finally:
        logger.disabled = False


def test_no_thread_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    go = Event()

    def start(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    def is_refused() -> None:
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="can't start"):
            patch.setattr("runtime.pool.Thread.start", start)
            executor.submit(fail)
        assert executor._work_queue.qsize() == 0

    with Executor(2) as executor:
        is_refused()
        busy = executor.submit(go.wait, FOREVER)
        until(busy.running)
        is_refused()
        assert executor.submit(int).result() == 0  # as if nothing had been
        assert len(executor._threads) == 2
        go.set()


def test_an_exception_of_a_handler_in_submit_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if a worker has begun with the call."""
    begun = Event()

    class Interrupted(Thread):
        def start(self) -> None:
            super().start()
            begun.wait()
            raise KeyboardInterrupt  # as by Ctrl-C just now

    monkeypatch.setattr("runtime.pool.Thread", Interrupted)
    with Executor(1) as executor, pytest.raises(KeyboardInterrupt):
        executor.submit(begun.set)


def test_what_a_callback_raises_ends_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    def callback(future: object) -> None:
        raise SystemExit(3)

    go = Event()
    with Executor(1) as executor:
        future = executor.submit(go.wait, FOREVER)
        future.add_done_callback(callback)
        go.set()
        assert executor.submit(int).result(FOREVER) == 0
        assert len(executor._threads) == 1
    assert "Exception in worker" in caplog.text


@both
def test_nothing_is_kept_of_a_call() -> None:
    class Argument:
        def method(self) -> None:
            pass

    with Executor(1) as executor:
        argument = Argument()
        gone = weakref.ref(argument)
        future = executor.submit(argument.method)
        del argument
        future.result()
        until(lambda: gone() is None)
        del future
        last = weakref.ref(executor.submit(int))
        until(lambda: last() is None)


def test_a_call_that_fails_leaves_no_circle() -> None:
    with Executor(1) as executor:
        gc.collect()
        gc.disable()
        try:
            gone = weakref.ref(executor.submit(fail))
            until(lambda: gone() is None)
        finally:
            gc.enable()


@both
def test_calls_that_submit_calls() -> None:
    def tree(depth: int) -> int:
        return 1 + sum(call.result() for call in [executor.submit(tree, depth - 1) for _ in range(2 if depth else 0)])

    with Executor(64) as executor:
        assert executor.submit(tree, 4).result() == 31


# ---- the end ---------------------------------------------------------------------------------------------------------


@both
def test_shutdown() -> None:
    executor = Executor(2)
    calls = [executor.submit(int) for _ in range(20)]
    executor.shutdown()
    assert all(call.done() for call in calls)
    assert not any(worker.is_alive() for worker in executor._threads)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)
    executor.shutdown()


@both
def test_nothing_is_kept_of_a_worker() -> None:
    with Executor(1) as executor:
        record = executor.submit(native.cancel_mine).result()
        assert record in members.members.values()
    assert record not in members.members.values()
    gc.collect()
    alone = object()  # from 3.14 on a local variable that is passed on may count no reference
    assert sys.getrefcount(record) == sys.getrefcount(alone)


@both
def test_shutdown_cancels_calls_that_have_not_begun() -> None:
    go = Event()
    executor = Executor(1)
    first, *others = [executor.submit(go.wait, FOREVER) for _ in range(5)]
    until(first.running)
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(call.cancelled() for call in others)
    go.set()
    assert first.result() is True
    executor.shutdown()


@both
def test_an_executor_that_is_dropped_ends_its_workers() -> None:
    executor = Executor(3)
    calls = [executor.submit(int) for _ in range(20)]
    threads = executor._threads
    del executor
    for worker in threads:
        worker.join()
    assert all(call.done() for call in calls)


def test_shutdown_by_a_worker() -> None:
    executor = Executor(1)
    assert executor.submit(executor.shutdown, wait=False).result() is None
    executor.shutdown()
    executor = Executor(1)
    with pytest.raises(RuntimeError, match="cannot join current thread"):  # as ThreadPoolExecutor
        executor.submit(executor.shutdown).result()
    executor.shutdown()


def test_the_end_of_the_program_waits_for_calls(child: Child) -> None:
    def program() -> None:
        go = sync.Event()
        executor, other = Executor(2), Executor(1)
        executor.submit(lambda: (go.wait(), print("done")))
        threading._register_atexit(go.set)  # type: ignore[attr-defined]  # called before: the last one first

        def late() -> None:
            for pool in (executor, other):
                try:
                    pool.submit(print, "never")
                except RuntimeError as error:
                    print(error)

        atexit.register(late)
        print("ends")

    found = child(program)
    refused = ["cannot schedule new futures after interpreter shutdown"] * 2
    assert found.stdout.splitlines() == ["ends", "done", *refused]
    assert not found.stderr


@in_child
def test_a_fork_with_workers() -> None:
    """The child makes workers of its own; what the parent's were to do stays with them."""
    go = sync.Event()
    executor = Executor(2)
    calls = [executor.submit(go.wait) for _ in range(4)]
    while not calls[1].running():
        time.sleep(0)

    def check() -> None:
        assert [executor.submit(pow, 2, number).result() for number in range(5)] == [1, 2, 4, 8, 16]
        for call in calls:
            try:
                call.result()
            except RuntimeError as error:
                assert "forked" in str(error)
            else:
                raise AssertionError
        executor.shutdown()

    assert in_forked_child(check) == 0
    go.set()
    assert [call.result() for call in calls] == [True] * 4

    def forks() -> int:
        pid = os.fork()
        return pid and os.waitpid(pid, 0)[1]

    assert executor.submit(forks).result() == 0  # the child's thread ends with the call, and so does the child
    executor.shutdown()


# ---- calls that run are cancelled ------------------------------------------------------------------------------------


@both
def test_a_call_that_runs_is_cancelled() -> None:
    called: list[Any] = []
    with Executor(1) as executor:
        future = executor.submit(wait_forever)
        future.add_done_callback(called.append)
        until_waits(future)
        assert future.cancel() is False
        assert future.cancel(running=True) is True
        with pytest.raises(futures.CancelledError):
            future.result()
        assert future.cancelled()
        assert not future.running()
        assert future.cancel() is True
        until(lambda: called == [future])
        assert executor.submit(checkpoint).result() is None  # the next one is not


@both
def test_a_cancelled_call_may_still_return() -> None:
    def tidies() -> str:
        try:
            wait_forever()
        except Cancelled:
            assert Event().wait(0.001) is False  # once for each request
            return "tidied"
        return "not cancelled"

    def fails() -> None:
        try:
            wait_forever()
        finally:
            fail("in finally")

    with Executor(2) as executor:
        first, second = executor.submit(tidies), executor.submit(fails)
        for future in (first, second):
            until_waits(future)
            assert future.cancel(running=True)
        assert first.result() == "tidied"
        assert not first.cancelled()
        with pytest.raises(Failed, match="in finally"):
            second.result()


@both
def test_a_shield_holds_it_back() -> None:
    inside, go = Event(), Event()

    def work() -> None:
        with shield():
            inside.set()
            go.wait(FOREVER)
        checkpoint()

    with Executor(1) as executor:
        future = executor.submit(work)
        inside.wait()
        assert future.cancel(running=True)
        assert future.running()
        go.set()
        with pytest.raises(futures.CancelledError):
            future.result()


@both
def test_shutdown_cancels_calls_that_run() -> None:
    executor = Executor(2)
    calls = [executor.submit(wait_forever) for _ in range(6)]
    for call in calls[:2]:
        until_waits(call)
    executor.shutdown(cancel_running=True)
    assert all(call.cancelled() for call in calls)


@pytest.mark.parametrize("place", ["in the block", "at its end"])
@pytest.mark.parametrize("by", ["cancel", "Ctrl-C"])
@in_child(timeout=30)
def test_what_leaves_a_block_ends_its_calls(by: str, place: str) -> None:
    """A cancellation always, anything else if the executor was told so."""
    running, at_the_end = Event(), Event()
    ended: list[int] = []
    calls: list[Any] = []

    def call() -> None:
        try:
            running.set()
            Event().wait()
        finally:
            ended.append(1)

    def block() -> None:
        with Executor(1, cancel_running=by == "Ctrl-C") as executor:
            calls.extend(executor.submit(call) for _ in range(2))
            if place == "in the block":
                calls[0].result()
            at_the_end.set()

    def interrupt() -> None:
        running.wait()
        if place == "at its end":
            at_the_end.wait()
        else:  # the main thread waits for the result
            wait_until_parked(threading.main_thread().native_id, private=True)
        # A signal to the process may be taken by a thread that just begins: then no call of the main thread ends.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    if by == "cancel":
        with Group() as group:
            task = group.spawn(block)
            running.wait()
            task.cancel()
        assert task.cancelled()
    else:
        other = threading.Thread(target=interrupt)
        other.start()
        try:
            block()
        except KeyboardInterrupt:
            other.join()
        else:
            raise AssertionError("nothing came out")
    assert ended == [1]
    assert all(call.cancelled() for call in calls)
    assert threading.active_count() == 1


def test_a_block_that_raises_ends_its_calls_if_told_so() -> None:
    error, running = ValueError("mine"), Event()
    with pytest.raises(ValueError, match="mine") as raised, Executor(1, cancel_running=True) as executor:
        call = executor.submit(lambda: running.set() or Event().wait(PATIENCE))
        running.wait()
        raise error
    assert raised.value is error
    assert raised.value.__context__ is None
    assert call.cancelled()


@both
def test_groups_in_a_call() -> None:
    def late() -> None:
        with Group(timeout=0.01):
            wait_forever()

    def waits() -> None:
        with Group() as group:
            group.spawn(wait_forever)
            here()
            wait_forever()

    with Executor(1) as executor:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                executor.submit(late).result()
            assert executor.submit(sleep, 0.02).result() is None  # its deadline is gone with the group
            future = executor.submit(waits)
            until_waits(future)
            assert future.cancel(running=True)
            with pytest.raises(futures.CancelledError):
                future.result()


@both
def test_a_group_in_a_callback_leaves_the_worker_as_it_was() -> None:
    ran: list[Any] = []

    def callback(future: object) -> None:
        with Group() as group:
            ran.append(group.spawn(int).result())

    go = Event()
    with Executor(1) as executor:
        first = executor.submit(go.wait, FOREVER)
        first.add_done_callback(callback)
        go.set()
        future = executor.submit(wait_forever)
        until_waits(future)
        assert future.cancel(running=True)
        with pytest.raises(futures.CancelledError):
            future.result()
    assert ran == [0]


@both
def test_context_variables() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("mine")
    with Executor(1) as executor:
        assert executor.submit(variable.get).result() == "none"  # as in ThreadPoolExecutor
    with Executor(1, carry_context=True) as executor:
        assert executor.submit(variable.get).result() == "mine"
        executor.submit(variable.set, "a call's").result()
        assert executor.submit(variable.get).result() == "mine"
    assert variable.get() == "mine"


@in_child
def test_install_leaves_thread_pool_executor() -> None:
    import concurrent.futures as futures

    stock = futures.ThreadPoolExecutor
    source = inspect.getsource(stock)
    runtime.install()
    from runtime.pool import Executor

    assert futures.ThreadPoolExecutor is stock
    assert inspect.getsource(futures.ThreadPoolExecutor) == source
    with futures.ThreadPoolExecutor(1) as executor:
        future = executor.submit(threading.current_thread)
        assert type(future) is futures.Future
        assert type(future.result()) is threading.Thread  # the runtime's
    with Executor(1) as executor:
        assert executor.submit(int).result() == 0


@in_child(prints="interrupted\n")
def test_ctrl_c_ends_a_wait_for_a_result() -> None:
    go = sync.Event()

    def interrupt() -> None:
        wait_until_parked(threading.main_thread().native_id, private=True)
        os.kill(os.getpid(), signal.SIGINT)
        go.wait()

    with Executor(1) as executor:
        future = executor.submit(interrupt)
        try:
            future.result()
        except KeyboardInterrupt:
            print("interrupted")
        go.set()
        assert future.result() is None


# ---- races -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_no_call_is_lost(seed: int) -> None:
    """Workers fall asleep and are woken, by several threads at once; each call ends."""
    chance = random.Random(seed)
    workers, submitters = chance.randint(1, 5), chance.randint(1, 4)
    pauses = [chance.choice([0, 0, 0, 0.0002]) for _ in range(200)]
    executor = Executor(workers)

    def submit() -> int:
        total = 0
        for number, pause in enumerate(pauses):
            future = executor.submit(time.sleep if number % 5 == 0 else int, pause)
            if number % 3 == 0:
                future.result(PATIENCE)
            total += 1
        return total

    with Group(timeout=PATIENCE) as group:
        tasks = [group.spawn(submit) for _ in range(submitters)]
    assert sum(task.result() for task in tasks) == submitters * len(pauses)
    executor.shutdown()
    assert executor._work_queue.qsize() == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_request_reaches_its_call_and_no_other(seed: int) -> None:
    """Each call waits a moment, and some are cancelled: before, as they run, or when they are over."""
    chance = random.Random(seed)
    semaphore = Semaphore(0)
    touched: set[int] = set()

    def work() -> str:
        semaphore.acquire(timeout=chance.choice([0, 0.0001, 0.0005]))
        checkpoint()
        return "whole"

    with Executor(3) as executor:
        calls = [executor.submit(work) for _ in range(150)]
        for number in chance.sample(range(150), 60):
            touched.add(number)
            calls[number].cancel(running=True)
            if chance.random() < 0.3:
                calls[number].cancel(running=True)
    for number, call in enumerate(calls):
        if call.cancelled():
            assert number in touched
        else:
            assert call.result() == "whole"


@pytest.mark.parametrize("seed", range(20))
def test_the_condition_comes_as_the_call_ends(seed: int) -> None:
    """A thread that waits by concurrent.futures' own way is told once, whichever comes first."""
    chance = random.Random(seed)
    with Executor(3) as executor:
        for _ in range(50):
            batch = [executor.submit(int) for _ in range(chance.randint(1, 6))]
            if chance.random() < 0.5:
                assert len(futures.wait(batch, PATIENCE).done) == len(batch)
            else:
                assert len(list(futures.as_completed(batch, PATIENCE))) == len(batch)


@pytest.mark.parametrize("seed", range(20))
def test_shutdown_and_submit_race(seed: int) -> None:
    """A submit() either raises, and its call is not made, or its call comes to an end."""
    chance = random.Random(seed)
    for _ in range(20):
        executor = Executor(2)
        begun, accepted = Semaphore(0), list[Future[Any]]()

        def submit(executor: Executor = executor, begun: Semaphore = begun, accepted: Any = accepted) -> None:
            begun.release()
            for _ in range(20):
                try:
                    accepted.append(executor.submit(int))
                except RuntimeError:
                    return

        with Group(timeout=PATIENCE) as group:
            for _ in range(2):
                group.spawn(submit)
            begun.acquire()
            executor.shutdown(wait=chance.random() < 0.5, cancel_futures=chance.random() < 0.5)
        executor.shutdown()
        assert all(future.done() for future in accepted)


def test_a_condition_is_held_by_its_own_future() -> None:
    future: Future[int] = Future()
    assert isinstance(future._condition, Condition)
    assert future._condition is future._condition
    assert future._condition is not Future[int]()._condition


# ---- CPython's own tests ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(
    not cpython_suite.shipped("test_concurrent_futures.test_wait"), reason="this Python ships no such tests"
)
@pytest.mark.parametrize(
    "modules",
    [
        ["test_thread_pool", "test_init", "test_shutdown"],
        ["test_as_completed", "test_future", "test_wait"],
        ["--futures", "test_as_completed", "test_future", "test_wait"],
    ],
    ids=["executor", "functions", "future"],
)
def test_cpython_tests(modules: list[str]) -> None:
    suite = Path(__file__).with_name("futures_suite.py")
    assert "OK" in python(suite, *modules, timeout=110, PYTHONPATH=str(ROOT)).stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="this Python has no _testcapi")
@needs_gil("set_nomemory() exchanges the allocators under the feet of other threads")
@in_child(prints="done\n")
def test_a_shortage_of_memory() -> None:
    """Wherever it comes, in submit() or in a worker: each call comes to an end, and the executor goes on."""
    import _testcapi

    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda _: None

    def make(number: int, gate: sync.Event) -> list[int]:
        gate.wait()
        return [number] * 3

    for start in range(1, 80):
        executor, gate, done = Executor(2), sync.Event(), sync.Event()
        calls: list[Any] = []
        _testcapi.set_nomemory(start, start + start % 3 + 1)
        try:  # suppress() may lack the memory
            for number in range(3):
                calls.append(executor.submit(make, number, gate))
        except (MemoryError, RuntimeError):
            pass
        _testcapi.remove_mem_hooks()
        calls += [executor.submit(make, number, gate) for number in range(3)]
        calls[0].add_done_callback(lambda future: [future] * 3)
        calls[-1]._condition  # noqa: B018
        executor.submit(done.set)
        _testcapi.set_nomemory(start, start + start % 3 + 1)
        try:
            gate.set()
            done.wait(1)
        except MemoryError:
            pass
        _testcapi.remove_mem_hooks()
        for call in calls:
            with suppress(MemoryError):
                assert len(call.result(20)) == 3
        assert executor.submit(int).result(20) == 0
        executor.shutdown()
    print("done")
