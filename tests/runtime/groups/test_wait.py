"""runtime.wait(): what it returns, what it takes, and what ends it."""

from __future__ import annotations

import _thread
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, in_child, in_forked_child, wait_until_parked
from kinds import PATIENCE, both, is_free, my_scheduler, sleeps, started, until, until_asleep
from sync_helpers import FUTEX_CALLS

from runtime import ALL_COMPLETED, FIRST_COMPLETED, Group, Thread, as_completed, native, wait
from runtime.pool import Executor
from runtime.scheduler import Scheduler, spawn, yield_
from runtime.sync import BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore


class Stock(threading.Event):
    """threading's, as runtime.install() has not been called."""


class Derived(Event):
    """Is kept as threading keeps it."""


def when_it_waits(function: Callable[..., object], *args: object) -> Thread:
    """Calls the function in another thread when the calling thread sleeps, in wait()."""
    waiter = native.current_thread()

    def body() -> None:
        until(lambda: sleeps(waiter))
        function(*args)

    return started(body)


# ---- each kind of thing ----------------------------------------------------------------------------------------------


@both
def test_event() -> None:
    events = [Event() for _ in range(3)]
    thread = when_it_waits(events[1].set)
    assert wait(events, PATIENCE) == [events[1]]
    events[2].set()
    assert wait(events) == events[1:]
    thread.join()


@both
def test_an_event_that_is_cleared_at_once_counts() -> None:
    events = [Event() for _ in range(2)]

    def pulse() -> None:
        for event in events:
            event.set()
            event.clear()

    thread = when_it_waits(pulse)
    assert wait(events, PATIENCE) == events[:1]
    thread.join()


@both
@pytest.mark.parametrize("kind", [Semaphore, BoundedSemaphore])
def test_a_semaphore_that_is_returned_is_acquired(kind: type[Semaphore]) -> None:
    semaphore = kind(1)
    assert wait([semaphore]) == [semaphore]
    assert semaphore._value == 0
    thread = when_it_waits(semaphore.release)
    assert wait([Event(), semaphore], PATIENCE) == [semaphore]
    thread.join()
    assert semaphore._value == 0
    semaphore.release()
    assert semaphore._value == 1


@both
def test_one_that_is_not_returned_is_not_acquired() -> None:
    event, semaphore, other = Event(), Semaphore(1), Semaphore(1)
    event.set()
    assert wait([event, semaphore]) == [event]
    assert wait([semaphore, event, other]) == [semaphore]
    assert (semaphore._value, other._value) == (0, 1)
    empty, late = Semaphore(0), Event()
    thread = when_it_waits(late.set)
    assert wait([empty, late], PATIENCE) == [late]
    thread.join()
    empty.release()
    assert empty._value == 1


@both
def test_permits_in_a_crowd() -> None:
    """Threads wait for one of two permits, others take them one by one: never two inside, and all come in."""
    locks, rooms, passed = [Semaphore(1), Semaphore(1)], [threading.Lock(), threading.Lock()], list[int]()

    def enter(index: int) -> None:
        assert rooms[index].acquire(False), "another is inside"
        yield_()
        rooms[index].release()
        passed.append(index)

    def by_wait() -> None:
        for _ in range(200):
            (lock,) = wait(locks, PATIENCE)
            enter(locks.index(lock))
            lock.release()

    def by_acquire(index: int) -> None:
        for _ in range(200):
            with locks[index]:
                enter(index)

    def with_timeouts() -> None:
        for _ in range(200):
            for lock in wait(locks, 0.00001):
                enter(locks.index(lock))
                lock.release()
            yield_()

    threads = [started(body) for body in (by_wait, by_wait, with_timeouts)]
    for thread in [*threads, started(by_acquire, 0), started(by_acquire, 1)]:
        thread.join()
    assert len(passed) >= 800
    assert [lock._value for lock in locks] == [1, 1]


@both
def test_thread() -> None:
    events = [Event() for _ in range(4)]
    threads = [started(event.wait) for event in events]
    others: list[Any] = list(threads)
    for index in (2, 0, 3, 1):
        setter = when_it_waits(events[index].set)
        assert wait(others, PATIENCE) == [threads[index]]
        assert not threads[index].is_alive()
        others.remove(threads[index])
        setter.join()
    assert wait(threads) == threads


