"""fork at any moment: from the main thread and from ours, while threads start and end."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from signal import SIGCHLD

from runtime import Clone, scheduler, sync
from runtime.scheduler import LWP, spawn

from ._run import Run, Worker, beside, check, mix, turns
from .threads import stack_size, thread_flags


def _in_child(lost: list[LWP], ours: bool, again: int = 1) -> None:
    """What must hold in a forked child, whatever the others were doing."""
    check(threading.enumerate() == [threading.current_thread()], f"threads in the child: {threading.enumerate()}")
    check(threading.current_thread() is threading.main_thread(), "who has forked is not the main thread")
    check(scheduler.statistics().alive == int(ours), f"alive in the child: {scheduler.statistics().alive}")
    for lwp in list(lost):
        with suppress(RuntimeError):  # it is not started yet, or is the caller itself
            check(lwp.join() and not lwp.is_alive(), "a lost thread is alive")
    done: list[int] = []
    event = sync.Event()

    def target() -> None:
        event.wait()
        done.append(1)

    with beside(target), beside(target), beside(target):
        event.set()
    check(len(done) == 3, f"3 threads in the child, {len(done)} ran")
    if again:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _in_child([], ours, again - 1)
                status = 0
            finally:
                os._exit(status)
        check(os.waitpid(pid, 0)[1] == 0, "the child's child failed")


def _children(run: Run, ways: int) -> None:
    living: list[LWP] = []

    def come_and_go(worker: Worker) -> None:
        mine: list[LWP] = []
        for _ in worker:
            worker.note("start")
            lwp = spawn(time.sleep, (0,), stack_size=stack_size(worker.random), flags=thread_flags(worker.random))
            living.append(lwp)
            mine.append(lwp)
            if len(mine) > worker.random.randrange(6):
                lwp = mine.pop(0)
                lwp.join()
                living.remove(lwp)
        for lwp in mine:
            lwp.join()
            living.remove(lwp)

    @turns
    def fork(worker: Worker) -> None:
        ours = worker.number != 0
        way = worker.random.randrange(ways)
        if way == 0:
            worker.note("spawn on a copy of memory")
            copy = spawn(_in_child, (living, ours), flags=Clone(0), exit_signal=SIGCHLD)
            copy.join()
            check(copy.exit_status == 0, f"the copy ended with {copy.exit_status}")
        elif way == 1:
            # Its child ends through threading's shutdown, with what multiprocessing does there.
            worker.note("multiprocessing")
            process = multiprocessing.get_context("fork").Process(target=_in_child, args=(living, ours))
            process.start()
            process.join()
            check(process.exitcode == 0, f"multiprocessing's child ended with {process.exitcode}")
            process.close()
        else:
            worker.fork(lambda: _in_child(living, ours))
        worker.jitter()

    run.workers(run.random.choice((3, 6, 12)), fork, come_and_go, come_and_go)


@mix
def forks(run: Run) -> None:
    """fork, spawn on a copy and multiprocessing, from any thread, while threads start and end."""
    _children(run, 6)


@mix
def fork_signals(run: Run) -> None:
    """The same under signals and a switch interval of a microsecond."""
    with run.storm(1e-6):
        _children(run, 12)


@mix
def fork_handler(run: Run) -> None:
    """fork in a handler of a signal, while its thread sleeps in a primitive."""
    event, lock, semaphore = sync.Event(), sync.Lock(), sync.Semaphore(0)
    condition = sync.Condition(lock)
    pending: list[int] = []
    inside = [False]
    forked = [0]

    def handler() -> None:
        now = time.monotonic()
        if inside[0] or now - run.last_fork < 0.03:
            return
        run.last_fork = now
        inside[0] = True
        pid = os.fork()
        if pid == 0:
            run.on_signal = None
            event.set()  # for the one that survived: us
            semaphore.release(2)
            forked[0] = 1
            return
        pending.append(pid)
        inside[0] = False

    def waker(worker: Worker) -> None:
        for _ in worker:
            time.sleep(worker.random.random() * 0.02)
            with condition:
                condition.notify_all()
            event.set()
            semaphore.release()
        while not ended[0]:
            worker.step()
            event.set()
            semaphore.release()
            with condition:
                condition.notify_all()
            time.sleep(1e-3)

    def sleep(worker: Worker) -> None:
        ways: list[Callable[[], object]] = [event.wait, semaphore.acquire, wait]
        for _ in worker:
            event.clear()
            way = worker.random.choice(ways)
            worker.note(f"sleep in {way.__name__}")
            way()
            if forked[0]:
                os._exit(0)
            while pending:
                pid = pending.pop()
                worker.note(f"wait for child {pid}")
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                check(status == 0, f"a child that a handler has forked ended with {status}")
        ended[0] = True

    def wait() -> None:
        # In the child nobody notifies: the time must run out there, the lock be ours.
        with condition:
            condition.wait(0.05)
            check(lock.locked(), "back from wait() without the lock")

    ended = [False]
    run.crowd(3, waker, first=sleep)
    while pending:
        check(os.waitpid(pending.pop(), 0)[1] == 0, "a child that a handler has forked failed")
