"""Somebody replaces threading's starter and lock after install(), as gevent and eventlet do."""

from __future__ import annotations

import collections
import os
import queue
import threading
import time
from typing import Any

import pytest
from conftest import Child

import runtime
from runtime import native, sync


def tasklets(look: str) -> None:
    """A small gevent: all threads are on the main LWP, and run while another waits for one of its locks."""
    runnable: Any = collections.deque()

    class Lock:
        """Of no use to an LWP: who waits for it runs the others until it is free."""

        held = False

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            end = time.monotonic() + timeout if timeout >= 0 else None
            while self.held and blocking and (end is None or time.monotonic() < end):
                if not runnable:
                    raise SystemError("all wait, and nobody is left to go on")
                runnable.popleft()()
            taken, self.held = not self.held, True
            return taken

        def release(self, *args: object) -> None:
            self.held = False

        def locked(self) -> bool:
            return self.held

        __enter__, __exit__, _at_fork_reinit = acquire, release, release

    Lock.__module__ = "tasklets.lock"

    class Handle:
        ident, done = 1, False

        def is_done(self) -> bool:
            return self.done

        def _set_done(self) -> None:
            self.done = True

        def join(self, timeout: float | None = None) -> None:
            while not self.done and runnable:
                runnable.popleft()()

    def start(function: Any, args: Any = (), *, handle: Any = None, daemon: bool = True) -> Any:
        def run() -> None:
            try:
                function(*args)
            finally:
                if handle is not None:
                    handle.done = True
                if sentinels:
                    sentinels.pop().release()

        runnable.append(run)
        return handle

    def sentinel() -> Lock:
        """To Python 3.12: a thread's last word."""
        sentinels.append(Lock())
        return sentinels[-1]

    sentinels: list[Lock] = []
    runtime.install()
    derived_before = type("Before", (threading.Condition,), {})
    kept_name = threading.Condition
    old = threading.Condition()

    module: Any = threading
    module.Lock = module._allocate_lock = Lock
    module._CRLock = None
    if hasattr(module, "_start_joinable_thread"):
        module._start_joinable_thread, module._ThreadHandle = start, Handle
    else:
        module._start_new_thread, module._set_sentinel = start, sentinel

    def notifies(condition: Any) -> bool:
        def notify() -> None:
            with condition:
                condition.notify()

        with condition:
            runnable.append(notify)
            return bool(condition.wait(20))

    if look == "primitives":
        lines: Any = queue.Queue()
        runnable.append(lambda: lines.put("line"))
        assert lines.get(timeout=20) == "line"
        assert notifies(threading.Condition())
        assert notifies(kept_name())  # the class itself was kept somewhere
        assert type(kept_name()) is threading.Condition is not runtime.sync.Condition
        for semaphore in (threading.Semaphore(0), threading.BoundedSemaphore(1)):
            semaphore.acquire(blocking=False)
            runnable.append(semaphore.release)
            assert semaphore.acquire(timeout=20)
        event = threading.Event()
        runnable.append(event.set)
        assert event.wait(20)
        barrier = threading.Barrier(2)
        runnable.append(barrier.abort)
        try:
            barrier.wait(20)
        except threading.BrokenBarrierError:
            print("broken")
        with old:  # it is as it was
            assert not old.wait(0.001)

        class After(threading.Condition): ...

        assert notifies(After())
    elif look == "derived":
        for cls in (derived_before, derived_before):
            try:
                cls()
            except RuntimeError as error:
                print(error)
    elif look == "thread":
        seen: list[int] = []
        thread = threading.Thread(target=seen.append, args=(1,))
        thread.start()  # returns when it has begun: another would have to run it
        thread.join()
        assert seen == [1]
        assert native.lwp_started() == 0
    elif look == "directly":  # who wants one of the runtime's own, without install(), gets it
        runtime.uninstall()
        assert type(sync.Condition()) is sync.Condition
        assert type(sync.Event()) is sync.Event
        assert threading.Lock is Lock  # what others have put there isn't taken away
        try:
            runtime.install()
        except RuntimeError as error:
            print(error)
    print("done", flush=True)
    os._exit(0)  # the end of the program is theirs, too


REFUSED = (
    "tasklets has replaced threading's locks, and Before derives from the runtime's Condition, which would stop all of "
    "tasklets's threads: run it without the runtime\n"
)


@pytest.mark.parametrize(
    ("look", "says"),
    [
        ("primitives", "broken\n"),
        ("derived", REFUSED * 2),
        ("thread", ""),
        ("directly", "tasklets has replaced threading's threads and locks: install() before that, or not at all\n"),
    ],
)
def test_their_locks_make_threadings_primitives(look: str, says: str, child: Child) -> None:
    assert child(tasklets, look).stdout == f"{says}done\n"
