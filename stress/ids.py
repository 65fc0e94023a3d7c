"""setuid and the like: glibc tells every thread by a signal, also the threads that we have made."""

from __future__ import annotations

import ctypes
import os
import re
import time
from pathlib import Path

from runtime.scheduler import spawn

from ._run import LeftOut, Run, Worker, check, join_all, mix, turns
from .threads import stack_size


def _ids(tid: str) -> list[str]:
    """The task's real, effective and saved user and group, and its groups; none if it has ended."""
    try:
        text = Path("/proc/self/task", tid, "status").read_text()
    except OSError:
        return []
    if re.search(r"^State:\s+[ZX]", text, re.MULTILINE):
        return []
    return re.findall(r"^(?:Uid|Gid|Groups):\t([\d\t ]*)", text, re.MULTILINE)


@mix
def setuid(run: Run) -> None:
    """setresuid, setresgid and setgroups while threads start and end: afterwards every thread has the new ids."""
    if os.geteuid() != 0:
        raise LeftOut("needs root")

    libc = ctypes.CDLL(None)  # unlike os, ctypes lets go of the GIL: the others start threads at the same time

    @turns
    def change(worker: Worker) -> None:
        number = worker.random.randrange(1000, 60000)
        way = worker.random.randrange(3)
        worker.note(f"way {way}, {number}")
        if way == 0:
            failed = libc.setresuid(number, number, 0) or libc.setresuid(0, 0, 0) or libc.setresuid(number, 0, 0)
        elif way == 1:
            failed = libc.setresgid(number, number, 0)
        else:
            failed = libc.setgroups(2, (ctypes.c_uint * 2)(number, number + 1))
        check(not failed, f"way {way} failed")
        mine = _ids(str(os.getpid()))
        for tid in os.listdir("/proc/self/task"):
            # A thread that was at its end already keeps the old ids until it is gone.
            deadline = time.monotonic() + 10
            while (its := _ids(tid)) and its != mine:
                check(time.monotonic() < deadline, f"thread {tid} has {its}, the others {mine}")
        os.setresuid(0, 0, 0)

    @turns
    def come_and_go(worker: Worker) -> None:
        worker.note("start and join")
        join_all([spawn(time.sleep, (0,), stack_size=stack_size(worker.random)) for _ in range(4)])

    # The main thread forks no child here: some limits and rights go with the user.
    run.crowd((3, 10), come_and_go, first=change, interval=(1e-5, 5e-3))
    os.setresgid(0, 0, 0)
    os.setgroups([])
