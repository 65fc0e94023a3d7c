"""Green threads: the same Thread, run on the LWP of the thread that calls Scheduler.run()."""

from __future__ import annotations

import contextvars
import ctypes
import errno
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import (
    Child,
    NativeHelper,
    in_child,
    in_forked_child,
    refuse,
    run_thread,
    run_threads,
    until_alone,
    wait_until_parked,
)

import runtime
from runtime import Thread, native, scheduler, sync
from runtime.scheduler import Scheduler, sleep, yield_

libc = ctypes.CDLL(None)
pytestmark = pytest.mark.timeout(20)  # who parks the LWP instead of the green thread stops all


@pytest.fixture(params=[(1, None), (3, None), (1, 1e-4)], ids=["one LWP", "three LWPs", "time slice"])
def green(request: pytest.FixtureRequest) -> Iterator[Scheduler]:
    yield Scheduler(*request.param)
    request.node.funcargs.pop("green")  # else it would be there, with its epoll, until after the look at what is left


@pytest.fixture
def on_one() -> Scheduler:
    return Scheduler()


# ---- a green thread is a thread --------------------------------------------------------------------------------------


def test_many_threads_one_lwp(on_one: Scheduler) -> None:
    seen = []

    def look(number: int) -> None:
        for turn in range(3):
            thread = threading.current_thread()
            seen.append((turn, number, threading.get_ident(), threading.get_native_id(), thread))
            assert thread in threading.enumerate()
            assert thread.is_alive()
            yield_()

    threads = [on_one.spawn(look, number) for number in range(3)]
    assert seen == [], "nobody runs it yet"
    assert on_one.unfinished == 3
    on_one.run()
    assert on_one.unfinished == 0
    assert [entry[:2] for entry in seen] == [(turn, number) for turn in range(3) for number in range(3)], "in turn"
    assert {entry[3] for entry in seen} == {threading.get_native_id()} == {on_one.tid}
    assert [entry[2] for entry in seen[:3]] == [thread.ident for thread in threads]
    assert len({thread.ident for thread in threads}) == 3
    assert [entry[4] for entry in seen[:3]] == threads
    assert {thread.native_id for thread in threads} == {on_one.tid}
    assert not any(thread.is_alive() or thread in threading.enumerate() for thread in threads)
    for thread in threads:
        thread.join()


def test_lwps_of_its_own() -> None:
    """Its threads run on them, one after another; when all have ended they are gone."""
    green, seen = Scheduler(3), []

    def look(number: int) -> None:
        for turn in range(3):
            seen.append((turn, number, threading.get_native_id()))
            yield_()

    for number in range(3):
        green.spawn(look, number)
    green.run()
    assert sorted(entry[:2] for entry in seen) == [(turn, number) for turn in range(3) for number in range(3)]
    assert threading.get_native_id() not in {entry[2] for entry in seen}


@in_child
def test_another_lwp_takes_over() -> None:
    """When a thread waits for something that green threads can't help, or computes."""
    green, turns, read_end, write_end = scheduler.Scheduler(3), [], *os.pipe()

    def blocks() -> None:
        assert os.read(read_end, 1) == b"."

    def computes() -> None:
        while len(turns) < 20:
            pass

    def turn() -> None:
        while len(turns) < 20:
            turns.append(threading.get_native_id())
            scheduler.sleep(0.001)
        os.write(write_end, b"..")

    for what in (blocks, blocks):
        green.spawn(what)
    green.spawn(turn)
    green.run()
    assert len(turns) == 20
    turns.clear()
    green.spawn(computes)
    green.spawn(turn)
    green.run()


# ---- the time slice --------------------------------------------------------------------------------------------------


def compute_until_told(time_slice: float | None) -> None:
    green, flag = scheduler.Scheduler(1, time_slice), []

    def computes() -> None:
        os.write(1, b"computes, ")
        signal.alarm(0 if time_slice else 1)
        while not flag:
            pass

    green.spawn(computes)
    green.spawn(flag.append, 1)
    green.run()
    os.write(1, b"has ended")


