"""The LWPs of a program, without those of the tools that look at it."""

from __future__ import annotations

from pathlib import Path


def tasks(pid: int | str = "self", *others: str) -> int:
    """How many LWPs a process has, except those of tools, and those with one of these names (proc_pid_comm(5))."""
    without, count = {"lwp-listen", "lwp-answer", "lwp-trace", *others}, 0
    for name in Path(f"/proc/{pid}/task").glob("*/comm"):
        try:  # noqa: SIM105 - the text of this function is a part of programs
            count += name.read_text().rstrip("\n") not in without
        except OSError:
            pass  # it has ended meanwhile
    return count
