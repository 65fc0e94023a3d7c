"""The system calls of threads that start and are joined, one after the other, as strace sees them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from conftest import ROOT, count_calls, lines_between_marks, under_strace

# The counting begins and ends at system calls of its own, which strace shows among the others.
SCRIPT = """
import os
from runtime import Thread, scheduler
%s
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
def turns(n):
    for _ in range(n):
        thread = Thread(target=int)
        thread.start()
        thread.join()
turns(100)
os.access("/begin", 0)
turns(%d)
os.access("/end", 0)
"""


def calls_of_turns(turns: int, folder: Path, first: str = "", options: tuple[str, ...] = ()) -> Counter[str]:
    """How many of each so many starts and joins take, when some have been before.

    Not counted: sleeps in futex(2) that have timed out.  A join's first one does so after 10 ms, on a slow machine
    each time; or it begins when that time is nearly over, so that it sets the timer's slack, which is not counted
    either.
    first: Python that runs before all.  options: of the interpreter.
    """
    trace = folder / "trace"
    command = [*under_strace(trace), sys.executable, *options, "-c", SCRIPT % (first, turns)]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": ""}
    subprocess.run(command, env=own, check=True, timeout=100)
    lines = lines_between_marks(trace)
    calls = count_calls(lines)
    calls["futex"] -= len(re.findall(r"futex.* ETIMEDOUT ", lines))
    calls["prctl"] -= len(re.findall(r" prctl\(PR_[GS]ET_TIMERSLACK", lines))
    return +calls  # without those of which none is left