def test_one_that_computes_lets_others_have_their_turn(child: Child) -> None:
    assert child(compute_until_told, 0.001).stdout == "computes, has ended"
    assert child(compute_until_told, None, status=-signal.SIGALRM).stdout == "computes, "


@in_child
def test_all_that_compute_get_on() -> None:
    """Five at once, one beside them that sleeps, on as many LWPs as that needs, all given back."""
    green, counts, tasks = scheduler.Scheduler(1, 0.001), [0] * 5, []

    def count(number: int) -> None:
        while not tasks or min(counts) < 1000:
            counts[number] += 1

    def look() -> None:
        scheduler.sleep(0.001)
        tasks.append(len(os.listdir("/proc/self/task")))

    for _ in range(3):
        counts[:] = [0] * 5
        tasks.clear()
        for number in range(5):
            green.spawn(count, number)
        green.spawn(look)
        green.run()
        until_alone()
        assert len(tasks) == 1
        assert 1 + 5 + 1 <= tasks[0] <= 1 + 5 + 3, tasks


@in_child
def test_a_thread_that_has_computed_rejoins_the_queue() -> None:
    """It takes turns with the others again, on the same LWP."""
    green, flag, event, turns = scheduler.Scheduler(1, 0.001), [], sync.Event(), []

    def take_turns() -> None:
        event.wait()
        for _ in range(5):
            turns.append(threading.get_native_id())
            scheduler.yield_()

    def computes() -> None:
        while not flag:
            pass
        take_turns()

    green.spawn(computes)
    green.spawn(lambda: (flag.append(1), scheduler.sleep(0.001), event.set(), take_turns()))
    green.run()
    assert len(turns) == 10


@in_child(prints="went on\n", timeout=10)
def test_one_that_was_held_off_yields_while_the_others_sleep() -> None:
    """A thread goes back to the queue from an LWP that is not the runner's. The runner sleeps, and has to be woken."""
    green, came = scheduler.Scheduler(time_slice=0.001), []
    read, write = os.pipe()

    def compute() -> None:
        while not came:
            pass
        end = time.monotonic() + 0.05  # the other LWP goes to sleep
        while time.monotonic() < end:
            pass
        scheduler.yield_()
        os.write(write, b".")
        print("went on")

    green.spawn(os.read, read, 1)  # keeps its LWP
    green.spawn(compute)
    green.spawn(came.append, 1)
    green.run()


@in_child
def test_all_kinds_of_waiting_beside_one_that_computes() -> None:
    green, stop, seen = scheduler.Scheduler(1, 0.001), [], []
    read, write = os.pipe()
    event = sync.Event()

    def computes() -> None:
        while not stop:
            pass

    def waits() -> None:
        scheduler.sleep(0.001)
        os.write(write, b".")
        seen.append(scheduler.wait_fd(read, select.POLLIN))
        lwp = runtime.Thread(target=event.set)
        lwp.start()
        event.wait()
        lwp.join()
        green.spawn(seen.append, 2).join()
        stop.append(1)

    green.spawn(computes)
    green.spawn(waits)
    green.run()
    assert seen == [select.POLLIN, 2]


@pytest.mark.root  # only root may become another user: one who has no other processes
@in_child
def test_no_more_lwps_to_be_had() -> None:
    """Then two must do; when there are more again, they are made."""
    scheduler.Scheduler()  # loads what it needs, which that user may not read
    resource.setrlimit(resource.RLIMIT_NPROC, (3, 100))
    os.setuid(52_732)

    def compute(number: int) -> int:
        green, flag, tasks = scheduler.Scheduler(1, 0.001), [], []

        def computes() -> None:
            while not flag:
                pass

        for _ in range(number):
            green.spawn(computes)
        green.spawn(lambda: (tasks.append(len(os.listdir("/proc/self/task"))), flag.append(1)))
        green.run()
        until_alone()
        return tasks[0]

    assert compute(1) == 3
    resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))
    assert compute(4) > 5


