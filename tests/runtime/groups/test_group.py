"""What a Group promises: no thread outlives it, the first failure ends all, and every outcome comes out."""
# ruff: noqa: PT012, PT017  # programs import for themselves; what is raised comes out of a block

from __future__ import annotations

import contextlib
import contextvars
import functools
import gc
import os
import re
import resource
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, ctrl_c_at_any_moment, in_child, needs_gil, python
from kinds import FOREVER, Failed, both, fail, until, until_asleep, wait_forever
from sync_helpers import WAIT_CALLS

from runtime import Cancelled, Group, TaskStatus, fail_after, native, shield
from runtime.members import counts
from runtime.scheduler import Scheduler, sleep
from runtime.sync import Event, Semaphore

IGNORED: TaskStatus[str] = TaskStatus()


def tidy_up(call: Callable[..., object], *args: object) -> None:
    """Waits for ever; when it is cancelled it makes the call."""
    try:
        wait_forever()
    finally:
        call(*args)


# ---- results ---------------------------------------------------------------------------------------------------------


@both
def test_results() -> None:
    with Group() as group:
        tasks = [group.spawn(pow, 2, number) for number in range(20)]
        named = group.spawn(int, "ff", base=16)
    assert [task.result() for task in tasks] == [2**number for number in range(20)]
    assert named.result() == 255
    assert all(task.done() and not task.running() and not task.cancelled() for task in tasks)


@both
def test_the_block_ends_when_all_have_ended() -> None:
    go, ended = Event(), []

    def work(number: int) -> None:
        go.wait()
        ended.append(number)

    before = threading.active_count()
    with Group() as group:
        for number in range(10):
            group.spawn(work, number)
        assert not ended
        group.spawn(go.set)
    assert sorted(ended) == list(range(10))
    assert threading.active_count() == before
    assert "over, 0 tasks" in repr(group)


@both
def test_tasks_spawn_tasks() -> None:
    found: list[int] = []

    def tree(depth: int) -> None:
        found.append(depth)
        for _ in range(2 if depth else 0):
            group.spawn(tree, depth - 1)

    with Group() as group:
        group.spawn(tree, 5)
    assert len(found) == 2**6 - 1


@both
def test_a_result_is_there_before_the_end() -> None:
    with Group() as group:
        end = Event()
        task = group.spawn(end.wait, FOREVER)
        assert not task.done()
        with pytest.raises(TimeoutError):
            task.result(0)
        with pytest.raises(TimeoutError):
            task.exception(0.001)
        until_asleep(task)
        assert task.running()
        end.set()
        assert task.result() is True
        assert task.exception() is None


@both
def test_context_variables_are_carried_over() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("outer")
    with Group() as group:
        first = group.spawn(variable.get)
        variable.set("inner")
        second = group.spawn(variable.get)
        group.spawn(variable.set, "a task's")
    assert (first.result(), second.result(), variable.get()) == ("outer", "inner", "inner")


@both
def test_nothing_is_kept_of_a_task() -> None:
    class Argument:
        pass

    with Group() as group:
        argument = Argument()
        gone = weakref.ref(argument)
        task = group.spawn(id, argument)
        task.result()
        del argument
        until(lambda: gone() is None)
        assert task.done()


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_group_and_a_failed_task_are_no_cycles() -> None:
    def task_fails() -> weakref.ref[BaseException]:
        with contextlib.suppress(ExceptionGroup), Group() as group:
            task = group.spawn(fail)
        return weakref.ref(task.exception())  # type: ignore[arg-type]

    def plain() -> weakref.ref[Group]:
        with Group() as group:
            group.spawn(abs, 1)
        return weakref.ref(group)

    def fails() -> weakref.ref[Group]:
        with contextlib.suppress(ExceptionGroup), Group(limit=1) as group:
            group.spawn(fail)
            group.spawn(abs, 1)
            wait_forever()
        return weakref.ref(group)

    def is_late() -> weakref.ref[Group]:
        with contextlib.suppress(TimeoutError), Group(timeout=0.001) as group:
            group.spawn(wait_forever).result()
        return weakref.ref(group)

    def is_cancelled() -> weakref.ref[Group]:
        with Group() as group, Group() as inner:
            task = inner.spawn(wait_forever)
            group.cancel()
            task.result()
        return weakref.ref(group)

    for ends in (task_fails, plain, fails, is_late, is_cancelled):
        assert ends()() is None, ends


