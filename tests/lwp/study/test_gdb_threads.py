"""gdb with the script of the package: it names threads, and knows green ones."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from conftest import python
from debugged import BACKTRACES, PATIENCE, SWAPPED, WAITING, Seen, ask_gdb, check_stacks, threads, waiting

import lwp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: In gdb: names and green threads, by what the runtime itself knows of them.
SCRIPT = ("-x", str(Path(lwp.__path__[0]) / "study" / "gdb_threads.py"))


def check_script(says: str, seen: Seen) -> None:
    found = threads(says)
    for name in ("named-0", "named-1", "a-thread"):
        assert found[seen[name][1]].name == name
    (asleep, _), (green, tid) = seen["asleep"], seen["green"]
    assert f'{asleep:#x} "Thread-2 (sleep)" no LWP is in it\n' in says
    assert f'{green:#x} "Thread-3 (wait)" LWP {tid} is in it\n' in says
    stack = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+)", says.rpartition(f"{asleep:#x}")[2], re.MULTILINE)
    assert "green_switch" in stack[0]
    assert "scheduler_sleep" in stack
    assert stack[-1] == SWAPPED
    check_stacks(found, seen)


ALL = (*SCRIPT, *BACKTRACES, "-ex", "info greens", "-ex", "green")


def test_names_and_green_threads_by_the_script() -> None:
    with waiting() as (pid, seen):
        check_script(ask_gdb("-p", str(pid), *ALL), seen)


def test_a_core_that_the_kernel_writes(tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if not re.fullmatch(r"[\w.]+", pattern):
        pytest.skip(f"the kernel writes no core to the working directory: kernel.core_pattern is {pattern!r}")
    done = python("-c", WAITING, "core", cwd=tmp_path, timeout=PATIENCE, status=-6, PYTHONFAULTHANDLER="")
    if not (cores := list(tmp_path.glob(f"{pattern}*"))):
        pytest.skip("no core was written: a hard limit (ulimit -Hc)")
    check_script(ask_gdb(*ALL, sys.executable, str(cores[0])), json.loads(done.stdout))