@in_child(prints="goes on\n")
def test_the_end_while_one_computes() -> None:
    green = scheduler.Scheduler(1, 0.001)

    def computes() -> None:
        while True:
            pass

    for _ in range(2):
        runtime.Thread(target=computes, scheduler=green, daemon=True).start()
    green.spawn(print, "goes on")


def test_a_scheduler_refuses_bad_arguments(on_one: Scheduler) -> None:
    for lwps in (0, -1, 1025):
        with pytest.raises(ValueError, match=f"from 1 to 1024, not {lwps}"):
            Scheduler(lwps=lwps)
    for wrong in (0, -1, 0.00001, 1e7, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"from 0.0001 to 1e6, or None, not {wrong}"):
            Scheduler(time_slice=wrong)
    with pytest.raises(TypeError, match=r"time_slice must be a number of seconds from .* not '1'"):
        Scheduler(time_slice="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="lwps must be a whole number from 1 to 1024, not 'x'"):
        Scheduler(lwps="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lwps must be a whole number from 1 to 1024, not 1180591620717411303424"):
        Scheduler(lwps=1 << 70)
    with pytest.raises(TypeError, match="scheduler must be a Scheduler or None, not int"):
        Thread(scheduler=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no LWP of its own"):
        Thread(scheduler=on_one, flags=runtime.THREAD_FLAGS)
    for seconds, error in ((-1, ValueError), (None, TypeError), ("1", TypeError), (float("nan"), ValueError)):
        with pytest.raises(error):
            sleep(seconds)  # type: ignore[arg-type]
    refused: list[str] = []

    def run_again(other: Scheduler) -> None:
        with pytest.raises(RuntimeError) as caught:
            other.run()
        refused.append(str(caught.value))

    on_one.spawn(run_again, on_one)
    on_one.spawn(run_again, Scheduler())
    on_one.spawn(run_thread, Thread(target=run_again, args=(on_one,)))
    on_one.run()
    on_a_scheduler = "the calling thread is on a scheduler itself"
    assert sorted(refused) == ["another thread runs this scheduler", on_a_scheduler, on_a_scheduler]


def test_state_that_is_a_threads_own(green: Scheduler) -> None:
    """TLS of Python and of the C library, context variables, the rounding of floating point, recursive mutexes."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    local = threading.local()
    libm = ctypes.CDLL("libm.so.6")
    mutex, attributes = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    assert libc.pthread_mutexattr_init(attributes) == libc.pthread_mutexattr_settype(attributes, 1) == 0  # recursive
    assert libc.pthread_mutex_init(mutex, attributes) == 0
    taken = []

    def change(number: int) -> None:
        variable.set(number)
        ctypes.set_errno(number)
        libm.fesetround(rounding[number])
        assert not hasattr(local, "number")
        local.number = number
        taken.append(libc.pthread_mutex_trylock(mutex))
        yield_()
        assert (variable.get(), ctypes.get_errno(), libm.fegetround()) == (number, number, rounding[number])
        assert local.number == number

    rounding = {1: 0x400, 2: 0x800} if os.uname().machine == "x86_64" else {1: 0x400000, 2: 0x800000}
    threads = [green.spawn(change, number) for number in (1, 2)]
    green.run()
    assert sorted(taken) == [0, errno.EBUSY]
    assert (variable.get(), libm.fegetround()) == (0, 0)
    assert not any(thread.is_alive() for thread in threads)


def test_an_exception_ends_only_its_thread(on_one: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append((args.exc_type, args.thread)))
    after: list[int] = []

    def divide() -> None:
        try:
            raise KeyError
        except KeyError:
            yield_()  # another one handles another exception meanwhile
            assert sys.exc_info()[0] is KeyError
            after.append(1 // 0)

    threads = [on_one.spawn(divide), on_one.spawn(sys.exit, 3), on_one.spawn(after.append, 1)]
    on_one.run()
    assert told == [(SystemExit, threads[1]), (ZeroDivisionError, threads[0])]
    assert after == [1]


def test_switches_in_the_midst_of_things(green: Scheduler) -> None:
    """Deep in Python, in a callback from C, in a generator that goes from thread to thread, in finally."""
    done: list[object] = []

    def deep(depth: int) -> int:
        return deep(depth - 1) + 1 if depth else (yield_(), 0)[1]

    def callbacks() -> None:
        compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        numbers = (ctypes.c_int * 50)(*range(50, 0, -1))

        def in_turn(a: int, b: int) -> int:
            yield_()
            x, y = (ctypes.cast(p, ctypes.POINTER(ctypes.c_int))[0] for p in (a, b))
            return (x > y) - (x < y)

        ctypes.CDLL(None).qsort(numbers, 50, 4, compare(in_turn))
        done.append(list(numbers) == sorted(numbers))
        done.append(sorted(range(50), key=lambda n: (yield_(), -n)[1]) == list(range(49, -1, -1)))

    def generate() -> Iterator[int]:
        try:
            for _ in range(4):
                yield threading.get_ident()
                yield_()
        finally:
            yield_()
            done.append("finally")

    def take(shared: Iterator[int]) -> None:
        done.append(next(shared) == threading.get_ident())
        sync.Event().wait(0.001)

    for _ in range(3):
        green.spawn(lambda: done.append(deep(400) == 400))
        green.spawn(callbacks)
    shared = generate()
    for _ in range(3):
        green.spawn(lambda: turns.acquire() and take(shared) is None and turns.release())
    turns = sync.Lock()
    green.run()
    assert list(shared) == [threading.get_ident()]
    assert done.count(True) == 12
    assert done.count("finally") == 1


def test_tracing_is_a_threads_own(green: Scheduler) -> None:
    lines: dict[int, int] = {}

    def trace(frame: Any, event: str, arg: object) -> Any:
        ident = threading.get_ident()
        lines[ident] = lines.get(ident, 0) + (event == "line")
        return trace

    def work(traced: bool) -> None:
        if traced:
            sys.settrace(trace)
        count()

    def count() -> None:
        for _ in range(5):
            yield_()

    before = sys.gettrace()
    threads = [green.spawn(work, traced) for traced in (True, False, True)]
    green.run()
    assert [lines.get(thread.ident or 0, 0) > 5 for thread in threads] == [True, False, True]
    assert sys.gettrace() is before


def test_switching_is_no_system_call(on_one: Scheduler) -> None:
    def turn() -> None:
        for _ in range(5_000):
            yield_()

    def sleeps() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    for _ in range(4):
        on_one.spawn(turn)
    before, switches_before = sleeps(), scheduler.green_statistics().switches
    on_one.run()
    assert scheduler.green_statistics().switches - switches_before >= 20_000
    assert sleeps() - before < 100


# ---- sleeping and waking ---------------------------------------------------------------------------------------------


def kinds() -> list[Any]:
    """(how to sleep, how to wake that), each from a primitive of its own."""

    def lock() -> Any:
        lock = sync.Lock()
        lock.acquire()
        return lock.acquire, lock.release

    def semaphore() -> Any:
        semaphore = sync.Semaphore(0)
        return semaphore.acquire, semaphore.release

    def event() -> Any:
        event = sync.Event()
        return lambda timeout=None: event.wait(timeout) and event.clear() is None, event.set

    def condition() -> Any:
        condition, said = sync.Condition(), []

        def wait(timeout: float | None = None) -> bool:
            with condition:
                return bool(condition.wait_for(lambda: said, timeout) and said.pop())

        def notify() -> None:
            with condition:
                said.append(1)
                condition.notify()

        return wait, notify

    return [pytest.param(make, id=make.__name__) for make in (lock, semaphore, event, condition)]


def start(scheduler: Scheduler | None, target: Callable[..., object], *args: object) -> Thread:
    thread = Thread(target=target, args=args, scheduler=scheduler)
    thread.start()
    return thread


@pytest.mark.parametrize("make", kinds())
@pytest.mark.parametrize("sleeper", [True, False], ids=["green sleeps", "LWP sleeps"])
@pytest.mark.parametrize("waker", [True, False], ids=["green wakes", "LWP wakes"])
def test_all_wake_each_other(make: Callable[[], Any], sleeper: bool, waker: bool, green: Scheduler) -> None:
    done = []

    def sleep_then_wake(wait: Callable[[], object], notify: Callable[[], object], first: bool) -> None:
        if first:
            notify()
        for _ in range(50):
            done.append(wait())
            notify()

    (wait_a, wake_a), (wait_b, wake_b) = make(), make()
    threads = [
        start(green if sleeper else None, sleep_then_wake, wait_a, wake_b, False),
        start(green if waker else None, sleep_then_wake, wait_b, wake_a, True),
    ]
    green.run()
    for thread in threads:
        thread.join()
    assert done == [True] * 100


def test_a_barrier_of_both(green: Scheduler) -> None:
    barrier, met = sync.Barrier(6), []

    def meet() -> None:
        for turn in range(20):
            met.append(turn)
            barrier.wait()

    threads = [start(kind, meet) for kind in [green, None] * 3]
    green.run()
    for thread in threads:
        thread.join()
    assert met == sorted(met)


@pytest.mark.parametrize("make", kinds())
def test_a_timeout_comes_while_others_run(make: Callable[[], Any], green: Scheduler) -> None:
    done, computes = [], [True]
    wait, _ = make()

    def time_out() -> None:
        done.append(wait(timeout=0.02))
        computes.clear()

    def compute() -> None:
        while computes:
            yield_()

    green.spawn(compute)
    green.spawn(time_out)
    green.run()
    assert done == [False]


def test_no_sleep_is_too_short(green: Scheduler) -> None:
    """Sleeps and waits of all lengths, of which some are ended before their time."""
    events = [sync.Event() for _ in range(60)]
    slept: list[bool] = []

    def nap(seconds: float) -> None:
        before = time.monotonic()
        sleep(seconds)
        slept.append(time.monotonic() - before >= seconds)

    def wait(number: int, seconds: float) -> None:
        before = time.monotonic()
        woken = events[number].wait(seconds)
        slept.append(woken == (number % 3 > 0) and (woken or time.monotonic() - before >= seconds))

    for number in range(60):
        green.spawn(nap, 0.001 * (7 * number % 31))
        green.spawn(wait, number, 0.001 * (11 * number % 37) if number % 3 == 0 else 3600)
    for number in range(60):
        if number % 3:
            green.spawn(nap, 0.001 * (number % 23))
            green.spawn(events[number].set)
    green.run()
    assert slept == [True] * 160
    sleep(0)
    sleep(0.001)  # in a thread that is on none


def test_join_from_everywhere(green: Scheduler) -> None:
    """A green thread that ends while green threads and others wait for that; and the other way round."""
    gate, done = sync.Event(), []

    def join(thread: Thread, timeout: float | None = None) -> None:
        thread.join(timeout)
        done.append(thread.is_alive())

    target = green.spawn(gate.wait)
    lwp = Thread(target=gate.wait)
    lwp.start()
    others = [Thread(target=join, args=(target,)) for _ in range(2)]
    for thread in others:
        thread.start()
    for _ in range(2):
        green.spawn(join, target)
        green.spawn(join, lwp)
        green.spawn(join, target, 0.001)
    green.spawn(lambda: (sleep(0.01), gate.set()))
    green.run()
    for thread in [*others, lwp]:
        thread.join()
    assert sorted(done) == [False] * 6 + [True] * 2


def test_a_stream_between_green_threads_and_lwps(green: Scheduler) -> None:
    """Many of each on one condition: nothing is lost, nobody is left asleep."""
    items: list[int] = []
    taken: list[int] = []
    condition = sync.Condition()

    def produce(base: int) -> None:
        for number in range(100):
            with condition:
                items.append(base + number)
                condition.notify()

    def consume() -> None:
        while True:
            with condition:
                condition.wait_for(lambda: items)
                number = items.pop(0)
                if number < 0:
                    return
                taken.append(number)

    consumers = [start(kind, consume) for kind in [green, None] * 3]
    producers = [start(kind, produce, n * 100) for n, kind in enumerate([green, None] * 3)]

    def finish() -> None:
        for thread in producers:
            thread.join()
        with condition:
            items.extend([-1] * 6)
            condition.notify_all()

    green.spawn(finish)
    green.run()
    for thread in consumers:
        thread.join()
    assert sorted(taken) == list(range(600))


# ---- when nobody can go on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(1, None), (2, None), (1, 0.001)], ids=str)
@in_child(prints="found\n" * 20)
def test_a_deadlock_when_the_last_waker_has_ended(options: tuple[int, float | None]) -> None:
    """Also the LWPs of a run() before, and those that threads which computed have had."""
    green = scheduler.Scheduler(*options)

    def computes() -> None:
        while not flag:
            pass

    for _ in range(20):
        event, gate, flag = sync.Event(), sync.Event(), list[int]()
        if options[1]:
            for _ in range(3):
                green.spawn(computes)
        green.spawn(flag.append, 1)
        thread = green.spawn(event.wait)
        lwp = runtime.Thread(target=gate.wait)
        lwp.start()
        green.spawn(gate.set)
        try:
            green.run()
        except scheduler.Deadlock as found:
            print("found" if "no thread is left that could wake one" in str(found) else found)
        event.set()
        green.run()
        assert not thread.is_alive()


@in_child
def test_a_deadlock_with_a_way_out_is_none() -> None:
    """A signal handler, a timeout, or another LWP may still come."""
    green, event = scheduler.Scheduler(), sync.Event()
    signal.signal(signal.SIGALRM, lambda *_: event.set())
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    green.spawn(event.wait)
    green.run()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)

    event = sync.Event()
    green.spawn(event.wait)
    lwp = runtime.Thread(target=lambda: (time.sleep(0.1), event.set()))
    lwp.start()
    green.run()
    lwp.join()
    green.spawn(sync.Event().wait, 0.05)
    green.run()


@in_child(says="call its scheduler's run()")
def test_joining_a_green_thread_that_nothing_runs() -> None:
    green = scheduler.Scheduler()
    thread = green.spawn(int)
    thread.join(0.001)
    assert thread.is_alive()
    try:
        thread.join()
    except RuntimeError as error:
        print(error)
    green.run()
    thread.join()


@pytest.mark.parametrize("lwps", [1, 2])
def test_a_stack_overflow_is_reported(lwps: int, child: Child, native_helper: NativeHelper) -> None:
    def overflow(helper: str, lwps: int) -> None:
        """The guard of a green thread's stack; faulthandler has a stack of its own on each LWP."""
        green = scheduler.Scheduler(lwps)
        native = ctypes.CDLL(helper)

        def deep() -> None:
            native.recurse_for_ever(0)  # in C alone: CPython 3.14 looks at the stack wherever Python is called

        runtime.Thread(target=deep, scheduler=green, stack_size=64 << 10).start()
        green.run()

    said = child(overflow, native_helper.path, lwps, status=-signal.SIGSEGV).stderr
    assert "Segmentation fault" in said
    assert "in deep" in said


@in_child
def test_the_first_scheduler_is_made_by_several_threads() -> None:
    """The handler of setgid() is replaced once: what calls itself would never end."""

    def make() -> None:
        together.wait()
        scheduler.Scheduler()

    def check() -> None:
        signal.alarm(60)
        run_threads(threading.Thread(target=make) for _ in range(8))
        other = threading.Thread(target=event.wait)  # which gets the signal
        other.start()
        os.setgid(os.getgid())
        event.set()
        other.join()

    for _ in range(30):
        together, event = threading.Barrier(8), threading.Event()
        assert in_forked_child(check) == 0


@in_child
def test_without_membarrier_there_are_none() -> None:
    """The first scheduler needs it: a waker that has just looked whether there is one could forget a green thread."""
    import pytest

    if not refuse({"x86_64": 324, "aarch64": 283}[os.uname().machine], 1):
        return
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"no green threads here: membarrier\(2\) fails"):
            scheduler.Scheduler()
    assert scheduler.spawn(int).join()  # and all else works


@in_child(says="Cannot allocate memory\n")
def test_a_program_that_gets_no_lwp_says_so() -> None:
    """It waited for them in silence, though nobody could run them."""
    green = scheduler.Scheduler(lwps=2)
    runtime.Thread(target=int, scheduler=green).start()
    if not refuse({"x86_64": 56, "aarch64": 220}[os.uname().machine], 12):  # clone(2): ENOMEM
        green.run()
        sys.stderr.write("Cannot allocate memory\n")


@pytest.mark.parametrize("refused", [False, True], ids=["by /proc/self/mem", "by mprotect"])
@in_child
def test_c_code_gets_the_bounds_of_a_green_threads_stack(refused: bool, helper_path: str) -> None:
    """A JVM asks by pthread_getattr_np(pthread_self()), and lays its own guard pages there.

    libc's table of symbols is changed, by the second way where a kernel refuses the first.
    """
    if refused:
        refuse({"x86_64": 18, "aarch64": 68}[os.uname().machine], 5)  # pwrite64: EIO
    versions = [b"GLIBC_2.32", b"GLIBC_2.2.5" if os.uname().machine == "x86_64" else b"GLIBC_2.17"]
    libc.dlvsym.restype = ctypes.c_void_p

    def addresses() -> list[int]:
        return [libc.dlvsym(None, b"pthread_getattr_np", version) for version in versions]

    stock, found = addresses(), []
    green = scheduler.Scheduler()
    assert set(addresses()).isdisjoint(stock), "what an old library binds is replaced too"
    native = ctypes.CDLL(helper_path)

    def bounds() -> tuple[int, ...]:
        out = (ctypes.c_size_t * 3)()
        assert native.stack_range(out) == 0
        return tuple(out)

    def look() -> None:
        own = bounds()
        found.append(own)
        scheduler.yield_()
        assert bounds()[:2] == own[:2]

    threads = [runtime.Thread(target=look, scheduler=green, stack_size=256 << 10) for _ in range(3)]
    threads += [runtime.Thread(target=lambda: found.append(bounds()), stack_size=256 << 10)]
    for thread in threads:
        thread.start()
    green.run()
    threads[-1].join()
    found.append(bounds())  # the main thread's
    assert len({low for low, high, frame in found}) == 5
    assert all(low <= frame < high for low, high, frame in found)


# ---- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["a green thread, others run", "a green thread, all sleep", "an LWP, all for ever"])
@in_child(says="interrupted True")
def test_ctrl_c_reaches_run(who: str) -> None:
    green, ready, main = scheduler.Scheduler(), sync.Event(), threading.get_native_id()
    seconds = None if "for ever" in who else 3600

    def work() -> None:
        ready.set()
        while "others run" in who:
            scheduler.yield_()
        sync.Event().wait(seconds)

    def interrupt() -> None:
        ready.wait()
        if "LWP" in who:
            wait_until_parked(main, private=True)
        os.kill(os.getpid(), signal.SIGINT)

    runtime.Thread(target=work, scheduler=green, daemon=True).start()
    waits = green.spawn(sync.Event().wait, seconds)
    runtime.Thread(target=interrupt, scheduler=None if "LWP" in who else green).start()
    try:
        green.run()
    except KeyboardInterrupt:
        print("interrupted", waits.is_alive(), green.unfinished, flush=True)
    os._exit(0)


@in_child
def test_credentials_change_under_green_threads() -> None:
    """glibc waits until the signal has reached each LWP; the one that runs green threads must answer."""
    green, stop = scheduler.Scheduler(), []

    def change() -> None:
        for _ in range(200):
            assert libc.setresgid(-1, os.getegid(), -1) == 0
        stop.append(1)

    def turn() -> None:
        while not stop:
            scheduler.yield_()

    for _ in range(3):
        green.spawn(turn)
    lwp = runtime.Thread(target=change)
    lwp.start()
    green.run()
    lwp.join()
    green.spawn(change)  # a green thread itself
    green.run()


# ---- fork, and the end -----------------------------------------------------------------------------------------------


@in_child
def test_fork_in_a_green_thread() -> None:
    green, ended = scheduler.Scheduler(), []

    def in_child() -> None:
        assert threading.get_native_id() == os.getpid()
        assert [thread.name for thread in threading.enumerate()] == ["forks"]
        assert not other.is_alive()
        run_thread(runtime.Thread(target=ended.append, args=(1,)))
        scheduler.sleep(0.001)
        again = green.spawn(ended.append, 2)
        again.join()  # the thread that has forked has the LWP, and lends it
        assert ended == [1, 2], ended

    def forks() -> None:
        scheduler.yield_()
        ended.append(in_forked_child(in_child))

    other = green.spawn(scheduler.sleep, 0.05)
    runtime.Thread(target=forks, name="forks", scheduler=green).start()
    green.run()
    assert ended == [0], "in_child() has raised nothing"


@in_child
def test_fork_by_the_thread_that_runs_the_scheduler() -> None:
    green = scheduler.Scheduler()
    codes = []

    def handler(*_: object) -> None:  # runs in the main thread, which is in run()
        pid = os.fork()
        if pid == 0:
            return
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    signal.signal(signal.SIGALRM, handler)
    green.spawn(lambda: (os.kill(os.getpid(), signal.SIGALRM), scheduler.sleep(0.2)))
    green.run()
    if not codes:  # the child: nobody is left, so run() is at its end
        os._exit(5)
    assert codes == [5], codes


def test_the_end_of_the_program(child: Child) -> None:
    def ends() -> None:
        """Threads except daemons get to their end, whichever thread started them; daemons are left where they are."""
        green = scheduler.Scheduler()

        def late(name: str) -> None:
            scheduler.sleep(0.01)
            sys.stdout.write(f"{name}\n")  # print() would write twice

        def start_more() -> None:
            late("first")
            if (3, 12) <= sys.version_info < (3, 12, 2):  # it makes no threads from here on
                print("second third")
                return
            green.spawn(late, "second")
            runtime.Thread(target=late, args=("third",)).start()

        def never() -> None:
            try:
                sync.Event().wait()
            finally:
                print("never")

        daemons = [runtime.Thread(target=never, scheduler=green, daemon=True) for _ in range(5)]
        for daemon in daemons:
            daemon.start()
        green.spawn(start_more)
        green.spawn(scheduler.yield_)

    result = child(ends)
    assert sorted(result.stdout.split()) == ["first", "second", "third"]
    assert result.stderr == ""


@in_child(prints="late\n")
def test_the_end_while_a_daemon_runs_green_threads() -> None:
    """What the end waits for runs on an LWP for which it would not."""
    green, running = scheduler.Scheduler(), sync.Event()

    def late() -> None:
        running.set()
        scheduler.sleep(0.05)
        print("late")

    def turn() -> None:
        while True:
            scheduler.yield_()

    runtime.Thread(target=turn, scheduler=green, daemon=True).start()
    green.spawn(late)
    runtime.Thread(target=green.run, daemon=True).start()
    running.wait()


def test_many(on_one: Scheduler) -> None:
    gate, count = sync.Event(), []
    number = 5_000

    def wait() -> None:
        gate.wait()
        count.append(1)

    for _ in range(number):
        on_one.spawn(wait)

    def let_go() -> None:
        assert native.lwp_alive() == number + 1
        assert len(os.listdir("/proc/self/task")) < 50
        gate.set()

    on_one.spawn(let_go)
    on_one.run()
    assert len(count) == number