# ---- names, and what can be asked of a group -------------------------------------------------------------------------


@both
def test_names() -> None:
    def work(name: str = "none") -> tuple[str, str]:
        return native.current_thread().name, name

    with Group(limit=1) as group:
        named = group.named("reader 1").spawn(work, name="what it is given")
        plain = group.spawn(work)
        counted = group.spawn(functools.partial(work))
        assert named.result() == ("reader 1", "what it is given")
        assert re.fullmatch(r"Thread-\d+ \(work\)", plain.result()[0])
        assert (named.name, plain.name, counted.name) == ("reader 1", "work", "task")
        with pytest.raises(TypeError, match="name must be a str, not int"):
            group.named(1)  # type: ignore[arg-type]
        begun = group.named("reader 2").start(lambda task_status: task_status.started(native.current_thread().name))
        assert begun == "reader 2"
    assert repr(named) == "<Task 'reader 1' done>"


def test_threads_spawn_and_end_while_others_look() -> None:
    def spawn_many() -> None:
        for _ in range(200):
            group.spawn(int)

    before = counts().tasks
    with Group() as group:
        spawners = [group.spawn(spawn_many) for _ in range(3)]
        while not all(spawner.done() for spawner in spawners):
            assert len(group.tasks) <= 3 * 201
    assert counts().tasks - before == 3 * 201


@both
def test_its_tasks_and_whether_it_is_cancelled() -> None:
    with Group() as group:
        first, second = group.spawn(wait_forever), group.spawn(wait_forever)
        assert group.tasks == (first, second)
        first.cancel()
        until(lambda: group.tasks == (second,))
        assert not group.cancelled
        group.cancel()
        assert group.cancelled
    assert group.tasks == ()
    assert group.cancelled
    with Group() as outer, Group() as inner:
        outer.cancel()
        assert inner.cancelled
    assert not Group().cancelled


@both
def test_map() -> None:
    with Group(limit=2) as group:
        powers = group.map(pow, range(1, 5), [3, 2, 1])
        assert next(powers) == 1
    assert list(powers) == [4, 3]
    with pytest.raises(ExceptionGroup), Group() as group:
        group.map(fail, ["first"])


# ---- a task that says that it is ready -------------------------------------------------------------------------------


@both
def test_start_returns_what_the_task_says_when_it_is_ready() -> None:
    go = Event()

    def serve(port: int, *, host: str, task_status: TaskStatus[str] = IGNORED) -> str:
        sleep(0.001)
        task_status.started(f"{host}:{port}")
        go.wait()
        return "served"

    with Group() as group:
        assert group.start(serve, 80, host="here") == "here:80"
        [task] = group.tasks
        assert task.name == "serve"
        assert group.spawn(go.set).result() is None
        assert task.result() == "served"
        for _ in range(2):  # the default tells nobody, as often as one likes
            assert group.spawn(serve, 80, host="here").result() == "served"


@both
def test_an_error_before_started_comes_out_of_start() -> None:
    def refuse(task_status: TaskStatus[None]) -> None:
        raise Failed("in use")

    with Group() as group:
        other = group.spawn(Event().wait, 0.001)
        with pytest.raises(Failed, match="in use"):
            group.start(refuse)
        with pytest.raises(RuntimeError, match=r"abs\(\) has returned without a call of task_status.started\(\)"):
            group.named("abs").start(lambda task_status: None)
        assert not group.cancelled
    assert other.result() is False


@both
def test_an_error_after_started_fails_the_group() -> None:
    def fails(task_status: TaskStatus[None]) -> None:
        task_status.started()
        with pytest.raises(RuntimeError, match="called before"):
            task_status.started()
        raise Failed

    with pytest.raises(ExceptionGroup) as raised, Group() as group:
        group.start(fails)
        wait_forever()
    assert [type(error) for error in raised.value.exceptions] == [Failed]


