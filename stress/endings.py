"""The end of the interpreter at a random moment, with threads in every state."""

from __future__ import annotations

import atexit
import gc
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from runtime import Clone, Thread, install, sync
from runtime.scheduler import spawn

from ._run import Run, Worker, check, mix


class _AtExit:
    """Uses primitives and threads when everything is taken down."""

    def __init__(self) -> None:
        self.lock, self.event, self.condition = sync.Lock(), sync.Event(), sync.Condition()
        self.cycle = self

    def __del__(self) -> None:
        with self.lock:
            self.event.set()
        self.event.wait(1e-3)
        with self.condition:
            self.condition.notify_all()


def start_one() -> None:
    # From 3.12 on an interpreter that ends refuses new threads, 3.12.0 and 3.12.1 while it waits for the running ones.
    with suppress(RuntimeError):
        spawn(int).join()


def states() -> tuple[list[Callable[[], object]], list[Callable[[], object]], list[Callable[[], object]]]:
    """What a thread can be at: for ever, asleep or not (both only for daemons), or until it comes to its end."""
    lock, rlock, event, semaphore = sync.Lock(), sync.RLock(), sync.Event(), sync.Semaphore(0)
    condition, barrier, stock = sync.Condition(), sync.Barrier(1000), threading.Event()
    lock.acquire()
    reader, _ = os.pipe()

    def wait() -> None:
        with condition:
            condition.wait()

    def let_go() -> None:
        sync.Event().wait(1e-4)

    def in_rlock() -> None:
        with rlock:
            time.sleep(0)

    def start() -> None:
        with suppress(RuntimeError):  # as in start_one()
            thread = Thread(target=time.sleep, args=(0,), daemon=True)
            thread.start()
            thread.join()

    def start_and_join() -> None:
        with suppress(RuntimeError):
            spawn(event.wait).join()

    def again(call: Callable[[], object]) -> Callable[[], None]:
        def loop() -> None:
            while True:
                call()

        return loop

    def some(call: Callable[[], object]) -> Callable[[], None]:
        def loop() -> None:
            for _ in range(20):
                call()

        return loop

    asleep: list[Callable[[], object]] = [
        lock.acquire,
        event.wait,
        semaphore.acquire,
        barrier.wait,
        stock.wait,
        wait,
        lambda: os.read(reader, 1),
        lambda: time.sleep(1e6),
        start_and_join,
        again(let_go),
        again(in_rlock),
        again(lambda: time.sleep(1e-4)),
    ]
    busy: list[Callable[[], object]] = [again(start), again(gc.collect), again(os.getpid), again(start_one)]
    ending: list[Callable[[], object]] = [
        int,
        lambda: time.sleep(1e-3),
        lambda: sum(range(100_000)),
        some(let_go),
        some(in_rlock),
        some(start_one),
    ]
    return asleep, busy, ending


def end(seed: int, out: Callable[[str], object]) -> int:
    """Brings the process to a random point, where it is to end. Returns the exit status that it should have."""
    chance = random.Random(seed)
    sys.setswitchinterval(chance.choice((1e-6, 1e-4, 5e-3)))
    asleep, busy, ending = states()
    finished: list[int] = []
    kinds = (Thread, Thread, threading.Thread)
    expected = chance.randrange(6)
    atexit.register(lambda: out(f"finished {len(finished)} of {expected}\n"))

    def finish(target: Callable[[], object]) -> None:
        target()
        finished.append(1)

    if chance.randrange(3) == 0:
        install()
    for _ in range(chance.choice((1, 5, 30))):
        chance.choice(kinds)(target=chance.choice(asleep), daemon=True).start()
    for _ in range(expected):
        chance.choice(kinds)(target=finish, args=(chance.choice(ending),), daemon=False).start()
    for _ in range(chance.randrange(3)):
        spawn(chance.choice(busy + asleep))
    if chance.randrange(4) == 0:
        spawn(chance.choice(ending), flags=Clone.VM)  # a process in our memory, joined at the end
    if chance.randrange(2):
        atexit.register(start_one)
    kept.append(_AtExit())
    time.sleep(chance.random() ** 4 * 1e-2)
    return chance.randrange(3)


kept: list[object] = []


def main(seed: str) -> None:
    """A program that ends so: python -m stress.endings SEED."""
    status = end(int(seed), sys.stdout.write)
    if status:
        sys.exit("one" if status == 1 else status)


def _judge(what: str, status: int, shown: str, said: str = "") -> None:
    """said: on standard error."""
    check(status in (0, 1, 2), f"{what} ended with {status}:", shown, said)
    words = shown.split()
    check(len(words) == 4 and words[1] == words[3], f"{what} said:", shown, said)


@mix
def exits(run: Run) -> None:
    """Programs that end with threads in every state: status and output are what they should be."""
    worker = Worker(run, 0)
    for _ in worker:
        seed = worker.random.getrandbits(31)
        module = f"stress.endings {seed}"
        worker.note(f"python -m {module}")
        command = [sys.executable, "-X", "faulthandler", "-W", "ignore", "-m", *module.split()]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        shown, said = process.communicate()
        _judge(module, process.returncode, shown, said)
        check(said == ("one\n" if process.returncode == 1 else ""), f"{module} said on stderr:", said)


@mix
def forked_exits(run: Run) -> None:
    """The same in forked children: they cost less, so there are more of them."""
    worker = Worker(run, 0)
    for _ in worker:
        seed = worker.random.getrandbits(31)
        worker.note(f"child with seed {seed}")
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            sys.exit(end(seed, lambda text, writer=writer: os.write(writer, text.encode())))  # type: ignore[misc]
        os.close(writer)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with open(reader) as file:
            _judge(f"the child with seed {seed}", status, file.read())


if __name__ == "__main__":
    main(*sys.argv[1:])
