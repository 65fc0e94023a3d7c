"""Tasks of asyncio are explored as threads are: which goes next is chosen, found, made simple, replayed and told."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace

import explored
import pytest
from child_programs import in_child, together

import runtime
from lwp.explore import DeadlockFound, Outcome, Result, explore, replay
from lwp.explore.tasks.loops import plain

STRATEGIES = ("auto", "dfs", "dpor", "pct", "random", "pos")
in_all_orders = explored.comes_to(Outcome.EXHAUSTED, runs=5000, seed=1, strategy="dfs", granularity="sync")


def found(test: Callable[[], object], strategy: str = "auto", runs: int = 200) -> Result:
    """What is found, which its token repeats."""
    result = explore(test, runs=runs, seed=1, strategy=strategy, granularity="sync")
    assert result.outcome is Outcome.FOUND, result.report()
    assert (result.replays, result.replayed) == (10, 10)
    again = replay(test, result.token)
    assert (again.outcome, again.token) == (Outcome.FOUND, result.token)
    return result


def passes(test: Callable[[], object], outcome: Outcome = Outcome.EXHAUSTED, strategy: str = "dfs") -> Result:
    result = explore(test, runs=5000, seed=1, strategy=strategy, granularity="sync")
    assert result.outcome is outcome, result.report()
    return result


# ---- the order of tasks ----------------------------------------------------------------------------------------------


class Counter:
    def __init__(self) -> None:
        self.value = 0

    async def add(self) -> None:
        value = self.value
        await asyncio.sleep(0)
        self.value = value + 1


async def lost_update() -> None:
    counter = Counter()
    await asyncio.gather(counter.add(), counter.add())
    assert counter.value == 2


async def first_is_first(seconds: float = 0.01) -> None:
    """Two timers that are near: the kernel's are no more exact."""
    numbers: list[int] = []

    async def append(number: int) -> None:
        await asyncio.sleep(seconds)
        numbers.append(number)

    await asyncio.gather(append(1), append(2))
    assert numbers[0] == 1


def by_run() -> None:
    asyncio.run(first_is_first())


def by_a_loop_of_its_own() -> None:
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(first_is_first())


def in_a_thread() -> None:
    together(by_run)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_lost_update_is_found_in_the_usual_order(strategy: str) -> None:
    result = found(lost_update, strategy)
    assert (result.runs, result.deviations, result.other_order) == (1, 0, False)
    assert "; possible in asyncio's order; replays 10/10." in result.report()


@pytest.mark.parametrize("test", [first_is_first, by_run, by_a_loop_of_its_own, in_a_thread])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_order_of_events_is_found(test: Callable[[], object], strategy: str) -> None:
    result = found(test, strategy)
    assert (result.deviations, result.other_order) == (1, False)
    beside = " if its files and timers come so" * (test is not in_a_thread)
    assert f"possible in asyncio's order{beside}; replays" in result.report()


first_asks_first = functools.partial(first_is_first, 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_order_that_asyncio_never_has_is_found_with_early_timeouts_only(strategy: str) -> None:
    passes(first_asks_first)
    result = explore(first_asks_first, runs=200, seed=1, strategy=strategy, granularity="sync", early_timeouts=True)
    assert (result.outcome, result.deviations, result.other_order) == (Outcome.EARLY_TIMEOUT, 1, True)
    assert "EARLY TIMEOUT found by" in result.report()
    assert "needs another order than asyncio's" in result.report()
    assert re.search("━━▶ Task-. goes before Task-., which has its turn", result.report())
    assert replay(first_asks_first, str(result.token)).token == result.token


# ---- what asyncio promises -------------------------------------------------------------------------------------------


async def callbacks_of_a_future() -> None:
    out, loop = [], asyncio.get_running_loop()
    future = loop.create_future()
    future.add_done_callback(lambda _: out.append(1))
    loop.call_soon(future.set_result, None)
    await future
    assert out == [1]


async def callbacks_of_a_task() -> None:
    out = []
    task = asyncio.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: out.append(1))
    await task
    assert out == [1]


async def callbacks_behind_a_timer() -> None:
    loop = asyncio.get_running_loop()

    async def wait(future: asyncio.Future[None]) -> None:
        out = []
        future.add_done_callback(lambda _: out.append(1))
        await future
        assert out == [1]

    futures = [loop.create_future() for _ in range(2)]
    tasks = [asyncio.create_task(wait(future)) for future in futures]
    await asyncio.sleep(0)
    for number, future in enumerate(futures):
        loop.call_later(0.01 + number / 1e6, future.set_result, None)
    await asyncio.gather(*tasks)


