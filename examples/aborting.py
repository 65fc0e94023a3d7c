"""A process with threads, two of them green, that aborts: what gdb and a core file show (docs/lwp/debugging.md)."""

from __future__ import annotations

import os
import threading

from runtime import Thread, scheduler
from runtime.scheduler import Scheduler

there = threading.Semaphore(0)
nothing, _ = os.pipe()


def wait() -> None:
    there.release()
    os.read(nothing, 1)


def run_green_threads() -> None:
    runs = Scheduler()
    Thread(target=scheduler.sleep, args=(60,), name="sleeper", scheduler=runs).start()
    Thread(target=wait, name="green reader", scheduler=runs).start()
    runs.run()


Thread(target=wait, name="reader").start()
Thread(target=run_green_threads, name="scheduler").start()
for _ in range(2):
    there.acquire()
os.abort()