@both
def test_threads_of_the_other_kind() -> None:
    """A green thread for those with an LWP of their own, and the other way round."""
    gates = [Event() for _ in range(3)]
    if my_scheduler() is None:
        scheduler = Scheduler(lwps=2)
        threads = [Thread(target=gate.wait, scheduler=scheduler) for gate in gates]
        runner = Thread(target=scheduler.run)
    else:
        threads = [Thread(target=gate.wait) for gate in gates]
        runner = Thread(target=int)
    for thread in [*threads, runner]:
        thread.start()
    for gate, thread in zip(gates, threads, strict=True):
        gate.set()
        assert wait([thread, Event()], PATIENCE) == [thread]
        assert not thread.is_alive()
    assert wait([runner]) == [runner]


@both
def test_lwp() -> None:
    gate = Event()
    lwp = spawn(gate.wait)
    assert wait([lwp], 0) == []
    setter = when_it_waits(gate.set)
    assert wait([lwp], PATIENCE) == [lwp]
    assert not lwp.is_alive()
    lwp.join()
    setter.join()


@both
def test_task() -> None:
    gate = Event()
    with Group() as group:
        tasks: list[Any] = [group.spawn(Event().wait), group.spawn(gate.wait)]
        thread = when_it_waits(gate.set)
        assert wait(tasks, PATIENCE) == tasks[1:]
        group.cancel()
        assert wait(tasks, PATIENCE, return_when=ALL_COMPLETED) == tasks
    thread.join()


@both
def test_future() -> None:
    gate = Event()
    with Executor(3) as executor:
        futures: list[Any] = [executor.submit(Event().wait), executor.submit(gate.wait)]
        thread = when_it_waits(gate.set)
        assert wait(futures, PATIENCE) == futures[1:]
        futures[0].cancel(running=True)
        assert wait(futures, PATIENCE, return_when=ALL_COMPLETED) == futures
        last = executor.submit(abs, -1)
        assert wait([Semaphore(0), last], PATIENCE) == [last]
    thread.join()


@both
def test_futures_in_a_crowd() -> None:
    """Each end is seen, whichever comes first: the call's, or the wait for it."""
    with Executor(4) as executor:
        for number in range(200):
            futures = [executor.submit(pow, number, power) for power in range(4)]
            rest = futures
            while rest:
                done = wait(rest, PATIENCE)
                assert done
                rest = [future for future in rest if future not in done]
            assert [future.result() for future in futures] == [number**power for power in range(4)]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@both
def test_the_future_of_a_call_that_the_parent_makes() -> None:
    gate = Event()

    def check() -> None:
        assert wait([future], 0) == []
        with pytest.raises(RuntimeError, match="the process that has forked"):
            wait([future])

    with Executor(1) as executor:
        future = executor.submit(gate.wait)
        until(future.running)
        assert in_forked_child(check) == 0
        gate.set()


# ---- all of them -----------------------------------------------------------------------------------------------------


@both
def test_all() -> None:
    event, other, me = Event(), Event(), native.current_thread()

    def one_after_the_other() -> None:
        for step in (event.set, other.set):
            until(lambda: sleeps(me))
            step()
            yield_()

    thread = started(one_after_the_other)
    things = [event, thread, other]
    assert wait(things, PATIENCE, return_when=ALL_COMPLETED) == things


@both
def test_as_completed_yields_in_order_until_the_timeout() -> None:
    first, second, thread = Event(), Event(), started(yield_)
    second.set()
    assert wait([first, thread, second], 0.001, return_when=ALL_COMPLETED)[-1] is second
    first.set()
    assert wait([first, thread, second], PATIENCE, return_when=ALL_COMPLETED) == [first, thread, second]


@both
def test_all_acquires_nothing() -> None:
    thing, event = Semaphore(1), Event()
    for timeout in (None, 0, 1):
        with pytest.raises(TypeError, match="would be acquired, which a wait for all doesn't do"):
            wait([event, thing], timeout, return_when=ALL_COMPLETED)
    assert is_free(thing)