async def a_task_has_begun_after_sleep_0() -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    assert begun
    await task


async def tasks_begin_in_their_order() -> None:
    begun: list[int] = []

    async def work(number: int) -> None:
        begun.append(number)

    await asyncio.gather(*map(work, range(3)))
    assert begun == [0, 1, 2]


async def timers_that_are_near_call_by_time() -> None:
    called: list[int] = []
    for number in (2, 0, 1):
        asyncio.get_running_loop().call_later(0.01 + number / 1e5, called.append, number)
    await asyncio.sleep(0.1)
    assert called == [0, 1, 2]


def calls_of_a_thread() -> None:
    called: list[int] = []

    async def main() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()

        def call() -> None:
            for number in range(3):
                loop.call_soon_threadsafe(called.append, number)
            loop.call_soon_threadsafe(end.set)

        thread = threading.Thread(target=call)
        thread.start()
        await end.wait()
        thread.join()
        assert called == [0, 1, 2]

    asyncio.run(main())


async def a_client_of_tcp() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"echo " + await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    writer.write(b"hello\n")
    assert await reader.read() == b"echo hello\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def a_subprocess() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", "print(1)", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert (out, process.returncode) == (b"1\n", 0)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    ("test", "runs"),
    [
        (callbacks_of_a_future, 100),
        (callbacks_of_a_task, 100),
        (callbacks_behind_a_timer, 300),
        (a_task_has_begun_after_sleep_0, 100),
        (tasks_begin_in_their_order, 100),
        (timers_that_are_near_call_by_time, 100),
        (calls_of_a_thread, 300),
        (a_client_of_tcp, 100),
        (a_subprocess, 10),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_asyncio_promises_is_kept(test: Callable[[], object], runs: int, early: bool) -> None:
    explored.passes(test, runs, granularity="sync", early_timeouts=early)


def test_the_report_has_a_column_for_each_task() -> None:
    report = found(lost_update).report()
    assert re.search("(?m)^test_tasks.py  Task-1 +Task-2 +Task-3$", report)
    assert re.search("(?m)^  Task-3  reads   counter.value  0 .* add", report)
    assert re.search("(?m)^  Task-2  writes  counter.value  0 → 1 .* between these two$", report)
    assert "with Task-2's write before Task-3's read the test passes" in report
    assert "\n━━▶ Task-3 goes before Task-2, which has its turn" in found(first_is_first).report()


def test_a_decorated_async_test_explores_itself() -> None:
    @runtime.explored(runs=100)
    async def test() -> None:
        await first_is_first()

    with pytest.raises(AssertionError):
        test()


def test_all_orders_of_steps_are_tried() -> None:
    async def steps(seconds: float) -> None:
        took: list[str] = []

        async def twice(name: str) -> None:
            await asyncio.sleep(seconds)
            took.append(name)
            await asyncio.sleep(0)
            took.append(name)

        await asyncio.gather(twice("a"), twice("b"))
        seen.add("".join(took))

    seen: set[str] = set()
    passes(lambda: asyncio.run(steps(0)))
    assert seen == {"abab"}
    seen = set()
    passes(lambda: asyncio.run(steps(0.01)))
    assert seen == {"aabb", "abab", "baba"}  # a timer comes while the other task has two turns
    early = explore(lambda: asyncio.run(steps(0)), runs=1000, strategy="dfs", granularity="sync", early_timeouts=True)
    assert early.outcome is Outcome.EXHAUSTED
    assert seen == {"aabb", "abab", "abba", "baab", "baba", "bbaa"}


def test_one_task_alone_has_nothing_to_switch_to() -> None:
    for seconds, runs in (0, 1), (1, 1 + 20 // 4):  # the sleep of a second may end early
        result = explore(functools.partial(asyncio.sleep, seconds), runs=20, strategy="auto")
        assert (result.outcome, result.runs) == (Outcome.EXHAUSTED, runs)


# ---- primitives and time ---------------------------------------------------------------------------------------------


@in_all_orders
async def test_time_is_the_runs_own() -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await asyncio.sleep(7200)
    assert 3600 <= loop.time() - begin < 3601


@in_all_orders
async def test_a_timeout_does_not_fire_while_tasks_can_go_on() -> None:
    async with asyncio.timeout(0.0001):
        for _ in range(20):
            await asyncio.sleep(0)


def test_a_queue_an_event_a_condition_and_a_semaphore_are_explored() -> None:
    async def uses() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        event, condition, few = asyncio.Event(), asyncio.Condition(), asyncio.Semaphore(1)
        inside = 0

        async def put() -> None:
            nonlocal inside
            async with few:
                inside += 1
                assert inside == 1
                await queue.put(1)
                inside -= 1
            async with condition:
                condition.notify_all()
            event.set()

        async def get() -> None:
            await queue.get()
            await event.wait()

        async def late(work: Callable[[], Awaitable[None]]) -> None:
            await asyncio.sleep(0.01)
            await work()

        await asyncio.gather(late(put), late(get))

    assert passes(uses).runs > 1


def test_a_loop_that_waits_by_sleep_0_ends() -> None:
    async def polls() -> None:
        done = False

        async def work() -> None:
            nonlocal done
            await asyncio.sleep(0)
            done = True

        task = asyncio.create_task(work())
        while not done:
            await asyncio.sleep(0)
        await task

    for strategy in STRATEGIES:
        explored.passes(polls, 300, strategy=strategy, granularity="sync")


# ---- threads and tasks -----------------------------------------------------------------------------------------------


def test_threads_and_tasks_are_explored_in_one_run() -> None:
    """The task looks before the thread has set it, or behind that."""
    seen: set[bool] = set()

    def test() -> None:
        is_set, lock = False, threading.Lock()

        async def main() -> None:
            loop, event = asyncio.get_running_loop(), asyncio.Event()

            def set_it() -> None:
                nonlocal is_set
                with lock:
                    is_set = True
                loop.call_soon_threadsafe(event.set)

            thread = threading.Thread(target=set_it, name="setter")
            thread.start()
            with lock:
                seen.add(is_set)
            await event.wait()
            thread.join()

        asyncio.run(main())

    passes(test)
    assert seen == {False, True}


def test_an_event_that_a_thread_sets_without_waking_the_loop_is_a_deadlock() -> None:
    async def main() -> None:
        event = asyncio.Event()
        thread = threading.Thread(target=event.set)
        thread.start()
        await event.wait()
        thread.join()

    result = found(main)
    assert isinstance(result.error, DeadlockFound)
    assert re.search("Task-1 [(]main[)]  waits at test_tasks.py:[0-9]+ for event to be set", result.report())
    assert "possible under the GIL, possible in asyncio's order" in result.report()


def test_coroutines_from_another_thread_are_explored() -> None:
    def test() -> None:
        took: list[str] = []

        async def twice(name: str) -> None:
            took.append(name)
            await asyncio.sleep(0)
            took.append(name)

        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        futures = [asyncio.run_coroutine_threadsafe(twice(name), loop) for name in "ab"]
        for future in futures:
            future.result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        seen.add("".join(took))

    seen: set[str] = set()
    explore(test, runs=300, seed=1, granularity="sync")
    assert seen == {"aabb", "abab"}  # what one thread gives to a loop stays in its order


@explored.comes_to(Outcome.FOUND, says="possible under the GIL", runs=1000, seed=1)
async def test_a_thread_beside_the_loop_of_one_task_is_explored() -> None:
    box = [0]

    def add() -> None:
        before = box[0]
        len("")
        box[0] = before + 1

    thread = threading.Thread(target=add)
    thread.start()
    add()
    thread.join()
    assert box == [2]


@pytest.mark.parametrize("waits_in", ["a thread", "the loop"])
def test_a_task_of_another_thread_may_end_cancelled(waits_in: str) -> None:
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        task.cancel()
        await asyncio.sleep(0)

    async def by_a_thread() -> None:
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def ask() -> None:
            with pytest.raises(concurrent.futures.CancelledError):
                asyncio.run_coroutine_threadsafe(cancels_itself(), loop).result()
            loop.call_soon_threadsafe(event.set)

        thread = threading.Thread(target=ask)
        thread.start()
        await event.wait()
        thread.join()

    async def by_the_loop() -> None:
        future = asyncio.run_coroutine_threadsafe(cancels_itself(), asyncio.get_running_loop())
        for _ in range(5):
            await asyncio.sleep(0)
        assert future.cancelled()

    result = explore(by_a_thread if waits_in == "a thread" else by_the_loop, runs=300, seed=1, granularity="sync")
    assert result.error is None, result.report()


def test_answers_of_to_thread_are_explored() -> None:
    async def main() -> None:
        numbers: list[int] = []
        await asyncio.gather(*(asyncio.to_thread(numbers.append, number) for number in (1, 2)))
        seen.add(tuple(numbers))

    seen: set[tuple[int, ...]] = set()
    explore(main, runs=1000, seed=1, granularity="sync")
    assert seen == {(1, 2), (2, 1)}


@explored.passing(50, granularity="sync")
async def test_a_socket_pair_within_the_test_is_explored() -> None:
    (reader, writer), (other_reader, other_writer) = [
        await asyncio.open_connection(sock=end) for end in socket.socketpair()
    ]

    async def answer() -> None:
        other_writer.write(await other_reader.readline())

    async def ask() -> None:
        writer.write(b"asked\n")
        assert await reader.readline() == b"asked\n"

    await asyncio.gather(answer(), ask())
    for end in (writer, other_writer):
        end.close()
        await end.wait_closed()


def test_what_a_unix_socket_was_given_in_this_process_comes_no_later() -> None:
    async def main() -> None:
        ends = [await asyncio.open_connection(sock=end) for end in socket.socketpair()]
        answer = asyncio.create_task(ends[0][0].read(1))
        await asyncio.sleep(0)
        ends[1][1].write(b"1")
        for _ in range(3):  # the file's turn, and its reader's
            await asyncio.sleep(0)
        assert answer.done()
        for _, writer in ends:
            writer.close()

    for strategy in STRATEGIES:
        result = explore(main, runs=100, seed=1, strategy=strategy, granularity="sync")
        assert result.error is None, result.report()


def test_races_between_a_thread_and_a_task_are_listed_and_tasks_race_with_none() -> None:
    """The tasks begin before the thread, so numbers of threads and tasks are mixed."""
    counter = Counter()

    async def main() -> None:
        counter.value = 0
        tasks = [asyncio.create_task(counter.add()) for _ in range(2)]
        await asyncio.sleep(0)
        thread = threading.Thread(target=both_read, args=(counter,))
        thread.start()
        await asyncio.gather(*tasks)
        thread.join()

    def both_read(counter: Counter) -> None:
        assert counter.value >= 0

    result = explore(main, runs=30, seed=1, granularity="sync", races=True)
    functions = {frozenset(use["function"] for use in race["uses"]) for race in result.races}
    assert functions == {frozenset(("both_read", "add"))}


# ---- what is a find --------------------------------------------------------------------------------------------------


async def locks_in_both_orders() -> None:
    first, second = asyncio.Lock(), asyncio.Lock()

    async def take(one: asyncio.Lock, other: asyncio.Lock) -> None:
        async with one:
            await asyncio.sleep(0)
            async with other:
                pass

    await asyncio.gather(take(first, second), take(second, first))


def test_a_deadlock_of_tasks_is_told_with_its_chain() -> None:
    result = found(locks_in_both_orders)
    assert isinstance(result.error, DeadlockFound)
    assert result.report().startswith("DEADLOCK: 2 tasks wait for each other\n")
    told, line = " ".join(result.report().split()), "waits at test_tasks.py:[0-9]+ for"
    assert re.search(f"Task-2 [(]take[)] {line} second, held by Task-3 since test_tasks.py:[0-9]+ ", told)
    assert re.search(f"Task-3 [(]take[)] {line} first, held by Task-2 since test_tasks.py:[0-9]+ ", told)
    assert re.search(f"Task-1 [(]locks_in_both_orders[)] {line} Task-2 and Task-3 to end ", told)


def test_a_lock_of_threads_that_blocks_its_own_loop_is_told() -> None:
    async def main() -> None:
        lock = threading.Lock()

        async def hold() -> None:
            with lock:
                await asyncio.sleep(1)

        async def want() -> None:
            await asyncio.sleep(0)
            with lock:
                pass

        await asyncio.gather(hold(), want())

    report = found(main).report()
    assert report.startswith("DEADLOCK: 2 tasks wait for each other\n")
    assert re.search("Task-2 .*; Task-3 blocks its loop\n", report)
    assert re.search("Task-3 .* for lock, held by Task-2 since", report)


def test_what_is_put_and_got_is_told() -> None:
    async def main() -> None:
        items: asyncio.Queue[int] = asyncio.Queue(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(items.get(), name="getter")
            group.create_task(asyncio.Event().wait(), name="waiter")

    report = found(main).report()
    assert "for the tasks of its group\n" in report
    assert "Queue" in report or "an item of items" in report


async def never_retrieved() -> None:
    async def fail() -> None:
        raise ValueError("lost")

    asyncio.create_task(fail())  # noqa: RUF006  # so that it is gone
    await asyncio.sleep(1)


async def callback_raises() -> None:
    def fail() -> None:
        raise ValueError("lost")

    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(1)


async def collected_while_pending() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()  # which only the task knows

    asyncio.create_task(wait())  # noqa: RUF006  # so that it is gone
    await asyncio.sleep(0)
    gc.collect()


def destroyed_while_pending() -> None:
    async def wait() -> None: ...

    loop = asyncio.new_event_loop()
    loop.create_task(wait())  # noqa: RUF006
    loop.close()


LOGGED = pytest.mark.parametrize(
    ("test", "told"),
    [
        (never_retrieved, "NeverRetrieved: ValueError: lost"),
        (callback_raises, "CallbackRaised: ValueError: lost"),
        (collected_while_pending, "DestroyedPending: a task of collected_while_pending.<locals>.wait() was destroyed"),
        (destroyed_while_pending, "DestroyedPending: a task of destroyed_while_pending.<locals>.wait() was destroyed"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)


@LOGGED
def test_what_a_loop_only_logs_is_a_find_if_the_first_order_has_it_not(test: Callable[[], object], told: str) -> None:
    def late() -> None:
        began: list[int] = []
        together(lambda: began.append(0), lambda: began.append(1))
        if began == [1, 0]:
            plain(test)()

    result = found(late)
    kind = told.partition(":")[0]
    assert type(result.error).__name__ == kind
    assert result.report().startswith(told)
    if "ValueError" in told:
        assert isinstance(result.error.__cause__, ValueError)
        assert result.name == f"{kind} test_tasks.py:fail"


@LOGGED
def test_what_a_loop_logs_in_the_first_order_too_is_told_and_no_find(test: Callable[[], object], told: str) -> None:
    text = explore(test, runs=50, seed=1, granularity="sync").report()
    kind = told.partition(":")[0]
    assert text.startswith("EXHAUSTED")
    assert f"\n  asyncio only logs, in the first order already: {kind}" in text
    assert ("test_tasks.py:fail" in text) is ("ValueError" in told)


def test_a_loop_that_is_closed_under_a_destructor_is_no_find(monkeypatch: pytest.MonkeyPatch) -> None:
    class Transport:
        def __init__(self) -> None:
            self.loop = asyncio.get_running_loop()

        def __del__(self) -> None:
            self.loop.call_soon(print)

    def test() -> None:
        async def main() -> None:
            kept.append(Transport())
            await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))

        kept: list[Transport] = []
        asyncio.run(main())
        kept.clear()

    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: ignored.append(str(one.exc_value)))
    passes(test)
    assert set(ignored) == {"Event loop is closed"}


def test_what_the_programs_own_handler_is_told_is_no_find() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        await never_retrieved()
        await callback_raises()

    told: list[object] = []
    passes(main)
    assert told


# ---- loops that are not under control --------------------------------------------------------------------------------

TOLD = "\n  tasks of asyncio ran: their order was not explored"


def by_another_loop() -> None:
    loop = asyncio.AbstractEventLoop()
    asyncio._set_running_loop(loop)
    asyncio._set_running_loop(None)
    together(int)


@pytest.mark.parametrize("strategy", ["auto", "dfs", "pct"])
def test_a_loop_of_another_package_is_told(strategy: str) -> None:
    result = explore(by_another_loop, runs=50, seed=1, granularity="sync", strategy=strategy)
    assert result.outcome is Outcome.BUDGET_SPENT, result.report()
    assert result.report().startswith("BUDGET SPENT: ")
    assert result.report().endswith(TOLD)


def test_it_is_told_by_workers() -> None:
    assert explore(by_another_loop, runs=20, workers=2).report().endswith(TOLD)


class HasItsOwnClock(asyncio.SelectorEventLoop):
    """No second passes while it waits: it sets its clock to the first timer's time, as loops for tests do."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if self._scheduled and not self._ready:  # type: ignore[attr-defined]
            self.now = self._scheduled[0]._when  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class AsksNoSelector(asyncio.BaseEventLoop):
    """It waits for timers alone."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = SimpleNamespace(select=lambda seconds: time.sleep(seconds or 0))

    def _process_events(self, events: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


@pytest.mark.parametrize("kind", [HasItsOwnClock, AsksNoSelector])
def test_a_loop_with_a_clock_or_selector_of_its_own_runs_as_it_does(kind: type[asyncio.BaseEventLoop]) -> None:
    async def main() -> None:
        said: list[int] = []
        loop = asyncio.get_running_loop()
        begin = loop.time()

        async def say(seconds: int) -> None:
            await asyncio.sleep(seconds)
            said.append(seconds)

        await asyncio.gather(say(2000), say(1000))
        assert said == [1000, 2000]
        assert round(loop.time() - begin) == 2000

    def test() -> None:
        with asyncio.Runner(loop_factory=kind) as runner:
            runner.run(main())

    result = explore(test, runs=20, seed=1, granularity="sync")
    assert result.outcome is Outcome.BUDGET_SPENT, result.report()
    assert result.report().endswith(TOLD)


@pytest.fixture
def outside() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that another thread runs meanwhile, and begins to run again."""
    loop, ends = asyncio.new_event_loop(), threading.Event()

    def run() -> None:
        while not ends.is_set():
            loop.run_until_complete(asyncio.sleep(0.001))

    thread = threading.Thread(target=run)
    thread.start()
    yield loop
    ends.set()
    thread.join()
    loop.close()


@pytest.mark.usefixtures("outside")
def test_a_loop_that_no_explored_thread_runs_is_left_alone() -> None:
    result = explore(lambda: together(int, int), strategy="dfs", granularity="sync")
    assert result.outcome is Outcome.EXHAUSTED
    assert TOLD not in result.report()


KEPT = "\n  files that were ready at different times kept that order"


def reads(made: Callable[[], tuple[int, int]]) -> Callable[[], None]:
    """A test of one task, which waits until it can read what it has written."""

    async def main() -> None:
        out, into = made()
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(out, came.set)
        os.write(into, b".")
        await came.wait()
        loop.remove_reader(out)
        os.close(out), os.close(into)

    return lambda: asyncio.run(main())


def test_a_file_that_the_kernel_makes_ready_is_told_as_not_varied() -> None:
    result = explore(reads(os.pipe))
    assert result.runs > 1
    assert KEPT in result.report()
    assert "no thread was started" not in result.report()


def test_a_socket_within_the_process_is_ready_when_it_was_written_to() -> None:
    def pair() -> tuple[int, int]:
        out, into = socket.socketpair()
        return out.detach(), into.detach()

    result = explore(reads(pair))
    assert (result.runs, result.outcome) == (1, Outcome.EXHAUSTED)
    assert KEPT not in result.report()


@explored.comes_to(Outcome.BUDGET_SPENT, says=KEPT, runs=200, seconds=20)
async def test_a_test_is_not_blamed_if_processes_end_in_another_order_each_time() -> None:
    async def run(number: int) -> bytes:
        echo = await asyncio.create_subprocess_exec("/bin/echo", str(number), stdout=asyncio.subprocess.PIPE)
        return (await echo.communicate())[0]

    assert await asyncio.gather(run(1), run(2)) == [b"1\n", b"2\n"]


@in_child
def test_asyncio_may_be_imported_by_the_test() -> None:
    from lwp.explore import Outcome, explore

    def test() -> None:
        import asyncio

        numbers: list[int] = []

        async def append(number: int) -> None:
            await asyncio.sleep(0.01)
            numbers.append(number)

        async def main() -> None:
            await asyncio.gather(append(1), append(2))

        asyncio.run(main())
        assert numbers[0] == 1

    assert "asyncio" not in sys.modules
    assert explore(test, runs=20, strategy="dfs", granularity="sync").outcome is Outcome.FOUND


@in_child
def test_asyncio_is_not_imported_for_this() -> None:
    from lwp.explore import explore

    explore(lambda: together(int, int), runs=20)
    assert "asyncio" not in sys.modules
