"""A program whose thread waits for a lock of the C library."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

from child_programs import run_thread

import runtime
from runtime.scheduler import spawn

libc = ctypes.CDLL(None)


def call_that_waits(lock: str, what: str) -> None:
    """The call waits for the lock of the C library, which this thread holds; meanwhile this thread has the GIL."""
    from runtime import scheduler
    from runtime.native import structures
    from runtime.scheduler import Scheduler

    Scheduler()  # loads modules, and libraries of theirs: an import waits for the linker's lock with the GIL

    def start() -> None:
        run_thread(runtime.Thread(target=int))

    def start_green() -> None:
        on = Scheduler()
        on.spawn(int)
        on.run()

    def run_on_carriers() -> None:
        on = Scheduler(lwps=2)
        on.spawn(int)
        on.run()  # makes the LWPs

    def start_on_carriers() -> None:
        on = Scheduler(lwps=2)
        on._lend()  # as install(green=True) does: the first start makes the LWPs
        run_thread(runtime.Thread(target=int, scheduler=on))
        on._take_back()

    def start_traced() -> None:  # makes the thread that samples, too
        from lwp import native

        native.sites_begin(())
        native.trace_open(f"{__file__}.trace", 1 << 20, b"")
        native.trace_begin(2**63 - 1, lambda things: [""] * len(things))
        start()

    calls = {
        "start": start,
        "spawn": lambda: spawn(int).join(),
        "green": start_green,
        "carriers": run_on_carriers,
        "served carriers": start_on_carriers,
        "traced": start_traced,
        "waiting": lambda: scheduler.waiting(),
    }
    address = next(fact.value for fact in structures.facts() if fact.name == lock)
    word = ctypes.c_int.from_address(address)
    tids: list[int] = []
    taken, done = threading.Event(), threading.Event()

    def use() -> None:
        tids.append(threading.get_native_id())
        taken.wait()
        calls[what]()
        done.set()

    def waited_for() -> bool:
        call = Path(f"/proc/self/task/{tids[0]}/syscall").read_text().split()
        return call[0] in ("202", "98") and int(call[1], 16) == address  # futex(2) on x86-64 and aarch64

    user = runtime.Thread(target=use)
    user.start()
    while not tids:
        os.sched_yield()
    assert word.value == 0
    if lock == "the linker's lock":
        assert libc.pthread_mutex_lock(ctypes.c_void_p(address)) == 0
    else:
        word.value = 1
    taken.set()
    while not waited_for():  # in Python: this thread gets the GIL though the user waits
        assert not done.is_set()
    if lock == "the linker's lock":
        assert libc.pthread_mutex_unlock(ctypes.c_void_p(address)) == 0
    else:
        word.value = 0
        futex = {"x86_64": 202, "aarch64": 98}[os.uname().machine]
        libc.syscall(futex, ctypes.c_void_p(address), 1 | 128, 1, None, None, 0)  # FUTEX_WAKE | FUTEX_PRIVATE_FLAG
    user.join()
    assert done.is_set()
