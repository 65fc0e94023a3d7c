"""LWPs that outlive their threads: scheduler.keep_warm()."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from ... import scheduler
from ...scheduler import THREAD_FLAGS, spawn
from ._run import Run, Worker, check, mix
from .threads import stack_size, thread_flags

_SET_SLACK, _GET_SLACK = 29, 30  # prctl(2)
_libc = ctypes.CDLL(None)
_SIGNALS = (signal.SIGHUP, signal.SIGWINCH, signal.SIGRTMIN, signal.SIGRTMAX)


def _settings() -> tuple[object, ...]:
    """What a thread inherits and may change for itself."""
    return (
        os.sched_getaffinity(0),
        os.sched_getscheduler(0),
        os.getpriority(os.PRIO_PROCESS, 0),
        _libc.prctl(_GET_SLACK),
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    )


def _change(chance: Any) -> None:
    """One of them, at random."""
    ways: list[Callable[[], object]] = [
        lambda: os.sched_setaffinity(0, {chance.choice(sorted(os.sched_getaffinity(0)))}),
        lambda: os.sched_setscheduler(0, chance.choice((os.SCHED_OTHER, os.SCHED_BATCH)), os.sched_param(0)),
        lambda: os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0) + 1, 19)),
        lambda: _libc.prctl(_SET_SLACK, 50_000 + chance.randrange(3)),
        lambda: signal.pthread_sigmask(signal.SIG_SETMASK, chance.sample(_SIGNALS, 2)),
    ]
    chance.choice(ways)()


@mix
def warm(run: Run) -> None:
    """Threads on kept LWPs that change what is theirs: each begins as its creator is, with locals of its own."""
    mine = threading.local()

    def target(worker: Worker, expected: tuple[object, ...], change: bool) -> None:
        found = _settings()
        check(found == expected, f"a thread began with {found}, its creator had {expected}")
        check(not hasattr(mine, "value"), "a thread found another one's local")
        mine.value = 1
        if change:
            _change(worker.random)

    def creator(worker: Worker) -> None:
        for _ in range(worker.random.randrange(1, 20)):
            worker.step()
            if worker.chance(6):
                scheduler.keep_warm(worker.random.choice((0, 1, 2, 5, 30)))
            if worker.chance(4):
                _change(worker.random)
            expected, lwps = _settings(), []
            worker.note(f"start, settings {expected}")
            for _ in range(worker.random.randrange(1, 6)):
                flags = thread_flags(worker.random) if worker.chance(8) else THREAD_FLAGS
                size = stack_size(worker.random) if worker.chance(4) else None
                size = size if size is None or size > 1 << 17 else None
                args = (worker, expected, worker.chance(3))
                lwps.append(spawn(target, args, stack_size=size, flags=flags))
            for lwp in lwps:
                lwp.join()
            if worker.may_fork():
                worker.fork(lambda: in_child(worker))

    def in_child(worker: Worker) -> None:
        check(scheduler.statistics().warm == 0, "LWPs asleep in a forked child")
        for _ in range(3):
            spawn(target, (worker, _settings(), False)).join()
        scheduler.keep_warm(0)
        check(os.listdir("/proc/self/task") == [str(os.getpid())], "an LWP that should have ended")

    def body(worker: Worker) -> None:
        for _ in worker:
            spawn(creator, (worker,)).join()  # its own changes end with it

    with run.storm(run.random.choice((1e-6, 5e-3))):
        run.workers(run.random.choice((2, 4, 8)), body)