@both
def test_the_end_of_the_wait_for_it_is_its_own() -> None:
    begun = Event()

    def never(task_status: TaskStatus[None]) -> None:
        begun.set()
        wait_forever()

    with Group() as group, pytest.raises(TimeoutError), fail_after(0.02):
        group.start(never)
    assert group.tasks == ()
    assert not group.cancelled
    begun.clear()
    with Group() as group:
        canceller = group.spawn(lambda: begun.wait() and group.cancel())
        group.start(never)
        pytest.fail("it is cancelled")
    assert canceller.done()
    with Group() as group:  # it is never called
        group.cancel()
        group.start(never)
        pytest.fail("it is cancelled")
    with Group() as group:
        begun.clear()
        group.spawn(lambda: begun.wait() and group.tasks[-1].cancel())
        with pytest.raises(CancelledError):
            group.start(never)
        assert not group.cancelled


# ---- failures --------------------------------------------------------------------------------------------------------


@both
def test_the_first_failure_cancels_the_others_and_the_block() -> None:
    reached = []
    with pytest.raises(ExceptionGroup, match="unhandled errors in a Group") as raised, Group() as group:
        others = [group.spawn(wait_forever) for _ in range(5)]
        until_asleep(*others)
        failed = group.spawn(fail, "first")
        wait_forever()
        reached.append("what follows a wait in the block")
    assert [str(error) for error in raised.value.exceptions] == ["first"]
    assert all(task.cancelled() for task in others)
    assert not reached
    assert failed.exception() is raised.value.exceptions[0]
    with pytest.raises(Failed):
        failed.result()
    with pytest.raises(CancelledError):
        others[0].result()
    with pytest.raises(CancelledError):
        others[0].exception()


@both
def test_errors_of_tasks_that_tidy_up_come_out_too() -> None:
    with pytest.raises(ExceptionGroup) as raised, Group() as group:
        until_asleep(*[group.spawn(tidy_up, fail, f"tidying up {number}") for number in range(3)])
        group.spawn(fail, "first")
    texts = [str(error) for error in raised.value.exceptions]
    assert texts[0] == "first"
    assert sorted(texts[1:]) == [f"tidying up {number}" for number in range(3)]


@both
def test_an_exception_of_the_block_cancels_all() -> None:
    with pytest.raises(ExceptionGroup) as raised, Group() as group:
        tasks = [group.spawn(wait_forever) for _ in range(3)]
        fail("in the block")
    assert [str(error) for error in raised.value.exceptions] == ["in the block"]
    assert all(task.cancelled() for task in tasks)


@both
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_base_exception_comes_out_as_it_is(kind: type[BaseException]) -> None:
    def leave() -> None:
        raise kind

    with pytest.raises(kind) as of_task, Group() as group:
        task = group.spawn(wait_forever)
        group.spawn(leave)
    assert task.cancelled()
    assert of_task.value.__cause__ is None
    with pytest.raises(kind) as of_block, Group() as group:
        group.spawn(fail, "besides")
        with pytest.raises(Cancelled):
            wait_forever()
        leave()
    assert isinstance(of_block.value.__cause__, ExceptionGroup)
    assert str(of_block.value.__cause__.exceptions[0]) == "besides"


@both
def test_a_cancelled_task_fails_no_other() -> None:
    with Group() as group:
        other = group.spawn(Event().wait, 0.001)
        task = group.spawn(wait_forever)
        until_asleep(task)
        assert task.cancel()
        with pytest.raises(CancelledError):
            task.result()
        assert not task.cancel()
    assert task.cancelled()
    assert other.result() is False


@both
def test_cancelling_the_group_ends_the_block_quietly() -> None:
    with Group() as group:
        tasks = [group.spawn(wait_forever) for _ in range(3)]
        group.cancel()
        assert "cancelled" in repr(group)
        wait_forever()
        pytest.fail("the block is cancelled too")
    assert all(task.cancelled() for task in tasks)
    group.cancel()  # too late: nothing