@both
def test_as_completed() -> None:
    gates = [Event() for _ in range(3)]
    with Group() as group:
        tasks = [group.spawn(gate.wait) for gate in gates]
        ready = as_completed(tasks)
        for number in (1, 0, 2):
            gates[number].set()
            assert next(ready) is tasks[number]
        assert list(ready) == []
        assert list(as_completed(tasks, 0)) == tasks
        assert list(as_completed([tasks[0], *tasks])) == [tasks[0], *tasks]
        with pytest.raises(TimeoutError, match="2 of 3 are not ready"):
            list(as_completed([Event(), tasks[0], Semaphore(0)], 0.001))
    semaphore = Semaphore(1)
    assert list(as_completed([semaphore, gates[0]])) == [semaphore, gates[0]]
    assert not semaphore.acquire(False)


@both
def test_no_threads_at_all() -> None:
    assert wait([]) == []
    assert wait(iter(()), return_when=ALL_COMPLETED) == []


@both
def test_a_thing_that_is_given_twice() -> None:
    semaphore, event = Semaphore(1), Event()
    thread = when_it_waits(event.set)
    assert wait([event, event], PATIENCE) == [event, event]
    thread.join()
    assert wait([semaphore, semaphore]) == [semaphore]
    assert wait([event, event], return_when=ALL_COMPLETED) == [event, event]


# ---- timeouts --------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("timeout", [0, -1, -1e300, 0.001, 1e-12])
@pytest.mark.parametrize("return_when", [FIRST_COMPLETED, ALL_COMPLETED])
def test_the_time_is_up(timeout: float, return_when: str) -> None:
    takes: list[Any] = [Semaphore(0)] if return_when == FIRST_COMPLETED else []
    for things in ([Event()], [*takes, Event()]):
        assert wait(things, timeout, return_when=return_when) == []


@both
def test_timeouts_that_are_refused() -> None:
    event = Event()
    event.set()
    with pytest.raises(OverflowError):
        wait([event], threading.TIMEOUT_MAX * 2)
    with pytest.raises(ValueError, match="NaN"):
        wait([event], math.nan)
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not str"):
        wait([event], "soon")  # type: ignore[arg-type]
    assert wait([event], threading.TIMEOUT_MAX) == [event]


@both
def test_it_does_not_end_before_its_time() -> None:
    begin = time.monotonic()
    assert wait([Event(), Semaphore(0)], 0.02) == []
    assert time.monotonic() - begin >= 0.02


# ---- what is refused -------------------------------------------------------------------------------------------------


@both
def test_wait_refuses_what_cannot_be_waited_for() -> None:
    for thing in ("x", None, Condition(), 1.5, object(), threading.Barrier(2)):
        with pytest.raises(TypeError, match="can wait for threads"):
            wait([thing])
    with pytest.raises(TypeError, match="derived class"):
        wait([Derived()])
    for lock in (Lock(), RLock(), _thread.allocate_lock(), _thread.RLock(), threading._PyRLock()):  # type: ignore[attr-defined]
        with pytest.raises(TypeError, match=r"for the lock .* use Semaphore\(1\), which a wait acquires"):
            wait([lock])
        assert is_free(lock)
    with open(__file__, "rb") as file:
        for thing in (file, file.fileno()):
            with pytest.raises(TypeError, match="select, poll and selectors wait for files"):
                wait([thing])
    for stock in (threading.Event, threading.BoundedSemaphore, Stock):
        with pytest.raises(TypeError, match=r"threading's own: use runtime\.sync's"):
            wait([stock()])
    with pytest.raises(TypeError):
        wait(Event())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="FIRST_EXCEPTION"):
        wait([], return_when="FIRST_EXCEPTION")
    with pytest.raises(RuntimeError, match="not been started"):
        wait([Thread(target=int)])
    with pytest.raises(RuntimeError, match="threading's own"):
        wait([threading.main_thread()])


@both
def test_the_calling_thread() -> None:
    errors: list[BaseException] = []

    def body() -> None:
        try:
            wait([native.current_thread()])
        except BaseException as error:
            errors.append(error)

    started(body).join()
    assert isinstance(errors[0], RuntimeError)


@in_child(says="is a green thread that nobody runs: call its scheduler's run()")
def test_a_green_thread_that_nothing_runs() -> None:
    """In a process of its own: another thread, of any test before, might still run it."""
    import runtime

    green = runtime.scheduler.Scheduler()
    thread = runtime.Thread(target=int, scheduler=green)
    thread.start()
    try:
        runtime.wait([thread])
    except RuntimeError as error:
        print(error)
    assert runtime.wait([thread], 0) == []
    green.run()
    assert runtime.wait([thread]) == [thread]


