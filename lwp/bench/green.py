"""Green threads as a module with threading's names, all on the LWP of the thread that imports it."""

from __future__ import annotations

from threading import stack_size

from ..core import Barrier, Condition, Event, Lock, RLock, Scheduler, Semaphore, current_thread, yield_
from ..core import Thread as OurThread

__all__ = [
    "Barrier",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
    "Thread",
    "current_thread",
    "stack_size",
    "take_turns",
]

scheduler = Scheduler()  # also for a pool of this kind
scheduler._lend()


class Thread(OurThread):
    _lwp_scheduler = scheduler


def take_turns(number: int) -> None:
    """Makes this number of switches, between two threads that leave the LWP to each other."""

    def turn() -> None:
        go = yield_
        for _ in range(number // 2):
            go()

    threads = [Thread(target=turn) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