@both
def test_a_task_of_a_cancelled_group_is_not_called() -> None:
    with Group() as group:
        group.cancel()
        task = group.spawn(pytest.fail, "it is called")
        assert task.cancelled()


@both
def test_where_it_can_be_entered_and_spawned_in() -> None:
    group = Group()
    assert "not entered" in repr(group)
    with pytest.raises(RuntimeError, match="not begun"):
        group.spawn(fail)
    with group:
        pass
    with pytest.raises(RuntimeError, match="has ended"):
        group.spawn(fail)
    with pytest.raises(RuntimeError, match="only be entered once"), group:
        pass


def test_wrong_arguments() -> None:
    wrong: Any
    for wrong, error, named in (
        ({"limit": 0}, ValueError, "limit"),
        ({"limit": 2.5}, TypeError, "limit"),
        ({"limit": "3"}, TypeError, "limit"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": "3"}, TypeError, "timeout"),
        ({"scheduler": 1}, TypeError, "scheduler"),
        ({"color": "red"}, TypeError, "color"),
    ):
        with pytest.raises(error, match=named):
            Group(**wrong)


@both
def test_spawn_refuses_what_cannot_be_called() -> None:
    async def coroutine() -> None:
        pass

    class Asynchronous:
        async def __call__(self) -> None:
            pass

    wrong: Any
    with Group() as group:
        for wrong in (3, None, [].sort()):
            with pytest.raises(TypeError, match=r"as spawn\(f, x\), not f\(x\), which is"):
                group.spawn(wrong)
            with pytest.raises(TypeError, match="give a function"):
                group.start(wrong)
        for wrong in (coroutine, functools.partial(coroutine), Asynchronous()):
            with pytest.raises(TypeError, match=r"is async, .*: spawn\(asyncio\.run, f\(x\)\)"):
                group.spawn(wrong)
        assert group.tasks == ()
        assert isinstance(group.spawn(Asynchronous).result(), Asynchronous)


# ---- deadlines -------------------------------------------------------------------------------------------------------


@both
def test_a_deadline_ends_the_tasks_and_the_block() -> None:
    with pytest.raises(TimeoutError, match="time is up"), Group(timeout=0.02) as group:
        tasks = [group.spawn(wait_forever) for _ in range(3)]
    assert all(task.cancelled() for task in tasks)
    for timeout in (0.02, -1):
        with pytest.raises(TimeoutError), Group(timeout=timeout):
            sleep(FOREVER)
            pytest.fail("it goes on")


@both
def test_a_deadline_that_is_kept() -> None:
    for timeout in (FOREVER, float("inf")):
        with Group(timeout=timeout) as group:
            task = group.spawn(Event().wait, 0.001)
        assert task.result() is False


@both
def test_a_deadline_and_errors() -> None:
    with pytest.raises(ExceptionGroup) as raised, Group(timeout=0.5) as group:
        until_asleep(group.spawn(tidy_up, fail, "late"))
    assert [type(error) for error in raised.value.exceptions] == [TimeoutError, Failed]


@both
def test_a_deadline_after_a_failure_is_none() -> None:
    done: list[object] = []
    with pytest.raises(ExceptionGroup) as raised, Group(timeout=1) as group:
        until_asleep(group.spawn(tidy_up, lambda: done.append(sleep(1.1))))  # over the deadline
        group.spawn(fail)
    assert [type(error) for error in raised.value.exceptions] == [Failed]
    assert done


# ---- groups in groups ------------------------------------------------------------------------------------------------


@both
def test_the_inner_tasks_are_cancelled_while_the_inner_block_computes() -> None:
    ended, ready = Event(), Event()

    def middle() -> None:
        with Group() as inner:
            until_asleep(inner.spawn(tidy_up, ended.set))
            ready.set()
            with shield():
                ended.wait()

    with Group() as outer:
        outer.spawn(middle)
        with shield():
            ready.wait()
            outer.cancel()


@both
def test_ending_the_inner_group_ends_it_alone() -> None:
    with Group() as outer:
        other = outer.spawn(Event().wait, 0.02)
        with pytest.raises(ExceptionGroup), Group() as inner:
            inner.spawn(fail)
            wait_forever()
        with Group() as inner:
            inner.cancel()
            wait_forever()
        with pytest.raises(TimeoutError), Group(timeout=0.001):
            wait_forever()
    assert other.result() is False


@both
def test_an_outer_deadline_goes_through_the_inner() -> None:
    outer: Any
    for outer in (Group(timeout=0.02), fail_after(0.02)):
        with pytest.raises(TimeoutError), outer, Group(timeout=FOREVER) as inner, Group() as innermost:
            tasks = [inner.spawn(wait_forever), innermost.spawn(wait_forever)]
        assert all(task.cancelled() for task in tasks)


@both
def test_errors_of_the_inner_come_out_of_the_outer() -> None:
    def middle() -> None:
        with Group() as inner:
            inner.spawn(fail, "inner")

    with pytest.raises(ExceptionGroup) as raised, Group() as outer:
        outer.spawn(middle)
    (inner,) = raised.value.exceptions
    assert isinstance(inner, ExceptionGroup)
    assert str(inner.exceptions[0]) == "inner"


@in_child
def test_groups_may_be_nested_deeper_than_python_recurses() -> None:
    levels = 200

    threading.stack_size(128 << 10)
    sys.setrecursionlimit(100)
    inside, left = Semaphore(0), []

    def nest(level: int) -> None:
        try:
            with Group() as group:
                if level < levels:
                    group.spawn(nest, level + 1)
                inside.release()
                Event().wait()
        finally:
            left.append(level)

    with Group() as group:
        group.spawn(nest, 1)
        for _ in range(levels):
            inside.acquire()
        group.cancel()
    assert sorted(left) == list(range(1, levels + 1)), left


@in_child
def test_a_cancel_that_fails_half_way_is_carried_out_at_the_blocks_end() -> None:
    """Where Python may call only so many functions more, it asks some tasks, and raises."""
    sys.setrecursionlimit(200)
    inside = Semaphore(0)

    def inner() -> None:
        with Group() as group:
            group.spawn(Event().wait)
            inside.release()

    def at_depth(depth: int, function: Callable[[], object]) -> None:
        if depth:
            at_depth(depth - 1, function)
        else:
            function()

    def cancel_at(depth: int) -> bool:
        try:
            with Group() as group:
                tasks = [group.spawn(inner) for _ in range(3)]
                for _ in tasks:
                    inside.acquire()
                at_depth(depth, group.cancel)
            failed = False
        except* RecursionError:
            failed = True
        assert all(task.cancelled() for task in tasks), (depth, tasks)
        return failed

    assert {cancel_at(depth) for depth in range(150, 200)} == {False, True}


# ---- a limit ---------------------------------------------------------------------------------------------------------


@both
def test_a_limit() -> None:
    room, go = threading.Semaphore(3), Event()

    def work() -> None:
        assert room.acquire(False), "a fourth is inside"
        go.wait()
        sleep(0.0005)
        room.release()

    with Group(limit=3) as group:
        tasks = [group.spawn(work) for _ in range(30)]
        assert sum(task.thread is not None for task in tasks) == 3
        go.set()
    assert all(task.done() for task in tasks)


@both
def test_turns_are_given_in_the_order_of_coming() -> None:
    order: list[int] = []
    with Group(limit=1) as group:
        for number in range(30):
            group.spawn(order.append, number)
    assert order == list(range(30))


@both
def test_tasks_without_a_turn_are_cancelled_without_a_thread() -> None:
    with Group(limit=1) as group:
        first = group.spawn(wait_forever)
        rest = [group.spawn(fail) for _ in range(5)]
        assert rest[2].cancel()
        assert rest[2].cancelled()
        assert not rest[3].done()
        group.cancel()
    assert first.cancelled()
    assert all(task.cancelled() and task.thread is None for task in rest)


@both
def test_a_limit_of_one_and_tasks_that_spawn() -> None:
    order: list[int] = []

    def chain(number: int) -> None:
        order.append(number)
        if number:
            group.spawn(chain, number - 1)

    with Group(limit=1) as group:
        group.spawn(chain, 20)
    assert order == list(range(20, -1, -1))


def test_a_start_that_fails_leaves_nothing(child: Child) -> None:
    def program(limit: int | None) -> None:
        go = Event()
        with Group(limit=limit) as group:
            task = group.spawn(go.wait)
            resource.setrlimit(resource.RLIMIT_AS, (1 << 24, resource.RLIM_INFINITY))
            for _ in range(3):
                try:
                    group.spawn(print, "it runs")
                except RuntimeError as error:
                    assert limit is None or limit > 1, limit
                    assert str(error) == "can't start new thread", error
                else:
                    assert limit == 1, limit  # it waits for its turn
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert len(group._tasks) == (1 if limit != 1 else 4), group
            go.set()
            fine = group.spawn(os.getpid)
        assert task.result() is True
        assert fine.result() == os.getpid()

    for limit in (None, 2):
        assert child(program, limit).stdout == ""
    assert child(program, 1).stdout == "it runs\n" * 3


@in_child(prints="")
def test_a_later_start_that_fails_is_the_tasks_failure() -> None:
    go = Event()
    try:
        with Group(limit=1) as group:
            first = group.spawn(go.wait)
            tasks = [group.spawn(print, "it runs") for _ in range(3)]
            resource.setrlimit(resource.RLIMIT_AS, (1 << 24, resource.RLIM_INFINITY))
            go.set()
    except* RuntimeError as errors:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert [str(error) for error in errors.exceptions] == ["can't start new thread"], errors
    else:
        raise AssertionError("nothing came out")
    assert first.result() is True
    assert str(tasks[0].exception()) == "can't start new thread"
    assert all(task.cancelled() for task in tasks[1:]), tasks


# ---- Ctrl-C, forks, the end of the program ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["the block waits", "the block computes", "its end waits"])
@pytest.mark.parametrize("calls", [WAIT_CALLS])
@in_child(prints="out\n")
def test_ctrl_c_ends_all(place: str, calls: tuple[str, ...]) -> None:
    main = Path(f"/proc/self/task/{os.getpid()}/syscall")
    ready = Event()
    tasks = []

    def interrupt() -> bool:
        ready.wait()
        while place != "the block computes" and main.read_text().split()[0] not in calls:
            pass
        os.kill(os.getpid(), signal.SIGINT)
        return Event().wait(1000)

    def compute() -> None:  # of a loop that ends the block itself, CPython 3.13 has the jump back in no `try`
        while True:
            pass

    try:
        with Group() as group:
            tasks = [group.spawn(Event().wait, 1000) for _ in range(3)]
            tasks.append(group.spawn(interrupt))
            ready.set()
            if place == "the block waits":
                Event().wait(1000)
            if place == "the block computes":
                compute()
    except KeyboardInterrupt:
        print("out")
    assert all(task.cancelled() for task in tasks), tasks
    assert threading.active_count() == 1


@in_child(prints="out\n")
def test_a_second_ctrl_c_reaches_threads_that_tidy_up() -> None:
    waits, tidies = Event(), Event()

    def stubborn() -> None:
        try:
            waits.set()
            Event().wait(1000)
        finally:
            tidies.set()
            Event().wait(1000)

    def interrupt() -> None:  # a thread that no group cancels
        waits.wait()
        os.kill(os.getpid(), signal.SIGINT)
        tidies.wait()
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    try:
        with Group() as group:
            task = group.spawn(stubborn)
    except KeyboardInterrupt:
        print("out")
    assert task.cancelled()
    other.join()


@pytest.mark.parametrize("what", ["a group", "lines with a deadline"])
@in_child(timeout=100)
def test_ctrl_c_at_any_moment(what: str) -> None:
    """Also at the first bytecode of what ends the block: no thread is left, whatever the handler interrupts, and no
    deadline, which would raise Cancelled where nobody expects that."""

    def group(number: int) -> None:
        with Group(limit=2 if number % 3 == 0 else None) as group:
            for _ in range(3):
                group.spawn(Event().wait, 0.0002)

    def lines(number: int) -> None:
        for _ in range(30):
            with fail_after(100):
                pass

    def check(number: int) -> None:
        assert threading.active_count() == 1, (number, threading.enumerate())
        assert native.cancel_mine() is None, number

    if what == "a group":
        ctrl_c_at_any_moment(group, check, rounds=300, step=0.00001)
    else:
        ctrl_c_at_any_moment(lines, check, rounds=1000, step=0.000001)


@in_child
def test_a_child_that_the_block_forks() -> None:
    import pytest

    go = Event()
    with Group() as group:
        task = group.spawn(go.wait)
        if (pid := os.fork()) == 0:
            own = group.spawn(os.getpid)
            with pytest.raises(RuntimeError, match="the process that has forked"):
                task.result()
        else:
            assert os.waitpid(pid, 0)[1] == 0
            go.set()
    if pid == 0:
        assert own.result() == os.getpid()
        os._exit(0)
    assert task.result() is True


@in_child
def test_a_child_that_a_task_forks() -> None:
    def fork() -> int:
        if (pid := os.fork()) == 0:
            with Group() as inner:
                task = inner.spawn(Event().wait, 0.001)
            os._exit(task.result() is not False)
        return os.waitpid(pid, 0)[1]

    with Group() as group:
        group.spawn(Event().wait, 0.01)
        status = group.spawn(fork)
    assert status.result() == 0


# ---- many ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("crowd")
@pytest.mark.slow
@needs_gil("the allocator keeps what the threads' heaps had, for the next ones")
@both
def test_of_ten_thousand_threads_of_which_one_fails_nothing_is_left() -> None:
    """As the fixture of all tests sees; docs/runtime/groups.md has the time."""
    before, active = native.lwp_alive(), threading.active_count()
    never, fails = Event(), Event()

    def one() -> None:
        fails.wait()
        fail("one")

    with pytest.raises(ExceptionGroup) as raised, Group() as group:
        failing = group.spawn(one)
        tasks = [group.spawn(never.wait) for _ in range(9_999)]
        assert native.lwp_alive() - before == 10_000
        fails.set()
    assert [str(error) for error in raised.value.exceptions] == ["one"]
    assert failing.exception() is raised.value.exceptions[0]
    assert all(task.cancelled() for task in tasks)
    native.lwp_reap()
    assert (native.lwp_alive(), threading.active_count()) == (before, active)


def test_a_group_that_is_in_use_for_long_keeps_no_threads() -> None:
    with Group() as group:
        for number in range(200):
            assert group.spawn(abs, number).result() == number
        until(lambda: native.lwp_alive() <= 40)
        group.spawn(abs, 0).result()
        assert len(group._ending) < 50
        assert not group._tasks or len(group._tasks) == 1


# ---- schedulers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lwps", [1, 2])
def test_a_scheduler_that_is_given(lwps: int) -> None:
    scheduler = Scheduler(lwps=lwps)
    done = Event()
    with Group(scheduler=scheduler) as group:
        task = group.spawn(done.wait)
        idents = [group.spawn(threading.get_ident) for _ in range(3)]
        assert idents[0].result() == vars(idents[0].thread)["_ident"]  # the block's waits let them run
        assert task.thread is not None
        assert vars(task.thread)["_lwp_scheduler"] is scheduler
        done.set()
    assert task.result() is True
    with pytest.raises(ExceptionGroup), Group(scheduler=scheduler) as group:
        group.spawn(wait_forever)
        group.spawn(fail)
    scheduler.run()  # the caller's LWP is its own again


@in_child(prints="Deadlock\n", timeout=10)
def test_a_deadlock_of_green_tasks_ends_them() -> None:
    try:
        with Group(scheduler=Scheduler()) as group:
            task = group.spawn(Semaphore(0).acquire)
    except ExceptionGroup as errors:
        print(*[type(error).__name__ for error in errors.exceptions])
    assert task.cancelled()


def test_importing_the_package_loads_no_group() -> None:
    assert python("-c", "import runtime, sys; print('runtime.groups' in sys.modules)").stdout == "False\n"
