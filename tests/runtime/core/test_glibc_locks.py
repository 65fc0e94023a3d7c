"""No thread waits for a lock of the C library with the GIL, because its holder may be waiting for the GIL itself."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import in_child, run_thread

import runtime
from runtime.scheduler import spawn

libc = ctypes.CDLL(None)


# ---- a walk of the libraries whose callback is Python ----------------------------------------------------------------


@in_child
def test_threads_start_while_python_walks_the_libraries() -> None:
    """As threadpoolctl and ctypes.util.dllist() walk: the callback waits for the GIL with a lock of the linker's."""
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    seen = callback(lambda info, size, data: 0)
    sys.setswitchinterval(1e-4)
    runtime.install()
    done = threading.Event()

    def walk() -> None:
        while not done.is_set():
            libc.dl_iterate_phdr(seen, None)

    def start() -> None:
        for _ in range(1000):
            run_thread(threading.Thread(target=int))

    walker, starters = threading.Thread(target=walk), [threading.Thread(target=start) for _ in range(2)]
    for thread in (walker, *starters):
        thread.start()
    for thread in starters:
        thread.join()
    done.set()
    walker.join()


@in_child
def test_a_walk_of_the_libraries_waits_for_a_start() -> None:
    """The walk goes on when a thread has ended that starts another one."""
    runtime.install()

    def run(target: Any) -> None:
        run_thread(threading.Thread(target=target))

    ran: list[int] = []

    def see(info: int, size: int, data: int) -> int:
        run(lambda: run(lambda: ran.append(size)))
        return 1

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    assert libc.dl_iterate_phdr(callback(see), None) == 1
    assert len(ran) == 1


# ---- the locks, held by a thread that wants the GIL ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lock", "what"),
    [
        *itertools.product(
            ["the linker's lock", "_dl_stack_cache_lock"],
            ["start", "spawn", "green", "carriers", "served carriers", "traced"],
        ),
        ("_dl_stack_cache_lock", "waiting"),
    ],
)
@in_child
def test_a_call_that_waits_for_a_lock_lets_others_run(lock: str, what: str) -> None:
    from runtime import native, scheduler
    from runtime.native import structures
    from runtime.scheduler import Scheduler

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
        "waiting": scheduler.waiting,
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


@in_child
def test_a_fork_under_the_linkers_lock_can_start_threads() -> None:
    from runtime.native import structures

    lock = next(fact.value for fact in structures.facts() if fact.name == "the linker's lock")
    taken, end = threading.Event(), threading.Event()

    def hold() -> None:
        libc.pthread_mutex_lock(ctypes.c_void_p(lock))
        taken.set()
        end.wait()
        libc.pthread_mutex_unlock(ctypes.c_void_p(lock))

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    if (pid := os.fork()) == 0:
        signal.alarm(20)
        spawn(int).join()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    end.set()
    holder.join()
