"""Threads from everywhere in one process: ours, threading's, _thread's, and pthreads that C made."""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from runtime import Thread, sync
from runtime.patch import installation
from runtime.scheduler import spawn

from ._run import Run, Worker, check, mix, turns

_ENTRY = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


def _by_pthread(target: Callable[[], object]) -> Callable[[], object]:
    """A thread that C has made, and that comes to Python as a stranger; returns its join."""
    libc = ctypes.CDLL(None)

    def entry(argument: int | None) -> int:
        target()
        return 0

    kept = _ENTRY(entry)
    handle = ctypes.c_void_p()
    error = libc.pthread_create(ctypes.byref(handle), None, kept, None)
    check(error == 0, f"pthread_create: {os.strerror(error)}")

    def join(kept: Any = kept) -> None:
        check(libc.pthread_join(handle, None) == 0, "pthread_join failed")

    return join


def _by_underscore(start: Callable[..., Any], target: Callable[[], object]) -> Callable[[], object]:
    """A thread of start_new_thread, which can't be joined: a lock says when it has done its work."""
    over = _thread.allocate_lock()
    over.acquire()

    def entry() -> None:
        try:
            target()
        finally:
            over.release()

    start(entry, ())
    return over.acquire


def _by_thread(kind: type[threading.Thread], target: Callable[[], object]) -> Callable[[], object]:
    thread = kind(target=target)
    thread.start()
    return thread.join


@mix
def makers(run: Run) -> None:
    """glibc's pthreads, threading's, _thread's and ours share locks, locals and forks, and start each other."""
    locks: list[Any] = [sync.Lock(), sync.RLock(), threading.Lock(), threading.RLock()]
    inside = [0] * len(locks)
    mine = threading.local()
    event, stock_event = sync.Event(), threading.Event()
    ways: list[Callable[[Callable[[], object]], Callable[[], object]]] = [
        lambda target: spawn(target).join,
        lambda target: _by_thread(Thread, target),
        lambda target: _by_thread(threading.Thread, target),
        lambda target: _by_underscore(_thread.start_new_thread, target),
        lambda target: _by_underscore(installation._start_new_thread, target),
        _by_pthread,
    ]

    def in_child() -> None:
        for way in ways:
            ran: list[int] = []
            way(partial(ran.append, 1))()
            while not ran:
                time.sleep(1e-4)

    def work(seed: int) -> None:
        me = threading.get_ident()
        check(not hasattr(mine, "me"), "a new thread finds a local of another one")
        mine.me = me
        for round_ in range(4):
            at = (seed + round_) % len(locks)
            with locks[at]:
                check(inside[at] == 0, f"two are in lock {at}")
                inside[at] = me
                time.sleep(0)
                check(inside[at] == me, f"two are in lock {at}")
                inside[at] = 0
            check(mine.me == threading.get_ident() == me, "another identity")
        (event if seed % 2 else stock_event).wait(1e-4)

    @turns
    def body(worker: Worker) -> None:
        count = worker.random.randrange(1, 7)
        awaited = []
        ran: list[int] = []
        seed = worker.random.randrange(100)

        def target() -> None:
            work(seed)
            ran.append(1)

        for _ in range(count):
            way = worker.random.randrange(len(ways))
            worker.note(f"start, way {way}")
            awaited.append(ways[way](target))
        if worker.may_fork():
            worker.fork(in_child)
        event.set()
        stock_event.set()
        for join in awaited:
            worker.note("join")
            join()
        check(len(ran) == count, f"{count} started, {len(ran)} ran")
        event.clear()
        stock_event.clear()

    run.crowd((2, 6, 12), body, makers=(Thread, threading.Thread), interval=(1e-6, 5e-3))
