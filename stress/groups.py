"""Waits for the first of several things, and cancellation: no permit and no lock lost, none held by nobody."""

from __future__ import annotations

import random
import time
from typing import Any

from runtime import FIRST_COMPLETED, Cancelled, Group, Thread, shield, sync, wait
from runtime.scheduler import Scheduler, yield_

from ._run import Run, Worker, check, mix, turns

_CROWDS = (2, 4, 12, 30)


class _Things:
    """Locks and semaphores, and which threads have them."""

    def __init__(self, chance: random.Random) -> None:
        locks: list[Any] = [chance.choice((sync.Lock, sync.RLock))() for _ in range(chance.randint(1, 3))]
        permits = [chance.choice((1, 1, 2, 5)) for _ in range(chance.randint(1, 3))]
        self.semaphores = [sync.Semaphore(count) for count in permits]
        self.takeable = [*locks, *self.semaphores]
        self.most = [1] * len(locks) + permits
        self.inside = [0] * len(self.takeable)
        self.guard = sync.Lock()

    def use(self, thing: Any) -> None:
        """The caller has it, and gives it back."""
        at = next(index for index, one in enumerate(self.takeable) if one is thing)
        with shield():
            with self.guard:
                self.inside[at] += 1
                check(self.inside[at] <= self.most[at], f"{self.inside[at]} are in {thing!r}, {self.most[at]} may")
            yield_()
            with self.guard:
                self.inside[at] -= 1
            thing.release()

    def check_all_are_free(self) -> None:
        check(not any(self.inside), f"nobody is left, but {self.inside} are inside")
        for thing, most in zip(self.takeable, self.most, strict=True):
            for _ in range(most):
                check(thing.acquire(False), f"{thing!r} has lost a permit, or is held by nobody")
            for _ in range(most):
                thing.release()

    def take_some(self, chance: random.Random, others: list[Any]) -> None:
        """Takes some in one of several ways, while others come at their own time."""
        chosen = chance.sample(self.semaphores, chance.randint(1, len(self.semaphores)))
        timeout = chance.choice((None, 0, chance.random() ** 3 * 5e-3))
        way = chance.randrange(3)
        if way == 0:
            thing = chance.choice(self.takeable)
            if thing.acquire() if timeout is None else thing.acquire(timeout=timeout):
                self.use(thing)
            return
        ready = wait([*chosen, *others] if way == 1 else [*others, *chosen], timeout, return_when=FIRST_COMPLETED)
        got = [thing for thing in ready if any(thing is one for one in chosen)]
        check(not got or len(ready) == 1, f"{ready} came together")
        for thing in got:
            self.use(thing)


@mix
def wait_any(run: Run) -> None:
    """runtime.wait() for semaphores, events and threads, beside locks: no two threads take one, none is lost."""
    things = _Things(run.random)

    def pulse(event: sync.Event) -> None:
        event.set()
        event.clear()

    @turns
    def body(worker: Worker) -> None:
        chance = worker.random
        event = sync.Event()
        thread = Thread(target=pulse, args=(event,))
        thread.start()
        worker.note("wait")
        things.take_some(chance, [event, thread][: chance.randrange(3)])
        worker.jitter()
        if chance.randrange(2):
            worker.note("wait for the thread")
            check(wait([sync.Event(), thread]) == [thread], "another thing came")
            check(not thread.is_alive(), "it lives")
        thread.join()

    run.crowd(_CROWDS, body)
    things.check_all_are_free()


def _cancel_in(worker: Worker, things: _Things, scheduler: Scheduler | None) -> None:
    """A group whose tasks take things until they are cancelled; each may be in any wait then."""
    condition, barrier = sync.Condition(), sync.Barrier(3)
    seeds = [worker.random.random() for _ in range(worker.random.randint(1, 8))]

    def notice() -> None:
        with condition:
            condition.wait(0.001)
            check(condition._is_owned(), "wait() has returned without the lock")

    def meet() -> None:
        try:
            barrier.wait(0.001)
        except sync.BrokenBarrierError:
            barrier.reset()

    def task(seed: float) -> None:
        chance = random.Random(seed)
        while True:
            try:
                chance.choice((notice, meet, lambda: things.take_some(chance, [sync.Event()])))()
            except Cancelled:
                with condition:  # no thread that was cancelled in it holds it
                    raise

    with Group(scheduler=scheduler) as group:
        tasks = [group.spawn(task, seed) for seed in seeds]
        time.sleep(worker.random.random() ** 2 * 5e-3)
        for one in worker.random.sample(tasks, worker.random.randint(0, len(tasks))):
            one.cancel()
        group.cancel()
    check(all(one.cancelled() for one in tasks), f"not cancelled: {tasks}")
    check(condition.acquire(False), "the condition's lock is held by nobody")


@mix
def cancel(run: Run) -> None:
    """Groups that are cancelled while their tasks wait for locks, semaphores, conditions, barriers, several things."""

    @turns
    def body(worker: Worker) -> None:
        things = _Things(worker.random)
        worker.note("group")
        _cancel_in(worker, things, Scheduler() if worker.random.randrange(3) == 0 else None)
        things.check_all_are_free()

    run.crowd((1, 2, 4), body)
