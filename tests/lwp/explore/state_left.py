"""A program: explores in the way, and as often, as its arguments say, and compares the state of its process before and
after. It prints what differs, and what the explorations have come to."""

from __future__ import annotations

import asyncio
import concurrent.futures  # noqa: F401 - what is explored imports nothing more
import ctypes
import gc
import itertools
import logging
import os
import queue
import random
import re
import signal
import sqlite3  # noqa: F401
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from without_pytest import run_threads

from lwp.explore import explore
from runtime.patch import installation
from runtime.scheduler import Scheduler

_WORD = ctypes.sizeof(ctypes.c_void_p)
#: Where the pointer to a PyMethodDef stands in a builtin function, and in a method of a builtin type.
_METHOD_DEF = {
    types.BuiltinFunctionType: object.__basicsize__,
    types.MethodDescriptorType: object.__basicsize__ + 3 * _WORD,
    types.ClassMethodDescriptorType: object.__basicsize__ + 3 * _WORD,
}


def _c_function(thing: object) -> int:
    """The address of the C function that it calls, which the explorer replaces; 0: it is none of C."""
    if (offset := _METHOD_DEF.get(type(thing))) is None:
        return 0
    method_def = ctypes.c_void_p.from_address(id(thing) + offset).value
    return ctypes.c_void_p.from_address((method_def or 0) + _WORD).value or 0


def _functions() -> Iterator[tuple[str, object]]:
    """All functions and classes of all modules, and what their classes have."""
    for name, module in list(sys.modules.items()):
        for attribute, value in list(vars(module).items()) if isinstance(module, types.ModuleType) else ():
            if callable(value):
                yield f"{name}.{attribute}", value
            if isinstance(value, type):
                for member, function in list(vars(value).items()):
                    if callable(function) or isinstance(function, (staticmethod, classmethod, property)):
                        yield f"{name}.{attribute}.{member}", function


def _descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # that of the list itself
            continue
    return found


def _tools() -> list[object]:
    if sys.version_info < (3, 12):
        return []
    return [(sys.monitoring.get_tool(number), number) for number in range(6)]


def state() -> dict[str, object]:
    """What an exploration may change, by name."""
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    status = Path("/proc/self/status").read_text()
    numbers = sorted(signal.valid_signals())
    found: dict[str, object] = {
        **{f"handler of signal {number}": signal.getsignal(number) for number in numbers},
        **{f"{mask} of the process": re.findall(f"{mask}:\t(.*)", status) for mask in ("SigBlk", "SigIgn", "SigCgt")},
        **{f"environment's {name}": value for name, value in os.environ.items()},
        **{f"descriptor {fd}": file for fd, file in _descriptors().items()},
        "LWPs": sorted(os.listdir("/proc/self/task")),
        "threads": threading.enumerate(),
        "count of threads' names": repr(threading._counter),  # type: ignore[attr-defined]
        "wakeup descriptor": wakeup,
        "trace functions": (sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()),
        "tools of sys.monitoring": _tools(),
        "collector": (gc.isenabled(), gc.get_threshold(), list(gc.callbacks)),
        "switch interval": sys.getswitchinterval(),
        "chance": random.getstate(),
        "handlers of logs": list(logging.root.handlers),
        "filters of warnings": list(warnings.filters),
        "running loop": asyncio._get_running_loop(),
        "paths": (list(sys.path), os.getcwd(), list(sys.argv)),
    }
    for name, function in _functions():
        found[name] = function
        found[f"{name}, in C"] = _c_function(function)
    return found


def different(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return [f"{name}: {value} -> {after.get(name)}" for name, value in before.items() if after.get(name) != value] + [
        f"{name}: new" for name in after if name not in before and name.startswith(("descriptor", "environment"))
    ]


# ---- what is explored ------------------------------------------------------------------------------------------------


def threads(check: bool) -> None:
    """With a lock, a queue, a signal, chance and a sleep: each is the explorer's meanwhile."""
    lock, items = threading.Lock(), queue.SimpleQueue[int]()
    values: list[int] = []

    def work() -> None:
        with lock:
            seen = len(values)
        time.sleep(random.random())
        items.put(seen)
        values.append(seen)

    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    run_threads(threading.Thread(target=work) for _ in range(2))
    assert not check or values != [0, 0]


async def tasks() -> None:
    async def work() -> None:
        await asyncio.sleep(random.random())
        await asyncio.to_thread(time.sleep, 0.1)

    asyncio.get_running_loop().set_debug(False)
    await asyncio.gather(work(), work())


def passes() -> str:
    return explore(lambda: threads(False), runs=20, seed=1).outcome.name


def fails() -> str:
    return explore(lambda: threads(True), runs=200, seed=1).outcome.name


def has_tasks() -> str:
    return explore(lambda: asyncio.run(tasks()), runs=20, seed=1).outcome.name


def interrupted(test: Callable[[], object]) -> str:
    try:
        explore(test, runs=1_000_000, seed=1)
    except KeyboardInterrupt:
        return "KeyboardInterrupt"
    return "no end"


def is_interrupted() -> str:
    """By Ctrl-C, in the middle of a run."""

    def test() -> None:
        if next(runs) == 5:
            os.write(writes, b"\n")
        threads(False)

    runs = itertools.count()
    reads, writes = os.pipe()
    with subprocess.Popen(["sh", "-c", f"read line; kill -INT {os.getpid()}"], stdin=reads):
        came = interrupted(test)
    os.close(reads)
    os.close(writes)
    return came


def is_interrupted_early() -> str:
    """By Ctrl-C, in the middle of what is replaced before the first run."""
    (came,) = {interrupted_at(3), interrupted_at(30)}
    return came


def interrupted_at(number: int) -> str:
    def replace(*args: Any) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt
        stock(*args)

    calls, stock = itertools.count(), installation._replace
    installation._replace = replace
    try:
        return interrupted(lambda: None)
    finally:
        installation._replace = stock


def raises_it() -> str:
    def test() -> None:
        threads(False)
        raise KeyboardInterrupt

    return explore(test, runs=20, seed=1).outcome.name


WAYS: dict[str, Callable[[], str]] = {
    one.__name__: one for one in (passes, fails, has_tasks, is_interrupted, is_interrupted_early, raises_it)
}

if __name__ == "__main__":
    # What these change for good the first time: docs/architecture.md, "What stands where".
    installation.install()
    installation.uninstall()
    Scheduler()
    ways = [WAYS[name] for name in sys.argv[2:]]
    before = state()
    came: dict[object, set[str]] = {way: set() for way in ways}
    for way in ways * int(sys.argv[1]):
        came[way].add(way())
    gc.collect()
    print(*different(before, state()), *(" ".join(sorted(outcomes)) for outcomes in came.values()), sep="\n")
