"""No thread waits for a lock of the C library with the GIL, because its holder may be waiting for the GIL itself."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import Any

import pytest
from conftest import Child, in_child, run_thread
from glibc_locks import call_that_waits

import runtime
from runtime.native import structures
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


@pytest.mark.parametrize("what", ["start", "spawn", "green", "carriers", "served carriers"])
@pytest.mark.parametrize("lock", ["the linker's lock", "_dl_stack_cache_lock"])
def test_a_call_that_waits_for_a_lock_lets_others_run(lock: str, what: str, child: Child) -> None:
    child(call_that_waits, lock, what)


@in_child
def test_a_fork_under_the_linkers_lock_can_start_threads() -> None:
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
