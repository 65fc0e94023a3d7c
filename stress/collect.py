"""The garbage collector at any moment, in any thread, with finalizers that do what they should not."""

from __future__ import annotations

import gc
import threading
import time
import weakref

from runtime import Thread, sync
from runtime.scheduler import spawn, statistics

from ._run import Run, Worker, check, mix, turns


@mix
def finalizers(run: Run) -> None:
    """Finalizers that start threads, take locks, set events and notify, wherever they happen to run."""
    lock, rlock, semaphore = sync.Lock(), sync.RLock(), sync.Semaphore(3)
    event, condition = sync.Event(), sync.Condition()
    born, died, ran = [0], [0], [0]
    counting = threading.RLock()  # a finalizer may run in a thread that counts
    threads: list[Thread] = []

    def count(what: list[int]) -> None:
        with counting:
            what[0] += 1

    class Finalized:
        def __init__(self, way: int) -> None:
            self.way = way
            self.cycle = self
            count(born)

        def __del__(self) -> None:
            try:
                self.finalize()
                count(died)
            except BaseException as error:
                run.fail(error, "a finalizer")

        def finalize(self) -> None:
            if statistics().alive > 100 and self.way in (0, 1):
                count(ran)  # enough for now
            elif self.way == 0:
                thread = Thread(target=count, args=(ran,), stack_size=1 << 17)
                thread.start()
                threads.append(thread)
            elif self.way == 1:
                spawn(count, (ran,), stack_size=1 << 17)
            elif self.way == 2 and lock.acquire(False):
                lock.release()
            elif self.way == 3:
                with rlock:
                    time.sleep(0)
            elif self.way == 4:
                event.set()
                event.clear()
            elif self.way == 5 and condition.acquire(False):
                condition.notify()
                condition.release()
            elif self.way == 6 and semaphore.acquire(timeout=1e-4):
                semaphore.release()
            elif self.way == 7:
                # Not a Thread, because its end needs a lock of threading's, and the collector may have come while that
                # is held.
                spawn(int).join()

    started = [0]

    @turns
    def body(worker: Worker) -> None:
        way = worker.random.randrange(9)
        if way in (0, 1):
            count(started)
        worker.note(f"garbage of kind {way}")
        Finalized(way)
        what = worker.random.randrange(8)
        if what == 0:
            with lock:
                [[] for _ in range(20)]
        elif what == 1:
            with rlock:
                [[] for _ in range(20)]
        elif what == 2:
            with condition:
                condition.wait(1e-4)
        elif what == 3:
            with semaphore:
                [[] for _ in range(20)]
        elif what == 4:
            event.wait(1e-4)
        elif what == 5:
            spawn(gc.collect).join()
        while born[0] - died[0] > 300:  # a collection takes longer than other threads need for more garbage
            gc.collect()
            time.sleep(1e-4)
        while len(threads) > 20:
            try:
                threads.pop(0).join()
            except IndexError:  # another thread was faster
                break

    gc.set_threshold(20, 2, 2)
    run.crowd((3, 12), body, interval=(1e-6, 5e-3))
    gc.set_threshold(700, 10, 10)
    gc.collect()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + run.patience / 3
    while born != died:  # a thread that nobody can join may be collecting: then we don't
        check(time.monotonic() < deadline, f"{born[0]} objects, {died[0]} finalized")
        gc.collect()
    while ran[0] < started[0]:  # wait for threads that can't be joined
        time.sleep(1e-3)
    check(ran == started, f"{started[0]} threads started by finalizers, {ran[0]} ran")


@mix
def weak(run: Run) -> None:
    """Threads and primitives that nobody holds: collected while they are used, and all of them."""
    alive: weakref.WeakSet[object] = weakref.WeakSet()

    @turns
    def body(worker: Worker) -> None:
        event, condition, lock = sync.Event(), sync.Condition(), sync.Lock()

        def target() -> None:
            event.wait(1e-3)
            with condition:
                condition.wait(1e-4)

        thread = Thread(target=target)
        condition.cycle = [thread, lock, condition]  # type: ignore[attr-defined]
        alive.add(thread)
        alive.add(condition)
        alive.add(lock)
        thread.start()
        if worker.chance(2):
            event.set()
        if worker.chance(2):
            thread.join()
        elif worker.chance(4):
            gc.collect()

    gc.set_threshold(50, 2, 2)
    run.crowd(6, body, interval=(1e-6, 5e-3))
    gc.set_threshold(700, 10, 10)
    while threading.active_count() > 1:
        time.sleep(1e-3)
    gc.collect()
    check(not len(alive), f"{len(alive)} objects that nobody holds are alive: {list(alive)[:3]}")
