"""Green threads and others that lock, wait, wake, sleep, start and join each other."""

from __future__ import annotations

import os
import random
import select
import time

from runtime import Thread
from runtime.scheduler import Scheduler, sleep, wait_fd, yield_
from runtime.sync import Barrier, Condition, Event, Lock, RLock, Semaphore

from ._run import Run, Worker, check, join_all, mix, turns

_LONG = 20  # seconds in which what must come must have come


class _Crowd:
    """Some threads, green or not, and what they share."""

    def __init__(self, chance: random.Random, lwps: int, time_slice: float | None) -> None:
        self.scheduler = Scheduler(lwps, time_slice)
        count = chance.randint(2, 12)
        self.seeds = [chance.random() for _ in range(count)]
        self.lock, self.rlock, self.condition = Lock(), RLock(), Condition()
        self.few, self.all = Semaphore(2), Barrier(count)
        self.inside = 0
        self.items: list[int] = []
        self.read, self.write = os.pipe()
        os.set_blocking(self.write, False)
        os.write(self.write, b".")
        kinds = [self.scheduler if chance.random() < 0.6 else None for _ in range(count)]
        self.threads = [
            Thread(target=self.body, args=(seed,), scheduler=on) for seed, on in zip(self.seeds, kinds, strict=True)
        ]

    def body(self, seed: float) -> None:
        chance = random.Random(seed)
        ways = [self.take, self.take_twice, self.wait, self.pause]
        ways += [self.look, self.start, self.be_one_of_few, self.compute]
        for _ in range(30):
            chance.choice(ways)(chance)
        self.all.wait()

    def take(self, chance: random.Random) -> None:
        with self.lock:
            self.inside += 1
            check(self.inside == 1, "two hold the lock")
            if chance.random() < 0.5:
                yield_()
            self.inside -= 1

    def take_twice(self, chance: random.Random) -> None:
        with self.rlock, self.rlock:
            yield_()

    def wait(self, chance: random.Random) -> None:
        with self.condition:
            if chance.random() < 0.5:
                self.items.append(1)
                self.condition.notify()
            elif self.condition.wait_for(lambda: self.items, chance.random() * 1e-3):
                self.items.pop()

    def pause(self, chance: random.Random) -> None:
        sleep(chance.choice((0, chance.random() * 5e-4)))

    def look(self, chance: random.Random) -> None:
        ready = wait_fd(self.read, chance.choice((select.POLLIN, select.POLLPRI)), chance.random() * 1e-3)
        check(ready in (0, select.POLLIN), "found", ready)

    def start(self, chance: random.Random) -> None:
        said = Event()
        thread = Thread(target=said.set, scheduler=self.scheduler if chance.random() < 0.5 else None)
        thread.start()
        check(said.wait(_LONG), "an event that was set is waited for")
        thread.join(_LONG)
        check(not thread.is_alive(), "a thread that has ended is waited for")

    def be_one_of_few(self, chance: random.Random) -> None:
        if self.few.acquire(timeout=chance.random() * 1e-3):
            yield_()
            self.few.release()

    def compute(self, chance: random.Random) -> None:
        until = time.monotonic() + chance.random() * 3e-4
        while time.monotonic() < until:
            pass

    def run(self) -> None:
        for thread in self.threads:
            thread.start()
        self.scheduler.spawn(join_all, self.threads)  # so that run() doesn't end before
        self.scheduler.run()
        check(not any(thread.is_alive() for thread in self.threads), "run() has ended before its threads")
        os.close(self.read)
        os.close(self.write)


@mix
def green(run: Run) -> None:
    """Green threads on one LWP and on several, and others, that wait for each other in all ways."""

    @turns
    def turn(worker: Worker) -> None:
        lwps = worker.random.choice((1, 1, 2, 3))
        time_slice = worker.random.choice((None, None, 1e-4, 1e-3))
        worker.note(f"on {lwps} LWPs, time slice {time_slice}")
        _Crowd(worker.random, lwps, time_slice).run()

    run.crowd(1, turn, interval=(1e-5, 5e-4, 5e-3))
