"""Threads that sleep in a primitive: stock's and ours both sleep in futex(2)."""

from __future__ import annotations

import ctypes
import errno
import math
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import SLOW

PATIENCE = SLOW * 30  # seconds until what must come is said to be lost
T = TypeVar("T")


def _kernel_has() -> dict[str, bool]:
    """Each tried out, because a seccomp filter may hide what a version has."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Without arguments: a kernel that has the call refuses them.  The numbers are the same on all processors.
    libc.syscall(ctypes.c_long(449), *[ctypes.c_size_t(0)] * 5)
    futex_waitv = ctypes.get_errno() == errno.EINVAL
    pidfd = libc.syscall(ctypes.c_long(434), ctypes.c_int(threading.get_native_id()), ctypes.c_uint(os.O_EXCL))
    if pidfd >= 0:
        os.close(pidfd)
    with mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as page:
        try:
            page.madvise(102)  # MADV_GUARD_INSTALL
            guards = True
        except OSError:
            guards = False
    return {"futex_waitv": futex_waitv, "pidfd for threads": pidfd >= 0, "guard regions": guards}


KERNEL_HAS = _kernel_has()  #: what this kernel has

_FUTEX_BY_MACHINE = {"x86_64": "202", "aarch64": "98"}
_PPOLL, _FUTEX_WAITV = {"x86_64": "271", "aarch64": "73"}[os.uname().machine], "449"
_FUTEX = tuple(_FUTEX_BY_MACHINE.values())  # under qemu-user it is the kernel's own
FUTEX_CALLS = (_FUTEX_BY_MACHINE[os.uname().machine], _FUTEX_WAITV)
_WAIT_BITSET, _COMMAND, _REALTIME = 9, 0x7F, 0x100  # linux/futex.h
#: What a thread that can be cancelled waits in; without futex_waitv(2), Linux 5.16, for 10 ms and longer.
WAITS_IN = "futex_waitv" if KERNEL_HAS["futex_waitv"] else "futex"
WAIT_CALLS = (_FUTEX_WAITV,) if WAITS_IN == "futex_waitv" else _FUTEX


def until(look: Callable[[], T | None]) -> T:
    """What look() returns once that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, "what must come has not"
        time.sleep(0)
    return found


def _state(tid: int) -> list[str]:
    """The thread's state, and how often it has left a CPU."""
    lines = Path(f"/proc/self/task/{tid}/status").read_text().splitlines()
    return [line for line in lines if line.startswith("State:") or "ctxt_switches" in line]


def _time_left(call: list[str]) -> float:
    """Of a futex call, in seconds."""
    if not (timeout := int(call[4], 16)):
        return math.inf
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        seconds, nanoseconds = struct.unpack("qq", os.pread(memory, 16, timeout))
    finally:
        os.close(memory)
    now = time.time() if int(call[2], 16) & _REALTIME else time.monotonic()
    return float(seconds + nanoseconds / 1e9 - now)


def _in_futex(tid: int) -> bool:
    """Whether the thread is in a futex call that has 50 ms to go or no end; for the GIL one sleeps 5 ms."""
    call = Path(f"/proc/self/task/{tid}/syscall").read_text().split()
    return call[0] in _FUTEX and int(call[2], 16) & _COMMAND == _WAIT_BITSET and _time_left(call) > 0.05


def call_of_cancellable(tid: int) -> str:
    """The system call that the thread sleeps in where it can be cancelled; none: it doesn't sleep there.

    A thread that waits for the GIL does so in futex(2) too, for 5 ms.
    """
    try:
        call = Path(f"/proc/self/task/{tid}/syscall").read_text().split()
        if call[0] in _FUTEX:
            return "futex" if 0.006 < _time_left(call) < 0.011 else ""
    except OSError:  # ended, or awake by now
        return ""
    return {_FUTEX_WAITV: "futex_waitv", _PPOLL: "ppoll"}.get(call[0], "")


def asleep(*tids: int) -> bool:
    """Whether the threads all sleep, and not for the GIL.

    The counts tell that none has woken up in between.  The second look is for the thread that has had to hand the GIL
    over: it sleeps without a timeout until another has taken it, as we have by then.  A thread that was woken is not
    asleep, even before it runs; while the wake-up is on its way to another CPU only its state says so.
    """
    try:
        before = [_state(tid) for tid in tids]
        looks = all(map(_in_futex, tids)) and all(map(_in_futex, tids))
        sleeping = all("sleeping" in state[0] for state in before)
        return sleeping and looks and before == [_state(tid) for tid in tids]
    except OSError:  # ended
        return False


def wait_until_asleep(tid: int) -> None:
    """Returns when the thread sleeps."""
    deadline = time.monotonic() + PATIENCE
    while not asleep(tid):
        if time.monotonic() > deadline:
            pytest.fail(f"thread {tid} doesn't sleep")
        os.sched_yield()
