"""Every primitive under signals, timeouts, forks and a switch interval of a microsecond.

Two things are checked. No thread gets in that must not (counters and balances). No thread that was woken sleeps for
ever (most waits have no timeout, so that a lost wake-up is a hang).
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from runtime import installed, sync

from ._run import Run, Worker, beside, check, mix, turns

_CROWDS = (4, 12, 12, 40, 100)  # on two cores the last is fifty times too many


def _take(worker: Worker, lock: Any) -> bool:
    """Takes a lock in one of the ways there are; whether it was taken."""
    way = worker.random.randrange(8)
    if way <= 4:
        options = {"timeout": threading.TIMEOUT_MAX} if way == 4 else {}
        worker.note(f"acquire({options})")
        check(lock.acquire(**options) is True, f"acquire({options}) gave up")
        return True
    if way == 5:
        worker.note("acquire(False)")
        return bool(lock.acquire(False))
    timeout = worker.random.random() ** 3 * 5e-3
    worker.note(f"acquire(timeout={timeout})")
    return bool(lock.acquire(timeout=timeout))


# ---- locks -----------------------------------------------------------------------------------------------------------


def hammer(run: Run, locks: list[Any], recursive: bool = False) -> None:
    """Critical sections under each of the locks: never two threads in one."""
    owner: list[Worker | None] = [None] * len(locks)
    counted = [0] * len(locks)  # added up under the lock
    entered: list[list[int]] = []  # of each worker, as it has counted itself

    def section(worker: Worker, at: int) -> None:
        check(owner[at] is None, f"worker {worker.number} is in with worker {getattr(owner[at], 'number', None)}")
        owner[at] = worker
        seen = counted[at]
        worker.jitter()
        check(locks[at].locked() if hasattr(locks[at], "locked") else locks[at]._is_owned(), "held, but not locked")
        check(owner[at] is worker, f"worker {worker.number} was joined by worker {getattr(owner[at], 'number', None)}")
        check(counted[at] == seen, "somebody has counted under our lock")
        counted[at] = seen + 1
        owner[at] = None

    def in_child(at: int) -> None:
        """Our lock is ours in the child too; nothing is known of the others."""
        lock = locks[at]

        def contend() -> None:
            for _ in range(20):
                with lock:
                    check(not inside, "two threads in one lock, in a forked child")
                    inside.append(1)
                    inside.pop()

        inside: list[int] = []
        lock.release()
        with beside(contend):
            contend()
        for other in locks:
            if other.acquire(timeout=1e-4):
                other.release()

    def body(worker: Worker) -> None:
        mine = [0] * len(locks)
        entered.append(mine)
        for _ in worker:
            at = worker.random.randrange(len(locks))
            lock = locks[at]
            if worker.chance(4):
                worker.note("with")
                with lock:
                    section(worker, at)
                mine[at] += 1
            elif _take(worker, lock):
                depth = worker.random.randrange(3) if recursive else 0
                for _ in range(depth):
                    check(_take(worker, lock), "an owner can't take its RLock again")
                section(worker, at)
                mine[at] += 1
                for _ in range(depth):
                    lock.release()
                if depth == 0 and worker.may_fork():
                    worker.fork(partial(in_child, at))
                worker.note("release()")
                lock.release()
            worker.jitter()

    def handler() -> None:
        for lock in locks:
            if lock.acquire(False):
                lock.release()

    run.on_signal = handler
    run.crowd(_CROWDS, body)
    expected = [sum(column) for column in zip(*entered, strict=True)]
    check(counted == expected, f"counted {counted} under the locks, {expected} beside them")
    for lock in locks:
        check(lock.acquire(False), "nobody is left, but it is locked")
        lock.release()


@mix
def lock(run: Run) -> None:
    """Lock: mutual exclusion, also for handlers of signals and in forked children."""
    hammer(run, [sync.Lock() for _ in range(run.random.choice((1, 1, 2, 5)))])


@mix
def rlock(run: Run) -> None:
    """RLock: the same, taken several times by its owner."""
    hammer(run, [sync.RLock() for _ in range(run.random.choice((1, 1, 2, 5)))], recursive=True)


@mix
def lock_herd(run: Run) -> None:
    """Lock and RLock: released once, with a herd asleep for it: each gets it, without help from others."""
    held = run.random.choice((sync.Lock, sync.RLock))()
    crowd = run.random.choice((2, 3, 4, 12, 40))
    # Stock primitives, because what is under test must not wake a thread by chance.
    begin, done = [threading.Semaphore(0) for _ in range(crowd)], threading.Semaphore(0)
    stop = [False]

    def lead(worker: Worker) -> None:
        while not stop[0]:
            worker.step()
            stop[0] = run.over()
            worker.note("hold")
            held.acquire()
            for semaphore in begin[1:]:
                semaphore.release()
            time.sleep(worker.random.random() * 3e-3)  # around the millisecond after which a sleeper is urgent
            worker.note("release()")
            held.release()
            for _ in begin[1:]:
                done.acquire()

    def follow(worker: Worker) -> None:
        last = False
        while not last:
            begin[worker.number].acquire()
            worker.step()
            last = stop[0]
            worker.jitter()
            # A third gives up at about the time that the lock is handed over.
            timeout = worker.random.choice((-1, -1, worker.random.random() * 3e-3))
            worker.note(f"acquire(timeout={timeout})")
            if held.acquire(timeout=timeout):
                worker.jitter()
                held.release()
            else:
                check(timeout >= 0, "acquire() without a timeout gave up")
            done.release()

    run.crowd(crowd, follow, first=lead)
    check(held.acquire(False), "nobody is left, but it is locked")
    held.release()


@mix
def lock_handoff(run: Run) -> None:
    """Lock: released by other threads than its holder."""
    held = sync.Lock()
    to_release: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    rounds = [0]
    crowd = run.random.choice(_CROWDS)
    ended: list[Worker] = []

    def take(worker: Worker) -> None:
        for _ in worker:
            if _take(worker, held):
                to_release.put(rounds[0])
        ended.append(worker)
        if worker.number == 0:
            while len(ended) < crowd // 2:
                worker.jitter()
            for _ in range(crowd // 2):
                to_release.put(None)

    def release(worker: Worker) -> None:
        while (number := to_release.get()) is not None:
            worker.step()
            check(held.locked(), "the lock that we are to release is free")
            check(number == rounds[0], "not the round that holds the lock")
            rounds[0] += 1
            worker.jitter()
            worker.note("release() for another")
            held.release()

    run.crowd(crowd, take, release)
    check(not held.locked(), "all are released, but it is locked")


# ---- condition -------------------------------------------------------------------------------------------------------


@mix
def condition(run: Run) -> None:
    """Condition: a bounded buffer, notify(1), over locks of ours and stock ones; no notification is lost."""
    makers: list[Callable[[], Any]] = [sync.Lock, sync.RLock, sync.RLock, threading.Lock, threading.RLock]
    lock = run.random.choice(makers)()
    not_empty, not_full = sync.Condition(lock), sync.Condition(lock)
    buffer: deque[tuple[int, int]] = deque()
    room = run.random.choice((1, 2, 10))
    crowd = max(4, run.random.choice(_CROWDS))
    producing = [(crowd + 1) // 2]
    put: list[int] = []
    taken: list[int] = []
    notified, woken = [0], [0]  # under the lock
    handled = itertools.count()  # not under the lock, because a handler may interrupt another

    def wait(worker: Worker, condition: sync.Condition) -> None:
        timeout = None if worker.random.randrange(4) else worker.random.random() ** 3 * 5e-3
        worker.note(f"wait({timeout})")
        result = condition.wait(timeout)
        check(result or timeout is not None, "wait() without a timeout gave up")
        woken[0] += result

    def notify(worker: Worker, condition: sync.Condition) -> None:
        notified[0] += min(1, len(condition._waiters))
        condition.notify()

    def in_child() -> None:
        not_empty.notify_all()  # to threads that don't exist here
        check(not not_empty.wait(1e-4), "somebody has notified in a forked child")

        def wake() -> None:
            with not_empty:
                not_empty.notify()

        with beside(wake):
            check(not_empty.wait(), "wait() without a timeout gave up, in a forked child")
            lock.release()

    def produce(worker: Worker) -> None:
        number = 0
        for _ in worker:
            lock.acquire()
            while len(buffer) >= room:
                wait(worker, not_full)
            buffer.append((worker.number, number))
            notify(worker, not_empty)
            if worker.may_fork():
                worker.fork(in_child)
            lock.release()
            number += 1
            worker.jitter()
        with lock:
            put.append(number)
            producing[0] -= 1
            if producing[0] == 0:
                notified[0] += len(not_empty._waiters)
                not_empty.notify_all()

    def consume(worker: Worker) -> None:
        last: dict[int, int] = {}
        count = 0
        while True:
            worker.step()
            with lock:
                while not buffer and producing[0]:
                    wait(worker, not_empty)
                if not buffer:
                    break
                producer, number = buffer.popleft()
                notify(worker, not_full)
            check(number > last.get(producer, -1), f"{number} of producer {producer} came after {last.get(producer)}")
            last[producer] = number
            count += 1
            worker.jitter()
        with lock:
            taken.append(count)

    def handler() -> None:
        # This thread must not hold the lock, because an RLock that it holds might be in the middle of a wait's
        # bookkeeping.
        if lock.acquire(False):
            for condition in (not_empty, not_full):
                if condition._waiters:
                    next(handled)
                condition.notify()
            lock.release()

    run.on_signal = handler
    run.crowd(crowd, produce, consume)
    check(sum(put) == sum(taken), f"{sum(put)} put, {sum(taken)} taken")
    check(not buffer, "nobody is left, but there is something in the buffer")
    by_handlers = next(handled)
    check(woken[0] <= notified[0] + by_handlers, f"{woken[0]} woken by {notified[0]} + {by_handlers} notifications")
    check(len(not_empty._waiters) == len(not_full._waiters) == 0, "nobody is left, but somebody waits")


# ---- semaphore -------------------------------------------------------------------------------------------------------


@mix
def semaphore(run: Run) -> None:
    """Semaphore: never more inside than permits, and none is lost."""
    permits = run.random.choice((1, 1, 2, 7))
    semaphore = run.random.choice((sync.Semaphore, sync.BoundedSemaphore))(permits)
    inside: list[Worker] = []

    def in_child() -> None:
        inside.clear()
        semaphore.release()

        def pass_through() -> None:
            with semaphore:
                pass

        with beside(pass_through):
            check(semaphore.acquire(), "a permit was lost in a forked child")
            semaphore.release()

    @turns
    def body(worker: Worker) -> None:
        if not _take(worker, semaphore):
            return
        inside.append(worker)
        check(len(inside) <= permits, f"{len(inside)} are in with {permits} permits")
        worker.jitter()
        more = 0
        while worker.chance(3) and semaphore.acquire(False):
            more += 1
        if worker.may_fork():
            worker.fork(in_child)
        inside.remove(worker)
        worker.note(f"release({1 + more})")
        if more:
            semaphore.release(1 + more)
        else:
            semaphore.release()
        worker.jitter()

    def handler() -> None:
        if semaphore.acquire(False):
            semaphore.release()

    run.on_signal = handler
    run.crowd(_CROWDS, body)
    check(semaphore._value == permits, f"{semaphore._value} permits are left of {permits}")


# ---- event -----------------------------------------------------------------------------------------------------------


@mix
def event(run: Run) -> None:
    """Event: a herd that is let go again and again, each time all of it."""
    go = (sync.Event(), sync.Event())
    done = sync.Semaphore(0)
    tick = sync.Event()
    stop = [False]
    crowd = run.random.choice(_CROWDS)

    def in_child(event: sync.Event) -> None:
        event.clear()
        check(not event.wait(1e-4), "a clear event was waited for, in a forked child")
        with beside(event.set):
            check(event.wait() and event.is_set(), "a set event is not set, in a forked child")

    def lead(worker: Worker) -> None:
        generation = 0
        while not stop[0]:
            worker.step()
            stop[0] = run.over()
            worker.note(f"set() {generation}")
            go[generation % 2].set()
            for _ in range(crowd - 1):
                done.acquire()
            go[generation % 2].clear()
            generation += 1
            worker.jitter()

    def follow(worker: Worker) -> None:
        generation = 0
        while True:
            worker.step()
            event = go[generation % 2]
            if worker.random.randrange(4):
                worker.note(f"wait() {generation}")
                check(event.wait() is True, "wait() without a timeout gave up")
            else:
                while not event.wait(worker.random.random() * 2e-3):
                    worker.note(f"wait(timeout) {generation}")
            check(event.is_set(), "waited for, but not set")
            last = stop[0]
            if worker.may_fork():
                worker.fork(partial(in_child, event))
            tick.wait(worker.random.random() * 1e-4)
            done.release()
            if last:
                return
            generation += 1

    def handler() -> None:
        tick.clear() if tick.is_set() else tick.set()

    run.on_signal = handler
    run.crowd(crowd, follow, first=lead)


# ---- barrier ---------------------------------------------------------------------------------------------------------


@mix
def barrier(run: Run) -> None:
    """Barrier: all or none, an index for each, the action once."""
    crowd = run.random.choice(_CROWDS)
    indices: list[int] = []
    generation = [0]
    stop = [False]

    def act() -> None:
        if generation[0]:
            check(sorted(indices) == list(range(crowd)), f"indices of generation {generation[0]}: {sorted(indices)}")
        indices.clear()
        generation[0] += 1
        stop[0] = run.over()

    barrier = sync.Barrier(crowd, act)

    def in_child() -> None:
        mine = sync.Barrier(2)
        with beside(mine.wait):
            mine.wait()
        barrier.abort()  # the threads that sleep in it do not exist here
        barrier.reset()

    def body(worker: Worker) -> None:
        mine = 0
        while True:
            worker.step()
            worker.note(f"wait() {mine}")
            index = barrier.wait() if worker.random.randrange(4) else barrier.wait(threading.TIMEOUT_MAX)
            mine += 1
            check(generation[0] == mine, f"in generation {mine} the action has run {generation[0]} times")
            last = stop[0]
            indices.append(index)
            if worker.may_fork():
                worker.fork(in_child)
            worker.jitter()
            if last:
                return

    run.crowd(crowd, body)
    check(sorted(indices) == list(range(crowd)), f"last indices: {sorted(indices)}")


@mix
def barrier_break(run: Run) -> None:
    """Barrier: timeouts, abort() and reset() at any moment; everybody gets out, all of a generation or none."""
    parties = run.random.choice((2, 3, 8))
    crowd = max(parties, run.random.choice(_CROWDS[:-1]))
    passed = [0] * crowd

    def act() -> None:
        if run.random.randrange(20) == 0:
            raise ZeroDivisionError

    barrier = sync.Barrier(parties, act)

    @turns
    def body(worker: Worker) -> None:
        way = worker.random.randrange(40)
        try:
            if way == 0:
                worker.note("abort()")
                barrier.abort()
            elif way < 4 or barrier.broken:
                worker.note("reset()")
                barrier.reset()
            else:
                timeout = worker.random.random() ** 3 * 5e-3
                worker.note(f"wait({timeout})")
                check(0 <= barrier.wait(timeout) < parties, "no index of a party")
                passed[worker.number] += 1
        except (threading.BrokenBarrierError, ZeroDivisionError):
            pass
        worker.jitter()

    run.crowd(crowd, body)
    check(barrier.n_waiting == 0, f"nobody is left, but {barrier.n_waiting} wait")
    check(sum(passed) % parties == 0, f"{sum(passed)} have passed a barrier of {parties}")


# ---- what is made of them --------------------------------------------------------------------------------------------


@mix
def queues(run: Run) -> None:
    """queue.Queue, LifoQueue and PriorityQueue on our primitives: nothing is lost, join() returns."""
    crowd = max(4, run.random.choice(_CROWDS))
    with installed():
        kinds: list[Callable[[int], queue.Queue[Any]]] = [queue.Queue, queue.LifoQueue, queue.PriorityQueue]
        items = run.random.choice(kinds)(run.random.choice((0, 1, 10)))
    consumers = crowd // 2
    put: list[int] = []
    taken: list[int] = []

    def produce(worker: Worker) -> None:
        count = 0
        for _ in worker:
            try:
                worker.note("put()")
                if worker.random.randrange(4):
                    items.put(1)
                else:
                    items.put(1, timeout=worker.random.random() * 1e-3)
                count += 1
            except queue.Full:
                pass
            worker.jitter()
        put.append(count)

    def consume(worker: Worker) -> None:
        count = 0
        while True:
            worker.step()
            try:
                worker.note("get()")
                item = items.get() if worker.random.randrange(4) else items.get(timeout=worker.random.random() * 1e-3)
            except queue.Empty:
                continue
            items.task_done()
            if item == 2:
                break
            count += item
            worker.jitter()
        taken.append(count)

    def body(worker: Worker) -> None:
        if worker.number % 2:
            return consume(worker)
        produce(worker)
        if worker.number == 0:
            while len(put) < crowd - consumers:
                worker.jitter()
            worker.note("join()")
            items.join()
            for _ in range(consumers):
                items.put(2)

    run.crowd(crowd, body)
    check(sum(put) == sum(taken), f"{sum(put)} put, {sum(taken)} taken")
