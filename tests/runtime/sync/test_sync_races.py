"""The primitives as a stress tester sees them: who may be inside, who is woken, who gets a turn, and what that costs.

Each program runs in a process of its own, most with threads that are switched every microsecond, and ends by itself:
one that hangs has lost a wake-up.
"""

from __future__ import annotations

import ctypes
import gc
import operator
import os
import resource
import signal
import sys
import threading
import time
import tracemalloc
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, filter_program, in_child, run_threads, wait_until_parked

import runtime
import runtime.scheduler
from runtime import sync
from runtime.scheduler import spawn

# ---- handlers that raise, which stress/ has only where nothing is granted --------------------------------------------


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore"])
@in_child
def test_a_handler_that_raises_out_of_acquire_takes_nothing(kind: str) -> None:
    """Whenever a handler raises, no lock is taken and no permit lost, and no more are inside than may be."""
    sys.setswitchinterval(1e-6)
    permits = 2 if kind == "Semaphore" else 1
    guard: Any = sync.Semaphore(2) if kind == "Semaphore" else getattr(sync, kind)()
    room = threading.Semaphore(permits)
    wrong: list[int] = []
    late: list[int] = []
    raised = 0

    class Late(Exception):
        pass

    def enter(number: int) -> None:
        if room.acquire(False):
            room.release()
        else:  # as many as may be are inside
            wrong.append(number)

    def hammer(number: int) -> None:
        while raised < 60:
            guard.acquire()
            enter(number)
            guard.release()

    def handler(*_: object) -> None:
        if late:
            late.clear()
            raise Late

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
    threads = [runtime.Thread(target=hammer, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    while raised < 60:
        got: list[bool] = []
        try:
            late.append(1)
            got.extend(map(guard.acquire, (True,), (0.001,)))  # no bytecode between the lock and the list: no signal
            late.clear()
        except Late:
            raised += 1
        if any(got):
            enter(0)
            guard.release()
    signal.setitimer(signal.ITIMER_REAL, 0)
    for thread in threads:
        thread.join()
    for _ in range(permits):
        assert guard.acquire(False)
    assert wrong == []


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
@in_child
def test_condition_loses_no_notification(kind: str) -> None:
    """A notification ends exactly one wait, whatever other thread times out or is taken away by a handler in that
    moment."""
    sys.setswitchinterval(1e-6)
    lock: Any = getattr(sync, kind)()
    condition, answer = sync.Condition(lock), sync.Condition(lock)
    woken, over, there = 0, False, False
    wrong: list[Any] = []
    late: list[int] = []

    class Late(Exception):
        pass

    def woke() -> None:
        nonlocal woken
        woken += 1
        answer.notify()

    def sleep(timeout: float | None) -> None:
        nonlocal there
        with lock:
            there = there or timeout is None
            while not over:
                if condition.wait(timeout):
                    woke()

    def notify() -> None:
        nonlocal over
        for count in range(1, 8000 + 1):
            with lock:
                condition.notify()
                while woken < count:
                    answer.wait()
                if woken > count:
                    wrong.append((woken, count))
        with lock:
            over = True
            condition.notify_all()

    def handler(*_: object) -> None:
        if late:
            late.clear()
            raise Late

    threads = [runtime.Thread(target=sleep, args=(timeout,)) for timeout in (None, 1e-5, 1e-4)]
    for thread in threads:
        thread.start()
    while not there:
        time.sleep(0)
    threads.append(runtime.Thread(target=notify))
    threads[-1].start()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    lock.acquire()
    while not over:
        got: list[bool] = []
        try:
            if kind == "RLock":  # of a Lock one can't tell whether it is ours after an exception
                late.append(1)
            got.extend(map(condition.wait, (0.001,)))
            late.clear()
        except Late:
            pass
        if any(got):
            woke()
    signal.setitimer(signal.ITIMER_REAL, 0)
    lock.release()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- a signal just before the sleep ----------------------------------------------------------------------------------


@in_child
def test_a_signal_just_before_the_sleep_ends_it() -> None:
    """The main thread gives up the GIL to sleep, and a thread that has waited for the GIL sends the signal at once.
    On one processor, and with more priority, it does so before the main thread is in its system call."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    computes = sync.Event()

    def send() -> None:
        while True:
            computes.wait()
            computes.clear()
            os.kill(os.getpid(), signal.SIGINT)

    sender = runtime.Thread(target=send, daemon=True)
    sender.start()
    os.setpriority(os.PRIO_PROCESS, 0, 19)  # this thread's only
    lock, condition, barrier, never = sync.Lock(), sync.Condition(), sync.Barrier(2), sync.Event()
    lock.acquire()
    condition.acquire()
    busy = partial(sum, range(10**6))  # keeps the GIL for longer than the switch interval
    for wait in (
        sync.Event().wait,
        lock.acquire,
        sync.Semaphore(0).acquire,
        condition.wait,
        barrier.wait,
        sender.join,
        partial(runtime.wait, [never]),
        partial(runtime.scheduler.sleep, 1000),
    ):
        barrier.reset()
        try:
            # No bytecode between the calls, so no handler runs there.
            list(map(operator.call, (computes.set, busy, wait)))
        except KeyboardInterrupt:
            continue
        raise AssertionError(wait)


# ---- nobody starves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "Condition"])
@in_child
def test_each_contender_gets_its_share(kind: str) -> None:
    """The thread that releases it wants it again at once, and is awake; the others get their turns all the same."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # who is woken doesn't take the core from its waker
    make: Any = {"Semaphore": sync.Semaphore, "Condition": lambda: sync.Condition(sync.Lock())}.get(kind) or getattr(
        sync, kind
    )
    guard: Any = make()
    turns = [0] * 6
    ready = sync.Barrier(6)

    def hammer(number: int) -> None:
        ready.wait()
        while sum(turns) < 1200:
            with guard:
                turns[number] += 1
                time.sleep(0.0002)  # without the GIL, so that the others come to sleep for the lock and not for that

    run_threads(runtime.Thread(target=hammer, args=(number,)) for number in range(6))
    assert min(turns) > 1200 / 6 / 4, turns


@pytest.mark.parametrize("interval", [0, 0.0004])
@in_child
def test_a_late_comer_gets_the_lock(interval: float) -> None:
    """One that comes when others hammer the lock gets it before they are done, also if signals keep interrupting it."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # who is woken doesn't take the core from its waker
    lock = sync.Lock()
    came = False
    turns = [0] * 4

    def hammer(number: int) -> None:
        while not came and turns[number] < 1000:
            with lock:
                turns[number] += 1
                time.sleep(0.0005)  # so that each of the others has waited for more than a millisecond

    threads = [runtime.Thread(target=hammer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while min(turns) < 3:
        time.sleep(0.001)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, interval, interval)
    lock.acquire()
    came = True
    lock.release()
    signal.setitimer(signal.ITIMER_REAL, 0)
    for thread in threads:
        thread.join()
    assert max(turns) < 1000, turns


# ---- the herd --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("kind", ["Event", "Condition"])
@in_child
def test_ten_thousand_sleepers_are_woken_as_a_chain(kind: str) -> None:
    """How often each of many sleepers sleeps until it goes on: once, and once more for the GIL, not to fight for it."""
    many = 10_000
    event, condition = sync.Event(), sync.Condition()
    came = left = slept = 0

    def switches() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    def sleep() -> None:
        nonlocal came, left, slept
        with condition:
            came += 1
            before = switches()
            if kind == "Condition":
                condition.wait()
                slept += switches() - before
                left += 1
        if kind == "Event":
            before = switches()
            event.wait()
            slept += switches() - before
            left += 1

    lwps = [spawn(sleep, stack_size=64 << 10) for _ in range(many)]
    while True:
        with condition:
            if came == many:
                break
        time.sleep(0.001)
    wait_until_parked(lwps[-1].tid, private=True)
    if kind == "Event":
        event.set()
    else:
        with condition:
            condition.notify_all()
    for sleeper in lwps:
        sleeper.join()
    assert left == many
    print(slept / many)
    assert slept < 3 * many, slept


# ---- what it costs when nobody is in the way -------------------------------------------------------------------------


def uncontended(count: str) -> None:
    """Whatever has no reason to sleep allocates nothing, makes no system call, and keeps the GIL."""
    lock, rlock, semaphore, bounded = sync.Lock(), sync.RLock(), sync.Semaphore(), sync.BoundedSemaphore()
    event, condition, barrier = sync.Event(), sync.Condition(), sync.Barrier(1)
    held, unset, empty = sync.Lock(), sync.Event(), sync.Semaphore(0)
    held.acquire()
    operations: list[Any] = [
        *(lock.acquire, lock.locked, lock.release),
        *(rlock.acquire, rlock.acquire, rlock.release, rlock.release),
        *(semaphore.acquire, semaphore.release, bounded.acquire, bounded.release),
        *(event.set, event.is_set, event.wait, event.clear),
        *(condition.acquire, condition.notify, condition.notify_all, condition.release),
        barrier.wait,
        *(partial(held.acquire, False), partial(unset.wait, 0), partial(empty.acquire, False)),
    ]
    gc.disable()

    def peak(operation: Any) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        operation()
        return tracemalloc.get_traced_memory()[1] - before

    if count == "allocations":
        tracemalloc.start()
        for _ in range(2):
            peaks = [peak(operation) for operation in operations]
            nothing, something = peak(int), peak(list)
        assert set(peaks) == {nothing} != {something}, peaks
        return

    # Another thread wants the GIL, gets it as soon as it is given up, and doesn't ask for it for a quarter of an hour.
    x86 = os.uname().machine == "x86_64"
    write, exit_group = (1, 231) if x86 else (64, 94)
    read, futex = ("0", "63"), ([b"202"], [b"98"])  # under qemu-user /proc has those of x86-64
    gil = ctypes.PyDLL(None)  # its calls keep the GIL
    ends = os.pipe()
    turns: list[bytes] = []
    other = spawn(lambda: turns.append(os.read(ends[0], 1)))
    call = f"/proc/self/task/{other.tid}/syscall"
    while Path(call).read_text().split()[0] not in read:
        os.sched_yield()
    sys.setswitchinterval(1000)
    buffer = ctypes.create_string_buffer(200)
    gil.write(ends[1], b".", 1)
    free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    while free and not turns:
        pass  # there is none: the other thread just ends
    if free:
        turns.clear()
    while not free and buffer.value.split()[:1] not in futex:
        file = gil.open(call.encode(), os.O_RDONLY)
        gil.read(file, buffer, 199)
        gil.close(file)

    # From here on a system call ends the process by SIGSYS, except write and exit: seccomp(2).
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET
    kill, allow = 0x80000000, 0x7FFF0000  # SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW
    steps = [(load, 0, 0, 0), (equal, 2, 0, write), (equal, 1, 0, exit_group), (give, 0, 0, kill), (give, 0, 0, allow)]
    program = filter_program(*steps)
    gil.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if gil.prctl(22, 2, program) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        gil.write(1, b"none", 4)
        gil._exit(0)
    for _ in range(100):
        for operation in operations:
            operation()
    gil.write(1, b"gave the GIL up" if turns else b"quiet", 15 if turns else 5)
    gil._exit(0)


def test_without_contention_nothing_is_allocated(child: Child) -> None:
    child(uncontended, "allocations")


def test_without_contention_there_is_no_system_call_and_the_gil_is_kept(child: Child) -> None:
    said = child(uncontended, "system calls").stdout
    if said == "none":
        pytest.skip("this kernel has no seccomp filters, or the sandbox forbids them")
    assert said == "quiet"


# ---- signal handlers, and forks in them ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "kind"),
    [
        *(("waits for the others", kind) for kind in ("Event", "Semaphore", "Condition", "Barrier")),
        *(("forks", kind) for kind in ("Event", "Semaphore", "Condition")),
    ],
)
@in_child(timeout=20)
def test_a_handler_lets_all_go_that_sleep_where_its_thread_does(then: str, kind: str) -> None:
    """Its own thread was the first of them, and the others go on while it waits for them; or the last, and what the
    handler has granted it holds in the child too, where those that come first are not."""
    event, semaphore, condition, barrier = sync.Event(), sync.Semaphore(0), sync.Condition(), sync.Barrier(5)
    main: Any = threading.main_thread().ident
    stay = os.pipe()  # who reads there is awake: nobody lets go of the GIL to wake another
    pid = -1

    def wait() -> None:
        with condition:
            condition.wait()

    def notify_all() -> None:
        with condition:
            condition.notify_all()

    release = partial(semaphore.release, 2 if then == "forks" else 4)
    sleep: Any = {"Event": event.wait, "Semaphore": semaphore.acquire, "Condition": wait, "Barrier": barrier.wait}[kind]
    go: Any = {"Event": event.set, "Semaphore": release, "Condition": notify_all, "Barrier": barrier.wait}[kind]

    def asleep(number: int) -> list[Any]:
        others = [spawn(sleep) for _ in range(number)]
        for other in others:
            wait_until_parked(other.tid, private=True)
        return others

    def handler(*_: object) -> None:
        nonlocal pid
        if then == "forks":
            go()
            pid = os.fork()
            return
        others = asleep(3)
        go()
        for other in others:
            other.join()

    def interrupt() -> None:
        wait_until_parked(os.getpid(), private=True)
        signal.pthread_kill(main, signal.SIGUSR1)
        os.read(stay[0], 1)

    signal.signal(signal.SIGUSR1, handler)
    first = asleep(1 if then == "forks" else 0)
    lwp = spawn(interrupt)
    sleep()
    if pid == 0:
        signal.alarm(15)
        event.clear()
        [again] = asleep(1)
        go()
        os._exit(not again.join())
    os.write(stay[1], b".")
    for other in [lwp, *first]:
        other.join()
    assert pid == -1 or os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
@pytest.mark.parametrize("returns_first", [True, False])
@in_child(timeout=20)
def test_handlers_run_while_a_notified_thread_waits_for_the_lock(kind: str, returns_first: bool) -> None:
    """Notified, but the notifier keeps the lock: handlers run meanwhile, and if one raises, another is notified."""
    condition = sync.Condition(getattr(sync, kind)())
    ran, raised = threading.Semaphore(0), threading.Semaphore(0)  # stock's: we look for sleeps in ours
    main: Any = threading.main_thread().ident
    results: list[bool] = []

    class Late(Exception):
        pass

    def returns(*_: object) -> None:
        ran.release()

    def raises(*_: object) -> None:
        if kind == "RLock":  # it is had again before the exception is seen
            raised.release()
        raise Late

    def wait() -> None:
        with condition:
            results.append(condition.wait())

    def notify() -> None:
        waits_at, _ = wait_until_parked(os.getpid(), private=True)
        other = spawn(wait)
        wait_until_parked(other.tid, private=True)
        with condition:
            condition.notify()
            if returns_first:
                signal.pthread_kill(main, signal.SIGUSR1)
                ran.acquire()
                while wait_until_parked(os.getpid(), private=True)[0] == waits_at:
                    pass  # not yet for the lock
            signal.pthread_kill(main, signal.SIGUSR2)
            raised.acquire()
        other.join()

    signal.signal(signal.SIGUSR1, returns)
    signal.signal(signal.SIGUSR2, raises)
    lwp = spawn(notify)
    condition.acquire()
    try:
        results.append(condition.wait())
    except Late:
        results.append(False)
        (condition if kind == "RLock" else raised).release()
    lwp.join()
    assert results == [False, True]


@in_child
def test_a_lock_handed_to_a_lost_thread_is_free() -> None:
    """In the child a lock is free that was on its way to a thread which had waited long."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    signal.signal(signal.SIGUSR1, lambda *_: None)

    def attempt() -> bool:
        lock = sync.Lock()
        lock.acquire()
        sleeper = spawn(lock.acquire)
        os.sched_setscheduler(sleeper.tid, os.SCHED_IDLE, os.sched_param(0))  # so that it doesn't run between the two
        while wait_until_parked(sleeper.tid, private=True)[1] != 2:  # long enough to get it before others
            signal.pthread_kill(sleeper.ident, signal.SIGUSR1)
        lock.release()
        pid = os.fork()
        if pid == 0:
            os._exit(not lock.locked() and lock.acquire(False))
        with suppress(ProcessLookupError):  # it got a moment, had the lock, and has ended
            os.sched_setscheduler(sleeper.tid, os.SCHED_OTHER, os.sched_param(0))
        sleeper.join()
        return bool(os.waitpid(pid, 0)[1])

    assert any(attempt() for _ in range(1000))  # not all: the thread may have had the lock before the fork


if __name__ == "__main__":
    pytest.main([__file__])
