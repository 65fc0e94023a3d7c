"""The machine's limits on threads and descriptors, and one of CPython's. A mix that fails because of one says nothing
about the runtime."""

from __future__ import annotations

import errno
import os
import resource
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from runtime import limits

#: What the machine must allow for a failure to count as the runtime's, which is more than any mix needs.
_TASKS, _DESCRIPTORS = 1000, 256

_NO_TASK = ("can't start new thread", os.strerror(errno.EAGAIN))
_NO_DESCRIPTOR = os.strerror(errno.EMFILE)

#: In a forked child the lock of an object that another thread was using can stay locked.
_LOCKS_STAY = bool(sysconfig.get_config_var("Py_GIL_DISABLED")) and sys.version_info < (3, 14)
_FUTEX = {"x86_64": "202", "aarch64": "98"}.get(os.uname().machine)
_SEMAPHORE = 0x189  # FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME: sem_wait() of glibc


def limit_hit(said: str) -> str | None:
    """The limit that a failed mix complains of in what it has said, if the machine allows less than mixes need."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if _NO_DESCRIPTOR in said and descriptors < _DESCRIPTORS:
        return f"RLIMIT_NOFILE (ulimit -n) allows {descriptors}"
    if any(text in said for text in _NO_TASK):
        free = [(limit.free, limit) for limit in limits.limits() if limit.unit == "tasks" and limit.free is not None]
        least, limit = min(free, key=lambda pair: pair[0])
        if least < _TASKS:
            return f"{limit.name} allows {limit.value}"
    return None


def sleeps_in_semaphore(pid: int) -> bool:
    """Whether the process's main thread waits for a lock of the interpreter's, because none of the runtime's is a
    semaphore."""
    try:
        number, *arguments = Path(f"/proc/{pid}/syscall").read_text().split()
    except OSError:  # it has ended, or nobody may look
        return False
    return number == _FUTEX and int(arguments[1], 16) == _SEMAPHORE


def child_hit(children: Iterable[int]) -> str | None:
    """What a mix hangs in through no fault of the runtime, if one of its forked children does."""
    if _LOCKS_STAY and any(map(sleeps_in_semaphore, children)):
        return "a forked child sleeps for a lock of CPython's, as it may on a free-threaded 3.13 without the runtime"
    return None