# ---- cancellation, signals, forks ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("return_when", [FIRST_COMPLETED, ALL_COMPLETED])
def test_cancelled(return_when: str) -> None:
    semaphore, event = Semaphore(0), Event()
    sleeper = started(event.wait)
    things: list[Any] = [Event(), sleeper]
    if return_when == FIRST_COMPLETED:
        things.append(semaphore)
    with Group() as group:
        task = group.spawn(wait, things, return_when=return_when)
        until_asleep(task)
        task.cancel()
    assert task.cancelled()
    semaphore.release()
    assert semaphore._value == 1
    event.set()
    sleeper.join()


@both
def test_cancelled_with_a_permit_on_its_way() -> None:
    """It has the permit, or another can take it."""
    for _ in range(100):
        semaphore = Semaphore(0)
        got: list[object] = []

        def take(semaphore: Semaphore = semaphore, got: list[object] = got) -> None:
            got.extend(wait([Event(), semaphore]))

        with Group() as group:
            task = group.spawn(take)
            until_asleep(task)
            group.spawn(semaphore.release)
            task.cancel()
        assert len(got) + semaphore._value == 1


@both
def test_a_deadline() -> None:
    with pytest.raises(TimeoutError), Group(timeout=0.01):
        wait([Event(), Semaphore(0)])


@in_child
def test_ctrl_c() -> None:
    semaphore = Semaphore(0)

    def interrupt() -> None:
        wait_until_parked(threading.main_thread().native_id, private=True)
        os.kill(os.getpid(), signal.SIGINT)

    for things in ([semaphore], [semaphore, Event()]):
        thread = Thread(target=interrupt)
        thread.start()
        try:
            wait(things)
        except KeyboardInterrupt:
            thread.join()
        else:
            raise AssertionError("no KeyboardInterrupt")
    semaphore.release()
    assert semaphore._value == 1


@in_child
def test_a_handler_that_waits_for_the_same() -> None:
    """The wait has left all queues while the handler runs, and is entered anew."""
    semaphore, event, handled = Semaphore(0), Event(), []

    def handler(*_: object) -> None:
        handled.append(wait([semaphore], 10))

    def body() -> None:
        for _ in range(2):
            wait_until_parked(threading.main_thread().native_id, private=True)
            os.kill(os.getpid(), signal.SIGUSR1)
            while len(handled) == 0:
                semaphore.release()
                time.sleep(0.01)
            handled.clear()
        while semaphore._value:
            time.sleep(0)
        event.set()

    signal.signal(signal.SIGUSR1, handler)
    thread = Thread(target=body)
    thread.start()
    while event not in wait([event, semaphore], 30):
        pass
    thread.join()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@both
def test_fork_while_others_wait() -> None:
    """The child has no waiters: a permit stays, and the parent's go on."""
    semaphore, event, ends = Semaphore(0), Event(), Event()
    sleeper = started(ends.wait)
    got: list[list[Any]] = []
    threads = [started(lambda: got.append(wait([semaphore, event, sleeper]))) for _ in range(2)]
    until(lambda: all(map(sleeps, threads)))

    def check() -> None:
        semaphore.release()
        assert semaphore._value == 1
        assert wait([event, semaphore], 10) == [semaphore]
        event.set()
        assert wait([event], 10) == [event]

    assert in_forked_child(check) == 0
    semaphore.release(2)
    for thread in threads:
        thread.join()
    assert got == [[semaphore], [semaphore]]
    ends.set()
    sleeper.join()


# ---- with other waiters ----------------------------------------------------------------------------------------------


@both
def test_permits_come_in_the_order_of_waiting() -> None:
    semaphore = Semaphore(0)
    order: list[int] = []

    def body(number: int) -> None:
        if number % 2:
            assert wait([Event(), semaphore]) == [semaphore]
        else:
            semaphore.acquire()
        order.append(number)

    threads = []
    for number in range(6):
        threads.append(started(body, number))
        until(lambda: sleeps(threads[-1]))
    for number in range(6):
        semaphore.release()
        until(lambda number=number: len(order) == number + 1)
    for thread in threads:
        thread.join()
    assert order == list(range(6))


@both
def test_a_permit_passes_by_one_that_has_another() -> None:
    """Two semaphores, one waiter for both and one for each: what the first can't take goes to the others."""
    one, two = Semaphore(0), Semaphore(0)
    got: list[object] = []
    first = started(lambda: got.extend(wait([one, two])))
    until(lambda: sleeps(first))
    rest = [started(lambda s=s: (s.acquire(), got.append(s))) for s in (one, two)]
    until(lambda: all(map(sleeps, rest)))
    one.release()
    two.release()
    until(lambda: len(got) == 2)
    assert got.count(one) == 1
    one.release()
    for thread in [first, *rest]:
        thread.join()
    assert got.count(one) == 2
    assert got.count(two) == 1


@both
def test_no_permit_is_lost_in_a_crowd() -> None:
    semaphores = [Semaphore(0) for _ in range(3)]
    rounds = 150
    got: list[Semaphore] = []  # append() is whole without a GIL too
    over = Event()

    def take_any() -> None:
        while (ready := wait([*semaphores, over])) != [over]:
            (semaphore,) = ready
            got.append(semaphore)

    def take_with_timeouts() -> None:
        while not over.is_set():
            got.extend(wait(semaphores, 0.0001))

    def give(semaphore: Semaphore) -> None:
        for _ in range(rounds):
            semaphore.release()
            yield_()

    takers = [started(body) for body in (take_any, take_any, take_with_timeouts)]
    givers = [started(give, semaphore) for semaphore in semaphores]
    for thread in givers:
        thread.join()
    until(lambda: len(got) + sum(s._value for s in semaphores) == 3 * rounds)
    over.set()
    for thread in takers:
        thread.join()
    assert [got.count(semaphore) + semaphore._value for semaphore in semaphores] == [rounds] * 3


@both
def test_a_thousand_threads_in_random_order() -> None:
    gates = [Event() for _ in range(1000)]
    threads = {started(gate.wait): gate for gate in gates}
    left = set(threads)
    numbers = list(threads.values())
    for gate in numbers[::2] + numbers[-1::-2]:
        gate.set()
    while left:
        ended = wait(left, PATIENCE)
        assert ended
        assert not any(thread.is_alive() for thread in ended)
        left.difference_update(ended)
    assert len(wait(threads, 0, return_when=ALL_COMPLETED)) == 1000


# ---- what it costs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in a group"])  # there it can be cancelled
def test_a_thousand_threads_are_one_sleep_each(child: Child, grouped: bool) -> None:
    """They end one after the other, each when the one that waits is asleep, which sleeps once for each.

    Otherwise it would mostly be woken by the thread that ends, and sleep once more until the kernel has cleared its
    word.
    """

    def program(grouped: bool, calls: tuple[str, ...]) -> None:
        import contextlib
        import random
        import resource

        from runtime import Group, wait

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # 1,024 descriptors are usual, and too few
        by_write = {}
        for _ in range(1000):
            read, write = os.pipe()
            by_write[write] = thread = Thread(target=os.read, args=(read, 1), stack_size=1 << 16)
            thread.start()

        def is_asleep(task: str) -> bool:
            call = Path(task + "/syscall").read_text().split()
            return call[0] in calls and call[2] != "0x189"  # glibc's, for the GIL

        def end_them(task: str) -> None:
            writes = list(by_write)
            random.shuffle(writes)
            for write in writes:
                while not is_asleep(task):
                    pass
                os.write(write, b"x")

        def sleeps() -> int:
            status = Path("/proc/thread-self/status").read_text()
            return int(status.rpartition("nonvoluntary_ctxt_switches")[0].rpartition(":")[2])

        def wait_for_all() -> None:
            task = f"/proc/{os.getpid()}/task/{waiter.native_id}"
            if (pid := os.fork()) == 0:
                end_them(task)
                os._exit(0)
            left, waits = set(by_write.values()), 0
            with Group() if grouped else contextlib.nullcontext():
                before = sleeps()
                while left:
                    left.difference_update(wait(left))
                    waits += 1
                print(waits, sleeps() - before)
            os.waitpid(pid, 0)

        waiter = Thread(target=wait_for_all)
        waiter.start()
        waiter.join()

    waits, sleeps = map(int, child(program, grouped, FUTEX_CALLS).stdout.split())
    assert 0 < sleeps <= waits * 1.25 + 50  # up to 35 were for the GIL, with eight other runs on two processors
